"""Runs that collapsed: that name one class, are no better than a constant answer, or fall far below their own kind.

They are counted, and how often a configuration collapses is a result of its own; they are in no mean, because a mean
of runs that learnt and runs that did not is the accuracy of neither.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy.special import ndtri

CHANCE_Z = 3.09
"""Standard errors above a constant answer: of a thousand runs that learnt nothing one is that lucky."""

RARITY = 0.001
LEAST_DROP = 0.10
HALF = 0.5
SPREADS = 4.0
LENIENT_ERROR = 0.15
"""The error of collapsing more often: few seeds tell little."""


def is_at_chance(accuracy: float, constant: float, clips: int) -> bool:
    """Whether a run on so many test clips is not shown (99.9 %, as there are many) to beat a constant answer.

    Few clips show nothing so surely; there a run learnt that is more than halfway from the constant answer to 100 %.
    """
    return accuracy <= constant + min(CHANCE_Z * math.sqrt(constant * (1 - constant) / clips), HALF * (1 - constant))


def fallen_seeds(accuracies: Mapping[int, float], chance: float, clips: int) -> set[int]:
    """Seeds that lost half or more of what the best seed has over chance, and more than the spread of the others.

    Ten points at least, more than so few test clips take the best and the worst of so many runs apart, and four
    standard deviations of those that did not fall.
    """
    if len(accuracies) < 2:
        return set()
    best_accuracy = max(accuracies.values())
    mean = statistics.fmean(accuracies.values())
    luck = _range(len(accuracies)) * math.sqrt(max(0.0, mean * (1 - mean)) / clips)
    drop = max(LEAST_DROP, HALF * (best_accuracy - chance), luck)
    survivors = [value for value in accuracies.values() if best_accuracy - value <= drop]
    drop = max(drop, SPREADS * statistics.stdev(survivors)) if len(survivors) > 1 else drop
    return {seed for seed, value in accuracies.items() if best_accuracy - value > drop}


def _range(count: int) -> float:
    """Standard errors that the best and the worst of so many equal runs are apart in one of a thousand cases.

    Any two of them that far apart would do (Bonferroni's bound, within 0.5 % of the exact quantile of the range).
    """
    return float(math.sqrt(2) * ndtri(1 - RARITY / (count * (count - 1))))


def fisher(count: int, runs: int, other_count: int, other_runs: int) -> float:
    """The one-sided exact p-value that a rate, ``count`` of ``runs``, is no higher than the others' (Fisher's)."""
    total, failures = runs + other_runs, count + other_count
    ways = math.comb(total, failures)
    most_failures = min(runs, failures)
    return sum(math.comb(runs, i) * math.comb(other_runs, failures - i) for i in range(count, most_failures + 1)) / ways


def collapse_often(counts: Sequence[int], runs: Sequence[int]) -> list[bool]:
    """Which configurations collapse more often than all the others together."""
    total, all_runs = sum(counts), sum(runs)
    return [
        count > 0 and fisher(count, n, total - count, all_runs - n) <= LENIENT_ERROR
        for count, n in zip(counts, runs, strict=True)
    ]
