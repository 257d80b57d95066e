"""isolated: what ``convbench run`` takes for whatever runs a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from convbench.core import code
from convbench.core.errors import CaseFailed, ConvbenchError, Unavailable
from convbench.core.record import Case, Record
from convbench.core.registry import executors
from convbench.core.traits import compiles, packages
from convbench.measure import harness
from convbench.measure.machine import malloc
from convbench.models.variants import process_environment
from convbench.runs import apart
from convbench.runs.executor import Executor, Host, Job, Visit, here, one_by_one, pinned
from convbench.runs.processes import Call, Processes
from convbench.runs.script import brought

T = TypeVar("T")
COMPILER = ("torch._inductor.compile_fx", "torch._inductor.codegen.cpp")
DIGITS = ("sklearn.datasets",)


@executors.register("isolated")
class Isolated(Executor):
    """A fresh process for every visit, one after another, on this machine: nothing a case does ends the sweep."""

    def __init__(self, device: str, cases: Sequence[Case] = ()) -> None:
        self.device = device
        self.packages = packages(cases)
        self.processes = Processes(preloads(cases))

    @cached_property
    def hosts(self) -> Sequence[Host]:
        """This machine, described in a process of its own: the caller's never touches the device."""
        try:
            return (self.processes.run(Call(here, (self.device, self.packages))),)
        except CaseFailed as error:
            raise ConvbenchError(str(error)) from error

    def run(self, jobs: Iterable[Job]) -> Iterator[Visit]:
        return one_by_one(jobs, self.hosts[0], self.measure)

    def measure(self, job: Job) -> Record:
        """The job in a fresh process under its protocol's time limit. Raises CaseFailed, or Unavailable."""
        variables, limit = process_environment(job.case), job.protocol.timeout
        return self.processes.run(Call(measure, (job,), variables, limit, compiles(job.case), brought([job.case])))

    def call(self, work: Callable[..., T], *args: Any) -> T:
        return apart.called(self.processes, work, args, "checking the suite's cases")

    def close(self) -> None:
        self.processes.close()


def measure(job: Job) -> Record:
    """``harness.measure`` in this process, which is the job's own."""
    if job.case.reads_out:
        _keep_memory()
    with pinned(job.cores):
        record = harness.measure(job.case, job.protocol, job.metrics, job.probes)
    return replace(record, code=code.imported())


def preloads(cases: Sequence[Case]) -> list[str]:
    """What the forkserver should import for these cases, besides what every case needs."""
    compiler = COMPILER if any(map(compiles, cases)) else ()
    return [*compiler, *(DIGITS if any(case.trial for case in cases) else ())]


def _keep_memory() -> None:
    """For a case whose seconds are no result: nothing is mapped anew for every batch."""
    with suppress(Unavailable):
        malloc.become(malloc.KEPT)
