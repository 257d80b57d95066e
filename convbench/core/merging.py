"""Many runs -> one: the union of the shards of a suite, with what tells them apart afterwards."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from convbench.core import shards
from convbench.core.case import Whole
from convbench.core.commands import Command
from convbench.core.errors import StoreError
from convbench.core.record import Record, RunDescription, Visit
from convbench.core.store import Stored
from convbench.core.text import digest

OF_SUITE = ("name", "suite", "metrics", "protocol")
"""What the shards of one suite share."""
SHARD = "shard "
"""How a merged run names a part: in its list of hosts with a number, in visits with its identity."""


def identity(run: RunDescription) -> str:
    """The same of all copies of a run, and of no other: shards of one suite may begin in the same second."""
    return digest(run.name, run.started, run.fingerprint, run.command, run.suite, *run.planned)


def repeats(runs: Sequence[Stored]) -> bool:
    """Whether a run, or a copy of it, is among them twice."""
    return len({identity(run) for run, _ in runs}) < len(runs)


def merge(runs: Sequence[Stored]) -> Stored:
    """The union of the shards of one suite. Raises StoreError where they are of different suites or protocols.

    A visit says which of them it was made in: a round of two runs is not one moment on one machine, and no ratio is
    formed in it.
    """
    first_run, _ = runs[0]
    for run, _ in runs:
        fields = [field for field in OF_SUITE if _suite_value(run, field) != _suite_value(first_run, field)]
        if fields:
            raise StoreError(
                f"{run.name!r} of {run.started} and {first_run.name!r} of {first_run.started} are different suites or "
                f"protocols ({', '.join(fields)}): they cannot be merged"
            )
    runs = placed(runs)
    case_ids = tuple(dict.fromkeys(case for run, _ in runs for case in run.planned))
    equal = {case: ids for run, _ in runs for case, ids in run.equal.items()}
    command = str(replace(Command.of(first_run), shard=""))
    descriptions = [run for run, _ in runs]
    _refuse_other_sweeps(descriptions)
    _refuse_other_code(chain.from_iterable(records for _, records in runs))
    merged_run = replace(first_run, command=command, planned=case_ids, equal=equal, shards=shards.of_runs(descriptions))
    later_ids = tuple(dict.fromkeys(case for run in descriptions for case in run.later))
    merged_run = replace(merged_run, later=later_ids, **_host_fields(descriptions))
    records = union(records for _, records in runs)
    return replace(merged_run, parts=_parts(merged_run, runs, records)), records


def placed(runs: Sequence[tuple[RunDescription, Sequence[Record]]]) -> list[Stored]:
    """The runs with visits that say which of several they are of, so that no ratio is formed of two moments."""
    return [(run, _mark_visits(run, records) if len(runs) > 1 else list(records)) for run, records in runs]


def _mark_visits(run: RunDescription, records: Sequence[Record]) -> list[Record]:
    """Records whose visits say which run they are of; those of a merged run say it already."""
    name = f"{SHARD}{identity(run)}"
    return [replace(record, visits=tuple(_mark_visit(visit, name) for visit in record.visits)) for record in records]


def _mark_visit(visit: Visit, run: str) -> Visit:
    return visit if visit.host.startswith(SHARD) else replace(visit, host=f"{run} {visit.host}".strip())


def _parts(merged_run: RunDescription, runs: Sequence[Stored], records: Sequence[Record]) -> tuple[str, ...]:
    """What tells the runs all of whose results a merged run has; of two that measured the same, it has the first's."""
    merged_ids = set(map(id, records))
    members = (run for run, items in runs if all(id(record) in merged_ids for record in items if record.status == "ok"))
    parts = dict.fromkeys(chain.from_iterable((identity(run), *run.parts) for run in members))
    return tuple(part for part in parts if part != identity(merged_run))  # a single run is merged to a copy of itself


def _suite_value(run: RunDescription, field: str) -> object:
    """What a run has of the suite in a field; a budget is the command's own, and changes no number."""
    return replace(run.protocol, budget=None) if field == "protocol" else getattr(run, field)


def _refuse_other_sweeps(runs: Sequence[RunDescription]) -> None:
    """Raises StoreError where shards have cases chosen in different ways, so that they are no parts of one sweep."""
    shard_runs = [run for run in runs if shards.of_run(run)]
    for run in shard_runs[1:]:
        if shards.selection_of(run) != shards.selection_of(shard_runs[0]):
            raise StoreError(
                f"{run.name!r} of {run.started} has other overrides, --only or --skip than that of "
                f"{shard_runs[0].started}: they are not shards of one sweep: run one of them again as the other was"
            )


def _refuse_other_code(records: Iterable[Record]) -> None:
    """Raises StoreError where a module of the user's was another for some of the cases.

    It is asked of each package of models by itself: two may bring modules of one name, such as ``utils``.
    """
    versions: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        model = record.case.architecture
        package = re.split("[.:]", model.model.name)[0] if isinstance(model, Whole) else ""
        for module, content in record.code.items():
            versions[package, module].add(content)
    if modules := sorted({module for (_, module), contents in versions.items() if len(contents) > 1}):
        raise StoreError(
            f"{', '.join(modules)} changed between the shards: go on with the older one by --resume=stale, then merge"
        )


def _host_fields(runs: Sequence[RunDescription]) -> dict[str, Any]:
    """What merged runs say of their hosts, runs on one host being numbered as shards; nothing where all are alike."""
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
        "between_hosts": " ".join(dict.fromkeys(run.between_hosts for run in runs if run.between_hosts)),
    }


def union(runs: Iterable[Iterable[Record]]) -> list[Record]:
    """A Record a case: of several of one case the first that was measured, or the first where none was."""
    by_case: dict[str, Record] = {}
    for record in chain.from_iterable(runs):
        before = by_case.get(record.case.id)
        if before is None or (before.status != "ok" and record.status == "ok"):
            by_case[record.case.id] = record
    return list(by_case.values())
