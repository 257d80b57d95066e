"""The seam between what is to be measured and who measures it: hosts, jobs, and the executor that brings them together.

A sweep hands over jobs and gets records back; it never starts a process, looks at a device or asks for free memory. All
that belongs to the machine comes from the ``Host`` that measures, which may be another one. An executor is a plug-in in
``convbench.plugins.executors``: a factory ``(device, cases, *, options)`` that returns an ``Executor``.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypeVar

from convbench.core import code
from convbench.core.comparability import fingerprint
from convbench.core.errors import ConvbenchError
from convbench.core.record import FACTS, Case, Protocol, Record, Scalar
from convbench.core.text import value_text
from convbench.core.traits import packages
from convbench.measure import attempts
from convbench.measure.machine import cgroup
from convbench.measure.probes import Probe

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine and a device of it that measure.

    ``name`` is for people; runs on several hosts store it. ``facts`` are those of ``environment.describe`` taken
    there, with the device that was chosen; ``fingerprint`` says whose numbers may be compared. ``available_bytes`` is
    what a model may take, ``cores`` the processors that jobs may be pinned to.
    """

    name: str
    facts: Mapping[str, Scalar] = field(hash=False)
    fingerprint: str
    available_bytes: int
    cores: tuple[int, ...] = ()

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda[:n]``: the device of the host that its cases are measured on."""
        return str(self.facts["device"])


@dataclass(frozen=True, slots=True)
class Job:
    """One visit to one case.

    ``metrics`` names probes, empty for all of them; ``probes`` are further ones, run after these. ``visit`` is the
    round that it belongs to, from 0; a job of round ``FACTS`` takes no times and may run beside others. ``cores`` are
    what to pin the process to, empty for all that the host has; ``host`` is the name of the host that must measure it,
    empty for any. A case that is ``checked`` was compared with eager, and compiled, by an earlier job. What comes next
    depends on a job that ``decides``: an executor that runs several at once takes no further one until all have ended.
    """

    case: Case
    protocol: Protocol
    metrics: tuple[str, ...] = ()
    visit: int = 0
    cores: tuple[int, ...] = ()
    probes: tuple[Probe, ...] = ()
    host: str = ""
    checked: bool = False
    decides: bool = False

    @property
    def takes_times(self) -> bool:
        """Whether nothing else may run on the host meanwhile: of a training on a CPU accuracy is what counts."""
        return self.visit != FACTS and not (self.case.trial and self.case.device == "cpu")


JobRecord = tuple[Job, Record]


class Executor(ABC):
    """Measures jobs on its hosts. Derive from it and write ``hosts`` and ``run``; the rest may stay as it is.

    ``run`` yields each job with its record as soon as it ends, in whatever order the hosts finish. It takes the next
    job only when a host is free to start it, so that what hands them over may choose it by what came back; where many
    hosts share the work, a round of them. Whatever happens to a case is its record (``attempts.attempt``), stamped with
    the fingerprint of the host that measured it; ``run`` itself raises ConvbenchError only where no job could be
    measured any more. It may be called again.
    """

    @property
    @abstractmethod
    def hosts(self) -> Sequence[Host]:
        """The hosts, at least one. Raises ConvbenchError where one cannot be described, as for a missing device."""

    @property
    def lost(self) -> Collection[str]:
        """The ids of cases that only lost hosts could measure: they have no record and are not asked for again."""
        return ()

    @property
    def awaits_hosts(self) -> bool:
        """Whether hosts may come later: then a case whose kind of host is not here yet waits for it in ``run``."""
        return False

    def expect(self, cases: Sequence[Case]) -> None:  # noqa: B027 (nothing to do for most)
        """Learn which cases will come, which the constructor need not know; called before anything else.

        Raises ConvbenchError for cases that its hosts cannot know.
        """

    @abstractmethod
    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        """Each job with its record, as they end."""

    def know(self, records: Sequence[Record]) -> None:  # noqa: B027
        """Learn what an earlier run left, before anything is run. Only an executor of several hosts needs it."""

    def call(self, work: Callable[..., T], *args: Any) -> T:
        """``work(*args)``, which may build the user's models: here, or where that cannot harm the caller."""
        return work(*args)

    def close(self) -> None:  # noqa: B027
        """End what was started and remove what was written; called once, also after an interruption."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def job_records(executor: Executor, jobs: Iterable[Job]) -> Iterator[JobRecord]:
    """What an executor's ``run`` yields. Raises ConvbenchError, in its name, for what is no job with its record."""
    name, requirement = type(executor).__name__, "its run() has to yield each job with its record"
    output: object = executor.run(jobs)
    if not isinstance(output, Iterable):
        raise ConvbenchError(f"the executor {name} returned {value_text(output)}: {requirement}")
    for entry in output:
        match entry:
            case (Job() as job, Record() as record):
                yield job, record
            case _:
                raise ConvbenchError(f"the executor {name} yielded {value_text(entry)}: {requirement}")


class OnThisMachine(Executor):
    """An executor of one host, which is described with the versions of what runs the cases."""

    def __init__(self, device: str, cases: Sequence[Case] = ()) -> None:
        self.device = device
        self.packages: tuple[str, ...] = ()
        self.expect(cases)

    def expect(self, cases: Sequence[Case]) -> None:
        if (names := self.versions(cases)) != self.packages:
            self.packages = names
            vars(self).pop("hosts", None)

    def versions(self, cases: Sequence[Case]) -> tuple[str, ...]:
        """The packages whose versions belong to the description of the host."""
        return packages(cases)

    @cached_property
    def hosts(self) -> Sequence[Host]:
        return (this_machine(self.device, self.packages),)


def this_machine(device: str, packages: Sequence[str] = ()) -> Host:
    """This machine as a host, as this process sees it; ``packages`` are those whose versions decide too.

    Raises ConvbenchError for a device that it lacks.
    """
    from convbench.measure.machine import environment

    facts = environment.describe(device, packages)
    free_bytes = environment.available_bytes(facts)
    return Host("this machine", facts, fingerprint(facts), free_bytes, _cores())


def to_come(device: str) -> Host:
    """A host in the place of those that are started to measure only: its device as it is named, with memory for all.

    Raises ConvbenchError for a device that there is not.
    """
    from convbench.measure.machine import environment

    environment.refuse_unknown(device)
    return Host("to come", {"device": "cpu" if device == "auto" else device}, "", sys.maxsize, _cores())


def one_by_one(jobs: Iterable[Job], host: Host, measure: Callable[[Job], Record]) -> Iterator[JobRecord]:
    """What ``Executor.run`` is where a host measures one job at a time; ``measure`` may raise."""
    for job in jobs:
        record = attempts.attempt(job.case, lambda _, job=job: measure(job))  # type: ignore[misc]
        yield job, replace(record, environment=host.fingerprint)


def measure_here(job: Job) -> Record:
    """The job in this process, on its cores; the record says which code of the user's it is of."""
    from convbench.measure import harness

    with pin(job.cores):
        record = harness.measure(job.case, job.protocol, job.metrics, job.probes, checked=job.checked)
    return replace(record, code=code.module_digests())


@contextmanager
def pin(cores: Sequence[int]) -> Iterator[None]:
    """This process and its torch threads on these cores only, where any are given; as before afterwards."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    import torch

    old_cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(min(threads, len(cores)))
    try:
        yield
    finally:
        os.sched_setaffinity(0, old_cores)
        torch.set_num_threads(threads)


def _cores() -> tuple[int, ...]:
    """The numbers of the cores to pin to, as many as may be used at once."""
    count = cgroup.available_cores()
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(count)
    return tuple(cores)[:count]
