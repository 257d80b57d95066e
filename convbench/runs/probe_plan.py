"""Which probes run at which visit: exact ones once, timed ones in the first round, the latency in every round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from convbench.analysis.latencies import QUIET_REFERENCE
from convbench.core import metrics
from convbench.core.record import FACTS, Protocol, Record, Visit
from convbench.measure.probes import Probe, is_exact
from convbench.runs.executor import Job
from convbench.runs.schedule import PlannedVisit, Schedule, cores_of


@dataclass(frozen=True)
class ProbePlan:
    """The probes of a run: ``exact`` ones may run beside other work, ``timed`` ones need a quiet host."""

    exact: tuple[str, ...]
    timed: tuple[str, ...]
    probes: tuple[Probe, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> ProbePlan:
        """Return the plan of the probes with these names, or import paths, which are imported; no name means all."""
        from convbench.measure import harness

        plugins = harness.select(names)
        exact = tuple(plugin.name for plugin in plugins if is_exact(plugin.build))
        return cls(exact, tuple(plugin.name for plugin in plugins if plugin.name not in exact))

    @property
    def repeats(self) -> tuple[str, ...]:
        """The probes that run again at every visit: the latency, which also runs the reference workload."""
        return ("latency",) if "latency" in self.timed else ()

    def protocol(self, protocol: Protocol) -> Protocol:
        """Return the protocol, reduced to one visit if no probe runs again at further visits."""
        return protocol if self.repeats else replace(protocol, visits=1)


def jobs(schedule: Schedule, plan: ProbePlan, cores: Sequence[int]) -> Iterator[Job]:
    """Yield a job for each visit of the schedule, pinned to some of the host's ``cores``."""
    return (_job(visit, schedule, plan, cores) for visit in schedule)


def _job(visit: PlannedVisit, schedule: Schedule, plan: ProbePlan, cores: Sequence[int]) -> Job:
    case, protocol, is_first = visit.case, schedule.protocol, visit.round == 0
    if case.trial:
        return Job(case, protocol, probes=plan.probes, decides=visit.decides)
    if visit.round == FACTS:
        return Job(case, protocol, plan.exact, FACTS, decides=visit.decides)
    pinned_cores = cores_of(case, visit.round, cores)
    if protocol.visits == 1 and not visit.host:
        return Job(case, protocol, (*plan.exact, *plan.timed), 0, pinned_cores, plan.probes, decides=visit.decides)
    names, probes = (plan.timed, plan.probes) if is_first else (plan.repeats, ())
    is_checked = bool(plan.exact) or not is_first
    return Job(case, protocol, names, visit.round, pinned_cores, probes, visit.host, is_checked, visit.decides)


def visit_record(job: Job, record: Record, quiet_reference: float | None = None) -> Record:
    """Return the record of a job as it is stored: with its visit, and without a cold call timed beside other work.

    Timed visits also note the seconds of the reference workload in the last quiet runs on the machine, if known.
    """
    if job.case.trial:
        return record
    failure = f"{record.failure.kind}: {record.failure.message}" if record.failure else ""
    visit = Visit(job.visit, record.started, round(record.seconds, 3), job.cores, failure=failure, host=job.host)
    compiles = record.reading(metrics.COMPILE) is not None
    beside_others = not job.takes_times and not compiles
    readings = tuple(
        reading for reading in record.readings if not (beside_others and reading.metric.name == metrics.COLD_CALL.name)
    )
    reference = {QUIET_REFERENCE: quiet_reference} if quiet_reference and job.takes_times else {}
    return replace(record, readings=readings, visits=(visit,), conditions={**record.conditions, **reference})
