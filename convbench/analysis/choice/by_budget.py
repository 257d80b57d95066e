"""Compute the answers at every limit of latency and memory that a reader may set: the same as ``recommend`` gives.

An answer changes only if a limit admits another candidate, or could admit one of which a cost is not known. So it is
computed once for each such set of candidates.
If none is admitted it names the limits, so it is computed once for each pair of limits.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import compress
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from convbench.analysis.choice.by_task import at_last_look, questions_of
from convbench.analysis.choice.candidates import Candidate, CostName
from convbench.analysis.choice.choose import recommend
from convbench.analysis.choice.doubts import nearest
from convbench.analysis.choice.recommendation import Ask, Constraints, Recommendation, budgets
from convbench.analysis.costs import likeness
from convbench.analysis.costs.headlines import Leader, headline_of, smallest
from convbench.analysis.costs.ranking import answering_group, contenders, is_control, lightest
from convbench.analysis.results import Result, measured_results
from convbench.core.grouping import grouped
from convbench.core.metric import Metric

NAMES: tuple[CostName, ...] = ("latency", "memory")
TASKS = 4
LIMITS = 16
"""Greatest number of limits that are offered for one cost."""
MOST_CONTENDERS = 200
"""Greatest number of models that are compared: the fastest that fit. No slower one is tied with the fastest."""
DECIMAL_MANTISSAS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
BINARY_MANTISSAS = (1.0, 1.25, 1.5, 1.75)
Results = tuple[Result, ...]
M = TypeVar("M")
T = TypeVar("T")


class Miss(NamedTuple):
    """A limit that the nearest model misses, and that model's value of the metric, in base units."""

    metric: Metric
    value: float
    limit: float


class Affordable(NamedTuple):
    """How many of the ``models`` that are alike meet the limits (``number``), and which are ``tied`` as the fastest.

    ``pick`` is the lightest of these. If none meets the limits, ``number``, ``tied`` and ``pick`` are of the
    ``elsewhere`` models in other variants than ``variant``, each in its fastest variant that meets them. If none does
    there either, ``misses`` are the limits that the nearest of all misses. If latency was not measured, ``timed`` is
    False, none is tied, and the pick is the lightest of all that meet the limits. ``leaders`` are the fastest in the
    run's other situations, such as another clip, whose models are not counted; any models there if latency was not
    measured. ``member`` is one of the counted models. ``controls_aside`` says that only controls are faster than the
    ``tied`` models.
    """

    models: int
    variant: str
    member: Result | None = None
    number: int = 0
    tied: tuple[Result, ...] = ()
    pick: Result | None = None
    timed: bool = True
    elsewhere: int = 0
    misses: tuple[Miss, ...] = ()
    leaders: tuple[Leader, ...] = ()
    controls_aside: bool = False


class Grid(NamedTuple, Generic[T]):
    """Limits in base units by cost, the last of each infinite, and the answers: a row per latency, a column per memory.

    ``more`` counts the further tasks that were not asked.
    """

    limits: Mapping[CostName, tuple[float, ...]]
    answers: tuple[tuple[T, ...], ...]
    more: int = 0


def by_cost(results: Sequence[Result]) -> Grid[Affordable]:
    """Return the answers of a run without quality: of the models that the headline compares, those that fit."""
    situation, ties = answering_group(results), cache(_ties)
    blank = _blank(situation, results)
    return _grid(situation, _cost, lambda limits, candidates: _affordable(blank, situation, candidates, limits, ties))


def answer_within(results: Sequence[Result], limits: Constraints) -> Affordable:
    """Return the answer of ``by_cost`` at these limits, in base units, of any metrics of the run."""
    situation = answering_group(results)
    candidates = [result for result in situation if result.meets(limits)]
    return _affordable(_blank(situation, results), situation, candidates, limits, _ties)


def _blank(situation: Sequence[Result], results: Sequence[Result]) -> Affordable:
    """Return the answer as it is before limits apply: which models are alike."""
    members = likeness.one_variant(situation)
    variant = members[0].case.variant_name if members else ""
    is_timed = any(result.latency for result in members)
    member = members[0] if members else None
    leaders = headline_of(results).leaders if is_timed else _untimed_leaders(results, member)
    return Affordable(len(members), variant, member, timed=is_timed, leaders=leaders)


def _untimed_leaders(results: Sequence[Result], member: Result | None) -> tuple[Leader, ...]:
    """Return a model of each other situation than this one's: without latencies none is the fastest."""
    groups = grouped(measured_results(results), likeness.situation)
    return tuple(
        Leader(others[0], 0) for place, others in groups.items() if member and place != likeness.situation(member)
    )


def _affordable(
    blank: Affordable,
    situation: Sequence[Result],
    candidates: Sequence[Result],
    limits: Constraints,
    ties: Callable[[Results], Results],
) -> Affordable:
    if not candidates:
        costs, metrics = nearest(situation, limits), budgets(situation)
        return blank._replace(misses=tuple(Miss(metrics[name], costs[name], limits[name]) for name in costs))
    members, other_count = [result for result in candidates if result.case.variant_name == blank.variant], 0
    if not members:
        members = list(candidates)
        other_count = _number(result for result in situation if result.case.variant_name != blank.variant)
    answer = blank._replace(number=_number(members), elsewhere=other_count)
    if not blank.timed:
        return answer._replace(pick=smallest(members))
    by_speed = sorted(members, key=lambda result: result.latency or (math.inf,))[:MOST_CONTENDERS]
    fastest = ties(tuple(by_speed))
    is_aside = is_control(by_speed[0]) and by_speed[0] not in fastest
    return answer._replace(tied=fastest, pick=lightest(fastest), controls_aside=is_aside)


def _number(results: Iterable[Result]) -> int:
    """Count these models, whatever their variants."""
    return len({result.case.architecture for result in results})


def _ties(fastest: Results) -> Results:
    return tuple(contender.result for contender in contenders(fastest) if contender.tied)


def by_quality(results: Sequence[Result]) -> Grid[tuple[Recommendation, ...]]:
    """Return the answers of ``recommend`` for the first ``TASKS`` tasks, with the usual margin and no other limits."""
    records = [result.record for result in results]
    ask, all_questions = at_last_look(records, Ask()), questions_of(records)
    questions = all_questions[:TASKS]
    candidates = [candidate for question in questions for candidate in question.candidates]

    def answers(constraints: Constraints, _: list[Candidate]) -> tuple[Recommendation, ...]:
        limited_ask = replace(ask, constraints=constraints)
        return tuple(recommend(question, limited_ask) for question in questions)

    return _grid(candidates, Candidate.cost, answers)._replace(more=len(all_questions) - len(questions))


def steps(values: Iterable[float], name: CostName) -> tuple[float, ...]:
    """Return round limits in base units, from about the smallest value to the largest, then infinity for no limit."""
    finite_values = [value for value in values if 0 < value < math.inf]
    if not finite_values:
        return (math.inf,)
    limits = _rounds(min(finite_values), max(finite_values), name)
    return (*limits[:: -(-len(limits) // LIMITS)], math.inf)


def _rounds(low: float, high: float, name: CostName) -> list[float]:
    """Return round values from the last one that does not exceed the lowest to the first that admits everything."""
    base, mantissas = (2.0, BINARY_MANTISSAS) if name == "memory" else (10.0, DECIMAL_MANTISSAS)
    powers = range(math.floor(math.log(low, base)) - 1, math.ceil(math.log(high, base)) + 2)
    values = [float(f"{mantissa * base**power:.12g}") for power in powers for mantissa in mantissas]
    return values[bisect_right(values, low) - 1 : bisect_left(values, high) + 1]


def _cost(result: Result, name: CostName) -> float:
    value = result.cost(name)
    return math.inf if value is None else value


def _grid(
    members: Sequence[M], cost: Callable[[M, CostName], float], answer: Callable[[Constraints, list[M]], T]
) -> Grid[T]:
    costs = np.array([[cost(member, name) for name in NAMES] for member in members]).reshape(-1, len(NAMES))
    limits = {name: steps(costs[:, i].tolist(), name) for i, name in enumerate(NAMES)}
    answers: dict[tuple[bytes, bytes, tuple[float, ...]], T] = {}

    def answer_at(*bounds: float) -> T:
        is_within: np.ndarray = np.all(costs <= np.array(bounds), axis=1)
        may_be_within: np.ndarray = np.all((costs <= np.array(bounds)) | np.isinf(costs), axis=1)
        key = (is_within.tobytes(), may_be_within.tobytes(), () if is_within.any() else bounds)
        if key not in answers:
            constraints = {name: bound for name, bound in zip(NAMES, bounds, strict=True) if math.isfinite(bound)}
            answers[key] = answer(constraints, list(compress(members, is_within)))
        return answers[key]

    rows = (tuple(answer_at(latency, memory) for memory in limits["memory"]) for latency in limits["latency"])
    return Grid(limits, tuple(rows))
