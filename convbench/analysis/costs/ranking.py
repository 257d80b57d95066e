"""Which models of a run stand in one ranking, in which order, and which of them cannot be told from the fastest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from convbench.analysis.costs.likeness import alike, situation
from convbench.analysis.results import Result, latency_ratios
from convbench.core.grouping import grouped
from convbench.core.statistics import Interval

MARGIN = 1.10
"""Below this ratio no difference between two processes is claimed: their own spread is of that order (measuring.md)."""

KNOWN_WIDTH = 0.03
"""Relative half width from which on a ratio is not worth another visit: in another run it is another by as much."""


@dataclass(frozen=True)
class Contender:
    """A model (a reducer at an LSTM input size) and its latency over that of the fastest alike."""

    result: Result
    factor: Interval

    @property
    def tied(self) -> bool:
        """Whether it cannot be told from the fastest: unbounded, or within ``MARGIN`` by its interval."""
        return self.factor.low <= MARGIN

    @property
    def open(self) -> bool:
        """Whether more visits could tell it from the fastest, or from what is slower."""
        return self.factor.low <= MARGIN < self.factor.high and self.factor.relative_half_width > KNOWN_WIDTH


class Factor(NamedTuple):
    """A case's latency over that of the fastest alike, and the index of that one."""

    over: Interval
    fastest: int


class Quicker(NamedTuple):
    """A model in another variant than a pick's, and the pick's latency over its own: above 1 it is faster.

    ``own`` says that it is the pick's own model.
    """

    result: Result
    speedup: Interval
    own: bool


def rank(group: Iterable[Result]) -> list[Contender]:
    """The models of cases that are alike, fastest first; by parameters where nothing is timed.

    Of cases in several variants each model's fastest counts; whoever compares reducers gives one variant.
    """
    groups = grouped(group, lambda result: result.case.architecture)
    models = sorted((min(variants, key=_speed) for variants in groups.values()), key=_speed)
    if not models:
        return []
    return [Contender(result, factor) for result, factor in zip(models, factors_over(models, models[0]), strict=True)]


def largest_group(results: Sequence[Result]) -> list[Result]:
    """The comparable group, on one backbone and recurrent stage, with most reducers, then most cases."""
    return max(grouped(results, situation).values(), key=_breadth, default=[])


def _breadth(group: list[Result]) -> tuple[bool, int, int]:
    return (group[0].case.scenario == "inference", len({result.series for result in group}), len(group))


def _speed(result: Result) -> tuple[float, float, int, str]:
    case = result.case
    return (result.latency.median if result.latency else math.inf, _size(result), len(case.variant), case.id)


def _size(result: Result) -> float:
    return math.inf if result.params is None else result.params


def factors_over(results: Sequence[Result], fastest: Result) -> list[Interval]:
    """The latency of each over the fastest's, from the visits that both had in the same rounds; 1 without latencies."""
    rivals = [result for result in results if result is not fastest]
    ratios = dict(zip(map(id, rivals), latency_ratios([(rival, fastest) for rival in rivals]), strict=True))
    return [ratios.get(id(result)) or Interval(1.0, 1.0, 1.0) for result in results]


def factors(results: Sequence[Result]) -> dict[int, Factor]:
    """By its index each timed case's latency over that of the fastest alike, as the ranking has it."""
    indices = (i for i, result in enumerate(results) if result.latency and result.record.status == "ok")
    factor_by_index: dict[int, Factor] = {}
    for members in grouped(indices, lambda i: alike(results[i])).values():
        fastest = min(members, key=lambda i: _speed(results[i]))
        ratios = factors_over([results[i] for i in members], results[fastest])
        factor_by_index |= {i: Factor(interval, fastest) for i, interval in zip(members, ratios, strict=True)}
    return factor_by_index


def quickest(pick: Result, members: Sequence[Result]) -> Quicker | None:
    """What of these is faster than the pick in another variant, beyond ``MARGIN`` by its interval; None where none is.

    The pick's own model in the variant that is fastest for it; where that is not faster, or was not measured, of the
    models tied as the fastest the lightest.
    """
    rivals = [result for result in members if result.timing and result.case.variant_name != pick.case.variant_name]
    own_results = [result for result in rivals if result.case.architecture == pick.case.architecture]
    for group in (own_results, rivals):
        tied_results = [contender.result for contender in rank(group) if contender.tied]
        if tied_results and (speedup := factors_over([pick], winner := lightest(tied_results))[0]).low > MARGIN:
            return Quicker(winner, speedup, own=group is own_results)
    return None


def lightest(results: Sequence[Result]) -> Result:
    """The one with the fewest parameters, of several such the fastest; no control where there is anything else."""
    return min(learned(results), key=lambda result: (_size(result), *_speed(result)))


def as_light(pick: Result, results: Sequence[Result]) -> list[Result]:
    """Those of these that may be advised and have as few parameters as the pick, which is one of them."""
    return [result for result in learned(results) if _size(result) <= _size(pick)]


def learned(results: Sequence[Result]) -> list[Result]:
    """Those of these that may be advised: no control where there is anything else."""
    return [result for result in results if position(result) != "control"] or list(results)


def position(result: Result) -> str | None:
    """What the reducer does to position, ``kept`` or ``lost``, or that it is a ``control``, as the record has it.

    A control is frozen, to separate size from learning: ranked, but advised only where there is nothing else. Of a
    reducer that says nothing, None.
    """
    conditions = result.record.conditions
    if conditions.get("control"):
        return "control"
    return str(conditions["position"]) if conditions.get("position") else None
