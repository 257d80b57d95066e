"""Collect what a recommendation may choose from: qualities joined with their costs, and why others are excluded."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from convbench.analysis.inference.seed_table import SeedTable
from convbench.analysis.quality.qualities import Quality, costs_of, seed_table
from convbench.analysis.results import Group, Result
from convbench.core.grouping import grouped
from convbench.core.record import EAGER, Clip
from convbench.core.traits import FP32

CostName = str
"""A metric's short name: ``latency``, ``params``, ``memory``, ``flops``, or one that a user's own probe declares."""

LEAST_SEEDS = 2
"""Least number of sound runs: one run has no spread, so nothing can be shown of it."""

Why = Literal["dead", "failed", "unsound", "beyond", "few-seeds", "no-cost", "unknown-cost"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """An architecture's quality on a task and its cost in one variant; ``equal`` holds results of the same function."""

    quality: Quality
    result: Result
    equal: tuple[Result, ...] = ()

    @property
    def mean(self) -> float:
        assert self.quality.mean is not None
        return self.quality.mean

    def cost(self, name: str) -> float:
        """Return a cost in base units, infinite if it was not measured or is no number."""
        value = self.result.cost(name)
        return math.inf if value is None or math.isnan(value) else value


@dataclass(frozen=True, eq=False)
class Excluded:
    """A configuration that cannot be chosen, why, and its cost in its fastest variant; None if it has none."""

    quality: Quality
    why: Why
    result: Result | None = None


class TaskCandidates(NamedTuple):
    """A task on a clip shape, with what may be chosen for it and what may not; only the task if it was not run.

    ``several_clips`` says that the task was run on other shapes too.
    """

    task: str
    clip: Clip | None = None
    candidates: Sequence[Candidate] = ()
    excluded: Sequence[Excluded] = ()
    several_clips: bool = False


def gather(qualities: Sequence[Quality], results: Iterable[Result]) -> tuple[list[Candidate], list[Excluded]]:
    """Join qualities with their costs, once for each variant that a quality applies to, and list the excluded ones.

    A quality needs a cost and enough sound seeds, and at most half of its ended runs may have collapsed. All costs are
    of one comparable group, see ``common_group``. A quality measured in eager also applies to the other variants with
    its type of numbers, since none of these numbers changes beyond rounding. An exception is a variant in which any of
    these qualities was evaluated. A variant that was evaluated itself has its own quality, whatever its type of
    numbers. Other precision is left out.
    """
    measurements = list(results)
    own_variants = {quality.variant for quality in qualities} - {EAGER}
    costs = {id(quality): _own_costs(quality, costs_of(quality, measurements), own_variants) for quality in qualities}
    group = common_group(qualities, [costs[id(quality)] for quality in qualities])
    candidates, excluded = [], []
    for quality in qualities:
        group_costs = [cost for cost in costs[id(quality)] if without_dtype(cost.group) == group]
        why = _reason(quality, group_costs)
        members = sorted((Candidate(quality, cost) for cost in group_costs), key=lambda member: rank(member, "latency"))
        candidates += members if why is None else []
        excluded += [Excluded(quality, why, members[0].result if members else None)] if why else []
    return candidates, excluded


def _own_costs(quality: Quality, costs: Sequence[Result], own_variants: Collection[str]) -> list[Result]:
    """Return the costs of an architecture in the variants that the quality applies to."""
    if quality.variant != EAGER:
        return [cost for cost in costs if cost.case.variant_name == quality.variant]
    numbers = {cost.group.dtype for cost in costs if not cost.case.variant} or {FP32}
    return [cost for cost in costs if cost.group.dtype in numbers and cost.case.variant_name not in own_variants]


def without_dtype(group: Group) -> Group:
    """Return the group without its type of numbers, for costs whose accuracy was measured anyway."""
    return group._replace(dtype="")


def cheapest_each(candidates: Iterable[Candidate], name: CostName) -> list[Candidate]:
    """Return the cheapest variant of each architecture, and each variant that was evaluated itself; by rising cost.

    Architectures with equal parameters, FLOPs, accuracies and right clips from every seed are one function: only the
    cheapest stays.
    """
    cheapest: dict[Hashable, Candidate] = {}
    for candidate in sorted(candidates, key=lambda candidate: rank(candidate, name)):
        cheapest.setdefault((candidate.quality.architecture, candidate.quality.variant), candidate)
    groups = grouped(
        cheapest.values(), lambda member: (member.result.params, member.result.flops, *_function(member.quality))
    )
    return [
        Candidate(candidate.quality, candidate.result, tuple(twin.result for twin in twins))
        for candidate, *twins in groups.values()
    ]


def of_unknown_cost(
    candidates: Sequence[Candidate],
    pool: Sequence[Candidate],
    limits: Mapping[CostName, float],
    costs: Sequence[CostName] = (),
) -> list[Candidate]:
    """Return the candidates of which no variant is in the pool, though one may meet the limits.

    Such a variant meets every limit whose metric was measured, and lacks a limited metric or one of these costs.
    """
    members = {(member.quality.architecture, member.quality.variant) for member in pool}
    unknown: dict[Hashable, Candidate] = {}
    for candidate in candidates:
        result, key = candidate.result, (candidate.quality.architecture, candidate.quality.variant)
        unknown_costs = {name for name in (*limits, *costs) if math.isinf(candidate.cost(name))}
        may_meet = all(name in unknown_costs or result.within(name, limit) for name, limit in limits.items())
        if key not in members and unknown_costs and may_meet:
            unknown.setdefault(key, candidate)
    return list(unknown.values())


def _function(quality: Quality) -> tuple[Hashable, ...]:
    """Return what is equal only for the same function; if all clips were right, equal accuracies show nothing."""
    if all(accuracy == 1 for accuracy in quality.by_seed.values()):
        return quality.architecture, quality.variant
    return tuple(quality.by_seed.items()), tuple((seed, answers.right) for seed, answers in quality.answers.items())


def rank(candidate: Candidate, name: CostName) -> tuple[float, float, float, str]:
    """Return the key that orders candidates: the requested cost, then parameters, latency and id."""
    return (candidate.cost(name), candidate.cost("params"), candidate.cost("latency"), candidate.result.case.id)


def table_of(candidates: Sequence[Candidate]) -> SeedTable:
    """Return the seed table of the candidates' qualities."""
    return seed_table([candidate.quality for candidate in candidates])


def _reason(quality: Quality, costs: Sequence[Result]) -> Why | None:
    if not quality.by_seed and not (quality.collapsed or quality.failed):
        return "beyond"
    if not quality.by_seed:
        causes: dict[Why, int] = {"dead": quality.collapsed, "failed": quality.failed}
        reasons = [why for why, count in causes.items() if count]
        return reasons[0] if len(reasons) == 1 else "unsound"
    if 2 * quality.collapsed > quality.ended:
        return "dead"
    if len(quality.by_seed) < LEAST_SEEDS:
        return "few-seeds"
    return None if costs else "no-cost"


def common_group(qualities: Sequence[Quality], costs: Sequence[Sequence[Result]]) -> Group | None:
    """Return the comparable group to take costs from; None without costs.

    A timed group comes first, then one with clips as long as the qualities', then the one with most architectures.
    """
    members: dict[Group, set[int]] = defaultdict(set)
    is_timed: dict[Group, bool] = defaultdict(bool)
    is_as_long: dict[Group, bool] = {}
    for i, (quality, results) in enumerate(zip(qualities, costs, strict=True)):
        for result in results:
            is_as_long[without_dtype(result.group)] = result.case.clip.frames == quality.clip.frames
            members[without_dtype(result.group)].add(i)
            is_timed[without_dtype(result.group)] |= result.latency is not None
    return max(members, key=lambda group: (is_timed[group], is_as_long[group], len(members[group])), default=None)
