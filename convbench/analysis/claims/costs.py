"""Prepare measured costs for claims: comparable configurations of one backbone, and ratios of their latencies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from convbench.analysis import latencies
from convbench.analysis.results import Group, Result
from convbench.core.record import Parts
from convbench.core.statistics import Interval

LEAST_RATIO = 1.1
"""Ratio of two latencies below which the first is not longer in a way that matters."""


def group_of_largest_input(results: Sequence[Result]) -> list[Result]:
    """Return the group of one backbone, LSTM and clip on one machine that has the largest LSTM input."""
    groups: dict[tuple[Group, str], list[Result]] = defaultdict(list)
    for result in results:
        parts = result.case.architecture
        if isinstance(parts, Parts) and not parts.layer_norm:
            groups[result.group, f"{parts.backbone}/{parts.rnn}"].append(result)
    return max(groups.values(), key=lambda group: max(result.lstm_input or 0 for result in group), default=[])


def ratio_of(result: Result, other: Result) -> Interval:
    """Return the latency of ``result`` over that of ``other``."""
    assert result.timing and other.timing
    return latencies.ratios([(result.timing, other.timing)])[0]
