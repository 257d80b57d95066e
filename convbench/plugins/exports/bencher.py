"""Bencher Metric Format: by case, ``latency`` in nanoseconds with bounds, ``memory`` in bytes, and own metrics.

``latency`` is Bencher's own measure. The metrics of users' probes are in base units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from convbench.analysis.results import Result, measured_results, own_metrics, results
from convbench.core.record import Record, RunDescription
from convbench.core.registry import exports
from convbench.core.text import digest

NS = 1e-9
LONGEST = 1024
"""Greatest length of a benchmark's name, in bytes: Bencher refuses a whole file for a longer one."""
Metrics = dict[str, dict[str, float]]


@exports.register("bencher")
def bencher(run: RunDescription, records: Sequence[Record]) -> dict[str, Metrics]:
    """Bencher's metrics by case: latency in ns with bounds, memory in bytes, and your own metrics."""
    pairs = ((_name(result.case.id), _metrics(result)) for result in measured_results(results(records)))
    return {name: metrics for name, metrics in pairs if metrics}


def _name(case: str) -> str:
    """Return the case's id; of one that is too long the beginning and a hash of the whole, so that no two are equal."""
    content = case.encode(errors="replace")
    if len(content) <= LONGEST:
        return case
    end = f"-{digest(case)}"
    return content[: LONGEST - len(end)].decode(errors="ignore") + end


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
