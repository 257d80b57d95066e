"""Estimate how much the hosts of a run differ, from the cases that they share.

``analysis.latencies`` takes these differences off the times.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from convbench.analysis.inference.host_effects import Cell, Effect, host_effects
from convbench.core import metrics
from convbench.core.record import HostGap, Record

Effects = Mapping[str, Mapping[str, Effect]]
"""The hosts' effects by host name, for each group of hosts; a group is a fingerprint of machine and software."""


def effects(records: Iterable[Record]) -> Effects:
    """Estimate how much slower each host is than the others of its group, before any correction."""
    groups: defaultdict[str, list[Cell]] = defaultdict(list)
    for record in records:
        groups[record.environment] += cells(record)
    effects_by_group = {name: host_effects(members) for name, members in groups.items()}
    return {name: hosts for name, hosts in effects_by_group.items() if hosts}


def cells(record: Record, offsets: Mapping[int, float] | None = None) -> list[Cell]:
    """Return a record's undisturbed visits on named hosts; ``offsets`` are subtracted from their logs, by round."""
    hosts = host_by_round(record)
    if not hosts:
        return []
    logs = {number: math.log(median(samples)) for number, samples in record.by_visit(metrics.LATENCY).items()}
    offsets, case = offsets or {}, record.case.id
    return [
        Cell(case, hosts[number], log - offsets.get(number, 0.0)) for number, log in logs.items() if number in hosts
    ]


def host_by_round(record: Record) -> dict[int, str]:
    """Return the host that made the visit of each round; empty if the run had only one host."""
    return {visit.round: visit.host for visit in record.visits if visit.host}


def gaps(groups: Effects) -> tuple[HostGap, ...]:
    """Return by how much hosts differ, for each group in which two share a case."""
    return tuple(map(_gap, groups.values()))


def _gap(hosts: Mapping[str, Effect]) -> HostGap:
    log, half = _greatest_gap(hosts)
    return HostGap(len(hosts), *map(math.expm1, (log, log - half, log + half)))


def _greatest_gap(hosts: Mapping[str, Effect]) -> tuple[float, float]:
    """Return the log by which the slowest host is slower than the fastest, and half its 95 % interval.

    Effects sum to 0, so the errors of two hosts are negatively correlated. Their difference is less certain than that
    of two independent estimates.
    """
    fastest, *_, slowest = sorted(hosts.values(), key=lambda effect: effect.log)
    half = math.hypot(slowest.half_width, fastest.half_width) * math.sqrt(len(hosts) / (len(hosts) - 1))
    return slowest.log - fastest.log, half
