"""Bencher Metric Format: by case, ``latency`` in nanoseconds with bounds, ``memory`` in bytes, and own metrics.

``latency`` is Bencher's own measure. The metrics of users' probes are in base units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from convbench.analysis.results import Result, measured_results, own_metrics, results
from convbench.core.record import Record, RunDescription
from convbench.core.registry import exports

NS = 1e-9
Metrics = dict[str, dict[str, float]]


@exports.register("bencher")
def bencher(run: RunDescription, records: Sequence[Record]) -> dict[str, Metrics]:
    """Bencher's metrics by case: latency in ns with bounds, memory in bytes, and your own metrics."""
    return {result.case.id: metrics for result in measured_results(results(records)) if (metrics := _metrics(result))}


def _metrics(result: Result) -> Metrics:
    metrics: Metrics = {}
    if result.latency:
        metrics["latency"] = {"value": result.latency.median / NS}
        if result.latency.bounded:  # the format requires unknown bounds to be left out
            metrics["latency"] |= {"lower_value": result.latency.low / NS, "upper_value": result.latency.high / NS}
    if result.memory is not None:
        metrics["memory"] = {"value": result.memory}
    for metric in own_metrics([result]):
        if (value := result.value(metric)) is not None and math.isfinite(value):
            metrics[metric.option] = {"value": value}
    return metrics
