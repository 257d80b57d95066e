"""What a run on several hosts says of them: who they are, their kinds, and by how much they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from convbench.analysis import hosts as host_effects
from convbench.core import merging, store
from convbench.core.errors import StoreError
from convbench.core.record import Record, RunDescription
from convbench.runs.executor import Executor, Host


def with_hosts(run: RunDescription, hosts: Iterable[Host]) -> RunDescription:
    """The description with these hosts beside those that it names, each kind of them spelled out."""
    hosts = tuple(hosts)
    return replace(
        run,
        hosts={**run.hosts, **{host.name: host.fingerprint for host in hosts}},
        environments={**run.environments, **{host.fingerprint: dict(host.facts) for host in hosts}},
    )


def note(directory: Path, hosts: Sequence[Host], records: Sequence[Record] | None = None) -> None:
    """Add hosts that came later to the run's description, and what its ``records``, where given, say of all of them.

    A single host is named where it is of another kind than the one that stands for the run, which may be gone.
    """
    run = store.read_description(directory)
    full_run = replace(
        run,
        hosts={**_host_kinds(records or ()), **run.hosts},
        environments={run.fingerprint: run.environment, **run.environments},
        between_hosts=run.between_hosts if records is None else host_effects.sentence(host_effects.effects(records)),
    )
    new_run = with_hosts(full_run, hosts)
    if len(new_run.hosts) < 2 and all(host.fingerprint == run.fingerprint for host in hosts):
        return
    if new_run != run:
        store.describe(directory, new_run)


def note_hosts(records: Iterable[Record], directory: Path, executor: Executor) -> Iterator[Record]:
    """The records as they come, each once all hosts that are there are noted: its own may be gone at the end."""
    noted_names: set[str] = set()
    for record in records:
        if not noted_names.issuperset(host.name for host in executor.hosts):
            noted_names.update(host.name for host in executor.hosts)
            note(directory, executor.hosts)
        yield record


def _host_kinds(records: Iterable[Record]) -> dict[str, str]:
    """The hosts of visits, with their kinds; those of a merged run, which numbers its parts, are not told apart."""
    hosts = ((visit.host, record.environment) for record in records for visit in record.visits)
    return {host: kind for host, kind in hosts if host and not host.startswith(merging.SHARD)}


def refuse_other_kinds(directory: Path, records: Iterable[Record], hosts: Sequence[Host]) -> None:
    """A case that was begun on one kind of host cannot be gone on with on another.

    Raises StoreError where a kind is missing that has measured part of a run.
    """
    available_kinds = {host.fingerprint for host in hosts}
    measured_kinds = {record.environment for record in records if record.visits and record.environment}
    missing_kinds = sorted(measured_kinds - available_kinds)
    if missing_kinds:
        raise StoreError(
            f"{directory}: cannot be resumed, part of it was measured on hosts of a kind that is not here "
            f"({', '.join(missing_kinds)}, spelled out in its run.json): bring one, or choose another --out"
        )
