"""Differences of accuracies with t-intervals at 95 %, and what several of them say of a claim of a gain."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.special import stdtrit

from convbench.analysis.claims.claim import Lacking, Number, Quantified, Verdict
from convbench.analysis.quality.qualities import Quality
from convbench.core.statistics import mean_interval

MARGIN = 0.02
"""A difference in accuracy below two points is none that matters."""

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
    def shown(self) -> bool:
        """Whether it is shown to be above zero."""
        return self.low > 0

    @property
    def excluded(self) -> bool:
        """Whether a gain that matters is excluded."""
        return not self.shown and self.high < MARGIN

    @property
    def seen(self) -> float:
        """The difference that so many seeds show in four of five cases."""
        df = max(1, self.n - 1)
        return (self.high - self.low) / 2 * (1 + float(stdtrit(df, POWER)) / float(stdtrit(df, 0.975)))

    def number(self, label: str) -> Number:
        return Number(label, self.mean, "points", self.low, self.high, self.n)


def paired(where: str, one: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """``one`` less ``other``: paired by the seeds in common, with fewer than three of them of the two means (Welch).

    A seed that one of them lost takes its partner away too, and two pairs would tell next to nothing.
    Raises Lacking for fewer than two of either.
    """
    common = sorted(one.keys() & other.keys())
    if len(common) >= min(LEAST_PAIRS, len(one), len(other)) and common:
        return spread(where, [one[seed] - other[seed] for seed in common])
    return welch(where, list(one.values()), list(other.values()))


def welch(where: str, one: Sequence[float], other: Sequence[float]) -> Difference:
    """The difference of two means of unequal spread, its interval with Satterthwaite's degrees of freedom.

    ``n`` is the smaller number of values. Raises Lacking for fewer than two of either.
    """
    n = min(len(one), len(other))
    if n < 2:
        raise Lacking(f"Fewer than two seeds are sound in both on {where}: run with more seeds.")
    mean = statistics.fmean(one) - statistics.fmean(other)
    parts = [statistics.variance(values) / len(values) for values in (one, other)]
    if not sum(parts):
        return Difference(where, mean, mean, mean, n)
    freedoms = zip(parts, (len(one), len(other)), strict=True)
    df = sum(parts) ** 2 / sum(part**2 / (count - 1) for part, count in freedoms)
    half = float(stdtrit(df, 0.975)) * math.sqrt(sum(parts))
    return Difference(where, mean, mean - half, mean + half, n)


def spread(where: str, values: Sequence[float]) -> Difference:
    """The mean and its t-interval. Raises Lacking for fewer than two values."""
    n = len(values)
    if n < 2:
        raise Lacking(f"Fewer than two seeds are sound in both on {where}: run with more seeds.")
    return Difference(where, *mean_interval(values), n)


def quantified(shown: Sequence[bool], excluded: Sequence[bool]) -> Quantified:
    """A verdict for each quantifier, given in which tasks the claim is shown to hold and in which it is excluded."""
    n, yes, no = len(shown), sum(shown), sum(excluded)
    return (
        (SOME, _verdict(yes > 0, no == n)),
        (MOST, _verdict(2 * yes > n, 2 * no >= n)),
        (ALL, _verdict(yes == n, no > 0)),
    )


def gains(several: Sequence[Difference]) -> Quantified:
    """Whether there is a gain in some, most and all: shown where it is above zero, excluded where none matters."""
    return quantified([each.shown for each in several], [each.excluded for each in several])


def of(quantifier: str, verdicts: Quantified) -> Verdict:
    """The verdict for one quantifier."""
    return dict(verdicts)[quantifier]


def _verdict(holds: bool, fails: bool) -> Verdict:
    return "supported" if holds else "refuted" if fails else "undecided"


def sorted_out(several: Sequence[Difference], shown: str = "shown") -> str:
    """``shown on direction; excluded on identity; undecided on binding (only 6.1 points or more would be seen)``."""
    open_ = [each for each in several if not (each.shown or each.excluded)]
    groups = {
        shown: [each.where for each in several if each.shown],
        f"excluded beyond {100 * MARGIN:.0f} points": [each.where for each in several if each.excluded],
        "undecided": [f"{each.where} (less than {100 * each.seen:.1f} points is mostly missed)" for each in open_],
    }
    return "; ".join(f"{word} on {listed(where)}" for word, where in groups.items() if where)


def listed(words: Sequence[str]) -> str:
    """``a, b and c``"""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "none"


def accuracy(label: str, one: Quality) -> Number:
    """The mean test accuracy with its interval over seeds."""
    found = one.interval
    assert one.mean is not None
    return Number(label, one.mean, "share", found and found.low, found and found.high, len(one.by_seed))
