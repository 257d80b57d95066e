"""From log ratios of pairs to a verdict: pure functions, no clock, no process.

A log ratio is ``log(head / base)`` of one pair of fresh processes, positive where head is slower. One statistic is both
shown and decided by: the interval of ``bounds``. A case is suspect as soon as the interval lies above the rule's
tolerance, ok as soon as it lies below the guard, at any number of pairs; what is neither gets more.

The ends of the interval are order statistics of the pairs: nothing is asked of the noise but that base and head, where
they are equally fast, are each the slower one equally often. A bad pair counts as one pair, however bad it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np

from convbench.check.rule import Rule

Call = Literal["ok", "suspect", "undecided"]
Confirmation = Literal["regression", "ok", "undecided"]


class Slack(NamedTuple):
    """What luck hardly ever makes of a pair, as a log ratio, and how often it may: few that agree decide large effects.

    The chances are those of a machine on which one process in ten (in five) is slower by that much for as long as it
    lives. Here 2 % were exceeded by 14 % of 7,374 recorded pairs of the same code, 4 % by 3.4 %, 10 % by 0.4 %.
    """

    size: float
    chance: float


@dataclass(frozen=True, slots=True)
class Test:
    """An end of the interval, looked at after every pair: it is wrong with at most ``level``, over all looks together.

    ``chance`` is that of a pair to lie on the wrong side of the truth by luck, ``min_pairs`` those of the first
    look, ``max_pairs`` those of the last. ``slacks`` decide before the first look.
    """

    chance: float
    level: float
    min_pairs: int
    max_pairs: int
    slacks: tuple[Slack, ...]

    def strays(self, pairs: int) -> int | None:
        """How many of the pairs may stray beyond the end of the interval; None where there is no end yet."""
        return _strays(self)[min(pairs, self.max_pairs)]


SHARE = 0.4
"""Of its level, what each slack may add to a test's error at most."""
SLACKS = (Slack(math.log1p(0.10), 0.10), Slack(math.log1p(0.04), 0.20))
SMALL = Slack(math.log1p(0.02), 0.30)
"""Below the guard, where there is no room for more: four pairs that agree pass on a quiet machine."""
SLOWER = Test(0.5, 0.025, 6, 32, SLACKS)
PASS = Test(0.5, 0.025, 6, 32, (SMALL,))
CONFIRM_FIRST, CONFIRM_AT_MOST = 5, 24
OF_RUN = 0.01
"""The chance of any false regression among the cases of a check."""
OF_SUSPECT = 0.05
"""At most what the first stage lets through: its level and what the slacks add to it."""
OF_CONFIRMATION = 0.0065
MOST_NULL = 0.10
"""How far base may be from itself within one pair, as a share: beyond it the machine is said to have been busy."""


class Ratio(NamedTuple):
    """Head over base: the median of the pairs and the interval by which it is decided."""

    estimate: float
    low: float
    high: float


class Triple(NamedTuple):
    """A new pair of a suspect, which has base in it twice, as log ratios over the first base."""

    null: float
    slower: float

    @property
    def low(self) -> float:
        """Head over the slower base. Of three that are equally fast, head is the slowest once in three."""
        return self.slower - max(0.0, self.null)

    @property
    def high(self) -> float:
        """Head over the faster base."""
        return self.slower - min(0.0, self.null)

    @property
    def middle(self) -> float:
        return self.slower - self.null / 2


def call(logs: Sequence[float], rule: Rule) -> Call:
    """What all the pairs so far say."""
    low, high = bounds(logs, logs, SLOWER, PASS)
    if low > math.log1p(rule.tolerance):
        return "suspect"
    return "ok" if high < math.log1p(rule.guard) else "undecided"


def decide(logs: Sequence[float], rule: Rule) -> Call:
    """The first call on the way to ``logs``, which is the one that counts."""
    calls = (call(logs[:pairs], rule) for pairs in range(1, min(len(logs), SLOWER.max_pairs) + 1))
    return next((outcome for outcome in calls if outcome != "undecided"), "undecided")


def confirmation(triples: Sequence[Triple], rule: Rule, cases: int) -> Confirmation:
    """The first call of a suspect's new pairs: a regression where they show again that head is slower than both bases.

    The level is such that all ``cases`` together are called a regression by chance in ``OF_RUN`` of the checks at most.
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
    """The test of a suspect among so many cases."""
    level = min(OF_CONFIRMATION, OF_RUN / OF_SUSPECT / cases / (1 + len(SLACKS) * SHARE))
    min_pairs = max(CONFIRM_FIRST, math.ceil(math.log(level) / math.log(1 / 3)))
    return Test(1 / 3, level, min_pairs, CONFIRM_AT_MOST, SLACKS)


def ratio(logs: Sequence[float]) -> Ratio:
    """The median and the interval of pairs; unbounded where there are too few."""
    low, high = bounds(logs, logs, SLOWER, PASS)
    return Ratio(math.exp(float(np.median(logs))), math.exp(low), math.exp(high))


def confirmed_ratio(triples: Sequence[Triple], cases: int) -> Ratio:
    """The same of a suspect's new pairs, which chance has not picked."""
    low, high = _bounds_of(triples, suspect_test(cases))
    return Ratio(math.exp(float(np.median([triple.middle for triple in triples]))), math.exp(low), math.exp(high))


def bounds(lows: Sequence[float], highs: Sequence[float], lower: Test, upper: Test) -> tuple[float, float]:
    """Both ends of the interval, as log ratios; infinite where there are too few pairs.

    ``lows`` are what speaks for a slowdown in each pair and ``highs`` what speaks against it.
    """
    return _end(sorted(lows), lower), -_end(sorted(-high for high in highs), upper)


def smallest_visible(logs: Sequence[float], rule: Rule) -> float:
    """The slowdown from which on as many pairs with this spread would have been suspect; inf if none."""
    low = _end(sorted(logs), SLOWER)
    return math.expm1(math.log1p(rule.tolerance) + float(np.median(logs)) - low) if math.isfinite(low) else math.inf


def forecast(logs: Sequence[float], rule: Rule) -> tuple[Call, int] | None:
    """The call that comes if further pairs are like the median, and how many of them it takes; None if none can."""
    middle = float(np.median(logs)) if len(logs) else math.log1p(rule.tolerance) / 2
    for count in range(1, SLOWER.max_pairs - len(logs) + 1):
        if (outcome := call([*logs, *[middle] * count], rule)) != "undecided":
            return outcome, count
    return None


def pairs_to_confirm(triples: Sequence[Triple], rule: Rule, cases: int) -> int | None:
    """How many further triples like the middle one decide about a suspect; None if none do."""
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
    """The lower end of sorted values: an order statistic, or the least of a few that is farther off than luck goes."""
    strays = test.strays(len(values))
    ends = [values[strays]] if strays is not None else []
    ends += [
        values[0] - slack.size for slack in test.slacks if enough(slack, test) <= len(values) and _agree(values, slack)
    ]
    return max(ends, default=-math.inf)


def _agree(values: Sequence[float], slack: Slack) -> bool:
    """Whether sorted values lie within the slack of each other: where they do not, luck goes farther than it says."""
    return values[-1] - values[0] <= slack.size


@cache
def enough(slack: Slack, test: Test) -> int:
    """How many pairs luck does not put beyond the slack, all of them, within the test's level."""
    return math.ceil(math.log(SHARE * test.level) / math.log(slack.chance) - 1e-9)


@cache
def _strays(test: Test) -> tuple[int | None, ...]:
    """By number of pairs, so that all looks together are wrong with the test's level: exact, by the paths between them.

    Of the level the first look takes what it needs, the others the rest in equal shares.
    """
    spent_level = 0.0
    limits: list[int | None] = [None] * test.min_pairs
    paths = np.array([1.0])  # the chance of each number of strays, of what no look has called yet
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
