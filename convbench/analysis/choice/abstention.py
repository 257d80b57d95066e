"""When no recommendation can be made, and the numbers that say why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from convbench.analysis.choice.candidates import Candidate, Excluded, by_seed
from convbench.analysis.choice.noninferior import ERROR, Pairs, p_of_gain, pairs, shown
from convbench.analysis.choice.recommendation import Constraints, Reason, Recommendation
from convbench.analysis.quality import effect
from convbench.core.record import Parts

MOST_TIMES = 1000.0
"""As many times the seeds are not worth telling of."""


def abstained(known: Recommendation, able: Sequence[Candidate], found: Pairs) -> Recommendation | None:
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


def why_none(excluded: Sequence[Excluded]) -> Reason:
    reasons = {one.why for one in excluded}
    if not reasons:
        return "not-run"
    return "no-cost" if "no-cost" in reasons else "few-seeds" if "few-seeds" in reasons else "no-sound-run"


def nearest(able: Sequence[Candidate], constraints: Constraints) -> dict[str, float]:
    """For each limit that none meets by itself, or given the others, the value nearest to it that would do."""
    nearest = {}
    for name, limit in constraints.items():
        others = {key: value for key, value in constraints.items() if key != name}
        rest = [one for one in able if one.meets(others)] or able
        closest = _closest(rest, name)
        if closest is not None and not any(one.within(name, limit) for one in rest):
            nearest[name] = closest
    return nearest


def _closest(candidates: Sequence[Candidate], name: str) -> float | None:
    """The best value of a metric; None where none of the candidates has it."""
    metric = next(filter(None, (one.result.metric(name) for one in candidates)), None)
    values = [value for one in candidates if metric and (value := one.result.value(metric)) is not None]
    return min(values, key=lambda value: metric.sign * value, default=None) if metric else None


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
    gain, p = float(found.gap[0, 1]), p_of_gain(found, 0, 1)
    if p > ERROR or gain <= within:
        return None
    return {"size": _size(best), "smaller": max(smaller), "gain": gain, "p": p}


def _undecided(known: Recommendation, found: Pairs) -> dict[str, float]:
    """The least margin at which something would be shown, and about how many seeds this margin takes, if any do."""
    seeds, within = len(by_seed(known.pool)), known.ask.within
    margin = _least(lambda tried: bool(shown(found, tried).any()), within, 1.0)
    numbers = {"margin": margin or 1.0, "seeds": seeds}
    times = _least(lambda factor: bool(shown(_of_more_seeds(found, factor), within).any()), 1.0, MOST_TIMES)
    return numbers | ({"needed": float(np.ceil(seeds * times))} if times else {})


def _of_more_seeds(found: Pairs, factor: float) -> Pairs:
    """The same pairs and variances as if of so many times the seeds; degrees of freedom are left, which is cautious."""
    less = factor**-0.5
    return replace(found, error=found.error * less, room_error=found.room_error * less)


def _least(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """The least value between that ``holds``, to a thousandth of it; None where the highest does not."""
    if not holds(high):
        return None
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _family(one: Candidate) -> Parts:
    return replace(one.quality.architecture, lstm_input=None)


def _size(one: Candidate) -> int:
    return one.quality.architecture.lstm_input or 0
