"""By how much the hosts of a run differ, as measured on the cases that they share: estimated, stated and taken off."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from convbench.core import metrics
from convbench.core.host_effects import Cell, Effect, host_effects
from convbench.core.record import Record

Effects = Mapping[str, Mapping[str, Effect]]
"""The hosts' effects by name, for each group: the fingerprint of its machine and software."""


def effects(records: Iterable[Record]) -> Effects:
    """What each host does to a latency beside the others of its group, before anything is corrected."""
    groups: defaultdict[str, list[Cell]] = defaultdict(list)
    for record in records:
        groups[record.environment] += cells(record)
    effects_by_group = {name: host_effects(members) for name, members in groups.items()}
    return {name: hosts for name, hosts in effects_by_group.items() if hosts}


def cells(record: Record, offsets: Mapping[int, float] | None = None) -> list[Cell]:
    """A record's sound visits on hosts; ``offsets`` are what is taken off each log, by its round."""
    hosts = host_by_round(record)
    if not hosts:
        return []
    logs = {number: math.log(median(samples)) for number, samples in record.by_visit(metrics.LATENCY).items()}
    offsets, case = offsets or {}, record.case.id
    return [
        Cell(case, hosts[number], log - offsets.get(number, 0.0)) for number, log in logs.items() if number in hosts
    ]


def host_by_round(record: Record) -> dict[int, str]:
    """Which host made the visit of each round; empty where there was one."""
    return {visit.round: visit.host for visit in record.visits if visit.host}


def sentence(groups: Effects) -> str:
    """What readers must know of it; empty where no two hosts share a case."""
    if not groups:
        return ""
    parts = [_group_sentence(hosts) for hosts in groups.values()]
    kinds = f"{len(parts)} kinds of hosts, never one ranking: " if len(parts) > 1 else ""
    return f"{kinds}{'; '.join(parts)}."


def _group_sentence(hosts: Mapping[str, Effect]) -> str:
    gap, half = _greatest_gap(hosts)
    ratio, low, high = (f"{100 * math.expm1(log):z.1f}" for log in (gap, gap - half, gap + half))
    return (
        f"{len(hosts)} hosts with one fingerprint, the slowest {ratio} % slower than the fastest "
        f"(95 %: {low} to {high} %) on the cases that they share; this is taken off their times"
    )


def _greatest_gap(hosts: Mapping[str, Effect]) -> tuple[float, float]:
    """The log by which the slowest is slower than the fastest, and half its 95 % interval.

    Effects sum to 0, so that one is the larger where another is the smaller: a difference is less sure than that of
    two that know nothing of each other.
    """
    fastest, *_, slowest = sorted(hosts.values(), key=lambda effect: effect.log)
    half = math.hypot(slowest.half, fastest.half) * math.sqrt(len(hosts) / (len(hosts) - 1))
    return slowest.log - fastest.log, half
