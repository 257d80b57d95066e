"""Records of hosts whose clock is off are dated by the driver's own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from convbench.core.record import Record
from convbench.runs.executor import Job

TOLERANCE = 2.0
"""Seconds that a host's clock may differ, or its first message take, before its dates are corrected."""


def correct_record(record: Record, job: Job, host: str, skew: float) -> Record:
    """A record as the driver hands it on: dated by its own clock, and a trial's with the host that it ran on."""
    if job.case.trial and host:
        record = replace(record, conditions={**record.conditions, "host": host})
    if abs(skew) <= TOLERANCE or not record.started:
        return record
    with suppress(ValueError, OverflowError):
        start = datetime.fromisoformat(record.started) - timedelta(seconds=skew)
        return replace(record, started=start.isoformat(timespec="milliseconds"))
    return record
