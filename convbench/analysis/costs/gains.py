"""What each variant gains over the eager twin of the same case."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from convbench.analysis.results import Result, measured, typical
from convbench.core import metrics
from convbench.core.statistics import Interval, ratio_interval


class Gain(NamedTuple):
    """One case against its eager twin. ``speedup`` above 1 is faster; ``pays_after`` calls, None for never."""

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
    """Every timed case that has a variant and whose eager twin was timed on the same machine."""
    timed = [one for one in measured(found) if one.latency]
    eager = {(one.record.environment, one.case): one for one in timed if not one.case.variant}
    pairs = ((one, eager.get((one.record.environment, one.case.eager))) for one in timed if one.case.variant)
    return [_gain(one, twin) for one, twin in pairs if twin]


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


def _gain(one: Result, eager: Result) -> Gain:
    assert one.latency
    assert eager.latency
    allocators = (allocator(eager), allocator(one))
    differ = allocators if allocators[0] != allocators[1] else None
    return Gain(one, eager, ratio_interval(eager.latency, one.latency), _pays_after(one, eager), differ)


def _pays_after(one: Result, eager: Result) -> float | None:
    compile_s = typical(one.record, metrics.COMPILE)
    assert one.latency
    assert eager.latency
    saved = eager.latency.median - one.latency.median
    return compile_s / saved if compile_s is not None and saved > 0 else None


def _gather(key: tuple[str, str, str], several: Sequence[Gain]) -> VariantGain:
    factors = [gain.speedup.median for gain in several]
    return VariantGain(*key, Interval(statistics.median(factors), min(factors), max(factors)), tuple(several))
