"""Write run directories like those of ``convbench run`` with invented numbers, to make stores of many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import records

from convbench.core.record import Record
from convbench.core.storage import store

BEGIN = datetime(2026, 9, 1, 12, tzinfo=UTC)
GAP, FC, GMP = records.case("gap"), records.case("fc", 128), records.case("gmp")


def day(number: int) -> str:
    return (BEGIN + timedelta(days=number)).isoformat()


def commit(number: int) -> str:
    return f"{number:02}c0ffee{number:04}"


def write(
    place: Path,
    number: int,
    seconds: Mapping[records.Case, float],
    *,
    reference: float = 3e-4,
    fingerprint: str = "e1",
    planned: Sequence[str] | None = None,
    environment: Mapping[str, object] | None = None,
    **more,
) -> Path:
    """Write a day's run, of its own commit, in which each case takes the given seconds. Return ``place``."""
    run_records = [record_of(case, latency, reference, fingerprint) for case, latency in seconds.items()]
    facts = {**records.ENVIRONMENT, "commit": commit(number), "device": "cpu", **(environment or {})}
    run = records.run_of(run_records, environment=facts, fingerprint=fingerprint, **{"started": day(number), **more})
    store.start(place, replace(run, planned=tuple(planned or run.planned)), run_records)
    return place


def record_of(case: records.Case, latency: float, reference: float = 3e-4, fingerprint: str = "e1") -> Record:
    record = records.record(case, samples=5, latency=latency)
    readings = [reading for reading in record.readings if reading.metric.name != "latency_s"]
    times = (records.reading("latency_s", *[latency] * 5), records.reading("reference_s", *[reference] * 5))
    return replace(record, readings=(*readings, *times), environment=fingerprint)


def many(
    folder: Path, count: int = 24, slower: float = 1.1, at: int = 12, noise: float = 0.01, seed: int = 0, **more
) -> Path:
    """Write a store of daily runs. Only ``gap`` becomes slower, at run ``at``. The machine's speed varies."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        speed = float(np.exp(0.03 * rng.standard_normal()))
        luck = np.exp(noise * rng.standard_normal(2)) * speed
        seconds = {GAP: 2e-3 * luck[0] * (slower if number >= at else 1.0), FC: 9e-3 * luck[1]}
        write(folder / f"run{number:03}", number, seconds, reference=3e-4 * speed, **more)
    return folder
