"""From candidates to an answer for one task, graded by how sure it is.

The rule: the cheapest candidate within the budget that is shown to be within the margin of the best one within the
budget (``noninferior``: 95 %, whichever is the best and however many were tried). Where none is shown, provisionally
the cheapest whose lower bound of accuracy is within half the margin of the highest one. It has a unit and an error
rate, and does not move with the spacing of a sweep, as a knee does. Where the user gives a price instead
(``Ask.per_second``) it is the best of accuracy less that price. What was measured of no candidate decides nothing:
parameters stand in its place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from convbench.analysis.choice import stability
from convbench.analysis.choice.candidates import Candidate, CostName, Excluded, by_seed, cheapest_each
from convbench.analysis.choice.doubts import doubts, edge, fallible, nearest, ruled_out, why_none
from convbench.analysis.choice.recommendation import (
    Ask,
    Doubt,
    NextBetter,
    Recommendation,
    Runner,
    Settle,
)
from convbench.analysis.choice.settling import enough_seeds, settle
from convbench.analysis.choice.stability import Draws
from convbench.analysis.choice.trade import trades
from convbench.analysis.costs.pareto import front
from convbench.analysis.inference import effect
from convbench.analysis.inference.arrays import Flags, Floats
from convbench.analysis.inference.noninferior import (
    ERROR,
    Pairs,
    differences,
    p_of_gain,
    pairs,
    shortfalls,
    shown_within,
)
from convbench.core.record import Clip

LIKELY = 0.9
"""To be within the margin: without any difference shown a pick that is less likely to be is none."""

INSTEAD: tuple[CostName, ...] = ("params", "latency", "memory", "flops")
"""What is to be cheap, the first of these that was measured, where what was asked for was not."""

LEAST_DF = 3.0
"""Of a lower bound: with fewer it would tell how little is known of the noise of each, and no more of the means."""


@dataclass(frozen=True, eq=False)
class PoolComparison:
    """All k candidates of a pool compared with one another.

    ``pool`` rises in cost; ``pairs`` compares what is to be high; ``shown`` and ``out`` (k,) flag those shown to be
    within and beyond the margin; ``p`` is that of no difference at all.
    """

    pool: Sequence[Candidate]
    ask: Ask
    pairs: Pairs
    shown: Flags
    out: Flags
    p: float

    @property
    def undecided(self) -> bool:
        """Whether nothing is shown, neither that one is good enough nor that one is not, nor that any differ."""
        return len(self.pool) > 1 and self.p > ERROR and not self.shown.any() and not self.out.any()

    @property
    def means(self) -> Floats:
        """Means with the seeds' effects taken out, so that a lost seed is no luck either way; up to a constant."""
        return np.asarray(self.pairs.gap[0])


def recommend(
    task: str, clip: Clip | None, able: Sequence[Candidate], excluded: Sequence[Excluded], several_clips: bool, ask: Ask
) -> Recommendation:
    """The answer for one task from what was measured of it."""
    blank = Recommendation(
        task, clip, ask, excluded=tuple(excluded), trades=tuple(trades(able)), several_clips=several_clips
    )
    if not able:
        return replace(blank, reason=why_none(excluded))
    ask, unmeasured = _answerable(ask, able)
    pool = _pool(able, ask)
    if not pool:
        return replace(
            blank, reason="over-budget", numbers=nearest([candidate.result for candidate in able], ask.constraints)
        )
    ask = replace(ask, against=_weighed(pool, ask))
    comparison = _comparison(pool, ask)
    best = max(pool, key=lambda candidate: candidate.mean)
    out = tuple(pool[i] for i in np.flatnonzero(comparison.out))
    rising = edge(best, able, excluded, ask.within)
    so_far = replace(
        blank, ask=ask, unmeasured=unmeasured, best=best, pool=tuple(pool), ruled_out=out, numbers=rising,
        binding=_binding(able, ask),
    )  # fmt: skip
    drawn = stability.draws(pool, ask.cheapest, ask.seed, _price_of(pool, ask))
    at, over = _pick(comparison)
    if comparison.undecided:
        likely = np.flatnonzero(drawn.within(ask.within) >= LIKELY)
        if not len(likely):
            return _open(so_far, comparison, drawn)
        at = at if ask.per_second is not None else int(likely[0])
    return _with_pick(replace(so_far, passed_over=tuple(pool[i] for i in over)), comparison, drawn, at)


def _answerable(ask: Ask, able: Sequence[Candidate]) -> tuple[Ask, CostName | None]:
    """The question in costs that were measured within the budget, and the cost that was asked for and was not."""
    costs, affordable = (ask.cheapest, *INSTEAD), [candidate for candidate in able if candidate.meets(ask.constraints)]
    measured = [name for name in costs if any(math.isfinite(candidate.cost(name)) for candidate in affordable)]
    cheapest, price = next(iter(measured), ask.cheapest), ask.per_second if "latency" in measured else None
    missing = "latency" if price != ask.per_second else ask.cheapest if cheapest != ask.cheapest else None
    return replace(ask, cheapest=cheapest, per_second=price), missing


def _weighed(pool: Sequence[Candidate], ask: Ask) -> tuple[CostName, ...]:
    """The costs of the front: those that all have, and in the place of the others what is to be cheap."""
    known = stability.measured_of_all(pool, ask.against)
    if known == ask.against:
        return known
    return stability.measured_of_all(pool, tuple(dict.fromkeys((ask.cheapest, *known))))


def _pool(able: Sequence[Candidate], ask: Ask) -> list[Candidate]:
    return cheapest_each((candidate for candidate in able if candidate.meets(ask.constraints)), ask.cheapest)


def _comparison(pool: Sequence[Candidate], ask: Ask) -> PoolComparison:
    table = by_seed(pool).subtract(_price_of(pool, ask))
    contrasts = pairs(table)
    within = shown_within(contrasts, ask.within, ask.error)
    out = ruled_out(contrasts, ask.within)
    return PoolComparison(pool, ask, contrasts, within, out, effect.p_value(table.values, table.own_floor))


def _price_of(pool: Sequence[Candidate], ask: Ask) -> Floats:
    """What each candidate's latency is worth in accuracy, less that of the fastest; nought without a price."""
    if ask.per_second is None:
        return np.zeros(len(pool))
    latency = np.array([candidate.cost("latency") for candidate in pool])
    latency = np.where(np.isfinite(latency), latency, 1e6)
    return np.asarray(ask.per_second * (latency - latency.min()))


def _open(so_far: Recommendation, comparison: PoolComparison, drawn: Draws) -> Recommendation:
    """Nothing is ruled out: the cheapest leads, with what the others may gain; what would settle it is said."""
    pool, ask = comparison.pool, comparison.ask
    numbers = {"p": comparison.p, "detectable": effect.detectable(comparison.pairs)}
    return replace(
        so_far, reason="no-effect", numbers=numbers, leading=pool[0],
        runners=_runners(comparison, _fronts(comparison, drawn), 0),
        settle=settle(pool, comparison.pairs, 0, ask.within, ask.error),
    )  # fmt: skip


def _with_pick(so_far: Recommendation, comparison: PoolComparison, drawn: Draws, at: int) -> Recommendation:
    pool, ask, contrasts = list(comparison.pool), comparison.ask, comparison.pairs
    rising = so_far.numbers
    unsure = doubts(pool, at, bool(comparison.shown[at]), comparison.p, bool(rising))
    fronts = _fronts(comparison, drawn)
    return replace(
        so_far,
        grade="provisional" if unsure else "sure",
        pick=pool[at],
        doubts=unsure,
        shortfall=max(0.0, float(shortfalls(contrasts)[at])),
        probability=float(drawn.within(ask.within)[at]),
        front=fronts[at],
        runners=_runners(comparison, fronts, at),
        price=_price(comparison, at),
        stability=_stability(comparison, drawn, at),
        settle=_settle(comparison, at, unsure),
    )


def _settle(comparison: PoolComparison, at: int, unsure: Sequence[Doubt]) -> Settle | None:
    """What further seeds would do away with a doubt; None where none would."""
    pool, ask = comparison.pool, comparison.ask
    if "not-shown" in unsure:
        return settle(pool, comparison.pairs, at, ask.within, ask.error)
    return enough_seeds(pool[at]) if "few-seeds" in unsure else None


def _stability(comparison: PoolComparison, drawn: Draws, at: int) -> float:
    """How likely the pick is the one that its rule would take of the truth."""
    if comparison.ask.per_second is not None:
        return float(drawn.best()[at])
    return float(drawn.right(comparison.ask.within, ~_replaceable(comparison))[at])


def _fronts(comparison: PoolComparison, drawn: Draws) -> list[float]:
    """For each candidate the probability of being on the front; of accuracy itself, whatever a millisecond costs."""
    accurate = drawn.quality + _price_of(comparison.pool, comparison.ask)
    ask = comparison.ask
    return stability.on_front(comparison.pool, ask.against, accurate, np.random.default_rng(ask.seed))


def _pick(comparison: PoolComparison) -> tuple[int, list[int]]:
    """The place of the pick, and those of cheaper ones that are as good and collapse more often.

    Where none is shown lower bounds decide, the lower ends of 95 % intervals: of many that cannot be told apart the
    noisiest is the most likely to be ahead by luck alone. Half of the margin may be given up for what is cheaper.
    """
    worse = _replaceable(comparison)
    able = np.flatnonzero(comparison.shown & ~worse)
    if len(able) and comparison.ask.per_second is None:
        at = int(able[0])
    else:
        df, own = np.maximum(comparison.pairs.own_df, LEAST_DF), comparison.pairs.own_error
        low = np.where(worse, -np.inf, comparison.means - stdtrit(df, 1 - ERROR / 2) * own)
        given_up = comparison.ask.within / 2 if comparison.ask.per_second is None else 0.0
        at = int(np.flatnonzero(low >= low.max() - given_up)[0])
    return at, [int(i) for i in np.flatnonzero(comparison.shown & worse) if i < at]


def _replaceable(comparison: PoolComparison) -> NDArray[np.bool_]:
    """Which candidates collapse more often than others, so that one that does not is worth more, collapses counted."""
    pool, means = comparison.pool, comparison.means
    often = np.array(fallible(pool))
    if not often.any() or often.all():
        return np.zeros(len(pool), dtype=bool)
    lost = [c.quality.collapsed / c.quality.ended * (c.mean - (c.quality.chance or 0.0)) for c in pool]
    return np.asarray(often & (means - np.array(lost) < means[~often].max()))


def _binding(able: Sequence[Candidate], ask: Ask) -> tuple[CostName, ...]:
    """The constraints of which each, relaxed alone, would change the pick or the best; where none does and all
    together do, all of them."""
    if not ask.constraints:
        return ()
    now = _outcome(able, ask)
    relaxed = {name: {k: v for k, v in ask.constraints.items() if k != name} for name in ask.constraints}
    binding = tuple(name for name, rest in relaxed.items() if _outcome(able, replace(ask, constraints=rest)) != now)
    return binding or (tuple(ask.constraints) if _outcome(able, replace(ask, constraints={})) != now else ())


def _outcome(able: Sequence[Candidate], ask: Ask) -> tuple[object, object]:
    pool = _pool(able, ask)
    if not pool:
        return (None, None)
    comparison = _comparison(pool, ask)
    at, _ = _pick(comparison)
    return (pool[at].result.case, max(candidate.mean for candidate in pool))


def _runners(comparison: PoolComparison, fronts: Sequence[float], at: int) -> tuple[Runner, ...]:
    """The others beside the one at this place, those that are shown first."""
    pool, gap = comparison.pool, comparison.pairs.gap[at]
    low, high = differences(comparison.pairs, at)
    runners = [
        Runner(
            pool[i], fronts[i], bool(comparison.shown[i]), bool(comparison.out[i]),
            float(gap[i]), float(low[i]), float(high[i]),
        )
        for i in range(len(pool)) if i != at
    ]  # fmt: skip
    return tuple(sorted(runners, key=lambda runner: (not runner.shown, -runner.front, -runner.gain)))


def _price(comparison: PoolComparison, at: int) -> NextBetter | None:
    pool, name, gains = comparison.pool, comparison.ask.cheapest, comparison.pairs.gap[at]
    points = [(candidate.cost(name), -gain) for candidate, gain in zip(pool, gains, strict=True)]
    ahead = [i for i in front(points) if gains[i] > 0 and pool[i].cost(name) > pool[at].cost(name)]
    if not ahead:
        return None
    return NextBetter(pool[ahead[0]], float(gains[ahead[0]]), p_of_gain(comparison.pairs, at, ahead[0]))
