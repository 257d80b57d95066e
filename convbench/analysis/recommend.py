"""From candidates to a recommendation for one task, or to a reason to give none; data only, words are made elsewhere.

The rule: the cheapest candidate within the budget that is shown to be within the margin of the best one within the
budget (``noninferior``: 95 %, whichever is the best and however many were tried). It has a unit and an error rate, and
does not move with the spacing of a sweep, as a knee does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from convbench.analysis import effect, stability
from convbench.analysis.candidates import Candidate, CostName, Excluded, by_seed, cheapest_each
from convbench.analysis.noninferior import ERROR, Pairs, pairs, shortfalls, shown
from convbench.analysis.pareto import front
from convbench.record import Clip, Parts

Reason = Literal[
    "not-run", "no-sound-run", "few-seeds", "no-cost", "over-budget", "no-effect", "edge", "undecided"
]  # fmt: skip
Constraints = Mapping[CostName, float]


@dataclass(frozen=True)
class Ask:
    """What is asked for: upper limits in base units, the margin as a share, and what cheapest means."""

    constraints: Constraints = field(default_factory=dict)
    within: float = 0.02
    cheapest: CostName = "latency"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Runner:
    """Another candidate beside the pick: how likely it is on the front, and its quality less the pick's with its 95 %
    interval. ``shown`` says that it, too, is within the margin."""

    candidate: Candidate
    front: float
    shown: bool
    gain: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Price:
    """The next better point of the front: what it gains over the pick (a share), with the p-value of a gain at all."""

    candidate: Candidate
    gain: float
    p: float


@dataclass(frozen=True, eq=False)
class Recommendation:
    """The answer for one task: a ``pick``, or the ``reason`` why there is none, with its ``numbers``.

    ``best`` is the highest mean within the budget. ``shortfall`` is how far the pick may be below the best at 95 %.
    ``binding`` are the constraints of which each, relaxed alone, changes the pick or the best. ``front`` is the pick's
    probability of being on the front, ``stability`` the share of resamples that pick it again. ``leading`` is, without
    a pick, what stands nearest to one: the cheapest, the best, or nothing.
    """

    task: str
    clip: Clip | None
    ask: Ask
    pick: Candidate | None = None
    best: Candidate | None = None
    reason: Reason | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    leading: Candidate | None = None
    pool: tuple[Candidate, ...] = ()
    shortfall: float | None = None
    front: float | None = None
    binding: tuple[CostName, ...] = ()
    runners: tuple[Runner, ...] = ()
    price: Price | None = None
    stability: float | None = None
    excluded: tuple[Excluded, ...] = ()


def recommend(
    task: str, clip: Clip | None, able: Sequence[Candidate], excluded: Sequence[Excluded], ask: Ask
) -> Recommendation:
    """The recommendation for one task from what was measured of it."""
    blank = Recommendation(task, clip, ask, excluded=tuple(excluded))
    if not able:
        return replace(blank, reason=_why_none(excluded))
    pool = cheapest_each((one for one in able if one.meets(ask.constraints)), ask.cheapest)
    if not pool:
        return replace(blank, reason="over-budget", numbers=_nearest(able, ask.constraints))
    found = pairs(by_seed(pool))
    best = max(pool, key=lambda one: one.mean)
    known = replace(blank, best=best, pool=tuple(pool), binding=_binding(able, ask))
    return _abstained(known, able, found) or _chosen(known, found)


def _abstained(known: Recommendation, able: Sequence[Candidate], found: Pairs) -> Recommendation | None:
    """The recommendation with the reason to give none, or None where there is no such reason."""
    pool, ask = known.pool, known.ask
    if len(pool) > 1:
        p = effect.p_value(by_seed(pool))
        if p > ERROR:
            numbers = {"p": p, "detectable": effect.detectable(found)}
            return replace(known, reason="no-effect", numbers=numbers, leading=pool[0])
    assert known.best
    if edge := _edge(known.best, able, ask.within):
        return replace(known, reason="edge", numbers=edge, leading=known.best)
    if not shown(found, ask.within).any():
        return replace(known, reason="undecided", numbers=_undecided(known, found), leading=known.best)
    return None


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


def _why_none(excluded: Sequence[Excluded]) -> Reason:
    reasons = {one.why for one in excluded}
    if not reasons:
        return "not-run"
    return "no-cost" if "no-cost" in reasons else "few-seeds" if "few-seeds" in reasons else "no-sound-run"


def _nearest(able: Sequence[Candidate], constraints: Constraints) -> dict[str, float]:
    """For each limit that none meets by itself, or given the others, the least value that would do."""
    nearest = {}
    for name, limit in constraints.items():
        others = {key: value for key, value in constraints.items() if key != name}
        rest = [one for one in able if one.meets(others)] or able
        least = min(one.cost(name) for one in rest)
        if least > limit:
            nearest[str(name)] = least
    return nearest


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


def _edge(best: Candidate, able: Sequence[Candidate], within: float) -> dict[str, float] | None:
    """Sizes and gain where the best has the largest LSTM input swept of its reducer and was still rising there.

    Rising is a gain over the next smaller size that is significant and more than the margin: a smaller one would not
    change what is advised.
    """
    sizes = {_size(one): one for one in able if _family(one) == _family(best)}
    smaller = [size for size in sizes if size < _size(best)]
    if not smaller or max(sizes) > _size(best):
        return None
    found = pairs(by_seed([sizes[max(smaller)], best]))
    gain, p = float(found.gap[0, 1]), _p_of_gain(found, 0, 1)
    if p > ERROR or gain <= within:
        return None
    return {"size": _size(best), "smaller": max(smaller), "gain": gain, "p": p}


def _undecided(known: Recommendation, found: Pairs) -> dict[str, float]:
    """The least margin at which something would be shown, and about how many seeds this margin takes."""
    level = ERROR / max(1, len(known.pool) - 1)
    bounds = shortfalls(found, level)
    near = int(bounds.argmin())
    worst = int(np.argmax(found.gap[near] + stdtrit(found.df[near], 1 - level) * found.error[near]))
    room = known.ask.within - float(found.gap[near, worst])
    seeds = len(by_seed(known.pool))
    if room <= 0:
        return {"margin": float(bounds[near]), "seeds": seeds}
    half = float(bounds[near] - found.gap[near, worst])
    return {"margin": float(bounds[near]), "seeds": seeds, "needed": float(np.ceil(seeds * (half / room) ** 2))}


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
    return Price(pool[dearer[0]], float(found.gap[at, dearer[0]]), _p_of_gain(found, at, dearer[0]))


def _p_of_gain(found: Pairs, one: int, other: int) -> float:
    """One-sided: that ``other`` is no better than ``one``."""
    return float(stdtr(found.df[one, other], -found.gap[one, other] / max(found.error[one, other], 1e-12)))


def _family(one: Candidate) -> Parts:
    return replace(one.quality.architecture, lstm_input=None)


def _size(one: Candidate) -> int:
    return one.quality.architecture.lstm_input or 0
