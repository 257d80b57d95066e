"""Like with like: what cases must share before one is called faster, dearer, tied or beaten."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from convbench.analysis.results import Group, Result
from convbench.core.grouping import grouped


class Situation(NamedTuple):
    """All of a case but its reducer, its LSTM input size and its variant."""

    group: Group
    surroundings: Hashable


class Alike(NamedTuple):
    """What reducers and sizes share where ratios, ranks, fronts and "×" are formed: a situation and the variant."""

    situation: Situation
    variant: str


def situation(result: Result) -> Situation:
    """Where variants are the question: machine, clip, scenario and what stands around the reducer."""
    return Situation(result.group, result.case.surroundings)


def alike(result: Result) -> Alike:
    """Where reducers and sizes are the question."""
    return Alike(situation(result), result.case.variant_name)


def one_variant(members: Sequence[Result]) -> list[Result]:
    """Those of a situation in the variant that most reducers have, then most cases; the plainest of equals."""
    return max(grouped(members, lambda result: result.case.variant_name).values(), key=_breadth, default=[])


def _breadth(members: Sequence[Result]) -> tuple[int, int, int]:
    return len({result.series for result in members}), len(members), -len(members[0].case.variant)
