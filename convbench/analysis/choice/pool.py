"""The pool of a question: the candidates within the budget, and all of them compared with one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convbench.analysis.choice.candidates import Candidate, CostName, cheapest_each, table_of
from convbench.analysis.choice.doubts import ruled_out
from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.costs.ranking import is_control
from convbench.analysis.inference import effect
from convbench.analysis.inference.arrays import Flags, Floats
from convbench.analysis.inference.noninferior import ERROR, Pairs, pairs, shown_within
from convbench.core import metrics


@dataclass(frozen=True, eq=False)
class PoolComparison:
    """All k candidates of a pool compared with one another.

    ``pool`` rises in cost. ``pairs`` compares accuracies, less the price of latency if there is one. ``is_shown`` and
    ``is_ruled_out`` (k,) flag the candidates that are shown to be within and beyond the margin. ``p`` is the p-value of
    no difference at all.
    """

    pool: Sequence[Candidate]
    ask: Ask
    pairs: Pairs
    is_shown: Flags
    is_ruled_out: Flags
    p: float

    @property
    def undecided(self) -> bool:
        """Whether nothing is shown: no candidate within the margin, none beyond it, and no difference at all."""
        return self.p > ERROR and not self.is_shown.any() and not self.is_ruled_out.any()

    @property
    def is_control(self) -> Flags:
        """Flags (k,) of the candidates that serve only for comparison; none if all do."""
        flags = np.array([is_control(candidate.result) for candidate in self.pool])
        return np.asarray(flags & ~flags.all())

    @property
    def means(self) -> Floats:
        """Means with the seeds' effects removed, so that a lost seed is no luck either way; up to a constant."""
        return np.asarray(self.pairs.gap[0])


def compare(pool: Sequence[Candidate], ask: Ask) -> PoolComparison:
    """Compare the candidates of a pool, which rises in cost."""
    table = table_of(pool).subtract(price_of(pool, ask))
    contrasts = pairs(table)
    is_shown = shown_within(contrasts, ask.within, ask.error)
    is_ruled_out = ruled_out(contrasts, ask.within)
    return PoolComparison(pool, ask, contrasts, is_shown, is_ruled_out, effect.p_value(table.values, table.own_floor))


def pool_of(candidates: Sequence[Candidate], ask: Ask) -> list[Candidate]:
    """Return the cheapest variant of each architecture within the budget, of those that can be priced."""
    able = (c for c in within_budget(candidates, ask) if all(math.isfinite(c.cost(name)) for name in priced(ask)))
    return cheapest_each(able, ask.cheapest)


def within_budget(candidates: Sequence[Candidate], ask: Ask) -> list[Candidate]:
    """Return the candidates that meet the limits."""
    return [candidate for candidate in candidates if candidate.result.meets(ask.constraints)]


def price_of(pool: Sequence[Candidate], ask: Ask) -> Floats:
    """Return what each candidate's latency is worth in accuracy, less that of the fastest; zeros without a price."""
    if ask.per_second is None:
        return np.zeros(len(pool))
    latency = np.array([candidate.cost(metrics.LATENCY.option) for candidate in pool])
    return np.asarray(ask.per_second * (latency - latency.min()))


def priced(ask: Ask) -> tuple[CostName, ...]:
    """Return the cost that has a price in accuracy, if there is a price."""
    return () if ask.per_second is None else (metrics.LATENCY.option,)
