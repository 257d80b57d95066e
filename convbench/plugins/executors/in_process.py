"""in-process: what ``convbench run`` takes where no model is run, as for parameters and MACs alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from convbench.core.errors import Unavailable
from convbench.core.record import Case, Record
from convbench.core.registry import executors
from convbench.core.traits import changes_process
from convbench.models.variants import process_environment
from convbench.runs.executor import Job, JobRecord, OnThisMachine, measure_here, one_by_one


@executors.register("in-process")
class InProcess(OnThisMachine):
    """This very process, as a debugger or a notebook wants it: no time limit, and a crash of a case ends everything."""

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        return one_by_one(jobs, self.hosts[0], measure)


def measure(job: Job) -> Record:
    """``measure_here``. Raises Unavailable for a case that has to have a process of its own."""
    from convbench.measure import harness

    if harness.needs_isolation(job.metrics):
        _refuse_process_needs(job.case)
    return measure_here(job)


def _refuse_process_needs(case: Case) -> None:
    """Raises Unavailable for a case that this process was not started for, or would not be the same after."""
    if variables := process_environment(case):
        raise Unavailable(
            f"needs a process that is started with {', '.join(sorted(variables))}: run it with --executor isolated"
        )
    if changes_process(case):
        raise Unavailable("changes the process that it runs in: run it with --executor isolated")
