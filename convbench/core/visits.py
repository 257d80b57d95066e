"""Join the visits to each case into its one Record: facts that repeat are kept once, times are kept visit by visit.

On disk each visit is a Record of its own, complete before the next visit starts. This module decides which visits were
disturbed, from what they measured of the machine and never from the latency itself, so that no visit is left out for
being slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from statistics import median
from typing import Any, Literal, NamedTuple

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
from convbench.core.record import FACTS, Disturbance, Finding, Reading, Record, Scalar, Visit
from convbench.core.spread import at_two_speeds

WAITING_TOGETHER = 0.02
"""Largest share of sampling time that threads may wait for a core if they wait for each other.

A single thread's waiting is subtracted from its times instead.
"""
STOLEN = 0.05
"""Largest share of sampling time that a virtual machine's host may take; no clock of the guest shows when it does."""
SLOW_MACHINE = 1.6
"""A visit is disturbed if the reference workload took this many times as long as at the run's better moments."""
BETTER_MOMENTS = 0.25
"""Quantile of the reference workload's times that is taken for the machine's speed: latencies are stated at it."""
AGREEING = (INTERVAL_WIDE, NOT_STEADY, PAGE_FAULTS, BUSY_MACHINE)
"""Findings that any visit may have: they are kept if at least half of the timed visits have them."""

OF_VISITS = (WITHHELD, TWO_SPEEDS, VISIT_FAILED)
"""Findings about all visits together, made anew whenever visits are joined."""


class Scope(NamedTuple):
    """What records must share to tell the speed of one machine; more threads run the reference workload faster, too."""

    environment: str
    device: str
    threads: Scalar

    @property
    def setting(self) -> tuple[str, Scalar]:
        """The part of the scope that another run can share: the device and the number of threads."""
        return self.device, self.threads


def scope(record: Record) -> Scope:
    return Scope(record.environment, record.case.device, threads(record))


def threads(record: Record) -> Scalar:
    """Return the number of threads that computed, as the measuring process noted it; None if not noted, or on a GPU."""
    return record.conditions.get("threads") if record.case.device == "cpu" else None


def join_visits(lines: Iterable[Record]) -> list[Record]:
    """Return one Record per case, in the order in which the cases first appear.

    Records without visits come from older runs, or from cases that are measured once: the first that is ok is kept, or
    else the first.
    """
    records = [_join(visits) for visits in grouped(lines, lambda record: record.case.id).values()]
    levels = reference_levels(records)
    # a record without visits, as of version 0.1, is already judged
    return [_judge(record, levels[scope(record)]) if record.visits else record for record in records]


def reference_levels(records: Iterable[Record]) -> dict[Scope, float]:
    """Return each scope's seconds of the reference workload at the better moments; 0 if no visit has measured it."""
    return {
        scope: at_better_moments(
            median(samples)
            for record in members
            if record.visits and (reading := record.reading(metrics.REFERENCE))
            for samples in reading.by_visit()
            if samples
        )
        for scope, members in grouped(records, scope).items()
    }


def at_better_moments(values: Iterable[float]) -> float:
    """Return the reference workload's time, or its logarithm, at the better moments; 0 without values."""
    times = sorted(values)
    return times[int(BETTER_MOMENTS * (len(times) - 1))] if times else 0.0


def _join(records: Sequence[Record]) -> Record:
    first_record = records[0]
    if not first_record.visits:
        return next((record for record in records if record.status == "ok"), first_record)
    records = [record for record in records if record.visits]  # the others have no part in these visits
    # If the facts showed that the case has no result, such as for a wrong output, its times mean nothing.
    records = [record for record in records if record.status != "ok" and record.visits[0].round == FACTS] or records
    names = dict.fromkeys(reading.metric.name for record in records for reading in record.readings)
    return replace(
        _representative(records),
        readings=tuple(_reading(name, records) for name in names),
        findings=_findings(records),
        started=first_record.started,
        visits=tuple(chain.from_iterable(record.visits for record in records)),
        seconds=sum(record.seconds for record in records),
    )


def _representative(records: Sequence[Record]) -> Record:
    """Return the visit whose state stands for the case: a timed one if there is any, preferably one that succeeded."""
    candidates = [record for record in records if any(visit.is_timed for visit in record.visits)] or records
    return next((record for record in candidates if record.status == "ok"), candidates[0])


def _reading(name: str, records: Sequence[Record]) -> Reading:
    """Return a metric's reading over all visits: times and machine shares visit by visit, else the first reading."""
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
    """Whether a reading differs from visit to visit: it is a time or a share of the machine's time."""
    return reading.metric.unit == "s" or reading.metric.name in (metrics.RUN_DELAY.name, metrics.STEAL.name)


def _sizes(reading: Reading | None, visits: int) -> list[int]:
    if reading is None:
        return [0] * visits
    return list(reading.visits) or [len(reading.samples), *[0] * (visits - 1)]


def _findings(records: Sequence[Record]) -> tuple[Finding, ...]:
    """Return each finding once; those in ``AGREEING`` only if at least half of the timed visits have them."""
    timed_records = [record for record in records if record.samples(metrics.LATENCY)]
    by_code = {finding.code: finding for record in reversed(records) for finding in record.findings}
    share = {
        code: sum(code in {finding.code for finding in record.findings} for record in timed_records)
        / max(1, len(timed_records))
        for code in by_code
    }
    return tuple(finding for code, finding in by_code.items() if code not in AGREEING or share[code] >= 0.5)


def _judge(record: Record, level: float) -> Record:
    """Return the record with its disturbed visits marked, and withheld if none of its timed visits is sound."""
    split_by_name = {reading.metric.name: reading.by_visit() for reading in record.readings}
    by_visit = [{name: _at(split, i) for name, split in split_by_name.items()} for i in range(len(record.visits))]
    visits = tuple(
        replace(visit, disturbed=_disturbance(samples, record, level))
        for visit, samples in zip(record.visits, by_visit, strict=True)
    )
    findings = tuple(finding for finding in record.findings if finding.code not in OF_VISITS)
    latencies = split_by_name.get(metrics.LATENCY.name, [])
    timed_visits = [visit for i, visit in enumerate(visits) if _at(latencies, i)]
    if timed_visits and not any(visit.is_sound for visit in timed_visits):
        findings += (_withheld_finding(timed_visits, record),)
    if record.status == "ok" and (failures := [visit.failure for visit in visits if visit.failure]):
        findings += (Finding(VISIT_FAILED, data={"reason": failures[0]}),)
    speeds = _speeds(latencies, visits)
    return replace(record, visits=visits, findings=(*findings, *([speeds] if speeds else [])))


def _at(split: Sequence[tuple[float, ...]], index: int) -> tuple[float, ...]:
    return split[index] if index < len(split) else ()


def _disturbance(samples: dict[str, tuple[float, ...]], record: Record, level: float) -> Disturbance | Literal[""]:
    """Return what disturbed a visit's times; empty if nothing did."""
    delay, steal = (max(samples.get(metric.name, ()), default=0.0) for metric in (metrics.RUN_DELAY, metrics.STEAL))
    reference = samples.get(metrics.REFERENCE.name, ())
    if delay > WAITING_TOGETHER and (threads := torch_threads(record)) > 1:
        if cores := shared_cores(record):
            return Disturbance("shared-cores", cores, threads)
        if isinstance(quota := _busy_data(record).get("quota"), float):
            return Disturbance("quota", quota, threads)
        return Disturbance("other-processes", _in_percent(min(delay, 1.0)), threads)  # delays of threads add up
    if steal > STOLEN:
        return Disturbance("host", _in_percent(steal))
    if reference and median(reference) > SLOW_MACHINE * level:
        return Disturbance("slow-machine", round(median(reference) / level, 1))
    return ""


def _speeds(latencies: Sequence[tuple[float, ...]], visits: Sequence[Visit]) -> Finding | None:
    """Return the finding that fresh processes ran at two speeds; None if they did not."""
    medians = sorted(
        median(samples) for samples, visit in zip(latencies, visits, strict=False) if samples and visit.is_sound
    )
    if not at_two_speeds([math.log(seconds) for seconds in medians]):
        return None
    return Finding(TWO_SPEEDS, "note", {"fast": medians[0], "slow": medians[-1]})


def _withheld_finding(visits: Sequence[Visit], record: Record) -> Finding:
    reasons = [visit.disturbed or visit.failure for visit in visits]
    reason = max(reasons, key=reasons.count)
    why = {"reason": reason} if isinstance(reason, str) else {f"disturbed_{k}": v for k, v in asdict(reason).items()}
    return Finding(WITHHELD, data={"visits": len(visits), "threads": torch_threads(record), **why})


def shared_cores(record: Record) -> int | None:
    """Return the number of cores if a case's own threads were more and competed for them, else None."""
    data = _busy_data(record)
    cores = data.get("cores") if "waited" in data else None
    return cores if isinstance(cores, int) else None


def _busy_data(record: Record) -> Mapping[str, Any]:
    return next((finding.data for finding in record.findings if finding.code == BUSY_MACHINE), {})


def torch_threads(record: Record) -> int:
    """Return the number of torch's threads on the CPU, whatever device computed; 1 if it was not noted."""
    threads = record.conditions.get("threads")
    return threads if isinstance(threads, int) else 1


def _in_percent(share: float) -> float:
    """Return the share rounded up to whole percent, so that visits with nearly the same disturbance have the same."""
    return math.ceil(100 * share) / 100
