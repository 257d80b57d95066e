"""pytest-benchmark's JSON, for ``pytest-benchmark compare`` and other tools that read it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convbench.analysis.results import typical
from convbench.core import metrics
from convbench.core.record import Record, RunDescription
from convbench.core.registry import exports
from convbench.core.storage.json_form import finite

VERSION = "5.2.3"
"""The version of pytest-benchmark with this layout."""


@exports.register("pytest-benchmark")
def pytest_benchmark(run: RunDescription, records: Sequence[Record]) -> dict[str, Any]:
    """A benchmark per case with latencies, in seconds per call, for pytest-benchmark; a round is a call."""
    facts, timed_records = run.environment, [record for record in records if not record.case.trial]
    benchmarks = [_benchmark(run, record) for record in timed_records if record.samples(metrics.LATENCY)]
    if not benchmarks:
        return {}
    return {
        "machine_info": {
            "node": "",
            "machine": facts.get("machine"),
            "processor": facts.get("cpu"),
            "release": "",
            "system": str(facts.get("os", "")),
            "python_version": facts.get("python"),
            "python_implementation": platform.python_implementation(),
            "cpu": {"brand_raw": facts.get("cpu"), "count": facts.get("cores")},
        },
        "commit_info": {"id": facts.get("commit"), "dirty": facts.get("dirty"), "time": run.started, "branch": ""},
        "benchmarks": benchmarks,
        "datetime": run.started,
        "version": VERSION,
        "convbench": run.convbench,
    }


def stats(samples: Sequence[float]) -> dict[str, Any]:
    """Return pytest-benchmark's statistics of seconds per call, by its definitions."""
    data = np.sort(np.asarray(samples, dtype=float))
    q1, q3 = _quartiles(data)
    whisker = 1.5 * (q3 - q1)
    mean, deviation = float(data.mean()), float(data.std(ddof=1)) if len(data) > 1 else 0.0
    iqr_outliers = int(np.count_nonzero((data < q1 - whisker) | (data > q3 + whisker)))
    stddev_outliers = int(np.count_nonzero(np.abs(data - mean) > deviation))
    return {
        "min": float(data[0]),
        "max": float(data[-1]),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(data),
        "median": float(np.median(data)),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": iqr_outliers,
        "stddev_outliers": stddev_outliers,
        "outliers": f"{stddev_outliers};{iqr_outliers}",
        "ld15iqr": float(data[data >= q1 - whisker][0]),
        "hd15iqr": float(data[data <= q3 + whisker][-1]),
        "ops": 1 / mean,
        "total": float(data.sum()),
        "data": list(samples),
        "iterations": 1,
    }


def _benchmark(run: RunDescription, record: Record) -> dict[str, Any]:
    case = record.case
    extra_metrics = (metrics.PARAMS, metrics.MACS, *metrics.foreign_metrics(record.readings))
    extra: Mapping[str, Any] = {metric.name: finite(typical(record, metric)) for metric in extra_metrics}
    return {
        "group": case.scenario,
        "name": case.id,
        "fullname": f"{run.name}::{case.id}",
        "params": {name: value for name, value in case.axes.items() if value is not None},
        "param": case.id,
        "extra_info": {**extra, "environment": record.environment},
        "options": {"disable_gc": False, "timer": "perf_counter", "min_rounds": run.protocol.min_samples},
        "stats": stats(record.samples(metrics.LATENCY)),
    }


def _quartiles(data: np.ndarray) -> tuple[float, float]:
    """Return the medians of the halves; of an odd number, the mean of those with and without the middle value."""
    halves = {(len(data) + 1) // 2, len(data) // 2 or 1}
    lower = [np.median(data[:size]) for size in halves]
    upper = [np.median(data[-size:]) for size in halves]
    return float(np.mean(lower)), float(np.mean(upper))
