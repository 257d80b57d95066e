"""What each variant gains over the eager twin of the same case."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from convbench.analysis.results import Group, Result, latency_ratios, measured, typical
from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.statistics import Interval

MAKING = (metrics.COMPILE, metrics.EXPORT, metrics.LOAD)
"""What is spent before a variant's first fast call, and has to pay."""


class Gain(NamedTuple):
    """One case against its eager twin. ``speedup`` above 1 is faster; ``pays_after`` calls, None for never shown.

    What has to pay is compiling, or exporting and loading.
    """

    result: Result
    eager: Result
    speedup: Interval
    pays_after: float | None
    allocators: tuple[str, str] | None


class VariantGain(NamedTuple):
    """A variant over all its cases where eager's costs may be compared: the median speed-up, the least and the most."""

    variant: str
    group: Group
    speedup: Interval
    gains: tuple[Gain, ...]

    @property
    def paid_after(self) -> list[float]:
        """The calls after which making it has paid, of the cases where it is shown to."""
        return [gain.pays_after for gain in self.gains if gain.pays_after is not None]


def gains(results: Sequence[Result]) -> list[Gain]:
    """Every timed case that has a variant and whose eager twin was timed on the same machine, visit by visit."""
    timed_results = [result for result in measured(results) if result.timing]
    eager = {(result.record.environment, result.case): result for result in timed_results if not result.case.variant}
    twins = [(result, eager.get((result.record.environment, result.case.eager))) for result in timed_results]
    pairs = [(result, twin) for result, twin in twins if twin and twin is not result]
    speedups = latency_ratios([(twin, result) for result, twin in pairs])
    return [_gain(result, twin, speedup) for (result, twin), speedup in zip(pairs, speedups, strict=True) if speedup]


def by_variant(gains: Sequence[Gain]) -> list[VariantGain]:
    """Gains gathered by variant, the greatest median speed-up first; one entry per variant and group of eager."""
    variants = grouped(gains, lambda gain: (gain.result.case.variant_name, gain.eager.group))
    entries = [_gather(key, members) for key, members in variants.items()]
    return sorted(entries, key=lambda gain: (-gain.speedup.median, gain.variant))


def allocator(result: Result) -> str:
    """The allocator that a case ran with, as its process recorded it."""
    return str(result.record.conditions.get("allocator") or "")


def _gain(result: Result, eager: Result, speedup: Interval) -> Gain:
    allocators = (allocator(eager), allocator(result))
    difference = allocators if allocators[0] != allocators[1] else None
    return Gain(result, eager, speedup, _pays_after(result, eager, speedup), difference)


def _pays_after(result: Result, eager: Result, speedup: Interval) -> float | None:
    """By the speed-up that is stated, which is of visits taken together: two medians may say otherwise."""
    seconds = [time for metric in MAKING if (time := typical(result.record, metric)) is not None]
    assert eager.latency
    saving = eager.latency.median * (1 - 1 / speedup.median)
    return sum(seconds) / saving if seconds and speedup.low > 1 else None


def _gather(key: tuple[str, Group], members: Sequence[Gain]) -> VariantGain:
    factors = [gain.speedup.median for gain in members]
    return VariantGain(*key, Interval(statistics.median(factors), min(factors), max(factors)), tuple(members))
