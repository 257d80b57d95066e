"""Measure how far two runs of one suite agree: whether their intervals overlap, and whether their orders conflict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from convbench.analysis.costs.headlines import headline_of, withheld_results
from convbench.analysis.results import Result
from convbench.core.statistics import Interval


@dataclass(frozen=True)
class Agreement:
    """Two runs compared over the cases that have a latency in both; each run's pick is made among these too.

    ``meet`` is the share of cases whose 95 % intervals overlap. ``factors`` are the median, the 90th percentile and the
    maximum of the ratios of the two medians (the greater over the smaller). The first run tells ``apart`` pairs of
    cases apart by disjoint intervals; the second tells ``contradictions`` of them apart in the opposite order.
    ``half_width`` is the median relative half width of the first run's intervals. ``withheld`` counts the cases that
    one run has a latency of and the other never measured undisturbed.
    """

    cases: int
    meet: float
    factors: tuple[float, float, float]
    apart: int
    contradictions: int
    half_width: float
    withheld: int
    same_pick: bool


def agreement(first: Sequence[Result], second: Sequence[Result]) -> Agreement | None:
    """Measure how far two runs agree; None if they share no case with a latency."""
    table, other = _latencies(first), _latencies(second)
    cases = sorted(table.keys() & other.keys())
    if not cases:
        return None
    pairs = [(table[case], other[case]) for case in cases]
    factors = sorted(math.exp(abs(math.log(a.median / b.median))) for a, b in pairs)
    apart_pairs, contradictions = _count_contradictions(pairs)
    withheld_cases = {result.case.id for result in withheld_results([*first, *second])}
    return Agreement(
        cases=len(cases),
        meet=sum(a.low <= b.high and b.low <= a.high for a, b in pairs) / len(pairs),
        factors=(median(factors), factors[math.ceil(0.9 * len(factors)) - 1], factors[-1]),
        apart=apart_pairs,
        contradictions=contradictions,
        half_width=median(a.relative_half_width for a, _ in pairs),
        withheld=len(withheld_cases & (table.keys() ^ other.keys())),
        same_pick=_same_pick(
            *([result for result in run if result.case.id in table.keys() & other.keys()] for run in (first, second))
        ),
    )


def _latencies(results: Sequence[Result]) -> dict[str, Interval]:
    return {result.case.id: result.latency for result in results if result.latency}


def _count_contradictions(pairs: Sequence[tuple[Interval, Interval]]) -> tuple[int, int]:
    """Count the pairs of cases that the first run tells apart, and those that the second orders the other way round."""
    (low, high), (other_low, other_high) = (
        (np.array([pair[run].low for pair in pairs]), np.array([pair[run].high for pair in pairs])) for run in (0, 1)
    )
    apart_pairs = contradictions = 0
    for index in range(len(pairs)):
        is_faster = high[index] < low
        apart_pairs += int(is_faster.sum())
        contradictions += int((is_faster & (other_high < other_low[index])).sum())
    return apart_pairs, contradictions


def _same_pick(first: Sequence[Result], second: Sequence[Result]) -> bool:
    """Whether the second run picks the same model as the first, or cannot tell that model from its own pick."""
    headline, other_headline = headline_of(first), headline_of(second)
    if not headline.pick or not other_headline.pick:
        return headline.pick is other_headline.pick
    return headline.pick.case.architecture in {result.case.architecture for result in other_headline.tied}
