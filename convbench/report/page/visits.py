"""The distribution of a case's samples by visit: histograms small enough for a page, and percentiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from statistics import median
from typing import Any

from convbench.analysis.results import Result
from convbench.core import metrics
from convbench.core.record import Record, Visit
from convbench.core.statistics import percentile, percentile_bound
from convbench.report.words import units
from convbench.report.words.findings import disturbance

BINS = 24
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Digits for a bin's height, from an empty bin to the visit's fullest bin."""
TAILS = (0.005, 0.995)
"""Quantiles of all samples that bound the bins; samples beyond them count in the outermost bins."""
MIN_SAMPLES = 5
"""Least number of samples for which a visit gets a histogram."""


def distribution(record: Record) -> dict[str, Any] | None:
    """Return the outer ends of the bins in seconds, and the visits; None without a visit of enough samples.

    Each visit is a list: number of samples, median in seconds, heights of the bins, and the reason if it was disturbed.
    """
    visits = [(visit, samples) for visit, samples in _visits(record) if len(samples) >= MIN_SAMPLES]
    if not visits:
        return None
    all_samples = sorted(chain.from_iterable(samples for _, samples in visits))
    low, high = (float(f"{all_samples[round(tail * (len(all_samples) - 1))]:.4g}") for tail in TAILS)
    if not 0 < low < high:
        return None
    return {"ends": [low, high], "visits": [_visit(visit, samples, low, high) for visit, samples in visits]}


def percentiles(result: Result) -> str | None:
    """Return ``p90 3.31 ms (at most 3.40 ms), p99 not claimable from 60 samples``; None without a latency."""
    samples = result.record.samples(metrics.LATENCY)
    return ", ".join(_percentile(samples, q) for q in (90, 99)) if samples else None


def _percentile(samples: Sequence[float], q: int) -> str:
    value, bound = percentile(samples, q), percentile_bound(samples, q)
    if value is None:
        return f"p{q} not claimable from {len(samples):,} samples"
    limit = f"at most {units.seconds(bound)}" if bound is not None else "without a bound"
    return f"p{q} {units.seconds(value)} ({limit})"


def _visits(record: Record) -> Iterator[tuple[Visit | None, tuple[float, ...]]]:
    """Yield each visit with its samples, disturbed visits too; None stands for the visit of a record without visits."""
    reading = record.reading(metrics.LATENCY)
    if reading:
        yield from zip(record.visits if reading.visits else [None], reading.by_visit(), strict=True)


def _visit(visit: Visit | None, samples: Sequence[float], low: float, high: float) -> list[Any]:
    rate = BINS / (high - low)
    places = Counter(min(max(int((sample - low) * rate), 0), BINS - 1) for sample in samples)
    peak = max(places.values())
    heights = (round(places[place] / peak * (len(DIGITS) - 1)) for place in range(BINS))
    middle = float(f"{median(samples):.4g}")
    return [
        len(samples),
        middle,
        "".join(DIGITS[height] for height in heights),
        disturbance(visit.disturbed) if visit else "",
    ]
