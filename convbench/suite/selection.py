"""The selection of a suite's cases by name and by shard, and a plan as data; ``measure.planning`` makes plans."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from convbench.core import traits
from convbench.core.case import Case, id_matches
from convbench.core.code import Elsewhere
from convbench.core.errors import ConvbenchError
from convbench.core.grouping import grouped


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep will measure; ``equal`` maps a case's id to the ids of others that are the same configuration.

    ``idle_skip`` is a pattern of ``--skip`` that left nothing out, empty if there is none. ``idle_sizes`` are the
    values of ``lstm_input`` that are the size of no case, with the reducers that took none of them. ``elsewhere`` is a
    module of the user that does not come from the tree whose commit the run would note.
    """

    cases: tuple[Case, ...]
    equal: dict[str, tuple[str, ...]]
    idle_skip: str = ""
    idle_sizes: tuple[tuple[int, ...], tuple[str, ...]] = ((), ())
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True)
class Selection:
    """A selection of a suite's cases: by globs over the id or one of its parts, and by shard (i of n)."""

    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    shard: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        for option, patterns in (("--only", self.only), ("--skip", self.skip)):
            if "" in patterns:
                raise ConvbenchError(f"{option} has no value: give it a name or a pattern, or leave it out")

    def keeps(self, ids: Collection[str]) -> bool:
        """Whether a case with these ids is selected; it may have one as it is written and one as it is built."""
        is_included = not self.only or any(id_matches(name, self.only) for name in ids)
        return is_included and not any(id_matches(name, self.skip) for name in ids)

    def part(self, cases: Sequence[Case]) -> list[Case]:
        """Return the shard's cases, possibly none: shards cost about the same, and are the same for everybody who asks.

        Variants of one model share a shard, so that they are measured on the same machine, and so do the trainings of a
        model on a task, among which the learning rate is chosen.
        """
        index, shards = self.shard
        models = grouped(cases, _group_id)
        loads = [0.0] * shards
        shard_cases: set[Case] = set()
        for name in sorted(models, key=lambda name: (-sum(map(_cost, models[name])), name)):
            lightest = loads.index(min(loads))
            loads[lightest] += sum(map(_cost, models[name]))
            shard_cases |= set(models[name]) if lightest == index - 1 else set()
        return [case for case in cases if case in shard_cases]

    def hint(self, cases: Collection[Collection[str]]) -> str:
        """Return what a pattern that matches none of the cases, each given by its ids, may have been meant as."""
        pattern_list = next((pattern for pattern in self.only if "," in pattern), "")
        if pattern_list:
            return f" by --only {pattern_list}: name each alone, as in " + " ".join(
                f"--only {part}" for part in pattern_list.split(",") if part
            )
        word = next((pattern for pattern in self.only if not set("*?[") & set(pattern)), "")
        if not word:
            return ""
        parts = {part.casefold(): part for name in chain.from_iterable(cases) for part in name.split("/")}
        matches = difflib.get_close_matches(word.casefold(), parts)
        if matches and not any(word in part for part in parts.values()):
            return f" by --only {word}, which may mean {parts[matches[0]]}"
        return f" by --only {word}, which must be a whole part of a name ('*{word}*' matches anywhere)"


def idle(patterns: Sequence[str], cases: Collection[Collection[str]]) -> str:
    """Return the first pattern that matches no case, each given by its ids; empty if there is none."""
    ids = set(chain.from_iterable(cases))
    return next((pattern for pattern in patterns if not any(id_matches(name, [pattern]) for name in ids)), "")


def _group_id(case: Case) -> str:
    """Return the id that cases share if they must stay in one shard."""
    trial = case.trial and replace(case.trial, seed=0, learning_rate=None)
    return replace(case.eager, trial=trial).id


def _cost(case: Case) -> float:
    """Return the rough cost of a case relative to a plain one: compiling and training take most."""
    return 10.0 if case.trains else 5.0 if traits.compiles(case) else 1.0
