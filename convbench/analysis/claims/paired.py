"""Compute differences of accuracies with 95 % t-intervals, and judge by several of them whether there is a gain."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.special import stdtrit

from convbench.analysis.claims.claim import Lacking, Number, Quantified, Verdict
from convbench.analysis.quality.qualities import Quality
from convbench.core.statistics import TAIL, mean_interval
from convbench.core.text import joined

MARGIN = 0.02
"""Least difference in accuracy that matters: two points."""

SOME, MOST, ALL = "in some of these tasks", "in most of these tasks", "in all of these tasks"
POWER = 0.8
LEAST_PAIRS = 3


class Difference(NamedTuple):
    """The mean of a difference over ``n`` seeds and its 95 % t-interval."""

    where: str
    mean: float
    low: float
    high: float
    n: int

    @property
    def is_shown(self) -> bool:
        """Whether the difference is shown to be above zero."""
        return self.low > 0

    @property
    def is_excluded(self) -> bool:
        """Whether a gain of ``MARGIN`` or more is excluded, and none is shown."""
        return not self.is_shown and self.high < MARGIN

    @property
    def visible(self) -> float:
        """The difference that ``n`` seeds detect in four of five cases."""
        df = max(1, self.n - 1)
        return (self.high - self.low) / 2 * (1 + float(stdtrit(df, POWER)) / float(stdtrit(df, 1 - TAIL)))

    def number(self, label: str) -> Number:
        return Number(label, self.mean, "points", self.low, self.high, self.n)


def pair_difference(where: str, first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Subtract ``second`` from ``first``, paired by shared seeds, or as two means (Welch) if too few seeds are shared.

    A seed that one of them lost removes its partner too, and two remaining pairs would tell next to nothing. Raises
    Lacking for fewer than two seeds of either.
    """
    common = sorted(first.keys() & second.keys())
    if len(common) >= min(LEAST_PAIRS, len(first), len(second)):
        return mean_difference(where, [first[seed] - second[seed] for seed in common])
    return welch(where, list(first.values()), list(second.values()))


def compare(
    pairs: Mapping[str, tuple[Quality, Quality]], first_name: str, second_name: str, difference_name: str
) -> tuple[list[Difference], list[Number]]:
    """Subtract on each task the second configuration's accuracy from the first's; return also the numbers behind it."""
    differences, numbers = [], []
    for task, (first, second) in pairs.items():
        difference = pair_difference(task, first.by_seed, second.by_seed)
        differences.append(difference)
        numbers += [accuracy(f"{task}: {first_name}", first), accuracy(f"{task}: {second_name}", second)]
        numbers.append(difference.number(f"{task}: {difference_name}"))
    return differences, numbers


def welch(where: str, first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the difference of two means of unequal spread, its interval with Satterthwaite's degrees of freedom.

    ``n`` is the smaller number of values. Raises Lacking for fewer than two values of either.
    """
    n = _count_seeds(where, first, second)
    mean = statistics.fmean(first) - statistics.fmean(second)
    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    if not sum(parts):
        return Difference(where, mean, mean, mean, n)
    freedoms = zip(parts, (len(first), len(second)), strict=True)
    df = sum(parts) ** 2 / sum(part**2 / (count - 1) for part, count in freedoms)
    half = float(stdtrit(df, 1 - TAIL)) * math.sqrt(sum(parts))
    return Difference(where, mean, mean - half, mean + half, n)


def mean_difference(where: str, values: Sequence[float]) -> Difference:
    """Return the mean and its t-interval. Raises Lacking for fewer than two values."""
    n = _count_seeds(where, values)
    return Difference(where, *mean_interval(values), n)


def _count_seeds(where: str, *samples: Sequence[float]) -> int:
    """Return the smallest number of values. Raises Lacking if it is below two."""
    n = min(map(len, samples))
    if n < 2:
        raise Lacking(f"Fewer than two seeds are sound in both on {where}: run with more seeds.")
    return n


def quantify(is_shown: Sequence[bool], is_excluded: Sequence[bool]) -> Quantified:
    """Return a verdict for each quantifier, given in which tasks the claim is shown and in which it is excluded."""
    count, shown_count, excluded_count = len(is_shown), sum(is_shown), sum(is_excluded)
    return (
        (SOME, _verdict(shown_count > 0, excluded_count == count)),
        (MOST, _verdict(2 * shown_count > count, 2 * excluded_count >= count)),
        (ALL, _verdict(shown_count == count, excluded_count > 0)),
    )


def gains(differences: Sequence[Difference]) -> Quantified:
    """Judge whether there is a gain in some, most and all tasks, as each ``Difference`` is shown or excluded."""
    return quantify(
        [difference.is_shown for difference in differences], [difference.is_excluded for difference in differences]
    )


def verdict_of(quantifier: str, verdicts: Quantified) -> Verdict:
    """Return the verdict for one quantifier."""
    return dict(verdicts)[quantifier]


def _verdict(holds: bool, fails: bool) -> Verdict:
    return "supported" if holds else "refuted" if fails else "undecided"


def by_verdict(differences: Sequence[Difference]) -> str:
    """Group where differences stand by verdict: ``shown on direction; excluded beyond 2 points on identity``.

    Each undecided one names the gain that its seeds would mostly miss.
    """
    undecided = [difference for difference in differences if not (difference.is_shown or difference.is_excluded)]
    groups = {
        "shown": [difference.where for difference in differences if difference.is_shown],
        f"excluded beyond {100 * MARGIN:.0f} points": [
            difference.where for difference in differences if difference.is_excluded
        ],
        "undecided": [
            f"{difference.where} (gains below {100 * difference.visible:.1f} points are mostly missed)"
            for difference in undecided
        ],
    }
    return "; ".join(f"{word} on {joined(where)}" for word, where in groups.items() if where)


def accuracy(label: str, quality: Quality) -> Number:
    """Return the mean test accuracy with its interval over seeds."""
    interval = quality.interval
    assert quality.mean is not None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Number(label, quality.mean, "share", low, high, len(quality.by_seed))
