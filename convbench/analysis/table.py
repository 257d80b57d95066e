"""Turn records into rows: one flat object per case for ``--json``, one frame per run for ``results.csv``.

All values are in base units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convbench.analysis import latencies
from convbench.analysis.results import Result, dtype, sustained_rate
from convbench.analysis.results import result as result_of
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.record import STAGES, Record, Scalar
from convbench.core.statistics import percentile, percentile_bound
from convbench.core.storage.store import CSV, report_elsewhere
from convbench.core.system import files
from convbench.core.text import cell
from convbench.core.traits import FP32
from convbench.core.visits import threads

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "case", "backbone", "reducer", "lstm_input", "variant", "scenario", "device",
    *(metric.name for metric in (metrics.PARAMS, metrics.MACS, metrics.FLOPS)),
    *(metrics.MACS.part(stage).name for stage in STAGES),
    *(metric.name for metric in (metrics.LATENCY_MEDIAN, metrics.LATENCY_LOW, metrics.LATENCY_HIGH)),
    metrics.FRAMES_PER_S.name, metrics.MEMORY.name, "status", "error",
)  # fmt: skip
"""The columns that every row begins with, in this order; further columns follow."""

COLUMN_MEANINGS = {
    "case": "The case's id: what every file and page calls it.",
    "backbone": "Backbone with the options that differ from its defaults.",
    "reducer": "Reducer with the options that differ from its defaults.",
    "variant": "Transformations of the model joined by +, or eager.",
    "scenario": "What a call is: inference, streaming, train, or a trial (learn, probe).",
    "device": "Device that the case ran on.",
    "status": "ok, failed, or skipped if this machine lacks what the case asks for.",
    "error": "Why there is no result.",
    "model": "Import path of a user's own model.",
    "rnn": "Recurrent stage: cell, hidden size, layers.",
    "layer_norm": "1 if a LayerNorm stands before the recurrent stage.",
    "head": "Outputs of the linear head for each time step.",
    "number_type": "Number type that the case was computed in, if it is not float32 (fp32).",
    "clip": "Shape of the input: batch, frames, channels, height, width.",
    "task": "Task of a trial.",
    "seed": "Seed of a trial's clips, weights and order.",
    "learning_rate": "Learning rate of a training.",
    "control": "What is removed from the task, to check that the task needs it.",
    "findings": "Codes of findings that a reader must know about.",
    "environment": "Fingerprint of the machine and software, spelled out in run.json.",
}
"""The columns that are not metrics, with their meanings."""


class Column(NamedTuple):
    """A column of CSV and JSON: its name, the base unit of its values (empty for text), and its meaning."""

    name: str
    unit: str
    meaning: str


def columns(own_metrics: Iterable[Metric] = ()) -> list[Column]:
    """Return every column that a row can have, the fixed ones first; ``own_metrics`` come from users' own probes."""
    text_columns = {name: Column(name, "", meaning) for name, meaning in COLUMN_MEANINGS.items()}
    candidates = (*metrics.CATALOGUE.values(), metrics.LSTM_INPUT, *own_metrics)
    unit_columns = {
        metric.name: Column(metric.name, metric.unit, metric.description or metric.title)
        for metric in candidates
        if metric.number != "each"
    }
    column_by_name = {**text_columns, **unit_columns}
    del column_by_name[metrics.LATENCY.name]
    return [*(column_by_name.pop(name) for name in COLUMNS), *column_by_name.values()]


def column(metric: Metric) -> str:
    """Return the name of the column that holds a metric's one number."""
    return metrics.LATENCY_MEDIAN.name if metric == metrics.LATENCY else metric.name


def row_of(result: Result) -> dict[str, Scalar]:
    """Turn a result into a flat object: ``COLUMNS`` first (None if not measured), then all other measured values."""
    record = result.record
    values: dict[str, Scalar] = {
        **record.case.axes,
        **_exact(result),
        **_latency(result),
        **_visits(record),
        metrics.FRAMES_PER_S.name: result.frames_per_s,
        **({metrics.LAUNCH_SHARE.name: share} if (share := result.launch_share) is not None else {}),
        metrics.MEMORY.name: _number(result.memory),
        "number_type": name if (name := dtype(record)) != FP32 else None,
        "status": record.status,
        "error": f"{record.failure.kind}: {record.failure.message}" if record.failure else None,
        "findings": " ".join(finding.code for finding in record.findings) or None,
        "environment": record.environment or None,
    }
    return {**{column: values.pop(column, None) for column in COLUMNS}, **values}


def rows(records: Iterable[Record]) -> list[dict[str, Scalar]]:
    """Return one row per case of a run; the spread of all the run's visits informs each interval."""
    records = list(records)
    machines = latencies.machines(records)
    return [row_of(result_of(record, machines)) for record in records]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return all rows as a data frame: ``COLUMNS`` first, then the columns that some record has a value for."""
    import pandas as pd

    lines = rows(records)
    names = {name: None for row in lines for name, value in row.items() if value is not None}
    return pd.DataFrame(lines, columns=list(dict.fromkeys((*COLUMNS, *names))), dtype=object)


def write_csv(directory: Path, records: Iterable[Record]) -> Path:
    """Write ``results.csv`` to a run directory, one row per case; no cell is a formula. Raises StoreError."""
    import pandas as pd

    rows = frame(records)
    # DataFrame.map would turn whole numbers into floats (90.0) in a column that some case has no value for
    lines = [list(map(cell, line)) for line in rows.itertuples(index=False, name=None)]
    text = pd.DataFrame(lines, columns=rows.columns, dtype=object).to_csv(index=False)
    return files.write(directory / CSV, text, report_elsewhere(directory))


def _exact(result: Result) -> dict[str, Scalar]:
    read_metrics = [metrics.with_words(reading.metric) for reading in result.record.readings]
    exact = [metric for metric in read_metrics if metric.name != metrics.LATENCY.name and metric.number != "each"]
    return {metric.name: _number(result.value(metric)) for metric in exact}


def _latency(result: Result) -> dict[str, Scalar]:
    interval, samples = result.latency, result.record.samples(metrics.LATENCY)
    if interval is None:
        return {}
    keeps_up = sustained_rate(result.record)
    return {
        metrics.LATENCY_MEDIAN.name: interval.median,
        metrics.LATENCY_LOW.name: _number(interval.low),
        metrics.LATENCY_HIGH.name: _number(interval.high),
        metrics.LATENCY_P90.name: percentile(samples, 90),
        metrics.LATENCY_P99.name: percentile(samples, 99),
        metrics.LATENCY_SAMPLES.name: len(samples),
        metrics.FPS_SUSTAINED.name: keeps_up[0] if keeps_up else None,
        metrics.FPS_PERCENTILE.name: keeps_up[1] if keeps_up else None,
    }


def _visits(record: Record) -> dict[str, Scalar]:
    """Return a case's threads, its visits, its undisturbed visits, and bounds of percentiles; empty without visits."""
    if not record.visits:
        return {}
    samples = record.samples(metrics.LATENCY)
    return {
        metrics.THREADS.name: threads(record),
        metrics.VISITS.name: sum(visit.is_timed for visit in record.visits),
        metrics.VISITS_SOUND.name: sum(visit.is_timed and visit.is_sound for visit in record.visits),
        metrics.LATENCY_P90_HIGH.name: percentile_bound(samples, 90),
        metrics.LATENCY_P99_HIGH.name: percentile_bound(samples, 99),
    }


def _number(value: float | None) -> Scalar:
    """Return None for a value that JSON and CSV cannot hold, and an int for a whole number."""
    if value is None or not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else value
