"""Estimate latencies from visits in several processes: corrected for slow moments, with intervals that repeat.

1. Each undisturbed visit gives the median of its samples, and that of the reference workload taken in turns with them.
2. All visits of the run tell how far cases slow down with the reference; this slow-down is taken off each visit.
3. The spread that is left between visits, of the case and of the whole run, makes the interval (``core.spread``).
4. Ratios are formed visit by visit within a round, so that slow moments that both met cancel.

Two cases of which one was added to the run later met no common moments, so their ratio is that of their intervals. If
several hosts measured, the effect of each host on its times (``analysis.hosts``) is taken off after the second step,
and ratios are formed only from visits on the same host.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from convbench.analysis import hosts
from convbench.analysis.inference.host_effects import host_effects
from convbench.core import metrics, spread
from convbench.core.grouping import grouped
from convbench.core.metric import Metric
from convbench.core.record import Record
from convbench.core.spread import Prior
from convbench.core.statistics import TAIL, Interval, median_interval, ratio_interval
from convbench.core.visits import Scope, at_better_moments, scope, shared_cores, torch_threads

BUSY_SHARE = 0.1
"""Share of its time that a thread of the median visit waits for a core, above which a run counts as busy."""
MOST_SLOWDOWN = 1.6
"""The most by which other work slows a core down besides taking its time.

It widens the intervals of a busy run if no quiet run tells the machine's speed. A quiet run that is slower by more is
not restated.
"""
DOUBT_OF_LEVEL = 0.15
"""Share of the distance to a quiet run's speed that is not trusted, in either direction."""
LEAST_SLOWDOWN = 0.05
"""The log by which a quiet run must be slower than the last quiet runs before its times are stated at their speed."""
RUN_SD = 0.015
"""Standard deviation of the log of a run's own effect on a case, which no visit and no reference workload shows.

Two runs of the default suite on one machine differ by 1 to 4.5 % in common, and by as much again from case to case.
"""
SLOPE_SD = 0.15
"""Standard deviation between cases of the power by which they slow down with the reference; only one is estimated."""
LEAST_RATIOS = 5
"""Least number of ratios whose spread is estimated. With fewer, twice the variance between visits is assumed."""
QUIET_REFERENCE = "quiet_reference_s"
"""The condition that holds the reference workload's shortest time in the last quiet runs on the machine."""
LEVEL_VISITS = 20
"""Least number of visits that tell a machine's speed."""


@dataclass(frozen=True)
class Machine:
    """What the visits of a run have in common: their slow-down with the reference, their speed, and their spread.

    ``slope`` is the power by which cases slow down with the reference, ``level`` the log of the reference at the speed
    that times are stated at. This is the speed of the last quiet runs, if one is known, for a run beside other work or
    on a machine that was slower, as virtual ones are because of their neighbours. ``doubt`` is what this restatement,
    or the lack of a known speed, adds to the logs of an interval below and above; ratios do not use it. ``prior`` is
    the spread that is left. ``hosts`` is the log by which each of several hosts is slower than the typical one, beyond
    what the reference tells.
    """

    slope: float = 0.0
    level: float = 0.0
    prior: Prior = spread.ASSUMED
    doubt: tuple[float, float] = (0.0, 0.0)
    hosts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """Seconds per call: the interval, and the logs behind it by round; no logs if visits are unknown.

    ``moments`` are the host of each round, empty if there was only one, and the start of the visit. ``reference`` is
    the time of the reference workload at the speed that the interval is stated at; None if it was not measured.
    """

    interval: Interval
    logs: Mapping[int, float] = field(default_factory=dict)
    prior: Prior = spread.ASSUMED
    moments: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    reference: float | None = None

    @property
    def by_visits(self) -> Interval:
        """The interval by the spread between visits alone, which further visits narrow; ValueError without visits."""
        return spread.estimate(tuple(self.logs.values()), self.prior)


def machines(records: Iterable[Record]) -> dict[Scope, Machine]:
    """Estimate what the visits of each scope have in common."""
    timed_records = (record for record in records if record.visits and record.samples(metrics.LATENCY))
    return {scope: _machine(members) for scope, members in grouped(timed_records, scope).items()}


def latency_of(record: Record, machine_by_scope: Mapping[Scope, Machine]) -> Latency | None:
    """Estimate the seconds of a call; None if it was not measured, or never undisturbed."""
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
    moments = {visit.round: (visit.host, visit.started) for visit in record.visits}
    return Latency(interval, logs, machine.prior, moments, reference(record, machine_by_scope))


def _widen(interval: Interval, samples: Sequence[float]) -> Interval:
    """Widen the interval of a single visit: processes differ, and its own median is uncertain.

    The spread between several visits would hold both. If samples are too few for an interval, their range takes its
    place.
    """
    middle, low, high = median_interval(samples)
    if math.isinf(high):
        low, high = min(samples), max(samples)
    below = math.hypot(math.log(interval.median / interval.low), math.log(middle / low))
    above = math.hypot(math.log(interval.high / interval.median), math.log(high / middle))
    return Interval(interval.median, interval.median * math.exp(-below), interval.median * math.exp(above))


def reference(record: Record, machine_by_scope: Mapping[Scope, Machine]) -> float | None:
    """Return the reference workload's seconds at the speed that ``latency_of`` states the record at; None without any.

    If times were corrected by the reference, this is ``Machine.level``, else the median time beside the record.
    """
    logs = _logs(record, metrics.REFERENCE)
    machine = machine_by_scope.get(scope(record), Machine())
    if not logs:
        return None
    return math.exp(machine.level if machine.slope else median(logs.values()))


def ratios(pairs: Sequence[tuple[Latency, Latency]], tail: float = TAIL) -> list[Interval]:
    """Divide the first latency by the second in each pair, by the rounds that visited both, else by the intervals.

    ``tail`` is the error at either end of a ratio by rounds.
    """
    differences = [_differences(*pair) for pair in pairs]
    groups = [logs for logs in differences if len(logs) > 1]
    prior = spread.prior(groups) if len(groups) >= LEAST_RATIOS else None
    return [_ratio(pair, logs, prior, tail) for pair, logs in zip(pairs, differences, strict=True)]


def _ratio(pair: tuple[Latency, Latency], differences: Sequence[float], prior: Prior | None, tail: float) -> Interval:
    first, second = pair
    if first is second:
        return Interval(1.0, 1.0, 1.0)
    if not differences:
        return ratio_interval(first.interval, second.interval)
    return spread.estimate(differences, prior or first.prior.scale(2.0), tail=tail)


def _differences(first: Latency, second: Latency) -> list[float]:
    """Subtract the logs of each round in which one host visited both cases, and neither of them again in between.

    A case that was added to the run later was visited in the same rounds as the others, but at other moments. If this
    is so in most rounds, the few common moments tell less than all visits: there are no differences then.
    """
    moments = sorted([*first.moments.values(), *second.moments.values()])
    pairs = {
        visit: sorted(latency.moments.get(visit, ("", "")) for latency in (first, second))
        for visit in first.logs
        if visit in second.logs
    }
    shared = {visit: (begin, end) for visit, (begin, end) in pairs.items() if begin[0] == end[0]}
    met = [visit for visit, (begin, end) in shared.items() if bisect_left(moments, end) <= bisect_right(moments, begin)]
    return [first.logs[visit] - second.logs[visit] for visit in met] if 2 * len(met) >= len(shared) else []


def _machine(records: Sequence[Record]) -> Machine:
    usual_level = at_better_moments(_references(records))
    slope = spread.elasticity(filter(None, map(_reference_pair, records)))
    level, doubt = _speed(records, usual_level, slope)
    machine = Machine(slope, level)
    machine = Machine(slope, level, hosts=_host_logs(records, machine))
    prior = spread.prior(tuple(_corrected_logs(record, machine).values()) for record in records)
    return Machine(slope, level, prior, doubt, machine.hosts)


def _host_logs(records: Sequence[Record], machine: Machine) -> dict[str, float]:
    """Estimate the effect of each host on all of its times, after they are corrected by the reference."""
    cells = [cell for record in records for cell in hosts.cells(record, _reference_offsets(record, machine))]
    return {host: effect.correction for host, effect in host_effects(cells).items()}


def _speed(records: Sequence[Record], usual_level: float, slope: float) -> tuple[float, tuple[float, float]]:
    """Return the log of the reference at the speed that latencies are stated at, and the doubt below and above."""
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
    """Whether the run was measured beside other work, by the scheduler's own statistics.

    Disturbed visits count too: with several threads, a visit that waited is always disturbed. Cases with more threads
    than cores tell nothing, since their own threads wait for each other.
    """
    readings = [
        (reading, torch_threads(record))
        for record in records
        if (reading := record.reading(metrics.RUN_DELAY)) and not shared_cores(record)
    ]
    shares = [delay / count for reading, count in readings for delay in reading.samples]  # delays of threads add up
    return bool(shares) and median(shares) > BUSY_SHARE


def quiet_references(records: Iterable[Record]) -> dict[Scope, float]:
    """Return the reference workload's seconds at the better moments of each quiet scope with enough visits."""
    references_by_scope = {
        scope: references
        for scope, members in grouped(records, scope).items()
        if len(references := _references(members)) >= LEVEL_VISITS and not busy(members)
    }
    return {scope: math.exp(at_better_moments(references)) for scope, references in references_by_scope.items()}


def _references(records: Iterable[Record]) -> list[float]:
    """Return the logs of the reference workload's times, visit by visit."""
    return [log for record in records for log in _logs(record, metrics.REFERENCE).values()]


def _reference_pair(record: Record) -> tuple[list[float], list[float]] | None:
    """Return the logs of a case's visits and of the reference in the same visits; None without such visits."""
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
    """Standard deviation of what all visits to a case share: the run's own effect and the error of the common slope."""
    references = _logs(record, metrics.REFERENCE).values() if machine.slope else ()
    slowdown = fmean(references) - machine.level if references else 0.0
    return math.hypot(RUN_SD, SLOPE_SD * slowdown)


def _reference_offsets(record: Record, machine: Machine) -> dict[int, float]:
    """Return what the reference workload tells to subtract from the log of each round."""
    references = _logs(record, metrics.REFERENCE) if machine.slope else {}
    return {visit: machine.slope * (log - machine.level) for visit, log in references.items()}


def _logs(record: Record, metric: Metric) -> dict[int, float]:
    return {visit: math.log(median(samples)) for visit, samples in record.by_visit(metric).items()}
