"""Find where along a history a slowdown began, from noisy pairs: a posterior over its places, and what to measure next.

Place 0 is good and the last is bad. Each pair of good and another place tells whether that place is slow yet. Its
evidence is weighed and never trusted (a noisy binary search, or probabilistic bisection). Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from convbench.check.decision import Triple
from convbench.core.statistics import robust_deviation

LIAR = 0.05
"""The probability that a pair is off by any amount, since a process was slow by chance. It limits a pair's evidence."""
STEPS = 0.005
"""The probability that a slow place is less slow than bad, relative to that of the same level: two steps are rare."""
LEVELS = np.array([0, *np.linspace(0.25, 1, 16)])
"""The levels that a place may have, from that of good to that of bad; a smaller first step takes too many pairs."""
TAIL = 4
"""Degrees of freedom of Student's t, by which a place's pairs spread around its level."""
LEAST_SPREAD = 0.01


class SlowdownModel(NamedTuple):
    """How much slower bad is than good, and the standard deviation of a pair, both as log ratios."""

    slowdown: float
    spread: float

    @classmethod
    def of(cls, triples: Sequence[Triple]) -> SlowdownModel:
        """Estimate the model from new pairs of good and bad, which are free of selection bias."""
        middles = np.array([triple.middle for triple in triples])
        return cls(float(np.median(middles)), max(LEAST_SPREAD, float(robust_deviation(middles))))

    def weight(self, logs: Sequence[float]) -> float:
        """Return the evidence of a place's pairs that it is slow: the log of the likelihood ratio, limited by ``LIAR``.

        A slow place is usually as slow as bad. If the slowdown came in several steps, its level lies in between.
        """
        levels = self.slowdown * LEVELS
        limit = math.log((1 - LIAR) / LIAR)
        scaled = (np.array(logs)[:, None] - levels) / self.spread
        fits = -(TAIL + 1) / 2 * np.log1p(scaled**2 / TAIL)
        fast, *between, slow = np.maximum(fits, fits.max(axis=1, keepdims=True) - limit).sum(axis=0)
        prior = math.log(STEPS / len(between))
        return float(np.logaddexp.reduce([slow, *(level + prior for level in between)]) - fast)


class Range(NamedTuple):
    """The slowdown began at one of the places ``first`` to ``last``, with this probability."""

    first: int
    last: int
    chance: float


@dataclass(frozen=True)
class Search:
    """A search for the first slow place, until the answer's probability is ``sure``.

    ``logs`` are the pairs' log ratios by place, ``skipped`` the places that cannot be measured.
    """

    last: int
    model: SlowdownModel
    logs: Mapping[int, Sequence[float]]
    skipped: Collection[int] = ()
    sure: float = 0.99

    def posterior(self) -> np.ndarray:
        """Return the probability that each place from 1 to ``last`` is the first slow one."""
        weights = np.zeros(self.last)
        for place, logs in self.logs.items():
            weights[:place] += self.model.weight(logs)  # slow if the slowdown began there or earlier
        chances = np.exp(weights - weights.max())
        return np.asarray(chances / chances.sum())

    def next(self) -> int | None:
        """Return the place whose pair tells most: half the probability lies before it. None if the answer is sure."""
        answer = self.answer()
        if (answer.first, answer.last) in self._groups():
            return None
        totals = np.cumsum(self.posterior())
        open_places = [place for place in range(1, self.last) if place not in self.skipped]
        return min(open_places, key=lambda place: abs(totals[place - 1] - 0.5), default=None)

    def answer(self) -> Range:
        """Return the shortest range of places that surely holds the first slow one, made of whole groups."""
        chances, groups = self.posterior(), self._groups()
        totals = np.concatenate([[0.0], np.cumsum(chances)])
        ranges = [
            Range(first, last, float(totals[last] - totals[first - 1]))
            for index, (first, _) in enumerate(groups)
            for _, last in groups[index:]
        ]
        candidates = [interval for interval in ranges if interval.chance >= self.sure]
        return min(candidates, key=lambda interval: (interval.last - interval.first, -interval.chance))

    def _groups(self) -> list[tuple[int, int]]:
        """Return the groups of places that cannot be told apart: skipped places with the next measurable place."""
        ends = [place for place in range(1, self.last + 1) if place == self.last or place not in self.skipped]
        return [(previous_end + 1, end) for previous_end, end in zip([0, *ends], ends, strict=False)]
