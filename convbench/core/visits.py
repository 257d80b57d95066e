"""Visits to one case, joined to its one Record: what repeats is kept once, times are kept visit by visit.

On disk a visit is a Record of its own, complete before the next one starts. Which visits were disturbed is decided here
from what they measured of the machine, never from the latency itself, so that nothing is left out for being slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from statistics import median
from typing import NamedTuple

from convbench.core import metrics
from convbench.core.findings import (
    BUSY_MACHINE,
    INTERVAL_WIDE,
    NOT_STEADY,
    PAGE_FAULTS,
    TWO_SPEEDS,
    VISIT_FAILED,
    WITHHELD,
)
from convbench.core.grouping import grouped
from convbench.core.record import FACTS, Finding, Reading, Record, Scalar, Visit
from convbench.core.spread import at_two_speeds
from convbench.core.text import counted

WAITING_TOGETHER = 0.02
"""Share of a sampling's time that threads which wait for each other may wait for a core; one thread's is taken off."""
STOLEN = 0.05
"""Share of a sampling's time that the host under a virtual machine may take: no clock of ours shows when it does."""
SLOW_MACHINE = 1.6
"""A visit is disturbed where the reference workload took this many times as long as at the run's better moments."""
BETTER_MOMENTS = 0.25
"""The quantile of the reference workload's times that latencies are stated at."""
AGREEING = (INTERVAL_WIDE, NOT_STEADY, PAGE_FAULTS, BUSY_MACHINE)
"""Findings that any visit may have: they are kept where at least half of the timed visits have them."""

OF_VISITS = (WITHHELD, TWO_SPEEDS, VISIT_FAILED)
"""Findings about the visits together, made anew whenever visits are joined."""


class Scope(NamedTuple):
    """What records must share to tell of one machine's speed: more threads are faster at the reference workload too."""

    environment: str
    device: str
    threads: Scalar

    @property
    def setting(self) -> tuple[str, Scalar]:
        """What of it another run can share: the device, and how many threads."""
        return self.device, self.threads


def scope(record: Record) -> Scope:
    return Scope(record.environment, record.case.device, threads(record))


def threads(record: Record) -> Scalar:
    """How many threads computed, as the process that measured noted it; None where it did not, and on a GPU."""
    return record.conditions.get("threads") if record.case.device == "cpu" else None


def in_table(record: Record) -> bool:
    """Whether a case has its place in the first table: it was timed, failed, or is one that is measured once."""
    return not record.visits or record.status != "ok" or any(visit.timed for visit in record.visits)


def join_visits(lines: Iterable[Record]) -> list[Record]:
    """A Record a case, in the order in which the cases first came.

    Records without visits are of older runs, or of cases that are measured once: the first that is ok stands, else the
    first.
    """
    records = [_join(visits) for visits in grouped(lines, lambda record: record.case.id).values()]
    levels = reference_levels(records)
    return [_judge(record, levels.get(scope(record))) if record.visits else record for record in records]


def reference_levels(records: Iterable[Record]) -> dict[Scope, float]:
    """Seconds of the reference workload at the better moments of each scope; records without visits have none."""
    readings = {
        scope: [reading for record in members if record.visits and (reading := record.reading(metrics.REFERENCE))]
        for scope, members in grouped(records, scope).items()
    }
    seconds = {
        scope: [median(samples) for reading in members for samples in reading.by_visit() if samples]
        for scope, members in readings.items()
    }
    return {scope: at_better_moments(values) for scope, values in seconds.items() if values}


def at_better_moments(values: Iterable[float]) -> float:
    """What the reference workload took, or its logarithm, at the better moments; 0 without any."""
    times = sorted(values)
    return times[int(BETTER_MOMENTS * (len(times) - 1))] if times else 0.0


def _join(records: Sequence[Record]) -> Record:
    first_record = records[0]
    if not first_record.visits:
        return next((record for record in records if record.status == "ok"), first_record)
    records = [record for record in records if record.visits]  # one that tells of no visit is none of this case's
    records = [record for record in records if _is_refused(record)] or records  # what was timed beside that is wrong
    names = dict.fromkeys(reading.metric.name for record in records for reading in record.readings)
    return replace(
        _representative(records),
        readings=tuple(_reading(name, records) for name in names),
        findings=_findings(records),
        started=first_record.started,
        visits=tuple(chain.from_iterable(record.visits for record in records)),
        seconds=sum(record.seconds for record in records),
    )


def _is_refused(record: Record) -> bool:
    """Whether its facts say that a case has no result, as for a wrong output."""
    return record.status != "ok" and record.visits[0].round == FACTS


def _representative(records: Sequence[Record]) -> Record:
    """The visit whose state stands for the case: one that was timed, else one that tried, else the first."""
    candidates = [record for record in records if any(visit.timed for visit in record.visits)] or list(records)
    return next((record for record in candidates if record.status == "ok"), candidates[0])


def _reading(name: str, records: Sequence[Record]) -> Reading:
    """Seconds and shares of the machine visit by visit; of all else, which repeats, the first."""
    readings = [record.reading(name) for record in records]
    first_reading = next(reading for reading in readings if reading)
    if not varies(first_reading):
        return first_reading
    sizes: list[int] = []
    for record, reading in zip(records, readings, strict=True):
        sizes += _sizes(reading, len(record.visits))
    samples = chain.from_iterable(reading.samples for reading in readings if reading)
    return Reading(first_reading.metric, tuple(samples), tuple(sizes))


def varies(reading: Reading) -> bool:
    """Whether a reading is another one at every visit."""
    return reading.metric.unit == "s" or reading.metric.name in (metrics.RUN_DELAY.name, metrics.STEAL.name)


def _sizes(reading: Reading | None, visits: int) -> list[int]:
    if reading is None:
        return [0] * visits
    return list(reading.visits) or [len(reading.samples), *[0] * (visits - 1)]


def _findings(records: Sequence[Record]) -> tuple[Finding, ...]:
    """Each finding once; those in ``AGREEING`` only where at least half of the timed visits have them."""
    timed_records = [record for record in records if record.samples(metrics.LATENCY)]
    by_code = {finding.code: finding for record in reversed(records) for finding in record.findings}
    share = {
        code: sum(code in {finding.code for finding in record.findings} for record in timed_records)
        / max(1, len(timed_records))
        for code in by_code
    }
    return tuple(finding for code, finding in by_code.items() if code not in AGREEING or share[code] >= 0.5)


def _judge(record: Record, level: float | None) -> Record:
    """The record with its disturbed visits marked, and withheld where its times were never taken undisturbed."""
    split_by_name = {reading.metric.name: reading.by_visit() for reading in record.readings if varies(reading)}
    by_visit = [{name: _at(split, i) for name, split in split_by_name.items()} for i in range(len(record.visits))]
    visits = tuple(
        replace(visit, disturbed=_disturbance(samples, record, level))
        for visit, samples in zip(record.visits, by_visit, strict=True)
    )
    findings = tuple(finding for finding in record.findings if finding.code not in OF_VISITS)
    latencies = split_by_name.get(metrics.LATENCY.name, [])
    timed_visits = [visit for i, visit in enumerate(visits) if _at(latencies, i)]
    if timed_visits and not any(visit.sound for visit in timed_visits):
        findings += (_withheld_finding(timed_visits, record),)
    if record.status == "ok" and (failures := [visit.failure for visit in visits if visit.failure]):
        findings += (Finding(VISIT_FAILED, data={"reason": failures[0]}),)
    speeds = _speeds(latencies, visits)
    return replace(record, visits=visits, findings=(*findings, *([speeds] if speeds else [])))


def _at(split: Sequence[tuple[float, ...]], index: int) -> tuple[float, ...]:
    return split[index] if index < len(split) else ()


def _disturbance(samples: dict[str, tuple[float, ...]], record: Record, level: float | None) -> str:
    """By what a visit's times were spoilt, empty where by nothing."""
    delay, steal = (max(samples.get(metric.name, ()), default=0.0) for metric in (metrics.RUN_DELAY, metrics.STEAL))
    reference = samples.get(metrics.REFERENCE.name, ())
    if delay > WAITING_TOGETHER and (threads := _torch_threads(record)) > 1:
        data = next((finding.data for finding in record.findings if finding.code == BUSY_MACHINE), {})
        if "waited" in data and isinstance(cores := data.get("cores"), int):  # they took the cores from each other
            return f"its {threads} threads shared {counted(cores, 'core')}"
        return f"other processes had a core for {_percent(delay)} of the time"
    if steal > STOLEN:
        return f"the host took {_percent(steal)} of the time"
    if level and reference and median(reference) > SLOW_MACHINE * level:
        return f"the reference workload took {median(reference) / level:.1f} times as long"
    return ""


def _speeds(latencies: Sequence[tuple[float, ...]], visits: Sequence[Visit]) -> Finding | None:
    """That fresh processes ran at two speeds, where they did."""
    medians = sorted(
        median(samples) for samples, visit in zip(latencies, visits, strict=False) if samples and visit.sound
    )
    if not at_two_speeds([math.log(seconds) for seconds in medians]):
        return None
    return Finding(TWO_SPEEDS, "note", {"fast": medians[0], "slow": medians[-1]})


def _withheld_finding(visits: Sequence[Visit], record: Record) -> Finding:
    reasons = [visit.disturbed or visit.failure for visit in visits]
    return Finding(
        WITHHELD,
        data={"visits": len(visits), "threads": _torch_threads(record), "reason": max(set(reasons), key=reasons.count)},
    )


def _torch_threads(record: Record) -> int:
    """How many threads torch had on the CPU, whatever device computed; 1 where that was not noted."""
    threads = record.conditions.get("threads")
    return threads if isinstance(threads, int) else 1


def _percent(share: float) -> str:
    return f"{math.ceil(100 * share)} %"
