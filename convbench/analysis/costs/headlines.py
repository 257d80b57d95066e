"""State what the measured costs support, as plain data; ``report.words`` puts it into words.

Only costs were measured, so nothing here is called an optimum. The rule is explicit: among the models that cannot be
told from the fastest, pick the one with the fewest parameters, and of equal ones the fastest. A second pick follows the
same rule among the reducers that keep positions. If nothing is timed, a model whose FLOPs are only partly counted is
picked only if there is no other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from convbench.analysis.costs.crossover import crossover
from convbench.analysis.costs.gains import VariantGain, by_variant, gains
from convbench.analysis.costs.likeness import one_variant, situation
from convbench.analysis.costs.ranking import (
    MARGIN,
    Contender,
    Quicker,
    answering_group,
    contenders,
    exclude_controls,
    factors_over,
    largest_group,
    lightest,
    position,
    quickest,
    rank,
)
from convbench.analysis.results import Result, measured_results
from convbench.core.findings import UNCOUNTED_OPERATORS, WITHHELD
from convbench.core.grouping import grouped
from convbench.core.record import Whole

UNSURE_WIDTH = 0.2
"""Relative half width of the pick's latency above which confidence in the answer is low.

It is low, too, if the pick may be slower than the fastest by more than this.
"""
VAGUE_WIDTH = 0.05
"""Relative half width of the fastest's latency, by its visits alone, above which it is worth another visit."""


class Confidence(NamedTuple):
    """How sure the ranking is, and the figures behind that.

    ``visits`` is the fewest of any contender, None if visits are unknown. ``open`` counts contenders that may or may
    not be tied with the fastest, ``withheld`` the cases that were never measured undisturbed. ``half_width`` is the
    pick's, relative. ``most`` is the upper end of the pick's latency over the fastest's.
    """

    visits: int | None
    open: int
    withheld: int
    half_width: float
    most: float

    @property
    def level(self) -> str:
        """The confidence in words: ``high``, ``medium`` or ``low``."""
        if self.visits is None or self.visits < 2 or max(self.half_width, self.most - 1) > UNSURE_WIDTH:
            return "low"
        return "medium" if self.open or self.withheld else "high"


class Leader(NamedTuple):
    """The fastest of another situation than the pick's, and how many others there cannot be told from it."""

    result: Result
    tie_count: int


@dataclass(frozen=True)
class Headline:
    """The answer as data. ``ranking`` holds contenders that are alike (``costs.likeness``), fastest first.

    ``pick`` is the tied contender with the fewest parameters, of equal ones the fastest. ``position_pick`` is the same
    among reducers that keep positions; None if the pick keeps them or may, or if none does. ``dearest`` is the
    contender with the most parameters, then FLOPs. ``crossover`` is the LSTM input size at which the LSTM's MACs equal
    the backbone's. ``leaders`` are the fastest of every other situation, the one with most cases first. ``quickest`` is
    a model that is faster than the pick in another variant, preferably the pick's own. ``confidence`` is that of the
    ranking, None if nothing was timed. ``mixed`` ranks own models and ours together, as whole networks: all that share
    the pick's group and variant; empty unless there are both. ``controls_aside`` says that ``ranking`` leaves out the
    controls, because nothing else is as fast.
    """

    ranking: tuple[Contender, ...] = ()
    pick: Result | None = None
    position_pick: Result | None = None
    dearest: Result | None = None
    crossover: float | None = None
    variants: tuple[VariantGain, ...] = ()
    leaders: tuple[Leader, ...] = ()
    timed: bool = False
    confidence: Confidence | None = None
    quickest: Quicker | None = None
    mixed: tuple[Contender, ...] = ()
    controls_aside: bool = False

    @property
    def tied(self) -> list[Result]:
        """The contenders that cannot be told from the fastest, fastest first."""
        return [contender.result for contender in self.ranking if contender.tied]

    @property
    def ties(self) -> list[Result]:
        """The contenders that are tied with each other; empty if the fastest stands alone or nothing is timed."""
        return self.tied if self.timed and len(self.tied) > 1 else []

    @property
    def has_rivals(self) -> bool:
        """Whether the pick was chosen among several models, or another model leads in another situation."""
        architectures = {leader.result.case.architecture for leader in self.leaders}
        return len(self.ranking) > 1 or bool(self.pick and architectures - {self.pick.case.architecture})

    @property
    def of_one(self) -> bool:
        """Whether all contenders are sizes or options of one reducer."""
        return len(self.ranking) > 1 and len({contender.result.row for contender in self.ranking}) == 1

    @property
    def by_series(self) -> list[Contender]:
        """The fastest contender of each reducer or own model, and the results that the headline names, as ranked.

        If all contenders are of one reducer, it is all of them.
        """
        if self.of_one:
            return list(self.ranking)
        fastest: dict[str | Whole, Contender] = {}
        for contender in self.ranking:
            fastest.setdefault(contender.result.row, contender)
        return [
            contender
            for contender in self.ranking
            if contender is fastest[contender.result.row] or self.names(contender.result)
        ]

    def names(self, result: Result) -> bool:
        """Whether the result is the headline's pick, or its pick if position matters."""
        return result is self.pick or result is self.position_pick

    @property
    def is_ordered(self) -> bool:
        """Whether a measurement orders the contenders: their latency, or else their parameters."""
        return self.timed or bool(self.pick and self.pick.params is not None)


def headline_of(results: Sequence[Result]) -> Headline:
    """Return the answer that these results support; empty if nothing was measured."""
    return _headline(tuple(results))


@lru_cache(maxsize=2)
def _headline(results: tuple[Result, ...]) -> Headline:
    """Cached because the words, tables and figures of a page ask for the same headline. Results never change."""
    timed_results = [result for result in measured_results(results) if result.latency]
    members = answering_group(results)
    group = one_variant(members)
    if not group:
        return Headline()
    ranking = contenders(group)
    tied_results = [contender.result for contender in ranking if contender.tied]
    pick = lightest(tied_results) if timed_results else smallest(tied_results)
    return Headline(
        ranking=tuple(ranking),
        pick=pick,
        position_pick=_position_pick(ranking, pick),
        dearest=max(
            (contender.result for contender in ranking), key=lambda result: (result.params or 0, result.flops or 0)
        ),
        crossover=crossover(group[0]),
        variants=tuple(by_variant(gains(timed_results))),
        leaders=tuple(_elsewhere(timed_results, group[0])),
        timed=bool(timed_results),
        confidence=_confidence(ranking, pick, withheld_results(results)) if timed_results else None,
        quickest=quickest(pick, members),
        mixed=tuple(_mixed(timed_results, pick)),
        controls_aside=len(ranking) < len({result.case.architecture for result in group}),
    )


def smallest(results: Sequence[Result]) -> Result:
    """Return the lightest of results that are not timed; one with partly counted FLOPs only if there is no other."""
    candidates = exclude_controls(results)
    return lightest([result for result in candidates if not uncounted_operators(result)] or candidates)


def withheld_results(results: Sequence[Result]) -> list[Result]:
    """Return the cases whose times were never taken undisturbed: they are in no ranking, front or gain."""
    return [result for result in measured_results(results) if any(f.code == WITHHELD for f in result.record.findings)]


def _confidence(ranking: Sequence[Contender], pick: Result, withheld_results: Sequence[Result]) -> Confidence:
    visits = [len(contender.result.timing.logs) for contender in ranking if contender.result.timing]
    half_width = pick.latency.relative_half_width if pick.latency else math.inf
    count = sum(contender.open for contender in ranking)
    most = next(contender.factor.high for contender in ranking if contender.result is pick)
    return Confidence(min(visits, default=0) or None, count, len(withheld_results), half_width, most)


def undecided_results(results: Sequence[Result]) -> list[Result]:
    """Return the results to visit again, fastest first: the fastest, and those that may or may not be as good.

    Empty if the answer is settled: the fastest's interval is narrow, and every contender is tied or slower by its whole
    interval, or its ratio is known to 3 %.
    """
    timed_results = [result for result in measured_results(results) if result.timing and result.timing.logs]
    ranking = contenders(one_variant(largest_group(timed_results)))
    open_contenders = [contender.result for contender in ranking[1:] if contender.open]
    fastest = [contender.result for contender in ranking[:1]]
    is_vague = any(r.timing and r.timing.by_visits.relative_half_width > VAGUE_WIDTH for r in fastest)
    return [*fastest, *open_contenders] if is_vague or open_contenders else []


def count_noisy(results: Sequence[Result], codes: Container[str]) -> Counter[str]:
    """Count the measured cases that carry each of these findings, which make a latency doubtful."""
    return Counter(f.code for result in measured_results(results) for f in result.record.findings if f.code in codes)


def uncounted_operators(result: Result) -> tuple[str, ...]:
    """Return the operators that are missing in a model's MACs and FLOPs, usually none.

    With any, these counts are lower bounds.
    """
    names = (f.data.get("operators") for f in result.record.findings if f.code == UNCOUNTED_OPERATORS)
    operators = next(names, None) or ()
    return operators if isinstance(operators, tuple) else (str(operators),)


def uncounted_share(result: Result) -> float:
    """Return the share of a model's parameters that only uncounted operators read."""
    shares = (f.data.get("share") or 0.0 for f in result.record.findings if f.code == UNCOUNTED_OPERATORS)
    return max((float(share) for share in shares if isinstance(share, (int, float))), default=0.0)


def _position_pick(ranking: Sequence[Contender], pick: Result) -> Result | None:
    """Return the lightest of the fastest models that keep positions; None if the pick keeps them, or may."""
    keepers = [contender for contender in ranking if position(contender.result) == "kept"]
    if position(pick) != "lost" or not keepers:
        return None
    results = [contender.result for contender in keepers]
    factors = factors_over(results, results[0])
    return lightest([result for result, factor in zip(results, factors, strict=True) if factor.low <= MARGIN])


def _mixed(timed_results: Sequence[Result], pick: Result) -> list[Contender]:
    """Rank the models that are called like the pick, if own ones and ours are among them."""
    members = [
        result
        for result in timed_results
        if (result.group, result.case.variant_name) == (pick.group, pick.case.variant_name)
    ]
    kinds = {type(result.case.architecture) for result in members}
    return rank(members) if len(kinds) > 1 else []


def _elsewhere(timed_results: Sequence[Result], member: Result) -> list[Leader]:
    situations = grouped(timed_results, situation)
    situations.pop(situation(member), None)
    rankings = [rank(members) for members in sorted(situations.values(), key=len, reverse=True)]
    return [Leader(ranking[0].result, sum(contender.tied for contender in ranking) - 1) for ranking in rankings]
