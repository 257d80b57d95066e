"""Rank the models of a run: which ones are comparable, in which order, and which cannot be told from the fastest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from convbench.analysis.costs.likeness import peers, situation
from convbench.analysis.results import Result, latency_ratios, measured_results
from convbench.core.grouping import grouped
from convbench.core.statistics import Interval, tail_of_selected

MARGIN = 1.10
"""Ratio below which no difference between two processes is claimed: their spread is of that order (measuring.md)."""

KNOWN_WIDTH = 0.03
"""Relative half width up to which a ratio is not worth another visit: another run would differ by as much."""


@dataclass(frozen=True)
class Contender:
    """A model (a reducer at an LSTM input size), and its latency over that of the fastest model alike."""

    result: Result
    factor: Interval

    @property
    def tied(self) -> bool:
        """Whether the model cannot be told from the fastest: its interval reaches ``MARGIN``, or is unbounded."""
        return self.factor.low <= MARGIN

    @property
    def open(self) -> bool:
        """Whether more visits could tell the model from the fastest, or from slower ones."""
        return self.factor.low <= MARGIN < self.factor.high and self.factor.relative_half_width > KNOWN_WIDTH


class Factor(NamedTuple):
    """A case's latency over that of its fastest peer, and the index of that peer."""

    ratio: Interval
    fastest: int


class Quicker(NamedTuple):
    """A model in another variant than a pick's; ``is_own`` says that it is the pick's own model.

    ``speedup`` is the pick's latency over the model's: above 1 the model is faster.
    """

    result: Result
    speedup: Interval
    is_own: bool


def rank(group: Iterable[Result]) -> list[Contender]:
    """Rank the models of cases that are alike, fastest first; by parameters, then FLOPs, if nothing is timed.

    If a model has cases in several variants, its fastest one counts. To compare reducers, pass cases of one variant.
    """
    groups = grouped(group, lambda result: result.case.architecture)
    models = sorted((min(variants, key=_speed) for variants in groups.values()), key=_speed)
    if not models:
        return []
    return [Contender(result, factor) for result, factor in zip(models, factors_over(models, models[0]), strict=True)]


def contenders(group: Iterable[Result]) -> list[Contender]:
    """Rank the models of cases that are alike, without controls if only controls tie with the fastest."""
    members = list(group)
    ranking = rank(members)
    is_advisable = any(contender.tied and not is_control(contender.result) for contender in ranking)
    return ranking if is_advisable else rank(exclude_controls(members))


def largest_group(results: Sequence[Result]) -> list[Result]:
    """Return the comparable group to rank: one that infers, then the one with most reducers, then with most cases.

    Its cases share backbone and recurrent stage.
    """
    return max(grouped(results, situation).values(), key=_breadth, default=[])


def answering_group(results: Sequence[Result]) -> list[Result]:
    """Return the ``largest_group`` of the measured results: of those with a latency, or of all if nothing is timed."""
    cases = measured_results(results)
    return largest_group([result for result in cases if result.latency] or cases)


def _breadth(group: list[Result]) -> tuple[bool, int, int]:
    return (group[0].case.scenario == "inference", len({result.series for result in group}), len(group))


def _speed(result: Result) -> tuple[float, float, float, int, str]:
    case = result.case
    latency = result.latency.median if result.latency else math.inf
    return (latency, _size(result), _work(result), len(case.variant), case.id)


def _work(result: Result) -> float:
    return math.inf if result.flops is None else result.flops


def _size(result: Result) -> float:
    return math.inf if result.params is None else result.params


def factors_over(results: Sequence[Result], fastest: Result) -> list[Interval]:
    """Divide each latency by the fastest's, by the visits of both in the same rounds; 1 for results without latency.

    If several cannot be told from the fastest, intervals are wider, because the fastest may be so by luck.
    """
    rivals = [result for result in results if result is not fastest]
    pairs = [(rival, fastest) for rival in rivals]
    intervals = latency_ratios(pairs)
    untold = 1 + sum(ratio is not None and ratio.low <= 1 <= ratio.high for ratio in intervals)
    if untold > 2:
        intervals = latency_ratios(pairs, tail_of_selected(untold))
    ratios = dict(zip(map(id, rivals), intervals, strict=True))
    return [ratios.get(id(result)) or Interval(1.0, 1.0, 1.0) for result in results]


def factors(results: Sequence[Result]) -> dict[int, Factor]:
    """Return each timed case's latency over that of its fastest peer (``likeness.peers``), by index."""
    indices = (i for i, result in enumerate(results) if result.latency and result.record.status == "ok")
    factor_by_index: dict[int, Factor] = {}
    peer_by_index = peers(results)
    for members in grouped(indices, peer_by_index.__getitem__).values():
        fastest = min(members, key=lambda i: _speed(results[i]))
        ratios = factors_over([results[i] for i in members], results[fastest])
        factor_by_index |= {i: Factor(interval, fastest) for i, interval in zip(members, ratios, strict=True)}
    return factor_by_index


def reorders(results: Sequence[Result]) -> bool:
    """Whether factors, which are paired by visits, order similar cases otherwise than their latencies do."""
    by_latency = sorted(factors(results).items(), key=lambda item: _speed(results[item[0]]))
    groups = grouped((factor for _, factor in by_latency), lambda factor: factor.fastest).values()
    return any(after.ratio.median < before.ratio.median for group in groups for before, after in pairwise(group))


def quickest(pick: Result, members: Sequence[Result]) -> Quicker | None:
    """Return a model that is faster than the pick in another variant, by more than ``MARGIN``; None without any.

    This is the pick's own model in its fastest variant. If that is not faster or was not measured, it is the lightest
    of the models that are tied as the fastest.
    """
    rivals = [result for result in members if result.timing and result.case.variant_name != pick.case.variant_name]
    own_results = [result for result in rivals if result.case.architecture == pick.case.architecture]
    for group in (own_results, rivals):
        tied_results = [contender.result for contender in contenders(group) if contender.tied]
        if tied_results and (speedup := factors_over([pick], winner := lightest(tied_results))[0]).low > MARGIN:
            return Quicker(winner, speedup, is_own=group is own_results)
    return None


def lightest(results: Sequence[Result]) -> Result:
    """Return the result with the fewest parameters, of equal ones the fastest or, if untimed, that of fewest FLOPs.

    A control is returned only among controls.
    """
    return min(exclude_controls(results), key=lambda result: (_size(result), *_speed(result)))


def as_light(pick: Result, results: Sequence[Result]) -> list[Result]:
    """Return the advisable results with no more parameters than the pick, which is one of them."""
    return [result for result in exclude_controls(results) if _size(result) <= _size(pick)]


def exclude_controls(results: Sequence[Result]) -> list[Result]:
    """Return the results that may be advised: all but controls, or all if there are only controls."""
    return [result for result in results if not is_control(result)] or list(results)


def is_control(result: Result) -> bool:
    """Whether the reducer serves only for comparison, such as a frozen one that separates size from learning.

    It is ranked, but advised only if there is nothing else.
    """
    return bool(result.record.conditions.get("control"))


def position(result: Result) -> str | None:
    """Return what the reducer does to position, ``kept`` or ``lost``, as the record says; None for a control."""
    value = result.record.conditions.get("position")
    return str(value) if value and not is_control(result) else None
