"""Latencies from visits in several processes: corrected for the machine's slow moments, with intervals that repeat.

1. Each sound visit gives the median of its samples, and that of the reference workload taken in turns with them.
2. How far cases slow down with the reference is learned from all visits of the run, and taken off each.
3. The spread that is left between visits, of the case and of the whole run, makes the interval (``core.spread``).
4. Ratios are formed visit by visit within a round, so that what both met is not in them.

Where several hosts measured, what each does to all of its times (``analysis.hosts``) is taken off after the second
step, and ratios are formed of visits on the same host only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from convbench.analysis import hosts
from convbench.core import metrics, spread
from convbench.core.grouping import grouped
from convbench.core.host_effects import host_effects
from convbench.core.metric import Metric
from convbench.core.record import Record
from convbench.core.spread import Prior
from convbench.core.statistics import Interval, median_interval, ratio_interval
from convbench.core.visits import Scope, at_better_moments, scope

BUSY_SHARE = 0.1
"""Share of the time that the median visit waited for a core from which on the whole run was beside other work."""
MOST_SLOWDOWN = 1.6
"""By how much other work slows a core down besides taking its time, where no quiet run tells what it is without."""
DOUBT_OF_LEVEL = 0.15
"""Share of the way to a quiet run's speed that is not trusted, either way."""
LEAST_SLOWDOWN = 0.05
"""The log by which a quiet run has to be slower than the machine can be before its times are stated at that speed."""
RUN_SD = 0.015
"""Standard deviation of the log of what one run does to a case that neither its visits nor the reference workload tell.

Two runs of the default suite on one machine differ by 1 to 4.5 % in common, and case by case by as much besides.
"""
SLOPE_SD = 0.15
"""Standard deviation between cases of the power by which they slow down with the reference workload; one is learned."""
LEAST_RATIOS = 5
"""Fewer ratios than this do not tell how much ratios spread: then each case's own spread is taken twice."""


QUIET_REFERENCE = "quiet_reference_s"
"""The condition that holds what the fastest of the last quiet runs on the machine had for the reference workload."""
LEVEL_VISITS = 20
"""Visits that tell a machine's speed."""


@dataclass(frozen=True)
class Machine:
    """How a run's visits spread: what a case slows down with the reference, from which speed, and what is left.

    A run beside other work, or while the machine is slower, as virtual ones are by their neighbours, has its times
    stated at the speed of the last quiet runs, as far as one is known; ``doubt`` is what that, or its absence, adds to
    the logs of an interval's ends. Ratios know nothing of it.
    ``hosts`` is the log by which each of several is slower than the typical one, beyond what the reference tells.
    """

    slope: float = 0.0
    level: float = 0.0
    prior: Prior = spread.ASSUMED
    doubt: tuple[float, float] = (0.0, 0.0)
    hosts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """A call's seconds: the interval, and the logs that it comes from by round; no logs where visits are unknown.

    ``hosts`` names which of several made a round's visit; ``reference`` is what the reference workload takes at the
    speed that the interval is stated at, None where it was not measured.
    """

    interval: Interval
    logs: Mapping[int, float] = field(default_factory=dict)
    prior: Prior = spread.ASSUMED
    hosts: Mapping[int, str] = field(default_factory=dict)
    reference: float | None = None

    @property
    def by_visits(self) -> Interval:
        """What the spread between visits says alone, which is what further visits make narrower; there must be some."""
        return spread.estimate(tuple(self.logs.values()), self.prior)

    @property
    def at_two_speeds(self) -> bool:
        return spread.at_two_speeds(tuple(self.logs.values()))


def machines(records: Iterable[Record]) -> dict[Scope, Machine]:
    """What the visits of each scope have in common."""
    timed_records = (record for record in records if record.visits and record.samples(metrics.LATENCY))
    return {scope: _machine(members) for scope, members in grouped(timed_records, scope).items()}


def latency_of(record: Record, machine_by_scope: Mapping[Scope, Machine]) -> Latency | None:
    """Seconds of a call; None where it was not measured, or never undisturbed."""
    samples = record.samples(metrics.LATENCY)
    if not samples:
        return None
    if not record.visits:
        references = record.samples(metrics.REFERENCE)
        return Latency(median_interval(samples), reference=median(references) if references else None)
    machine = machine_by_scope.get(scope(record), Machine())
    logs = _corrected_logs(record, machine)
    interval = spread.estimate(tuple(logs.values()), machine.prior, _shared_sd(record, machine))
    below, above = machine.doubt
    interval = Interval(interval.median, interval.low * math.exp(-below), interval.high * math.exp(above))
    if len(logs) == 1:
        interval = _widen(interval, samples)
    return Latency(interval, logs, machine.prior, hosts.host_by_round(record), reference(record, machine_by_scope))


def _widen(interval: Interval, samples: Sequence[float]) -> Interval:
    """The interval of a single visit: what processes differ by, and how well this one's median is known.

    Of several visits the spread between them holds both. Samples too few for an interval count by their range.
    """
    middle, low, high = median_interval(samples)
    if math.isinf(high):
        low, high = min(samples), max(samples)
    below = math.hypot(math.log(interval.median / interval.low), math.log(middle / low))
    above = math.hypot(math.log(interval.high / interval.median), math.log(high / middle))
    return Interval(interval.median, interval.median * math.exp(-below), interval.median * math.exp(above))


def reference(record: Record, machine_by_scope: Mapping[Scope, Machine]) -> float | None:
    """Seconds of the reference workload at the speed that ``latency`` states the record at; None where there are none.

    That of the run's better moments where times were corrected by it, else what it took beside the record.
    """
    logs = _logs(record, metrics.REFERENCE)
    machine = machine_by_scope.get(scope(record), Machine())
    if not logs:
        return None
    return math.exp(machine.level if machine.slope else median(logs.values()))


def ratios(pairs: Sequence[tuple[Latency, Latency]]) -> list[Interval]:
    """The first over the second of each pair, from the rounds in which both were visited where there are any."""
    differences = [_differences(*pair) for pair in pairs]
    groups = [logs for logs in differences if len(logs) > 1]
    prior = spread.prior(groups) if len(groups) >= LEAST_RATIOS else None
    return [_ratio(pair, logs, prior) for pair, logs in zip(pairs, differences, strict=True)]


def ratio(first: Latency, second: Latency) -> Interval:
    """``ratios`` of one pair."""
    return ratios([(first, second)])[0]


def _ratio(pair: tuple[Latency, Latency], differences: Sequence[float], prior: Prior | None) -> Interval:
    first, second = pair
    if first is second:
        return Interval(1.0, 1.0, 1.0)
    if not differences:
        return ratio_interval(first.interval, second.interval)
    return spread.estimate(differences, prior or first.prior.scaled(2.0))


def _differences(first: Latency, second: Latency) -> list[float]:
    return [
        log - second.logs[visit]
        for visit, log in first.logs.items()
        if visit in second.logs and first.hosts.get(visit) == second.hosts.get(visit)
    ]


def _machine(records: Sequence[Record]) -> Machine:
    usual_level = at_better_moments(_references(records))
    slope = spread.elasticity(filter(None, map(_reference_pair, records)))
    level, doubt = _speed(records, usual_level, slope)
    machine = Machine(slope, level)
    machine = Machine(slope, level, hosts=_host_logs(records, machine))
    prior = spread.prior(tuple(_corrected_logs(record, machine).values()) for record in records)
    return Machine(slope, level, prior, doubt, machine.hosts)


def _host_logs(records: Sequence[Record], machine: Machine) -> dict[str, float]:
    """What each host does to all of its times beside the others, once they are corrected by the reference."""
    cells = [cell for record in records for cell in hosts.cells(record, _reference_offsets(record, machine))]
    return {host: effect.drawn for host, effect in host_effects(cells).items()}


def _speed(records: Sequence[Record], usual_level: float, slope: float) -> tuple[float, tuple[float, float]]:
    """The log of the reference at the speed that latencies are stated at, and the doubt of that."""
    quiet_reference = next((level for record in records if (level := record.conditions.get(QUIET_REFERENCE))), None)
    is_busy = busy(records)
    if not isinstance(quiet_reference, float) or not slope:
        return usual_level, (math.log(MOST_SLOWDOWN) if is_busy else 0.0, 0.0)
    level = min(usual_level, math.log(quiet_reference))
    if not is_busy and not LEAST_SLOWDOWN < usual_level - level < math.log(MOST_SLOWDOWN):
        return usual_level, (0.0, 0.0)
    doubt = DOUBT_OF_LEVEL * (usual_level - level)
    return level, (doubt, doubt)


def busy(records: Iterable[Record]) -> bool:
    """Whether the run was made beside other work, by the scheduler's own statistics."""
    delays = [share for record in records for share in record.samples(metrics.RUN_DELAY)]
    return bool(delays) and median(delays) > BUSY_SHARE


def quiet_references(records: Iterable[Record]) -> dict[Scope, float]:
    """Seconds of the reference workload at the better moments of each scope that was visited often and quiet."""
    references_by_scope = {
        scope: references
        for scope, members in grouped(records, scope).items()
        if len(references := _references(members)) >= LEVEL_VISITS and not busy(members)
    }
    return {scope: math.exp(at_better_moments(references)) for scope, references in references_by_scope.items()}


def _references(records: Iterable[Record]) -> list[float]:
    """The log of what the reference workload took, visit by visit."""
    return [log for record in records for log in _logs(record, metrics.REFERENCE).values()]


def _reference_pair(record: Record) -> tuple[list[float], list[float]] | None:
    """The logs of a case's visits and of the reference in the same visits; None where there are none of both."""
    latencies, references = _logs(record, metrics.LATENCY), _logs(record, metrics.REFERENCE)
    visits = [visit for visit in latencies if visit in references]
    return ([latencies[visit] for visit in visits], [references[visit] for visit in visits]) if visits else None


def _corrected_logs(record: Record, machine: Machine) -> dict[int, float]:
    offsets, host_by_round = _reference_offsets(record, machine), hosts.host_by_round(record) if machine.hosts else {}
    return {
        visit: log - offsets.get(visit, 0.0) - machine.hosts.get(host_by_round.get(visit, ""), 0.0)
        for visit, log in _logs(record, metrics.LATENCY).items()
    }


def _shared_sd(record: Record, machine: Machine) -> float:
    """What no visit to the case tells: what is this run's own, and what the common slope took off too much."""
    references = _logs(record, metrics.REFERENCE).values() if machine.slope else ()
    slowdown = fmean(references) - machine.level if references else 0.0
    return math.hypot(RUN_SD, SLOPE_SD * slowdown)


def _reference_offsets(record: Record, machine: Machine) -> dict[int, float]:
    """What the reference workload says is to be taken off each round's log."""
    references = _logs(record, metrics.REFERENCE) if machine.slope else {}
    return {visit: machine.slope * (log - machine.level) for visit, log in references.items()}


def _logs(record: Record, metric: Metric) -> dict[int, float]:
    return {visit: math.log(median(samples)) for visit, samples in record.by_visit(metric).items()}
