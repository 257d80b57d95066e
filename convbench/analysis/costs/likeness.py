"""Compare like with like: what cases must share before one is called faster, dearer, tied or beaten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from convbench.analysis.results import Group, Result
from convbench.core.grouping import grouped


class Situation(NamedTuple):
    """Everything about a case except its reducer, its LSTM input size and its variant."""

    group: Group
    surroundings: Hashable


class Alike(NamedTuple):
    """What reducers and sizes must share in ratios, ranks and fronts: a situation and the variant."""

    situation: Situation
    variant: str


def situation(result: Result) -> Situation:
    """Return what variants must share to be compared: the group, and everything around the reducer."""
    return Situation(result.group, result.case.surroundings)


def likeness(result: Result) -> Alike:
    """Return what reducers and sizes must share to be compared."""
    return Alike(situation(result), result.case.variant_name)


def peers(results: Sequence[Result]) -> list[Alike | Situation]:
    """Return for each case what it shares with the cases that "×" compares it with.

    This is its ``likeness``, or only its situation if no two measured cases of the situation are alike, as when one
    model runs in several runtimes: then its variants are compared.
    """
    measured = [likeness(result) for result in results if result.record.status == "ok"]
    crowded = {alike.situation for alike, count in Counter(measured).items() if count > 1}
    return [alike if alike.situation in crowded else alike.situation for alike in map(likeness, results)]


def one_variant(members: Sequence[Result]) -> list[Result]:
    """Return a situation's cases in the variant with most reducers, then most cases, then fewest transformations."""
    return max(grouped(members, lambda result: result.case.variant_name).values(), key=_breadth, default=[])


def _breadth(members: Sequence[Result]) -> tuple[int, int, int]:
    return len({result.series for result in members}), len(members), -len(members[0].case.variant)
