"""What is measured at which visit: the exact metrics once, the times visit by visit."""

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
class Menu:
    """The probes of a run by what they need: ``exact`` ones are told beside other work, ``timed`` ones want quiet."""

    exact: tuple[str, ...]
    timed: tuple[str, ...]
    probes: tuple[Probe, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> Menu:
        """The probes of these names, or import paths, which are imported; all of them where none is named."""
        from convbench.measure import harness

        plugins = harness.select(names)
        exact = tuple(plugin.name for plugin in plugins if is_exact(plugin.build))
        return cls(exact, tuple(plugin.name for plugin in plugins if plugin.name not in exact))

    @property
    def repeats(self) -> tuple[str, ...]:
        """What is measured again at every visit: the latency, which takes the reference along."""
        return ("latency",) if "latency" in self.timed else ()

    def protocol(self, protocol: Protocol) -> Protocol:
        """The protocol with one visit where nothing is worth another."""
        return protocol if self.repeats else replace(protocol, visits=1)


def jobs(schedule: Schedule, menu: Menu, cores: Sequence[int]) -> Iterator[Job]:
    """A job for each visit of the schedule, pinned to some of the host's ``cores``."""
    return (_job(visit, schedule, menu, cores) for visit in schedule)


def _job(visit: PlannedVisit, schedule: Schedule, menu: Menu, cores: Sequence[int]) -> Job:
    case, protocol, is_first = visit.case, schedule.protocol, visit.round == 0
    if case.trial:
        return Job(case, protocol, probes=menu.probes, decides=visit.decides)
    if visit.round == FACTS:
        return Job(case, protocol, menu.exact, FACTS, decides=visit.decides)
    pinned_cores = cores_of(case, visit.round, cores)
    if protocol.visits == 1 and not visit.host:
        return Job(case, protocol, (*menu.exact, *menu.timed), 0, pinned_cores, menu.probes, decides=visit.decides)
    names, probes = (menu.timed, menu.probes) if is_first else (menu.repeats, ())
    is_checked = bool(menu.exact) or not is_first
    return Job(case, protocol, names, visit.round, pinned_cores, probes, visit.host, is_checked, visit.decides)


def visit_record(job: Job, record: Record, quiet_reference: float | None = None) -> Record:
    """The record of a job as it is stored: one visit, without what it took in circumstances that it is not for.

    It notes what the last quiet run on the machine had for the reference workload, where that is known.
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
