"""Read what history needs of a stored run: a number for each case and metric, and where the run came from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from convbench.analysis import latencies
from convbench.analysis.compare import protocol_facts
from convbench.analysis.results import Result, measured_results, own_metrics, results
from convbench.core import metrics, traits
from convbench.core.comparability import fingerprint
from convbench.core.errors import NewerFormat, StoreError
from convbench.core.metric import Metric
from convbench.core.record import Choice, Record, Scalar
from convbench.core.storage import merging, store
from convbench.core.storage.index import Contents, IndexedValue, Problem, RunEntry
from convbench.core.text import counted, digest

DERIVED = (metrics.FRAMES_PER_S, metrics.LAUNCH_SHARE)
"""Metrics that follow from the latency and have no history of their own."""


def read(directory: Path) -> Contents:
    """Read a run directory for the index; one that cannot be read becomes an entry that says why."""
    try:
        run, records = store.load(directory)
    except StoreError as error:
        kind: Problem = "newer" if isinstance(error, NewerFormat) else "unreadable"
        return Contents(RunEntry(str(directory), problem=str(error), kind=kind), str(directory))
    measurements = measured_results(results(records))
    commit, dirty = run.environment.get("commit"), bool(run.environment.get("dirty"))
    machines = _Machines({run.fingerprint: run.environment, **run.environments})
    statuses = Counter(record.status for record in records)
    entry = RunEntry(
        str(directory), run.name, run.started, str(commit or ""), dirty,
        sum(not record.is_untimed for record in records),
        len(run.open_ids(records)), failed=statuses["failed"], skipped=statuses["skipped"],
        machines="; ".join(dict.fromkeys(machines.names.values())),
    )  # fmt: skip
    if run.planned and not records:
        entry = entry._replace(problem="it has no results yet", kind="no results")
    tracked_metrics = _tracked_metrics(measurements)
    protocol_digest = digest(*map(str, protocol_facts(run).items()))
    numbers = tuple(_numbers(measurements, tracked_metrics, protocol_digest, machines))
    starts = ((record.started, *(visit.started for visit in record.visits)) for record in records)
    identity, latest = merging.identity(run), max(chain.from_iterable(starts), default="")
    return Contents(entry, identity, numbers, machines.names, tracked_metrics, run.parts, latest)


class _Machines:
    """The machines of a run, with their software, as each case sees them. ``names`` describes each fingerprint."""

    def __init__(self, kinds: Mapping[str, Mapping[str, Scalar]]) -> None:
        self.kinds = kinds
        self.names = {kind: machine_name(facts) for kind, facts in kinds.items()}
        self._fingerprints: dict[tuple[str, tuple[Choice, ...]], str] = {}

    def of(self, record: Record) -> str:
        """Return the fingerprint of a record's machine, without the runtimes that only other cases of the run use.

        Otherwise a run with one more runtime would begin another series of every case.
        """
        kind = record.environment
        key = kind, record.case.variant
        if key not in self._fingerprints:
            self._fingerprints[key] = kind
            facts = self.kinds.get(kind, {})
            if unused := facts.keys() & traits.unused_packages([record.case]):
                machine = fingerprint({name: value for name, value in facts.items() if name not in unused})
                self._fingerprints[key], self.names[machine] = machine, self.names[kind]
        return self._fingerprints[key]


def machine_name(facts: Mapping[str, Scalar]) -> str:
    """Describe a machine and its torch in a few words: ``AMD EPYC 7B13, 2 cores, torch 2.13.0``."""
    cores = counted(facts["cores"], "core") if facts.get("cores") else None
    torch = f"torch {facts['torch']}" if facts.get("torch") else None
    return ", ".join(str(word) for word in (facts.get("gpu"), facts.get("cpu"), cores, torch) if word)


def _tracked_metrics(results: list[Result]) -> list[Metric]:
    """Return the metrics that people are shown, that these results have, and that have a history of their own."""
    candidates = [metric for metric in (*metrics.ALL, *own_metrics(results)) if metric.shown and metric not in DERIVED]
    return [metric for metric in candidates if any(result.value(metric) is not None for result in results)]


def _numbers(
    results: list[Result], tracked_metrics: list[Metric], protocol_digest: str, machines: _Machines
) -> Iterator[IndexedValue]:
    machine_by_scope = latencies.machines(result.record for result in results)
    for result in results:
        reference, machine = latencies.reference(result.record, machine_by_scope), machines.of(result.record)
        for metric in tracked_metrics:
            value = result.value(metric)
            if value is not None and math.isfinite(value):
                point_reference = reference if metric.unit == "s" else None
                yield IndexedValue(metric.option, result.case.id, machine, protocol_digest, value, point_reference)
