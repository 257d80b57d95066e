"""Bencher Metric Format: by case, ``latency`` in nanoseconds (its own measure) with bounds, ``memory`` in bytes, and
what a user's own probes measured, in base units."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convbench.analysis.results import Result, measured, own_metrics, results
from convbench.core.record import Record, Run

NS = 1e-9
Metrics = dict[str, dict[str, float]]


def made(run: Run, records: Sequence[Record]) -> dict[str, Metrics]:  # noqa: ARG001
    """Only cases that were measured; a bound that is unknown is left out, as the format has it."""
    return {one.case.id: metrics for one in measured(results(records)) if (metrics := _metrics(one))}


def _metrics(one: Result) -> Metrics:
    found: Metrics = {}
    if one.latency:
        found["latency"] = {"value": one.latency.median / NS}
        if one.latency.bounded:
            found["latency"] |= {"lower_value": one.latency.low / NS, "upper_value": one.latency.high / NS}
    if one.memory is not None:
        found["memory"] = {"value": one.memory}
    for metric in own_metrics([one]):
        if (value := one.value(metric)) is not None and math.isfinite(value):
            found[metric.option] = {"value": value}
    return found
