"""Differences paired by seed, with t-intervals at 95 %, and what several of them say of a claim of a gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from convbench.analysis.claims.claim import Lacking, Number, Verdict
from convbench.analysis.quality.qualities import Quality
from convbench.core.statistics import mean_interval

MARGIN = 0.02
"""A difference in accuracy below two points is none that matters."""


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

    def number(self, label: str) -> Number:
        return Number(label, self.mean, "points", self.low, self.high, self.n)


def paired(where: str, one: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """``one`` less ``other`` by their common seeds. Raises Lacking for fewer than two."""
    return spread(where, [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])


def spread(where: str, values: Sequence[float]) -> Difference:
    """The mean and its t-interval. Raises Lacking for fewer than two values."""
    n = len(values)
    if n < 2:
        raise Lacking(f"Fewer than two seeds are sound in both on {where}: run with more seeds.")
    return Difference(where, *mean_interval(values), n)


def gains(several: Sequence[Difference]) -> Verdict:
    """Supported where every difference is shown, refuted where each is excluded, else it depends."""
    if all(one.shown for one in several):
        return "supported"
    return "refuted" if all(one.excluded for one in several) else "depends"


def sorted_out(several: Sequence[Difference], shown: str = "shown") -> str:
    """``shown on direction; excluded on identity; not decided on binding``."""
    groups = {
        shown: [one.where for one in several if one.shown],
        f"excluded beyond {100 * MARGIN:.0f} points": [one.where for one in several if one.excluded],
        "not decided": [one.where for one in several if not (one.shown or one.excluded)],
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
