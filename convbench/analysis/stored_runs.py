"""Compare stored runs, such as a baseline that can no longer be measured. Such a comparison cannot gate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from convbench.analysis import compare
from convbench.analysis.compare import Match
from convbench.analysis.results import measured_results, results, typical
from convbench.core import metrics
from convbench.core.record import Case, RunDescription
from convbench.core.statistics import Interval
from convbench.core.storage import store
from convbench.core.visits import scope

EXACT_METRICS = (metrics.PARAMS, metrics.MACS, metrics.GRAPH_BREAKS)
"""The counts whose changes are reported between two runs. FLOPs are not among them: they would repeat the MACs."""
COUNTS = (*EXACT_METRICS, metrics.FLOPS)
"""Metrics whose changes need no statistics."""
CONSTANTS = (metrics.PARAMS, metrics.MACS, metrics.FLOPS)
"""Metrics that are the same on every machine and by every protocol. Graph breaks are not: they also depend on torch."""


class StoredComparison(NamedTuple):
    """Two runs compared: their shared cases, every key that makes their times incomparable, and unshared cases."""

    matches: list[Match]
    differences: tuple[str, ...]
    lone_cases: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def comparable(self) -> bool:
        return not self.differences

    @property
    def has_times(self) -> bool:
        """Whether any case has a latency in both runs."""
        return any(all(result and result.latency for result in match.results) for match in self.matches)

    @property
    def has_counts(self) -> bool:
        """Whether any case has an exact count in both runs."""
        return any(None not in values for match in self.matches for _, *values in _counts(match))


def lay_side_by_side(first: store.Stored, second: store.Stored) -> StoredComparison:
    """Compare two stored runs; the cases that only one of them has measured are listed by id."""
    runs = [results(records) for _, records in (first, second)]
    matches = compare.match(runs)
    shared_ids = {result.case.id for match in matches for result in match.results if result}
    lone_ids = [
        tuple(result.case.id for result in measured_results(run) if result.case.id not in shared_ids) for run in runs
    ]
    differences = grave_differences((first[0], second[0]), [match.case for match in matches])
    return StoredComparison(matches, differences, (lone_ids[0], lone_ids[1]))


def grave_differences(runs: Sequence[RunDescription], cases: Iterable[Case]) -> tuple[str, ...]:
    """Return ``key (value, value)`` for every difference that makes the runs' shared ``cases`` incomparable."""
    differences = (difference for difference in compare.differences(runs, cases) if difference.grave)
    entries = (
        (difference.key, ("none" if value is None else str(value) for value in difference.values))
        for difference in differences
    )
    return tuple(f"{key} ({', '.join(values)})" for key, values in entries)


def exact_changes(match: Match) -> list[str]:
    """Describe the counts that differ. Counts do not depend on the machine and may always be compared."""
    pairs = ((name, old, new) for name, old, new in _counts(match) if old is not None and new is not None)
    return [f"{name}: {old:,.0f} before, {new:,.0f} now" for name, old, new in pairs if old != new]


def machine_slowdown(matches: Sequence[Match]) -> float | None:
    """Estimate how much slower the machine itself was in the second run, as far as the ratios still contain it.

    This is the median over cases of the reference workload's ratio, at the speeds that their latencies are stated at;
    None if no case has it in both runs.
    """
    slowdowns = [after / before for before, after in filter(None, map(_reference, matches))]
    return median(slowdowns) if slowdowns else None


def normalise(matches: Sequence[Match], factor: float) -> list[Interval | None]:
    """Divide the ratios by the machine's slow-down ``factor``; None for a missing ratio."""
    ratios = (match.ratios[1] for match in matches)
    return [Interval(*(value / factor for value in ratio)) if ratio else None for ratio in ratios]


def _reference(match: Match) -> tuple[float, float] | None:
    """Return the seconds of the reference workload beside this case in the first and in the second run.

    None if either is missing, or if the runs used different machines, devices or numbers of threads.
    """
    settings = {scope(result.record).setting for result in match.results if result}
    before, after = (result.timing.reference if result and result.timing else None for result in match.results)
    if match.elsewhere or not before or not after or len(settings) > 1:
        return None
    return before, after


def _counts(match: Match) -> list[tuple[str, float | None, float | None]]:
    """Return each exact metric's name with its numbers in the two runs; empty if either run lacks the case."""
    before, after = (result.record if result else None for result in match.results)
    if before is None or after is None:
        return []
    return [(metric.name, typical(before, metric), typical(after, metric)) for metric in EXACT_METRICS]
