"""The interface between a sweep and the machines that measure: hosts, jobs, and the executor that joins them.

A sweep hands over jobs and receives records. It never starts a process, looks at a device or asks for free memory: all
facts about the machine come from the ``Host`` that measures, which may be another machine. An executor is a plug-in in
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
from typing import Any, Self, TypeVar

from convbench.core import code
from convbench.core.comparability import fingerprint
from convbench.core.errors import ConvbenchError, Unavailable
from convbench.core.record import FACTS, Case, Protocol, Record, Scalar
from convbench.core.system.affinity import allowed_cores
from convbench.core.text import value_text
from convbench.core.traits import packages
from convbench.measure import attempts
from convbench.measure.machine import cgroup
from convbench.measure.probes import Probe
from convbench.models.variants import process_environment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that measures, with one of its devices.

    ``name`` is for people; runs on several hosts store it. ``facts`` are those of ``environment.describe`` on that
    machine, with the chosen device. Numbers of hosts with the same ``fingerprint`` may be compared. ``available_bytes``
    is the memory that a model may take, ``cores`` the processors that jobs may be pinned to.
    """

    name: str
    facts: Mapping[str, Scalar] = field(hash=False)
    fingerprint: str
    available_bytes: int
    cores: tuple[int, ...] = ()

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda[:n]``: the device that measures the cases."""
        return str(self.facts["device"])


@dataclass(frozen=True, slots=True)
class Job:
    """One visit to one case.

    ``metrics`` names probes; empty means all. ``probes`` are further probes, run after these. ``visit`` is the round of
    the job, from 0; a job of round ``FACTS`` takes no times and may run beside others. ``cores`` are the cores to pin
    the process to; empty means all cores of the host. ``host`` is the name of the host that must measure the job; empty
    means any. ``checked`` means that an earlier job compared the case with eager, and compiled it. The jobs after one
    that ``decides`` depend on results: an executor that runs several jobs at once takes no more until all have ended.
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
        """Whether nothing else may run on the host meanwhile. Of a trial on a CPU only the accuracy counts."""
        return self.visit != FACTS and not (self.case.trial and self.case.device == "cpu")


JobRecord = tuple[Job, Record]


class Executor(ABC):
    """Measures jobs on its hosts. Derive from it and write ``hosts`` and ``run``; the rest may stay as it is.

    ``run`` yields each job with its record as soon as it ends, in whatever order the hosts finish. It takes the next
    job only when a host is free to start it, so that the sweep can choose it by the results so far. If many hosts share
    the work, it takes a round at a time. Whatever happens to a case becomes its record (``attempts.attempt``), stamped
    with the fingerprint of the host that measured it. ``run`` itself raises ConvbenchError only if no job can be
    measured any more. It may be called again.
    """

    @property
    @abstractmethod
    def hosts(self) -> Sequence[Host]:
        """The hosts, at least one. Raises ConvbenchError if one cannot be described, such as for a missing device."""

    @property
    def lost(self) -> Collection[str]:
        """The ids of cases that only lost hosts could measure: they have no record and are not handed over again."""
        return ()

    @property
    def awaits_hosts(self) -> bool:
        """Whether hosts may join later. If so, a case whose kind of host is missing waits for it in ``run``."""
        return False

    def expect(self, cases: Sequence[Case]) -> None:  # noqa: B027 (most executors need nothing)
        """Learn which cases will be measured; the constructor need not know them. Called before anything else.

        Raises ConvbenchError for cases that its hosts cannot build.
        """

    @abstractmethod
    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        """Yield each job with its record as it ends."""

    def know(self, records: Sequence[Record]) -> None:  # noqa: B027
        """Learn what an earlier run has measured, before anything runs. Only executors of several hosts need it."""

    def call(self, work: Callable[..., T], *args: Any) -> T:
        """Return ``work(*args)``, which may build the user's models: in this process, or where it cannot harm it."""
        return work(*args)

    def close(self) -> None:  # noqa: B027
        """End what was started and remove what was written; called once, also after an interruption."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def job_records(executor: Executor, jobs: Iterable[Job]) -> Iterator[JobRecord]:
    """Yield what an executor's ``run`` yields. Raises ConvbenchError that names it for anything but job and record."""
    name, requirement = type(executor).__name__, "its run() must yield each job with its record"
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
    """An executor of one host, this machine, described with the versions of the packages that run the cases."""

    def __init__(self, device: str, cases: Sequence[Case] = ()) -> None:
        self.device = device
        self.packages: tuple[str, ...] = ()
        self.expect(cases)

    def expect(self, cases: Sequence[Case]) -> None:
        if (names := self.versions(cases)) != self.packages:
            self.packages = names
            vars(self).pop("hosts", None)

    def versions(self, cases: Sequence[Case]) -> tuple[str, ...]:
        """Return the packages whose versions belong to the description of the host."""
        return packages(cases)

    @cached_property
    def hosts(self) -> Sequence[Host]:
        return (this_machine(self.device, self.packages),)


def this_machine(device: str, packages: Sequence[str]) -> Host:
    """Describe this machine as a host, as this process sees it, with the versions of these packages.

    Raises ConvbenchError for a device that it lacks.
    """
    from convbench.measure.machine import environment

    facts = environment.describe(device, packages)
    free_bytes = environment.available_bytes(facts)
    return Host("this machine", facts, fingerprint(facts), free_bytes, _cores())


def future_host(device: str) -> Host:
    """Return a host that stands for hosts not started yet: on the device of this name, with memory for every case.

    Raises ConvbenchError for an unknown device.
    """
    from convbench.measure.machine import environment

    environment.refuse_unknown(device)
    return Host("to come", {"device": "cpu" if device == "auto" else device}, "", sys.maxsize, _cores())


def one_by_one(jobs: Iterable[Job], host: Host, measure: Callable[[Job], Record]) -> Iterator[JobRecord]:
    """Run ``Executor.run`` for a host that measures one job at a time; ``measure`` may raise."""
    for job in jobs:
        record = attempts.attempt(job.case, lambda _, job=job: measure(job))  # type: ignore[misc]
        yield job, replace(record, environment=host.fingerprint)


def measure_here(job: Job) -> Record:
    """Measure a job in this process, on its cores. The record notes the user's modules that it imported.

    Raises Unavailable if a variant needs environment variables that this process was started without.
    """
    from convbench.measure import harness

    if harness.needs_isolation(job.metrics):
        missing_names = sorted(process_environment(job.case).keys() - os.environ.keys())
        if missing_names:
            raise Unavailable(
                f"the executor started a process without {', '.join(missing_names)}: it has to pass on the variables "
                "of convbench.models.variants.process_environment(job.case)"
            )
    with pin(job.cores):
        record = harness.measure(job.case, job.protocol, job.metrics, job.probes, checked=job.checked)
    return replace(record, code=code.module_digests())


@contextmanager
def pin(cores: Sequence[int]) -> Iterator[None]:
    """Keep this process and its torch threads on these cores, if any are given, until the end of the block."""
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
    """Return the numbers of the cores to pin to, as many as may be used at once."""
    count = cgroup.available_cores()
    return tuple(allowed_cores() or range(count))[:count]
