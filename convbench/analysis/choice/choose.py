"""Choose the answer for one task from its candidates, graded by how sure it is.

The rule: pick the cheapest candidate within the budget that is shown to be within the margin of the best one within the
budget (``noninferior``: 95 %, whichever is the best and however many were tried). If none is shown, pick provisionally
the cheapest one whose lower bound of accuracy is within half the margin of the highest. The rule has a unit and an
error rate, and unlike a knee it does not move with the spacing of a sweep. If the user gives a price instead
(``Ask.per_second``), the pick has the highest lower bound of accuracy less that price. A cost that no candidate has
decides nothing: a fallback, parameters first, takes its place. A pick is not sure if a rival's cost is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from convbench.analysis.choice import stability
from convbench.analysis.choice.candidates import (
    Candidate,
    CostName,
    Excluded,
    TaskCandidates,
    of_unknown_cost,
    table_of,
)
from convbench.analysis.choice.doubts import absence_reason, doubts, edge, flag_fallible, nearest, ruled_out
from convbench.analysis.choice.pool import PoolComparison, compare, pool_of, price_of, priced, within_budget
from convbench.analysis.choice.recommendation import Ask, Doubt, NextBetter, Recommendation, Runner, Settle
from convbench.analysis.choice.settling import enough_seeds, settle
from convbench.analysis.choice.stability import Draws
from convbench.analysis.choice.trade import trades
from convbench.analysis.costs.pareto import front
from convbench.analysis.costs.ranking import is_control
from convbench.analysis.inference import effect
from convbench.analysis.inference.noninferior import (
    ERROR,
    differences,
    p_of_gain,
    pairs,
    shortfalls,
)
from convbench.analysis.inference.two_way import DIGITS
from convbench.core import metrics

LEAST_PROBABILITY = 0.9
"""Least probability of being within the margin that a pick needs if no difference is shown."""

FALLBACK: tuple[CostName, ...] = ("params", "latency", "memory", "flops")
"""Fallback costs: the first of these that was measured replaces a requested cost that was not."""

LEAST_DF = 3.0
"""Least degrees of freedom of a lower bound. With fewer, it would reflect doubt about the noise, not the means."""

LEAST_GAIN = 5e-4
"""Least gain of a better point, as a share: less is printed as 0.0 points, and may be the last digit of equal means."""


def recommend(question: TaskCandidates, ask: Ask) -> Recommendation:
    """Return the answer for one task from what was measured of it."""
    task, clip, candidates, excluded, several_clips = question
    blank = Recommendation(
        task, clip, ask, excluded=tuple(excluded), trades=tuple(trades(candidates)), several_clips=several_clips
    )
    if not candidates:
        return replace(blank, reason=absence_reason(excluded))
    affordable = within_budget(candidates, ask)
    if not affordable:
        left_out = _exclude(of_unknown_cost(candidates, (), ask.constraints))
        numbers = nearest([candidate.result for candidate in candidates], ask.constraints)
        return replace(blank, reason="over-budget", numbers=numbers, excluded=(*excluded, *left_out))
    cost_names = _measured_costs(ask, affordable)
    if not cost_names:
        return replace(blank, reason="no-cost")
    ask, missing_cost = _restate(ask, cost_names)
    pool = pool_of(candidates, ask)
    unknown = of_unknown_cost(candidates, pool, ask.constraints, priced(ask))
    ask = replace(ask, against=_front_costs(pool, ask))
    comparison = compare(pool, ask)
    best = max(pool, key=lambda candidate: candidate.mean)
    losers = tuple(pool[i] for i in np.flatnonzero(comparison.is_ruled_out))
    rise = edge(best, candidates, excluded, ask.within)
    answer = replace(
        blank, ask=ask, unmeasured=missing_cost, best=best, pool=tuple(pool), ruled_out=losers, numbers=rise,
        binding=_binding(candidates, ask), excluded=(*excluded, *_exclude(unknown)),
    )  # fmt: skip
    draws = stability.draws(pool, ask.cheapest, ask.seed, price_of(pool, ask))
    place, passed_places = _pick(comparison)
    if comparison.undecided:
        is_likely = draws.shares_within(ask.within) >= LEAST_PROBABILITY
        likely_places = np.flatnonzero(is_likely & ~comparison.is_control)
        if not len(likely_places):
            return _abstain(answer, comparison, draws)
        place = place if ask.per_second is not None else int(likely_places[0])
    answer = replace(answer, passed_over=tuple(pool[i] for i in passed_places))
    return _add_pick(answer, comparison, draws, place, _is_any_rival(unknown, comparison, place))


def _exclude(unknown: Sequence[Candidate]) -> list[Excluded]:
    return [Excluded(candidate.quality, "unknown-cost", candidate.result) for candidate in unknown]


def _is_any_rival(unknown: Sequence[Candidate], comparison: PoolComparison, place: int) -> bool:
    """Whether a candidate may be as good as the pick while the cost of one of the two is not known.

    Such a candidate is in the pool, or it is ``unknown``: it may be within the budget, and may take no time at all.
    """
    pool, ask = comparison.pool, comparison.ask
    is_known = np.array([math.isfinite(candidate.cost(ask.cheapest)) for candidate in pool])
    is_rival = ~(comparison.is_ruled_out | comparison.is_control)
    is_rival[place] = False
    if (is_rival & ~(is_known & is_known[place])).any():
        return True
    unknown = [candidate for candidate in unknown if not is_control(candidate.result)]
    if not unknown:
        return False
    least_price = -ask.per_second * min(c.cost(metrics.LATENCY.option) for c in pool) if ask.per_second else 0.0
    prices = np.append(price_of(pool, ask), np.full(len(unknown), least_price))
    everyone = pairs(table_of([*pool, *unknown]).subtract(prices))
    return not ruled_out(everyone, ask.within)[len(pool) :].all()


def _measured_costs(ask: Ask, affordable: Sequence[Candidate]) -> list[CostName]:
    """Return the requested cost and those that may replace it, as far as they were measured within the budget."""
    costs = (ask.cheapest, *FALLBACK)
    return [name for name in costs if any(math.isfinite(candidate.cost(name)) for candidate in affordable)]


def _restate(ask: Ask, cost_names: Sequence[CostName]) -> tuple[Ask, CostName | None]:
    """Return the question in costs that were measured, and the requested cost that was not."""
    cheapest, price = cost_names[0], ask.per_second if "latency" in cost_names else None
    missing = "latency" if price != ask.per_second else ask.cheapest if cheapest != ask.cheapest else None
    return replace(ask, cheapest=cheapest, per_second=price), missing


def _front_costs(pool: Sequence[Candidate], ask: Ask) -> tuple[CostName, ...]:
    """Return the costs of the front that all candidates have; the cost to be cheap in replaces missing ones."""
    cost_names = stability.common_costs(pool, ask.against)
    if cost_names == ask.against:
        return cost_names
    return stability.common_costs(pool, tuple(dict.fromkeys((ask.cheapest, *cost_names))))


def _abstain(answer: Recommendation, comparison: PoolComparison, draws: Draws) -> Recommendation:
    """Answer without a pick if nothing is ruled out: the cheapest leads.

    The answer says what the others may gain, and what would settle it.
    """
    pool, ask, place = comparison.pool, comparison.ask, int(comparison.is_control.argmin())
    numbers = {"p": comparison.p, "detectable": effect.detectable(comparison.pairs)}
    return replace(
        answer, reason="no-effect", numbers=numbers, leading=pool[place],
        runners=_runners(comparison, _fronts(comparison, draws), place),
        settle=settle(pool, comparison.pairs, place, ask.within, ask.error),
    )  # fmt: skip


def _add_pick(
    answer: Recommendation, comparison: PoolComparison, draws: Draws, place: int, is_cost_unknown: bool
) -> Recommendation:
    pool, ask, contrasts = list(comparison.pool), comparison.ask, comparison.pairs
    rise = answer.numbers
    is_shown = bool(comparison.is_shown[place])
    pick_doubts = doubts(pool, place, is_shown, comparison.p, bool(rise), is_cost_unknown)
    fronts = _fronts(comparison, draws)
    return replace(
        answer,
        grade="provisional" if pick_doubts else "sure",
        pick=pool[place],
        doubts=pick_doubts,
        shortfall=max(0.0, float(shortfalls(contrasts)[place])),
        probability=float(draws.shares_within(ask.within)[place]),
        front=fronts[place],
        runners=_runners(comparison, fronts, place),
        price=_price(comparison, place),
        stability=None if is_cost_unknown else _stability(comparison, draws, place),
        settle=_settle(comparison, place, pick_doubts),
    )


def _settle(comparison: PoolComparison, place: int, pick_doubts: Sequence[Doubt]) -> Settle | None:
    """Return the further seeds that would remove a doubt; None if no seeds would."""
    pool, ask = comparison.pool, comparison.ask
    if "not-shown" in pick_doubts:
        return settle(pool, comparison.pairs, place, ask.within, ask.error)
    return enough_seeds(pool[place]) if "few-seeds" in pick_doubts else None


def _stability(comparison: PoolComparison, draws: Draws, place: int) -> float:
    """Return how likely the pick is what its rule would choose if the truth were known."""
    if comparison.ask.per_second is not None:
        return float(draws.shares_best()[place])
    is_eligible = ~(_is_replaceable(comparison) | comparison.is_control)
    return float(draws.shares_right(comparison.ask.within, is_eligible)[place])


def _fronts(comparison: PoolComparison, draws: Draws) -> list[float]:
    """Return each candidate's probability of being on the front of accuracy itself, without the price of latency."""
    accuracy = draws.quality + price_of(comparison.pool, comparison.ask)
    ask = comparison.ask
    return stability.front_shares(comparison.pool, ask.against, accuracy, ask.seed)


def _pick(comparison: PoolComparison) -> tuple[int, list[int]]:
    """Return the place of the pick, and those of cheaper candidates that are as good but collapse more often.

    If none is shown, lower bounds decide, the lower ends of 95 % intervals: among many that cannot be told apart, the
    noisiest is the most likely to lead by luck alone. Half of the margin may be given up for a lower cost.
    """
    is_replaceable = _is_replaceable(comparison)
    is_passed = is_replaceable | comparison.is_control
    places = np.flatnonzero(comparison.is_shown & ~is_passed)
    if len(places) and comparison.ask.per_second is None:
        place = int(places[0])
    else:
        df, own_error = np.maximum(comparison.pairs.own_df, LEAST_DF), comparison.pairs.own_error
        lower_bounds = np.where(is_passed, -np.inf, comparison.means - stdtrit(df, 1 - ERROR / 2) * own_error)
        allowance = comparison.ask.within / 2 if comparison.ask.per_second is None else 0.0
        allowance += 10.0**-DIGITS  # equal bounds may differ in their last bits, on each machine otherwise
        place = int(np.flatnonzero(lower_bounds >= lower_bounds.max() - allowance)[0])
    return place, [int(i) for i in np.flatnonzero(comparison.is_shown & is_replaceable) if i < place]


def _is_replaceable(comparison: PoolComparison) -> NDArray[np.bool_]:
    """Flag candidates that collapse more often than others, if one that does not is better with collapses counted.

    Controls are not flagged, and replace none.
    """
    pool, means = comparison.pool, comparison.means
    is_fallible = np.array(flag_fallible(pool)) & ~comparison.is_control
    is_reliable = ~(is_fallible | comparison.is_control)
    losses = [c.quality.collapsed / c.quality.ended * (c.mean - (c.quality.chance or 0.0)) for c in pool]
    best_mean = means[is_reliable].max(initial=-np.inf)
    return np.asarray(is_fallible & (means - np.array(losses) < best_mean))


def _binding(candidates: Sequence[Candidate], ask: Ask) -> tuple[CostName, ...]:
    """Return the constraints that would each change the pick or the best if it alone were relaxed.

    If none does alone, but all together do, return all of them.
    """
    if not ask.constraints:
        return ()
    base = _outcome(candidates, ask)
    subsets = {name: {k: v for k, v in ask.constraints.items() if k != name} for name in ask.constraints}
    binding = tuple(
        name for name, limits in subsets.items() if _outcome(candidates, replace(ask, constraints=limits)) != base
    )
    return binding or (tuple(ask.constraints) if _outcome(candidates, replace(ask, constraints={})) != base else ())


def _outcome(candidates: Sequence[Candidate], ask: Ask) -> tuple[object, object]:
    pool = pool_of(candidates, ask)
    place, _ = _pick(compare(pool, ask))
    return (pool[place].result.case, max(candidate.mean for candidate in pool))


def _runners(comparison: PoolComparison, fronts: Sequence[float], place: int) -> tuple[Runner, ...]:
    """Return the candidates other than the one at this place, those shown to be within the margin first."""
    pool, gap = comparison.pool, comparison.pairs.gap[place]
    price = price_of(pool, comparison.ask)
    low, high = (  # no difference of two accuracies is larger than 1; an infinite bound stays unknown
        np.where(np.isfinite(bounds), np.clip(bounds, price[place] - price - 1, price[place] - price + 1), bounds)
        for bounds in differences(comparison.pairs, place)
    )
    runners = [
        Runner(
            pool[i], fronts[i], bool(comparison.is_shown[i]), bool(comparison.is_ruled_out[i]),
            float(gap[i]), float(low[i]), float(high[i]),
        )
        for i in range(len(pool)) if i != place
    ]  # fmt: skip
    return tuple(sorted(runners, key=lambda runner: (not runner.is_shown, -runner.front, -runner.gain)))


def _price(comparison: PoolComparison, place: int) -> NextBetter | None:
    pool, name, gains = comparison.pool, comparison.ask.cheapest, comparison.pairs.gap[place]
    points = [(candidate.cost(name), -gain) for candidate, gain in zip(pool, gains, strict=True)]
    is_rival = (gains >= LEAST_GAIN) & ~comparison.is_control
    rivals = [i for i in front(points) if pool[i].cost(name) > pool[place].cost(name) and is_rival[i]]
    if not rivals:
        return None
    return NextBetter(pool[rivals[0]], float(gains[rivals[0]]), p_of_gain(comparison.pairs, place, rivals[0]))
