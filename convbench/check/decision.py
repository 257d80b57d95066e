"""From log ratios of pairs to a verdict: pure functions, no clock, no process.

A log ratio is ``log(head / base)`` of one pair of fresh processes, positive where head is slower. At each look a case
may be called ok or suspect; what is neither gets more pairs. Error is spent over the looks so that all of them
together, over all cases, call a same-speed case suspect with at most ``alpha`` (Lan and DeMets' alpha spending).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import wilcoxon

from convbench.check.rule import Rule

Call = Literal["ok", "suspect", "undecided"]
Confirmation = Literal["regression", "ok", "undecided"]
PASS_LEVEL = 0.01
CONFIRM_LEVELS = {12: 0.005, 20: 0.005}
"""New pairs at each look at a suspect, and the level it is tested at there: 1 % in all.

Twelve pairs at 1 % confirm 97 % of true 5 % slowdowns where a pair's spread is 2 % and 67 % where it is 3 %; the two
looks confirm 99.9 % and 91 %.
"""
CONFIRM_AT_MOST = 28
OFF = 0.10
"""Base against itself, in one pair, beyond which the pair tells of the machine and not of the code.

A process may be slower by a half or more for as long as it lives, and twelve pairs with one such base among them
confirm nothing. The pairs are chosen by base alone, so that choosing favours no verdict on head.
"""
SPENT = {8: 0.0, 14: 0.2, 20: 0.2, 26: 0.25, 32: 0.35}
"""Pairs at each look, and the share of alpha that may be spent at it."""


class Ratio(NamedTuple):
    """Head over base: the Hodges-Lehmann estimate and its Walsh interval."""

    estimate: float
    low: float
    high: float


def looks() -> tuple[int, ...]:
    return tuple(SPENT)


def next_look(pairs: int) -> int | None:
    """How many pairs the next look needs, None after the last."""
    return next((look for look in SPENT if look > pairs), None)


def call(logs: Sequence[float], rule: Rule, cases: int) -> Call:
    """The verdict of the pairs so far. Between looks nothing can be called."""
    if len(logs) not in SPENT:
        return "undecided"
    if SPENT[len(logs)] and _above(logs, rule.tolerance) <= _level(len(logs), rule, cases):
        return "suspect"
    return "ok" if below(logs, rule.guard) <= PASS_LEVEL else "undecided"


def decide(logs: Sequence[float], rule: Rule, cases: int) -> Call:
    """The first call that the looks made on the way to ``logs``."""
    calls = (call(logs[:look], rule, cases) for look in SPENT if look <= len(logs))
    return next((made for made in calls if made != "undecided"), "undecided")


def confirmation(slower: Sequence[float], null: Sequence[float], rule: Rule) -> Confirmation:
    """What the looks at a suspect's new pairs come to, where base against itself shows no difference in them.

    It is a regression where they show the slowdown again.
    """
    for look, level in CONFIRM_LEVELS.items():
        if look > len(slower) or not clean(null[:look], rule):
            continue
        if _above(slower[:look], rule.tolerance) <= level:
            return "regression"
        if below(slower[:look], rule.guard) <= PASS_LEVEL:
            return "ok"
    return "undecided"


def repeats(null: float) -> bool:
    """Whether base came near enough to itself in a pair, as a log ratio, for the pair to count."""
    return abs(null) <= math.log1p(OFF)


def clean(null: Sequence[float], rule: Rule) -> bool:
    """Whether base against itself stayed within the tolerance both ways."""
    return abs(math.log(ratio(null).estimate)) <= math.log1p(rule.tolerance)


def below(logs: Sequence[float], slowdown: float) -> float:
    """Exact one-sided p of "the slowdown is at least this much"."""
    return _wilcoxon(np.asarray(logs) - math.log1p(slowdown), "less")


def ratio(logs: Sequence[float], level: float = 0.95) -> Ratio:
    """Hodges-Lehmann estimate (median of the Walsh averages) and the interval that inverts the exact signed-rank test.

    Unbounded where too few pairs were measured for the level.
    """
    walsh = _walsh(logs)
    rank = _walsh_rank(len(logs), (1 - level) / 2)
    low, high = (walsh[rank - 1], walsh[-rank]) if rank else (-math.inf, math.inf)
    return Ratio(math.exp(float(np.median(walsh))), math.exp(low), math.exp(high))


def smallest_visible(logs: Sequence[float], rule: Rule, cases: int) -> float:
    """The smallest slowdown that pairs with this spread would have shown as suspect at the last look; inf if none.

    The pairs are moved as a whole until the test would have called them.
    """
    centred = np.asarray(logs) - math.log(ratio(logs).estimate)
    level = _level(max(SPENT), rule, cases)
    low, high = 0.0, 8.0
    if _above(centred + high, rule.tolerance) > level:
        return math.inf
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if _above(centred + middle, rule.tolerance) <= level else (middle, high)
    return math.expm1(high)


def _level(pairs: int, rule: Rule, cases: int) -> float:
    return rule.alpha / cases * SPENT[pairs]


def _above(logs: Sequence[float] | np.ndarray, slowdown: float) -> float:
    return _wilcoxon(np.asarray(logs) - math.log1p(slowdown), "greater")


def _wilcoxon(differences: np.ndarray, alternative: Literal["less", "greater"]) -> float:
    return float(wilcoxon(differences, alternative=alternative, method="exact").pvalue)


def _walsh(logs: Sequence[float]) -> np.ndarray:
    values = np.asarray(logs, dtype=float)
    rows, columns = np.triu_indices(len(values))
    return np.sort((values[rows] + values[columns]) / 2)


def _walsh_rank(pairs: int, tail: float) -> int:
    """The largest k with P(signed-rank statistic < k) <= tail, from its exact distribution; 0 where there is none."""
    counts = np.ones(1)
    for rank in range(1, pairs + 1):
        counts = np.convolve(counts, np.concatenate(([1.0], np.zeros(rank - 1), [1.0])))
    return int(np.count_nonzero(np.cumsum(counts) / counts.sum() <= tail))
