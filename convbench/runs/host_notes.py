"""What a run on several hosts says of them: who they are, their kinds, and by how much they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convbench.analysis import hosts as between
from convbench.core import store
from convbench.core.errors import StoreError
from convbench.core.record import Record
from convbench.runs.executor import Host


def fields_of(hosts: Sequence[Host]) -> dict[str, Any]:
    """The fields of a run that are of its hosts; none where there is one."""
    return _fields(hosts) if len(hosts) > 1 else {}


def _fields(hosts: Sequence[Host]) -> dict[str, Any]:
    return {
        "hosts": {host.name: host.fingerprint for host in hosts},
        "environments": {host.fingerprint: dict(host.facts) for host in hosts},
    }


def note(directory: Path, hosts: Sequence[Host], records: Sequence[Record]) -> None:
    """Add hosts that came later, and what the records say of all of them, to the run's description."""
    run = store.read_run(directory)
    if len(hosts) < 2 and not run.hosts:
        return
    more = _fields(hosts)
    noted = replace(
        run,
        hosts={**run.hosts, **more["hosts"]},
        environments={**run.environments, **more["environments"]},
        between_hosts=between.sentence(between.effects(records)),
    )
    if noted != run:
        store.describe(directory, noted)


def refuse_other_kinds(directory: Path, done: Iterable[Record], hosts: Sequence[Host]) -> None:
    """A case that was begun on one kind of host cannot be gone on with on another.

    Raises StoreError where a kind is missing that has measured part of a run.
    """
    available = {host.fingerprint for host in hosts}
    measured = {record.environment for record in done if record.visits and record.environment}
    missing = sorted(measured - available)
    if missing:
        raise StoreError(
            f"{directory}: cannot be resumed, part of it was measured on hosts of a kind that is not here "
            f"({', '.join(missing)}, spelled out in its run.json): bring one, or choose another --out"
        )
