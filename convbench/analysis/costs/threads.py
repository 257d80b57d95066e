"""Measure what more threads gain: each case against the same case on the fewest threads, visit by visit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from convbench.analysis.results import Result, latency_ratios, measured_results
from convbench.core.record import Case
from convbench.core.statistics import Interval


class ThreadGain(NamedTuple):
    """A case on ``threads`` threads; with a ``speedup`` above 1 it is faster than on the ``fewest``."""

    result: Result
    threads: int
    fewest: int
    speedup: Interval


def thread_gains(results: Sequence[Result]) -> list[ThreadGain]:
    """Return a gain for every timed case that was also timed on fewer threads, by threads; none for withheld cases."""
    cells: dict[tuple[str, Case], dict[int, Result]] = defaultdict(dict)
    for result in measured_results(results):
        threads = result.group.threads
        if result.timing and isinstance(threads, int):
            cells[result.record.environment, replace(result.case, threads=None)][threads] = result
    pairs = [
        (result, threads, min(by_threads), by_threads[min(by_threads)])
        for by_threads in cells.values()
        for threads, result in sorted(by_threads.items())
        if threads > min(by_threads)
    ]
    speedups = latency_ratios([(base, result) for result, _, _, base in pairs])
    return [ThreadGain(*pair[:3], speedup) for pair, speedup in zip(pairs, speedups, strict=True) if speedup]
