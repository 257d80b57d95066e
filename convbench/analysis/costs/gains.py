"""Measure what each variant gains over the eager twin of the same case, and more threads over the fewest."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from convbench.analysis.results import Group, Result, latency_ratios, measured_results, typical
from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.record import Case
from convbench.core.statistics import Interval

MAKING_METRICS = (metrics.COMPILE, metrics.EXPORT, metrics.LOAD)
"""What a variant spends before its first fast call, and has to pay back."""


class Gain(NamedTuple):
    """One case against its eager twin; with a ``speedup`` above 1 the case is faster.

    After ``pays_after`` calls, compiling or exporting and loading has paid off; None if there is none of it, or if no
    gain is shown. ``allocators`` are those of eager and of the case if they differ.
    """

    result: Result
    eager: Result
    speedup: Interval
    pays_after: int | None
    allocators: tuple[str, str] | None


class VariantGain(NamedTuple):
    """A variant's gains over comparable eager cases; ``speedup`` is the median, the least and the greatest of them."""

    variant: str
    group: Group
    speedup: Interval
    gains: tuple[Gain, ...]

    @property
    def paid_after(self) -> list[int]:
        """The numbers of calls after which making the variant has paid off, for the cases in which it is shown to."""
        return [gain.pays_after for gain in self.gains if gain.pays_after is not None]


def gains(results: Sequence[Result]) -> list[Gain]:
    """Return the gain of every timed case in a variant whose eager twin was timed on the same machine.

    Latencies are compared visit by visit.
    """
    timed_results = [result for result in measured_results(results) if result.timing]
    eager = {(result.record.environment, result.case): result for result in timed_results if not result.case.variant}
    twins = [(result, eager.get((result.record.environment, result.case.eager))) for result in timed_results]
    pairs = [(result, twin) for result, twin in twins if twin and twin is not result]
    speedups = latency_ratios([(twin, result) for result, twin in pairs])
    return [_gain(result, twin, speedup) for (result, twin), speedup in zip(pairs, speedups, strict=True) if speedup]


def by_variant(gains: Sequence[Gain]) -> list[VariantGain]:
    """Group gains by variant and eager group, the greatest median speed-up first."""
    variants = grouped(gains, lambda gain: (gain.result.case.variant_name, gain.eager.group))
    entries = [_gather(key, members) for key, members in variants.items()]
    return sorted(entries, key=lambda gain: (-gain.speedup.median, gain.variant))


def allocator(result: Result) -> str:
    """Return the allocator that a case ran with, as its process recorded it; empty if it did not."""
    return str(result.record.conditions.get("allocator") or "")


def _gain(result: Result, eager: Result, speedup: Interval) -> Gain:
    allocators = (allocator(eager), allocator(result))
    difference = allocators if allocators[0] != allocators[1] else None
    return Gain(result, eager, speedup, _pays_after(result, eager, speedup), difference)


def _pays_after(result: Result, eager: Result, speedup: Interval) -> int | None:
    """Return the whole calls after which making the variant has paid off, by the stated speed-up.

    The speed-up compares visits in pairs; the two medians by themselves may disagree with it.
    """
    seconds = [time for metric in MAKING_METRICS if (time := typical(result.record, metric)) is not None]
    assert eager.latency
    saving = eager.latency.median * (1 - 1 / speedup.median)
    return math.ceil(sum(seconds) / saving) if seconds and speedup.low > 1 else None


def _gather(key: tuple[str, Group], members: Sequence[Gain]) -> VariantGain:
    factors = [gain.speedup.median for gain in members]
    return VariantGain(*key, Interval(statistics.median(factors), min(factors), max(factors)), tuple(members))


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
