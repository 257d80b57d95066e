"""github-action-benchmark's ``customSmallerIsBetter``: latency and peak memory of every case, in ms and MiB.

Users' own metrics are in base units, only those of which lower is better: the format knows no other direction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from convbench.analysis.results import measured_results, own_metrics, results
from convbench.core.record import Record, RunDescription
from convbench.core.registry import exports

MS, MIB = 1e-3, 2.0**20


@exports.register("github-action")
def github_action(run: RunDescription, records: Sequence[Record]) -> list[dict[str, str | float]]:
    """Entries for github-action-benchmark's charts, such as CASE/latency in ms and CASE/memory in MiB."""
    return list(_entries(run, records))


def _entries(run: RunDescription, records: Sequence[Record]) -> Iterator[dict[str, str | float]]:
    for result in measured_results(results(records)):
        extra = f"{run.name}, environment {result.record.environment}"
        if result.latency:
            entry: dict[str, str | float] = {"name": f"{result.case.id}/latency", "unit": "ms", "extra": extra}
            entry["value"] = result.latency.median / MS
            if result.latency.bounded:
                entry["range"] = f"{result.latency.low / MS:.4g} to {result.latency.high / MS:.4g}"
            yield entry
        if result.memory is not None:
            yield {"name": f"{result.case.id}/memory", "unit": "MiB", "value": result.memory / MIB, "extra": extra}
        for metric in own_metrics([result]):
            value = result.value(metric)
            if metric.better == "lower" and value is not None and math.isfinite(value):
                yield {"name": f"{result.case.id}/{metric.option}", "unit": metric.unit, "value": value, "extra": extra}
