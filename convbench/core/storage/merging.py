"""Merge many runs into one: the union of a suite's shards, with marks that tell its parts apart afterwards."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from convbench.core.case import Whole
from convbench.core.commands import Command
from convbench.core.errors import StoreError
from convbench.core.grouping import grouped
from convbench.core.record import HostGap, Record, RunDescription, Visit
from convbench.core.storage import shards
from convbench.core.storage.store import Stored
from convbench.core.text import digest

OF_SUITE = ("name", "suite", "metrics", "protocol")
"""Fields of a run that all shards of one suite share."""
SHARD = "shard "
"""Prefix of a part's name in a merged run: a number follows in its list of hosts, the part's identity in its visits."""


def identity(run: RunDescription) -> str:
    """Return a digest that all copies of a run share, and no other run has.

    The start time alone does not tell runs apart: shards of one suite may begin in the same second.
    """
    return digest(run.name, run.started, run.fingerprint, run.command, run.suite, *run.planned)


def repeats(runs: Sequence[Stored]) -> bool:
    """Whether a run occurs twice among these runs, itself or as a copy."""
    return len({identity(run) for run, _ in runs}) < len(runs)


def merge(runs: Sequence[Stored]) -> Stored:
    """Return the union of the shards of one suite. Raises StoreError if their suites or protocols differ.

    Each visit is marked with the run that it was made in. The visits of one round in two runs were made at different
    times, perhaps on different machines, so no ratio is formed of them.
    """
    first_run, _ = runs[0]
    for run, _ in runs:
        fields = [field for field in OF_SUITE if _suite_value(run, field) != _suite_value(first_run, field)]
        if fields:
            raise StoreError(
                f"{run.name!r} of {run.started} and {first_run.name!r} of {first_run.started} have different suites or "
                f"protocols ({', '.join(fields)}): they cannot be merged"
            )
    runs = mark_runs(runs)
    descriptions = [run for run, _ in runs]
    _refuse_other_sweeps(descriptions)
    _refuse_other_code(chain.from_iterable(records for _, records in runs))
    merged_run = replace(
        first_run,
        command=str(replace(Command.of(first_run), shard="")),
        planned=tuple(dict.fromkeys(case for run in descriptions for case in run.planned)),
        equal={case: ids for run in descriptions for case, ids in run.equal.items()},
        impossible={case: reason for run in descriptions for case, reason in run.impossible.items()},
        later=tuple(dict.fromkeys(case for run in descriptions for case in run.later)),
        shards=shards.of_runs(descriptions),
        **_host_fields(descriptions),
    )
    records = union(records for _, records in runs)
    return replace(merged_run, parts=_parts(merged_run, runs, records)), records


def mark_runs(runs: Sequence[tuple[RunDescription, Sequence[Record]]]) -> list[Stored]:
    """Return the runs, each visit marked by its run if there are several, so that no ratio is formed of two moments."""
    return [(run, _mark_visits(run, records) if len(runs) > 1 else list(records)) for run, records in runs]


def _mark_visits(run: RunDescription, records: Sequence[Record]) -> list[Record]:
    """Return the records with each visit marked by its run; visits of a merged run are marked already."""
    name = f"{SHARD}{identity(run)}"
    return [replace(record, visits=tuple(_mark_visit(visit, name) for visit in record.visits)) for record in records]


def _mark_visit(visit: Visit, run: str) -> Visit:
    return visit if visit.host.startswith(SHARD) else replace(visit, host=f"{run} {visit.host}".strip())


def _parts(merged_run: RunDescription, runs: Sequence[Stored], records: Sequence[Record]) -> tuple[str, ...]:
    """Return the identities of the runs whose successful results are all in the merged run, and those of their parts.

    If two runs measured the same case, the merged run has only the first one's result.
    """
    merged_ids = set(map(id, records))
    members = (run for run, items in runs if all(id(record) in merged_ids for record in items if record.is_measured))
    parts = dict.fromkeys(chain.from_iterable((identity(run), *run.parts) for run in members))
    return tuple(part for part in parts if part != identity(merged_run))  # merging a single run yields a copy of it


def _suite_value(run: RunDescription, field: str) -> object:
    """Return a field's value as far as the suite decides it; a budget is the command's own and changes no number."""
    return replace(run.protocol, budget=None) if field == "protocol" else getattr(run, field)


def _refuse_other_sweeps(runs: Sequence[RunDescription]) -> None:
    """Raise StoreError if the shards selected their cases differently, so that they are not parts of one sweep."""
    shard_runs = [run for run in runs if shards.of_run(run)]
    for run in shard_runs[1:]:
        if shards.selection_of(run) != shards.selection_of(shard_runs[0]):
            raise StoreError(
                f"{run.name!r} of {run.started} has other overrides, --only or --skip than the one of "
                f"{shard_runs[0].started}: they are not shards of one sweep: run one again with the other's options"
            )


def _refuse_other_code(records: Iterable[Record]) -> None:
    """Raise StoreError if one of the user's modules differed between cases.

    Each package of models is checked by itself: two packages may have modules of the same name, such as ``utils``.
    """
    versions: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        model = record.case.architecture
        package = re.split("[.:]", model.model.name)[0] if isinstance(model, Whole) else ""
        for module, content in record.code.items():
            versions[package, module].add(content)
    if modules := sorted({module for (_, module), contents in versions.items() if len(contents) > 1}):
        raise StoreError(
            f"{', '.join(modules)} changed between the shards: resume the older one with --resume=stale, then merge"
        )


def _host_fields(runs: Sequence[RunDescription]) -> dict[str, Any]:
    """Return the host fields of a merged run; none if its runs were made on one kind of host and name no hosts.

    A run on a single host is numbered as a shard.
    """
    if not any(run.hosts for run in runs) and len({run.fingerprint for run in runs}) == 1:
        return {}
    hosts: dict[str, str] = {}
    for name, kind in chain.from_iterable((run.hosts or {SHARD: run.fingerprint}).items() for run in runs):
        shard_count = sum(host.startswith(SHARD) for host in hosts)
        hosts[f"{SHARD}{shard_count + 1}" if name.startswith(SHARD) else name] = kind
    environment_maps = (run.environments or {run.fingerprint: run.environment} for run in runs)
    return {
        "hosts": hosts,
        "environments": dict(chain.from_iterable(environments.items() for environments in environment_maps)),
        "between_hosts": tuple(dict.fromkeys(chain.from_iterable(map(_between_hosts, runs)))),
    }


def _between_hosts(run: RunDescription) -> tuple[tuple[HostGap, ...] | str, ...]:
    """Return by how much the hosts of each run that is in this one differ; older versions stored it as one text."""
    between = run.between_hosts
    return between if isinstance(between, tuple) else (between,) if between else ()


def count_repeated(runs: Sequence[Stored]) -> int:
    """Count the cases with different results in several runs. A merge keeps only the first of them."""
    measured_records = (record for _, records in runs for record in records if record.is_measured)
    groups = grouped(measured_records, lambda record: record.case.id).values()
    return sum(any(record.readings != group[0].readings for record in group) for group in groups)


def union(runs: Iterable[Iterable[Record]]) -> list[Record]:
    """Return one record per case: of several, the first that was measured, or the first if none was."""
    by_case: dict[str, Record] = {}
    for record in chain.from_iterable(runs):
        earlier_record = by_case.get(record.case.id)
        if earlier_record is None or (record.is_measured and not earlier_record.is_measured):
            by_case[record.case.id] = record
    return list(by_case.values())
