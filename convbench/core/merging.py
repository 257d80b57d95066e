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
    first, _ = runs[0]
    for run, _ in runs:
        differing = [field for field in OF_SUITE if _of_suite(run, field) != _of_suite(first, field)]
        if differing:
            raise StoreError(
                f"{run.name!r} of {run.started} and {first.name!r} of {first.started} are different suites or "
                f"protocols ({', '.join(differing)}): they cannot be merged"
            )
    runs = placed(runs)
    planned = tuple(dict.fromkeys(case for run, _ in runs for case in run.planned))
    equal = {case: others for run, _ in runs for case, others in run.equal.items()}
    command = str(replace(Command.of(first), shard=""))
    described = [run for run, _ in runs]
    _refuse_other_sweeps(described)
    _refuse_other_code(chain.from_iterable(records for _, records in runs))
    merged = replace(first, command=command, planned=planned, equal=equal, shards=shards.of_runs(described))
    later = tuple(dict.fromkeys(case for run in described for case in run.later))
    merged = replace(merged, later=later, **_of_hosts(described))
    records = union(records for _, records in runs)
    return replace(merged, parts=_parts(merged, runs, records)), records


def placed(runs: Sequence[tuple[RunDescription, Sequence[Record]]]) -> list[Stored]:
    """The runs with visits that say which of several they are of, so that no ratio is formed of two moments."""
    return [(run, _placed(run, records) if len(runs) > 1 else list(records)) for run, records in runs]


def _placed(run: RunDescription, records: Sequence[Record]) -> list[Record]:
    """Records whose visits say which run they are of; those of a merged run say it already."""
    name = f"{SHARD}{identity(run)}"
    return [replace(record, visits=tuple(_placed_visit(visit, name) for visit in record.visits)) for record in records]


def _placed_visit(visit: Visit, run: str) -> Visit:
    return visit if visit.host.startswith(SHARD) else replace(visit, host=f"{run} {visit.host}".strip())


def _parts(merged: RunDescription, runs: Sequence[Stored], records: Sequence[Record]) -> tuple[str, ...]:
    """What tells the runs all of whose results a merged run has; of two that measured the same, it has the first's."""
    merged_ids = set(map(id, records))
    whole = (run for run, own in runs if all(id(record) in merged_ids for record in own if record.status == "ok"))
    parts = dict.fromkeys(chain.from_iterable((identity(run), *run.parts) for run in whole))
    return tuple(part for part in parts if part != identity(merged))  # a single run is merged to a copy of itself


def _of_suite(run: RunDescription, field: str) -> object:
    """What a run has of the suite in a field; a budget is the command's own, and changes no number."""
    return replace(run.protocol, budget=None) if field == "protocol" else getattr(run, field)


def _refuse_other_sweeps(runs: Sequence[RunDescription]) -> None:
    """Raises StoreError where shards have cases chosen in different ways, so that they are no parts of one sweep."""
    of_shards = [run for run in runs if shards.of_run(run)]
    for run in of_shards[1:]:
        if shards.selection_of(run) != shards.selection_of(of_shards[0]):
            raise StoreError(
                f"{run.name!r} of {run.started} has other overrides, --only or --skip than that of "
                f"{of_shards[0].started}: they are not shards of one sweep: run one of them again as the other was"
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
    if other := sorted({module for (_, module), contents in versions.items() if len(contents) > 1}):
        raise StoreError(
            f"{', '.join(other)} changed between the shards: go on with the older one by --resume=stale, then merge"
        )


def _of_hosts(runs: Sequence[RunDescription]) -> dict[str, Any]:
    """What merged runs say of their hosts, runs on one host being numbered as shards; nothing where all are alike."""
    if not any(run.hosts for run in runs) and len({run.fingerprint for run in runs}) == 1:
        return {}
    hosts: dict[str, str] = {}
    for name, kind in chain.from_iterable((run.hosts or {SHARD: run.fingerprint}).items() for run in runs):
        numbered = sum(other.startswith(SHARD) for other in hosts)
        hosts[f"{SHARD}{numbered + 1}" if name.startswith(SHARD) else name] = kind
    spelled = (run.environments or {run.fingerprint: run.environment} for run in runs)
    return {
        "hosts": hosts,
        "environments": dict(chain.from_iterable(environments.items() for environments in spelled)),
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
