"""Decide about a case from the log ratios of its pairs. Pure functions: no clock, no process.

A log ratio is ``log(head / base)`` of one pair of fresh processes, positive if head is slower. The interval of
``bounds`` is both shown and used to decide: at any number of pairs, a case is suspect as soon as the interval lies
above the rule's tolerance, and ok as soon as it lies below the guard. Otherwise it gets more pairs.

The ends of the interval are order statistics of the pairs. All that is assumed about the noise is that base and head,
if they are equally fast, are the slower one equally often. An outlier counts as one pair, however far out it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from convbench.check.settings import Rule

Conclusion = Literal["ok", "suspect", "undecided"]
SuspectConclusion = Literal["regression", "ok", "undecided"]


class Slack(NamedTuple):
    """A log ratio that pairs rarely exceed by chance, and how often they may, so that a few can decide large effects.

    The chances are those of a machine on which one process in ten (in five) is slower by that much throughout its life.
    Of 15,012 recorded pairs of the same code, 14 % exceeded 2 %, 3.0 % exceeded 4 % and 0.6 % exceeded 10 %.
    """

    size: float
    chance: float


@dataclass(frozen=True, slots=True)
class Test:
    """A test for one end of the interval after every pair, wrong with probability ``level`` at most over all looks.

    ``chance`` is the probability that a pair lies on the wrong side of the truth. ``min_pairs`` is the number of pairs
    at the first look, ``max_pairs`` at the last. ``slacks`` can decide before the first look.
    """

    chance: float
    level: float
    min_pairs: int
    max_pairs: int
    slacks: tuple[Slack, ...]

    def strays(self, pairs: int) -> int | None:
        """Return how many of the pairs may lie beyond the end of the interval; None if there is no end yet."""
        return _strays(self)[min(pairs, self.max_pairs)]


SHARE = 0.4
"""The most that a slack may add to the error of a test, as a share of the test's level."""
SLACKS = (Slack(math.log1p(0.10), 0.10), Slack(math.log1p(0.04), 0.20))
SMALL = Slack(math.log1p(0.02), 0.30)
"""The slack of a pass, as large as the guard leaves room for: on a quiet machine four pairs that agree pass."""
SLOWER = Test(0.5, 0.025, 6, 32, SLACKS)
PASS = Test(0.5, 0.025, 6, 32, (SMALL,))
CONFIRM_FIRST, CONFIRM_AT_MOST = 5, 24
OF_RUN = 0.01
"""The largest probability of a false regression in a check, over all of its cases."""
OF_SUSPECT = 0.05
"""An upper bound for the share of unchanged cases that the first stage suspects: its level and what the slacks add."""
OF_CONFIRMATION = 0.0065
MOST_NULL = 0.10
"""The largest relative difference of base from itself in a triple; beyond it the machine counts as busy."""


class Ratio(NamedTuple):
    """Head's time over base's: the median of the pairs and the interval that decides."""

    estimate: float
    low: float
    high: float


class Triple(NamedTuple):
    """A new pair of a suspect, which times base twice: the second base and head as log ratios over the first base."""

    null: float
    slower: float

    @property
    def low(self) -> float:
        """Head over the slower base. If all three are equally fast, head is the slowest one time in three."""
        return self.slower - max(0.0, self.null)

    @property
    def high(self) -> float:
        """Head over the faster base."""
        return self.slower - min(0.0, self.null)

    @property
    def middle(self) -> float:
        return self.slower - self.null / 2


def conclusion(logs: Sequence[float], rule: Rule) -> Conclusion:
    """Return the conclusion that all pairs so far support."""
    low, high = bounds(logs, logs, SLOWER, PASS)
    if low > math.log1p(rule.tolerance):
        return "suspect"
    return "ok" if high < math.log1p(rule.guard) else "undecided"


def decide(logs: Sequence[float], rule: Rule) -> Conclusion:
    """Return the first conclusion other than undecided as the pairs came in: the one that counts."""
    conclusions = (conclusion(logs[:pairs], rule) for pairs in range(1, min(len(logs), SLOWER.max_pairs) + 1))
    return next((outcome for outcome in conclusions if outcome != "undecided"), "undecided")


def confirmation(triples: Sequence[Triple], rule: Rule, cases: int) -> SuspectConclusion:
    """Return the first conclusion from a suspect's new pairs: a regression if they show again that head is slower.

    The level keeps the probability of a false regression among all ``cases`` of a check at ``OF_RUN`` or less.
    """
    test = suspect_test(cases)
    for pairs in range(1, min(len(triples), test.max_pairs) + 1):
        low, high = _bounds_of(triples[:pairs], test)
        if low > math.log1p(rule.tolerance):
            return "regression"
        if high < math.log1p(rule.guard):
            return "ok"
    return "undecided"


@cache
def suspect_test(cases: int) -> Test:
    """Return the test of a suspect in a check of ``cases`` cases."""
    level = min(OF_CONFIRMATION, OF_RUN / OF_SUSPECT / cases / (1 + len(SLACKS) * SHARE))
    min_pairs = max(CONFIRM_FIRST, math.ceil(math.log(level) / math.log(1 / 3)))
    return Test(1 / 3, level, min_pairs, CONFIRM_AT_MOST, SLACKS)


def ratio(logs: Sequence[float]) -> Ratio:
    """Return the median and the interval of pairs, unbounded if there are too few."""
    low, high = bounds(logs, logs, SLOWER, PASS)
    return Ratio(math.exp(float(np.median(logs))), math.exp(low), math.exp(high))


def confirmed_ratio(triples: Sequence[Triple], cases: int) -> Ratio:
    """Return the median and the interval of a suspect's new pairs, which are free of selection bias."""
    low, high = _bounds_of(triples, suspect_test(cases))
    return Ratio(math.exp(float(np.median([triple.middle for triple in triples]))), math.exp(low), math.exp(high))


def bounds(lows: Sequence[float], highs: Sequence[float], lower: Test, upper: Test) -> tuple[float, float]:
    """Return both ends of the interval as log ratios, infinite if there are too few pairs.

    ``lows`` is each pair's evidence for a slowdown, ``highs`` its evidence against one.
    """
    return _end(sorted(lows), lower), -_end(sorted(-high for high in highs), upper)


def smallest_visible(logs: Sequence[float], rule: Rule) -> float:
    """Return the smallest slowdown that as many pairs with this spread would have made suspect; inf if none."""
    low = _end(sorted(logs), SLOWER)  # minus infinity if there are too few pairs
    return math.expm1(math.log1p(rule.tolerance) + float(np.median(logs)) - low)


def forecast(logs: Sequence[float], rule: Rule) -> tuple[Conclusion, int] | None:
    """Return what follows if further pairs equal the median, and how many it takes; None if nothing follows."""
    middle = float(np.median(logs)) if len(logs) else math.log1p(rule.tolerance) / 2
    for count in range(1, SLOWER.max_pairs - len(logs) + 1):
        if (outcome := conclusion([*logs, *[middle] * count], rule)) != "undecided":
            return outcome, count
    return None


def pairs_to_confirm(triples: Sequence[Triple], rule: Rule, cases: int) -> int | None:
    """Return how many further triples like the middle one decide about a suspect; None if no number does."""
    if not triples:
        return CONFIRM_FIRST
    middle = sorted(triples, key=lambda triple: triple.middle)[len(triples) // 2]
    for count in range(1, CONFIRM_AT_MOST - len(triples) + 1):
        if confirmation([*triples, *[middle] * count], rule, cases) != "undecided":
            return count
    return None


def _bounds_of(triples: Sequence[Triple], test: Test) -> tuple[float, float]:
    return bounds([triple.low for triple in triples], [triple.high for triple in triples], test, test)


def _end(values: Sequence[float], test: Test) -> float:
    """Return the lower end of sorted values: an order statistic, or the least value less a slack if enough agree."""
    strays = test.strays(len(values))
    ends = [values[strays]] if strays is not None else []
    ends += [
        values[0] - slack.size for slack in test.slacks if enough(slack, test) <= len(values) and _agree(values, slack)
    ]
    return max(ends, default=-math.inf)


def _agree(values: Sequence[float], slack: Slack) -> bool:
    """Whether sorted values lie within the slack of each other. If not, the noise is larger than the slack allows."""
    return values[-1] - values[0] <= slack.size


@cache
def enough(slack: Slack, test: Test) -> int:
    """Return the fewest pairs that all exceed the slack by chance with at most its share of the test's level."""
    return math.ceil(math.log(SHARE * test.level) / math.log(slack.chance) - 1e-9)


@cache
def _strays(test: Test) -> tuple[int | None, ...]:
    """Return by number of pairs how many may stray, so that all looks together are wrong with the test's level at most.

    The probability is exact: it follows every path from look to look. The first look takes what it needs of the level,
    and the others share the rest equally.
    """
    spent_level = 0.0
    limits: list[int | None] = [None] * test.min_pairs
    paths = np.array([1.0])  # the probability of each number of strays on the paths that no look has ended yet
    for pairs in range(1, test.max_pairs + 1):
        paths = np.convolve(paths, [test.chance, 1 - test.chance])
        if pairs < test.min_pairs:
            continue
        start = test.chance**test.min_pairs
        share = start + (test.level - start) * (pairs - test.min_pairs) / max(1, test.max_pairs - test.min_pairs)
        tail = np.cumsum(paths)
        strays = int(np.searchsorted(tail, share - spent_level + 1e-15, side="right")) - 1
        limits.append(strays if strays >= 0 else None)
        if strays >= 0:
            spent_level += float(tail[strays])
            paths[: strays + 1] = 0.0
    return tuple(limits)
