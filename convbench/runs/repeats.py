"""What runs on this machine tell of the machine: how often the intervals of two of them meet, how fast quiet ones are.

Both are kept per machine and software, where later runs find them and their reports say it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convbench.analysis.agreement import Agreement, agreement
from convbench.analysis.latencies import quiet_references
from convbench.analysis.results import results
from convbench.core import cache
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record, Scalar

SHARE, REFERENCE = "repeats", "reference"
"""Under these names they are kept."""
QUIET_RUNS = 5
"""So many quiet runs tell what a machine can do: it is not slow in all of them, and what was long ago is forgotten."""


@dataclass(frozen=True)
class Repeats:
    """Of so many comparisons of a case between two runs, how many had intervals that met; and pairs told apart."""

    comparisons: int
    met: int
    apart: int
    contradicted: int

    @property
    def share(self) -> float:
        return self.met / self.comparisons


def agreements(measure: Callable[[], list[Record]], seconds: float) -> Iterator[Agreement]:
    """Each run against the one before it, two runs at least, no further one after so long."""
    start, before = time.monotonic(), results(measure())
    while True:
        after = results(measure())
        if comparison := agreement(before, after):
            yield comparison
        if time.monotonic() - start >= seconds:
            return
        before = after


def sum_up(comparisons: Iterable[Agreement]) -> Repeats | None:
    """All comparisons together; None where no case had a latency in two runs."""
    agreements = list(comparisons)
    cases = sum(comparison.cases for comparison in agreements)
    if not cases:
        return None
    met = round(sum(comparison.meet * comparison.cases for comparison in agreements))
    return Repeats(
        cases,
        met,
        sum(comparison.apart for comparison in agreements),
        sum(comparison.contradictions for comparison in agreements),
    )


def keep(environment: Mapping[str, Scalar], repeats: Repeats) -> Path:
    """Keep the share for machines and software like this."""
    return cache.keep(SHARE, environment, repeats.share)


def known_share(environment: Mapping[str, Scalar]) -> float | None:
    """The share of intervals that met in a selftest of such a machine and software; None where none was run."""
    return cache.number(SHARE, environment)


def keep_speed(environment: Mapping[str, Scalar], records: Sequence[Record]) -> None:
    """Keep how fast the reference workload was where the run was quiet: what a later, slower run is told by."""
    for scope, seconds in quiet_references(records).items():
        with suppress(ConvbenchError):
            cache.keep(REFERENCE, environment, seconds, *scope.setting, last=QUIET_RUNS)


def known_speed(environment: Mapping[str, Scalar], device: str, threads: Scalar) -> float | None:
    """Seconds of the reference workload in the fastest of the last quiet runs on such a machine; None without any.

    It is of runs on that device, by as many threads.
    """
    return min(cache.numbers(REFERENCE, environment, device, threads), default=None)
