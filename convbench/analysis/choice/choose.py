"""From candidates to a recommendation for one task, or to a reason to give none.

The rule: the cheapest candidate within the budget that is shown to be within the margin of the best one within the
budget (``noninferior``: 95 %, whichever is the best and however many were tried). It has a unit and an error rate, and
does not move with the spacing of a sweep, as a knee does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from convbench.analysis.choice import stability
from convbench.analysis.choice.abstention import abstained, nearest, why_none
from convbench.analysis.choice.candidates import Candidate, CostName, Excluded, by_seed, cheapest_each
from convbench.analysis.choice.noninferior import ERROR, Pairs, p_of_gain, pairs, shortfalls, shown
from convbench.analysis.choice.recommendation import Ask, Price, Recommendation, Runner
from convbench.analysis.costs.pareto import front
from convbench.core.record import Clip

__all__ = ["Ask", "Price", "Recommendation", "Runner", "recommend"]


def recommend(
    task: str, clip: Clip | None, able: Sequence[Candidate], excluded: Sequence[Excluded], ask: Ask
) -> Recommendation:
    """The recommendation for one task from what was measured of it."""
    blank = Recommendation(task, clip, ask, excluded=tuple(excluded))
    if not able:
        return replace(blank, reason=why_none(excluded))
    pool = cheapest_each((one for one in able if one.meets(ask.constraints)), ask.cheapest)
    if not pool:
        return replace(blank, reason="over-budget", numbers=nearest(able, ask.constraints))
    found = pairs(by_seed(pool))
    best = max(pool, key=lambda one: one.mean)
    known = replace(blank, best=best, pool=tuple(pool), binding=_binding(able, ask))
    return abstained(known, able, found) or _chosen(known, found)


def _chosen(known: Recommendation, found: Pairs) -> Recommendation:
    pool, ask = list(known.pool), known.ask
    passed = shown(found, ask.within)
    at = int(np.argmax(passed))
    on_front = stability.on_front(pool, ask.cheapest, np.random.default_rng(ask.seed))
    runners = [_runner(pool[i], on_front[i], bool(passed[i]), found, at, i) for i in range(len(pool)) if i != at]
    return replace(
        known,
        pick=pool[at],
        shortfall=max(0.0, float(shortfalls(found)[at])),
        front=on_front[at],
        runners=tuple(sorted(runners, key=lambda one: (not one.shown, -one.front, -one.gain))),
        price=_price(pool, found, at, ask.cheapest),
        stability=stability.agreement(pool, pool[at], ask.cheapest, ask.within, ask.seed),
    )


def _binding(able: Sequence[Candidate], ask: Ask) -> tuple[CostName, ...]:
    """The constraints of which each, relaxed alone, would change the pick or the best."""
    now = _outcome(able, ask)
    relaxed = {name: {k: v for k, v in ask.constraints.items() if k != name} for name in ask.constraints}
    return tuple(name for name, rest in relaxed.items() if _outcome(able, replace(ask, constraints=rest)) != now)


def _outcome(able: Sequence[Candidate], ask: Ask) -> tuple[object, object]:
    pool = cheapest_each((one for one in able if one.meets(ask.constraints)), ask.cheapest)
    if not pool:
        return (None, None)
    passed = shown(pairs(by_seed(pool)), ask.within)
    pick = pool[int(np.argmax(passed))].result.case if passed.any() else None
    return (pick, max(one.mean for one in pool))


def _runner(one: Candidate, likely: float, passed: bool, found: Pairs, at: int, i: int) -> Runner:
    gain = float(found.gap[at, i])
    half = float(stdtrit(found.df[at, i], 1 - ERROR / 2) * found.error[at, i])
    return Runner(one, likely, passed, gain, gain - half, gain + half)


def _price(pool: Sequence[Candidate], found: Pairs, at: int, name: CostName) -> Price | None:
    pick = pool[at]
    ahead = [i for i in front([(one.cost(name), -one.mean) for one in pool]) if pool[i].mean > pick.mean]
    dearer = [i for i in ahead if pool[i].cost(name) > pick.cost(name)]
    if not dearer:
        return None
    return Price(pool[dearer[0]], float(found.gap[at, dearer[0]]), p_of_gain(found, at, dearer[0]))
