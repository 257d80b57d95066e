"""The executor ``in-process``: the default of ``convbench run`` if no model runs, as for parameters and MACs alone."""

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
    """This very process, for debuggers and notebooks: no time limit, and a case that crashes ends everything."""

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        return one_by_one(jobs, self.hosts[0], measure)


def measure(job: Job) -> Record:
    """Measure a job in this process. Raises Unavailable for a case that needs a process of its own."""
    from convbench.measure import harness

    if harness.needs_isolation(job.metrics):
        _refuse_process_needs(job.case)
    return measure_here(job)


def _refuse_process_needs(case: Case) -> None:
    """Raise Unavailable for a case that needs other environment variables, or changes its process for good."""
    if variables := process_environment(case):
        raise Unavailable(
            f"needs a process that is started with {', '.join(sorted(variables))}: run it with --executor isolated"
        )
    if changes_process(case):
        raise Unavailable("changes the process that it runs in: run it with --executor isolated")
