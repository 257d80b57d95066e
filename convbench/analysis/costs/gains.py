"""What each variant gains over the eager twin of the same case."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from convbench.analysis import repeat
from convbench.analysis.results import Result, measured, typical
from convbench.core import metrics
from convbench.core.statistics import Interval


class Gain(NamedTuple):
    """One case against its eager twin. ``speedup`` above 1 is faster; ``pays_after`` calls, None for never.

    What has to pay is compiling, or exporting and loading.
    """

    result: Result
    eager: Result
    speedup: Interval
    pays_after: float | None
    allocators: tuple[str, str] | None


class VariantGain(NamedTuple):
    """A variant over all its cases: the median speed-up, the least and the most."""

    variant: str
    device: str
    scenario: str
    speedup: Interval
    gains: tuple[Gain, ...]


def gains(found: Sequence[Result]) -> list[Gain]:
    """Every timed case that has a variant and whose eager twin was timed on the same machine, visit by visit."""
    timed = [result for result in measured(found) if result.timing]
    eager = {(result.record.environment, result.case): result for result in timed if not result.case.variant}
    twins = [(result, eager.get((result.record.environment, result.case.eager))) for result in timed]
    pairs = [(result, twin) for result, twin in twins if twin and twin is not result]
    speedups = repeat.ratios([(twin.timing, result.timing) for result, twin in pairs if twin.timing and result.timing])
    return [_gain(result, twin, speedup) for (result, twin), speedup in zip(pairs, speedups, strict=True)]


def by_variant(found: Sequence[Gain]) -> list[VariantGain]:
    """Gains gathered by variant, the greatest median speed-up first; one entry per variant, device and scenario."""
    variants: dict[tuple[str, str, str], list[Gain]] = defaultdict(list)
    for gain in found:
        case = gain.result.case
        variants[case.variant_name, case.device, case.scenario].append(gain)
    gathered = [_gather(key, several) for key, several in variants.items()]
    return sorted(gathered, key=lambda one: (-one.speedup.median, one.variant))


def allocator(one: Result) -> str:
    """The allocator that a case ran with, as its process recorded it."""
    return str(one.record.conditions.get("allocator") or "")


def _gain(result: Result, eager: Result, speedup: Interval) -> Gain:
    allocators = (allocator(eager), allocator(result))
    differ = allocators if allocators[0] != allocators[1] else None
    return Gain(result, eager, speedup, _pays_after(result, eager), differ)


def _pays_after(one: Result, eager: Result) -> float | None:
    seconds = [typical(one.record, metric) for metric in (metrics.COMPILE, metrics.EXPORT, metrics.LOAD)]
    spent = sum(each for each in seconds if each is not None) if any(each is not None for each in seconds) else None
    assert one.latency
    assert eager.latency
    saved = eager.latency.median - one.latency.median
    return spent / saved if spent is not None and saved > 0 else None


def _gather(key: tuple[str, str, str], several: Sequence[Gain]) -> VariantGain:
    factors = [gain.speedup.median for gain in several]
    return VariantGain(*key, Interval(statistics.median(factors), min(factors), max(factors)), tuple(several))
