"""Records as rows: one flat object a case for ``--json``, one frame a run for ``results.csv``. Base units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from convbench.analysis.results import Result, result, sustained, typical
from convbench.core.record import Record, Scalar
from convbench.core.statistics import percentile
from convbench.core.store import CSV

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "case", "backbone", "reducer", "lstm_input", "variant", "scenario", "device",
    "params", "macs", "flops", "macs_backbone", "macs_reducer", "macs_lstm", "macs_head",
    "latency_s_median", "latency_s_low", "latency_s_high", "frames_per_s", "memory_peak_bytes", "status", "error",
)  # fmt: skip
"""What every row begins with, in this order; further columns follow."""


def row(record: Record) -> dict[str, Scalar]:
    """One case as a flat object: ``COLUMNS`` first (None where not measured), then whatever else was measured."""
    found = result(record)
    known: dict[str, Scalar] = {
        **record.case.axes,
        **_exact(record),
        **_latency(found),
        "frames_per_s": found.frames_per_s,
        "memory_peak_bytes": _number(found.memory),
        "status": record.status,
        "error": f"{record.failure.kind}: {record.failure.message}" if record.failure else None,
        "findings": " ".join(finding.code for finding in record.findings) or None,
        "environment": record.environment or None,
    }
    return {**{column: known.pop(column, None) for column in COLUMNS}, **known}


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """All rows, ``COLUMNS`` first; a column that no record has a value for is left out unless it is one of them."""
    import pandas as pd

    rows = [row(record) for record in records]
    further = {name: None for one in rows for name, value in one.items() if value is not None}
    return pd.DataFrame(rows, columns=list(dict.fromkeys((*COLUMNS, *further))), dtype=object)


def write_csv(directory: Path, records: Iterable[Record]) -> Path:
    """``results.csv`` of a run directory, a row a case."""
    path = directory / CSV
    frame(records).to_csv(path, index=False)
    return path


def _exact(record: Record) -> dict[str, Scalar]:
    names = (reading.metric.name for reading in record.readings if reading.metric.name != "latency_s")
    return {name: _number(typical(record, name)) for name in names}


def _latency(found: Result) -> dict[str, Scalar]:
    interval, samples = found.latency, found.record.samples("latency_s")
    if interval is None:
        return {}
    keeps_up = sustained(found.record)
    return {
        "latency_s_median": interval.median,
        "latency_s_low": _number(interval.low),
        "latency_s_high": _number(interval.high),
        "latency_s_p90": percentile(samples, 90),
        "latency_s_p99": percentile(samples, 99),
        "latency_samples": len(samples),
        "fps_sustained": keeps_up[0] if keeps_up else None,
        "fps_sustained_percentile": keeps_up[1] if keeps_up else None,
    }


def _number(value: float | None) -> Scalar:
    """None for what JSON and CSV cannot say; whole numbers as such."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else value
