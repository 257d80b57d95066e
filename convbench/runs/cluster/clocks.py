"""Date records by the driver's clock if the clock of the host that measured is wrong."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from convbench.core.record import Record
from convbench.runs.executor import Job

TOLERANCE = 2.0
"""Seconds by which a host's clock may differ, or its first message be late, before its dates are corrected."""


def correct_record(record: Record, job: Job, host: str, skew: float) -> Record:
    """Return a record dated by the driver's clock; the record of a trial also names the host that ran it.

    ``skew`` is by how many seconds the host's clock is ahead of the driver's.
    """
    if job.case.trial and host:
        record = replace(record, conditions={**record.conditions, "host": host})
    if abs(skew) <= TOLERANCE or not record.started:
        return record
    with suppress(ValueError, OverflowError):
        start = datetime.fromisoformat(record.started) - timedelta(seconds=skew)
        return replace(record, started=start.isoformat(timespec="milliseconds"))
    return record
