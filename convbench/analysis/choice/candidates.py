"""What a recommendation may choose from: qualities joined with their costs, and why others are left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from convbench.analysis.choice.dominance import Floats
from convbench.analysis.quality.qualities import Quality, costs_of, seed_table
from convbench.analysis.results import Group, Result

CostName = str
"""A metric's short name: ``latency``, ``params``, ``memory``, ``flops``, or one that a user's own probe declares."""

EAGER = "eager"
LEAST_SEEDS = 2
"""Of sound runs; one has no spread, so nothing can be shown of it."""

Why = Literal["dead", "failed", "unsound", "few-seeds", "no-cost"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An architecture's quality on a task and what it costs in one variant; ``equal`` are found to be the same."""

    quality: Quality
    result: Result
    equal: tuple[Result, ...] = ()

    @property
    def mean(self) -> float:
        assert self.quality.mean is not None
        return self.quality.mean

    def cost(self, name: str) -> float:
        """A cost in base units, infinite where it was not measured."""
        value = self.result.cost(name)
        return float("inf") if value is None else value

    def meets(self, constraints: Mapping[CostName, float]) -> bool:
        """Whether it is within every limit: a maximum, or a minimum of a metric of which more is better."""
        return all(self.within(name, limit) for name, limit in constraints.items())

    def within(self, name: CostName, limit: float) -> bool:
        """Whether it is within one limit; never where the metric was not measured."""
        metric = self.result.metric(name)
        value = self.result.value(metric) if metric else None
        return metric is not None and value is not None and metric.sign * value <= metric.sign * limit


@dataclass(frozen=True, eq=False)
class Excluded:
    """A configuration that cannot be chosen, and why."""

    quality: Quality
    why: Why


def gather(found: Sequence[Quality], results: Iterable[Result]) -> tuple[list[Candidate], list[Excluded]]:
    """Every quality that has enough sound seeds and a cost, once for each variant whose quality it is.

    Costs are of one comparable group: the one that holds most of the architectures. Quality that was measured in fp32
    and eager is that of the other fp32 variants too, since no number of theirs changes beyond rounding. A variant that
    was evaluated itself has its own quality, so that its type of numbers is no bar; other lower precision is left out.
    """
    every = list(results)
    own = {one.variant for one in found} - {EAGER}
    costs = {id(one): [cost for cost in costs_of(one, every) if _is_of(one, cost, own)] for one in found}
    group = _widest(costs.values())
    able, excluded = [], []
    for one in found:
        here = [cost for cost in costs[id(one)] if _any_number(cost.group) == group]
        why = _unusable(one, here)
        able += [Candidate(one, cost) for cost in here] if why is None else []
        excluded += [Excluded(one, why)] if why else []
    return able, excluded


def _is_of(quality: Quality, cost: Result, own: Collection[str]) -> bool:
    """Whether a cost is of the variant that has this quality."""
    if quality.variant != EAGER:
        return cost.case.variant_name == quality.variant
    return cost.group.dtype == "fp32" and cost.case.variant_name not in own


def _any_number(group: Group) -> Group:
    """The group whatever its type of numbers: what accuracy that costs was measured."""
    return group._replace(dtype="")


def cheapest_each(several: Iterable[Candidate], name: CostName) -> list[Candidate]:
    """Of each architecture its cheapest variant, and each that was evaluated apart; of one function the cheapest.

    By rising cost.
    Architectures with equal parameters, equal FLOPs and equal accuracy from every seed are one function.
    """
    best: dict[Hashable, Candidate] = {}
    for one in sorted(several, key=lambda one: rank(one, name)):
        best.setdefault((one.quality.architecture, one.quality.variant), one)
    same: dict[Hashable, list[Candidate]] = defaultdict(list)
    for one in best.values():
        same[one.result.params, one.result.flops, tuple(one.quality.by_seed.items())].append(one)
    return [Candidate(one.quality, one.result, tuple(other.result for other in rest)) for one, *rest in same.values()]


def rank(one: Candidate, name: CostName) -> tuple[float, float, float, str]:
    """What candidates are ordered by: the cost asked for, then parameters and latency."""
    return (one.cost(name), one.cost("params"), one.cost("latency"), one.result.case.id)


def by_seed(several: Sequence[Candidate]) -> Floats:
    """The seed table of the candidates' qualities."""
    return seed_table([one.quality for one in several])


def _unusable(one: Quality, costs: Sequence[Result]) -> Why | None:
    if not one.by_seed:
        causes: dict[Why, int] = {"dead": one.collapsed, "failed": one.failed}
        named = [why for why, count in causes.items() if count]
        return named[0] if len(named) == 1 else "unsound"
    if 2 * one.collapsed > one.ended:
        return "dead"
    if len(one.by_seed) < LEAST_SEEDS:
        return "few-seeds"
    return None if costs else "no-cost"


def _widest(costs: Iterable[Sequence[Result]]) -> Group | None:
    """The comparable group that holds most architectures, a timed one first."""
    holds: dict[Group, set[int]] = defaultdict(set)
    timed: dict[Group, bool] = defaultdict(bool)
    for i, several in enumerate(costs):
        for one in several:
            holds[_any_number(one.group)].add(i)
            timed[_any_number(one.group)] |= one.latency is not None
    return max(holds, key=lambda group: (timed[group], len(holds[group])), default=None)
