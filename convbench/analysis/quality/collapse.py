"""Detect runs that collapsed: they name one class, do not beat a constant answer, or fall far below runs of their kind.

Collapsed runs are counted, and how often a configuration collapses is a result of its own. They enter no mean, because
a mean over runs that learnt and runs that did not is the accuracy of neither.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy.special import ndtri

CHANCE_Z = 3.09
"""Standard errors above a constant answer that one in a thousand runs reaches by luck without learning anything."""

RARITY = 0.001
LEAST_DROP = 0.10
HALF = 0.5
SPREADS = 4.0
LENIENT_ERROR = 0.15
"""Error level of the test for collapsing more often. It is lenient because few seeds tell little."""


def is_at_chance(accuracy: float, constant: float, clips: int) -> bool:
    """Whether a run on ``clips`` test clips is not shown to beat a constant answer (at 99.9 %, because runs are many).

    Few clips cannot show that. With them, a run learnt if it is more than halfway from the constant answer to 100 %.
    """
    return accuracy <= constant + min(CHANCE_Z * math.sqrt(constant * (1 - constant) / clips), HALF * (1 - constant))


def fallen_seeds(accuracies: Mapping[int, float], chance: float, clips: int) -> set[int]:
    """Return the seeds that lost more than half of the best seed's lead over chance, and more than the others spread.

    The loss also has to exceed ten points, the gap between the best and the worst that so many runs on so few test
    clips show by luck, and four standard deviations of the seeds that did not fall.
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
    """Return the gap, in standard errors, that the best and worst of ``count`` equal runs exceed once in a thousand.

    This is Bonferroni's bound over all pairs of runs, within 0.5 % of the exact quantile of the range.
    """
    return float(math.sqrt(2) * ndtri(1 - RARITY / (count * (count - 1))))


def fisher(count: int, runs: int, other_count: int, other_runs: int) -> float:
    """Return Fisher's exact one-sided p-value that a rate, ``count`` of ``runs``, is no higher than the others'."""
    total, failures = runs + other_runs, count + other_count
    ways = math.comb(total, failures)
    most_failures = min(runs, failures)
    return sum(math.comb(runs, i) * math.comb(other_runs, failures - i) for i in range(count, most_failures + 1)) / ways


def collapse_often(counts: Sequence[int], runs: Sequence[int]) -> list[bool]:
    """Return which configurations collapse more often than all the others together."""
    total, all_runs = sum(counts), sum(runs)
    return [
        fisher(count, n, total - count, all_runs - n) <= LENIENT_ERROR for count, n in zip(counts, runs, strict=True)
    ]
