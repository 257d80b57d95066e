"""Latencies from visits in several processes: corrected for the machine's slow moments, with intervals that repeat.

1. Each sound visit gives the median of its samples, and that of the reference workload taken in turns with them.
2. How far cases slow down with the reference is learned from all visits of the run, and taken off each.
3. The spread that is left between visits, of the case and of the whole run, makes the interval (``core.spread``).
4. Ratios are formed visit by visit within a round, so that what both met is not in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

from convbench.core import spread
from convbench.core.record import Record, Scalar
from convbench.core.spread import Prior
from convbench.core.statistics import Interval, median_interval, ratio_interval

BETTER_MOMENTS = 0.25
"""The quantile of the reference workload's times that the latencies are stated at."""
FEW_PAIRS = 5
"""Fewer ratios than this do not tell how much ratios spread: then each case's own spread is taken twice."""


class Scope(NamedTuple):
    """What visits must share to tell of each other's spread."""

    environment: str
    device: str
    threads: Scalar


@dataclass(frozen=True)
class Machine:
    """How a run's visits spread: what a case slows down with the reference, from which speed, and what is left."""

    slope: float = 0.0
    level: float = 0.0
    prior: Prior = spread.ASSUMED


@dataclass(frozen=True)
class Latency:
    """A call's seconds: the interval, and the logs that it comes from by round; no logs where visits are unknown."""

    interval: Interval
    logs: Mapping[int, float] = field(default_factory=dict)
    prior: Prior = spread.ASSUMED

    @property
    def at_two_speeds(self) -> bool:
        return spread.at_two_speeds(tuple(self.logs.values()))


def threads(record: Record) -> Scalar:
    """How many threads computed, as the process that measured noted it; None where it did not."""
    return record.conditions.get("threads")


def machines(records: Iterable[Record]) -> dict[Scope, Machine]:
    """What the visits of each scope have in common."""
    scopes: dict[Scope, list[Record]] = {}
    for record in records:
        if record.visits and record.samples("latency_s"):
            scopes.setdefault(_scope(record), []).append(record)
    return {scope: _machine(members) for scope, members in scopes.items()}


def latency(record: Record, known: Mapping[Scope, Machine]) -> Latency | None:
    """Seconds of a call; None where it was not measured, or never undisturbed."""
    samples = record.samples("latency_s")
    if not samples:
        return None
    if not record.visits:
        return Latency(median_interval(samples))
    machine = known.get(_scope(record), Machine())
    logs = _corrected(record, machine)
    return Latency(spread.estimate(tuple(logs.values()), machine.prior), logs, machine.prior)


def ratios(pairs: Sequence[tuple[Latency, Latency]]) -> list[Interval]:
    """The first over the second of each pair, from the rounds in which both were visited where there are any."""
    differences = [_differences(*pair) for pair in pairs]
    several = [each for each in differences if len(each) > 1]
    common = spread.prior(several) if len(several) >= FEW_PAIRS else None
    return [_ratio(pair, each, common) for pair, each in zip(pairs, differences, strict=True)]


def ratio(first: Latency, second: Latency) -> Interval:
    """``ratios`` of one pair."""
    return ratios([(first, second)])[0]


def _ratio(pair: tuple[Latency, Latency], differences: Sequence[float], common: Prior | None) -> Interval:
    first, second = pair
    if first is second:
        return Interval(1.0, 1.0, 1.0)
    if not differences:
        return ratio_interval(first.interval, second.interval)
    return spread.estimate(differences, common or first.prior.scaled(2.0))


def _differences(first: Latency, second: Latency) -> list[float]:
    return [log - second.logs[visit] for visit, log in first.logs.items() if visit in second.logs]


def _scope(record: Record) -> Scope:
    return Scope(record.environment, record.case.device, threads(record))


def _machine(records: Sequence[Record]) -> Machine:
    references = sorted(log for record in records for log in _logs(record, "reference_s").values())
    level = references[int(BETTER_MOMENTS * (len(references) - 1))] if references else 0.0
    slope = spread.elasticity(filter(None, map(_beside_reference, records)))
    plain = Machine(slope, level)
    return Machine(slope, level, spread.prior(tuple(_corrected(record, plain).values()) for record in records))


def _beside_reference(record: Record) -> tuple[list[float], list[float]] | None:
    """The logs of a case's visits and of the reference in the same visits; None where there are none of both."""
    latencies, references = _logs(record, "latency_s"), _logs(record, "reference_s")
    both = [visit for visit in latencies if visit in references]
    return ([latencies[visit] for visit in both], [references[visit] for visit in both]) if both else None


def _corrected(record: Record, machine: Machine) -> dict[int, float]:
    references = _logs(record, "reference_s") if machine.slope else {}
    return {
        visit: log - machine.slope * (references.get(visit, machine.level) - machine.level)
        for visit, log in _logs(record, "latency_s").items()
    }


def _logs(record: Record, metric: str) -> dict[int, float]:
    return {visit: math.log(median(samples)) for visit, samples in record.by_visit(metric).items()}
