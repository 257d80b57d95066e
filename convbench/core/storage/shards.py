"""Find which shards of a suite a run holds, and which are missing from a run that was merged from some."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence

from convbench.core.commands import Command
from convbench.core.record import RunDescription
from convbench.core.text import first_names, joined

NUMBERED = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
DESCRIBED = ("name", "protocol", "metrics")
"""Keys of a suite whose values are in the description of a run."""
NAMED = 4
"""Most missing shards that are named; the others are counted."""


def of_runs(runs: Sequence[RunDescription]) -> tuple[str, ...]:
    """Return the shards that merged runs hold, as ``1/4``; empty if together they are the whole suite."""
    run_shards = [of_run(run) for run in runs]
    names = {name for shards in run_shards for name in shards}
    return tuple(sorted(names, key=_place)) if all(run_shards) and _missing_shards(names) else ()


def of_run(run: RunDescription) -> tuple[str, ...]:
    """Return the shards that a run is, or was merged from, as ``1/4``; empty for any other run."""
    return run.shards or tuple(filter(NUMBERED.fullmatch, (Command.of(run).shard,)))


def selection_of(run: RunDescription) -> tuple[frozenset[str], ...]:
    """Return what selected a run's cases beside its suite and description: other overrides, --only and --skip."""
    command = Command.of(run)
    overrides = (text for text in command.overrides if text.partition("=")[0].split(".")[0].strip() not in DESCRIBED)
    return frozenset(overrides), frozenset(command.only), frozenset(command.skip)


def missing_names(run: RunDescription) -> str:
    """Return the shards that a merged run lacks, as ``shards 2/4 and 3/4``; empty if none is missing."""
    names = _missing_shards(run.shards)
    return f"shard{'s' if names[1:] else ''} {joined(first_names(names, NAMED))}" if names else ""


def _missing_shards(names: Collection[str]) -> tuple[str, ...]:
    """Return the fewest shards that complete the suite, which may have been split in several ways."""
    splits: dict[int, set[int]] = defaultdict(set)
    for name in names:
        index, shards = _place(name)
        splits[shards].add(index)
    candidates = [
        tuple(f"{index}/{shards}" for index in range(1, shards + 1) if index not in indices)
        for shards, indices in splits.items()
    ]
    return min(candidates, key=len, default=())


def _place(name: str) -> tuple[int, int]:
    index, _, shards = name.partition("/")
    return int(index), int(shards)
