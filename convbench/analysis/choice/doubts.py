"""Explain why there is no pick, or why a pick is not sure, with the numbers behind that."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtr

from convbench.analysis.choice.candidates import Candidate, Excluded, table_of
from convbench.analysis.choice.recommendation import Constraints, Doubt, Reason
from convbench.analysis.inference.arrays import Flags
from convbench.analysis.inference.noninferior import ERROR, Pairs, p_of_gain, pairs
from convbench.analysis.quality.collapse import collapse_often
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Result
from convbench.core.record import Parts

SURE_SEEDS = 3
"""Least number of sound runs of a pick that is sure."""


def absence_reason(excluded: Sequence[Excluded]) -> Reason:
    """Return why there is nothing to choose from, given what was excluded."""
    reasons = {configuration.why for configuration in excluded}
    if not reasons:
        return "not-run"
    return "no-cost" if "no-cost" in reasons else "few-seeds" if "few-seeds" in reasons else "no-sound-run"


def nearest(results: Sequence[Result], constraints: Constraints) -> dict[str, float]:
    """Return the values of the result nearest to the limits, for the limits that it misses.

    Nearest is the result whose worst miss, as a factor, is least. Results may meet each limit and yet not all together.
    Empty if no result was measured in all limited metrics.
    """
    measured_results = [result for result in results if all(result.cost(name) is not None for name in constraints)]
    limits = constraints.items()
    closest = min(measured_results, key=lambda result: max(_miss(result, *limit) for limit in limits), default=None)
    if closest is None:
        return {}
    return {name: closest.cost(name) or 0.0 for name, limit in limits if not closest.within(name, limit)}


def _miss(result: Result, name: str, limit: float) -> float:
    """Return the log of the factor by which a result is beyond a limit; 0, which has no logarithm, counts as tiny."""
    metric = result.metric(name)
    value, bound = (math.log(max(number or 0.0, sys.float_info.min)) for number in (result.cost(name), limit))
    return metric.sign * (value - bound) if metric else math.inf


def ruled_out(contrasts: Pairs, margin: float) -> Flags:
    """Flag the configurations (k,) that are shown to be more than the margin below another, together at 95 %."""
    k = contrasts.gap.shape[0]
    p = stdtr(contrasts.df, -(contrasts.gap - margin) / np.maximum(contrasts.error, 1e-12))
    return np.asarray(p.min(axis=1) * max(1, k - 1) <= ERROR)


def doubts(
    pool: Sequence[Candidate], place: int, is_shown: bool, p: float, is_at_edge: bool, is_cost_unknown: bool
) -> tuple[Doubt, ...]:
    """Return why the candidate at this place is not surely the answer; empty if it is."""
    pick, best = pool[place], max(pool, key=lambda candidate: candidate.mean)
    conditions: dict[Doubt, bool] = {
        "not-shown": not is_shown,
        "no-effect": len(pool) > 1 and p > ERROR,
        "edge": is_at_edge,
        "few-seeds": len(pick.quality.by_seed) < SURE_SEEDS,
        "collapses": flag_fallible(pool)[place],
        "undertrained": any(2 * q.unconverged >= len(q.by_seed) for q in (pick.quality, best.quality)),
        "known-clips": pick.quality.knows_test_clips,
        "unknown-cost": is_cost_unknown,
    }
    return tuple(doubt for doubt, holds in conditions.items() if holds)


def flag_fallible(pool: Sequence[Candidate]) -> list[bool]:
    """Flag the candidates that collapse more often than the others."""
    return collapse_often(
        [candidate.quality.collapsed for candidate in pool], [candidate.quality.ended for candidate in pool]
    )


def edge(
    best: Candidate, candidates: Sequence[Candidate], excluded: Sequence[Excluded], within: float
) -> dict[str, float]:
    """Return sizes and gain if the best has its reducer's largest LSTM input swept and accuracy still rose there.

    It rose if the gain over the next smaller size is significant and exceeds the margin: a smaller gain would not
    change the advice. A larger size that learnt nothing counts as swept. Empty if accuracy did not rise.
    """
    family, largest_size = _family(best.quality), _size(best.quality)
    sizes = {_size(candidate.quality): candidate for candidate in candidates if _family(candidate.quality) == family}
    excluded_sizes = {_size(entry.quality) for entry in excluded if _family(entry.quality) == family}
    smaller_sizes = [size for size in sizes if size < largest_size]
    if not smaller_sizes or max([*sizes, *excluded_sizes]) > largest_size:
        return {}
    neighbours = [sizes[max(smaller_sizes)], best]
    contrasts = pairs(table_of(neighbours))
    gain, p = float(contrasts.gap[0, 1]), p_of_gain(contrasts, 0, 1)
    if p > ERROR or gain <= within:
        return {}
    return {"size": largest_size, "smaller": max(smaller_sizes), "gain": gain, "p": p}


def _family(quality: Quality) -> tuple[Parts, str]:
    return replace(quality.architecture, lstm_input=None), quality.variant


def _size(quality: Quality) -> int:
    return quality.architecture.lstm_input or 0
