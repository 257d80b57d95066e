"""What a run on several hosts stores about them: their names, their kinds, and by how much they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from convbench.analysis import hosts as host_effects
from convbench.core.errors import StoreError
from convbench.core.record import HostGap, Record, RunDescription
from convbench.core.storage import merging, store
from convbench.runs.executor import Executor, Host


def with_hosts(run: RunDescription, hosts: Sequence[Host]) -> RunDescription:
    """Return the description with these hosts added, and with the facts of each of their kinds."""
    return replace(
        run,
        hosts={**run.hosts, **{host.name: host.fingerprint for host in hosts}},
        environments={**run.environments, **{host.fingerprint: dict(host.facts) for host in hosts}},
    )


def note(directory: Path, hosts: Sequence[Host], records: Sequence[Record] | None = None) -> None:
    """Add hosts that joined later to the run's description, and what ``records``, if given, say about all hosts.

    A single host is named only if its kind differs from that of the host that stands for the run, which may be gone.
    """
    run = store.read_description(directory)
    full_run = replace(
        run,
        hosts={**_host_kinds(records or ()), **run.hosts},
        environments={run.fingerprint: run.environment, **run.environments},
        between_hosts=run.between_hosts if records is None else _between(records),
    )
    new_run = with_hosts(full_run, hosts)
    if len(new_run.hosts) < 2 and all(host.fingerprint == run.fingerprint for host in hosts):
        return
    if new_run != run:
        store.describe(directory, new_run)


def note_hosts(records: Iterable[Record], directory: Path, executor: Executor) -> Iterator[Record]:
    """Yield the records as they come, each after all present hosts are noted: its own may be gone at the end."""
    noted_names: set[str] = set()
    for record in records:
        if not noted_names.issuperset(host.name for host in executor.hosts):
            noted_names.update(host.name for host in executor.hosts)
            note(directory, executor.hosts)
        yield record


def _between(records: Sequence[Record]) -> tuple[tuple[HostGap, ...], ...]:
    gaps = host_effects.gaps(host_effects.effects(records))
    return (gaps,) if gaps else ()


def _host_kinds(records: Iterable[Record]) -> dict[str, str]:
    """Return the hosts of visits with their kinds, without those of a merged run: it numbers its parts instead."""
    hosts = ((visit.host, record.environment) for record in records for visit in record.visits)
    return {host: kind for host, kind in hosts if host and not host.startswith(merging.SHARD)}


def refuse_other_kinds(directory: Path, records: Iterable[Record], hosts: Sequence[Host]) -> None:
    """Refuse to resume a run without all kinds of hosts that measured part of it.

    A case that was begun on one kind of host cannot be continued on another. Raises StoreError if a kind is missing.
    """
    available_kinds = {host.fingerprint for host in hosts}
    measured_kinds = {record.environment for record in records if record.visits and record.environment}
    missing_kinds = sorted(measured_kinds - available_kinds)
    if missing_kinds:
        raise StoreError(
            f"{directory}: cannot be resumed: part of it was measured on a kind of host that is missing now "
            f"({', '.join(missing_kinds)}, described in its run.json); bring one, or choose another --out"
        )
