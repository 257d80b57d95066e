"""What runs tell about this machine: how often the intervals of two runs meet, and how fast quiet runs are.

Both are kept per machine and software. Later runs find them there, and their reports state them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convbench.analysis.latencies import quiet_references
from convbench.analysis.results import results
from convbench.analysis.run_agreement import Agreement, agreement
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record, Scalar
from convbench.core.storage import cache

SHARE, REFERENCE = "repeats", "reference"
"""The names under which the two are kept."""
FEWEST = 20
"""Fewest comparisons whose share is kept: if all of these intervals met, at least 83 % do (with 95 %)."""
QUIET_RUNS = 5
"""Quiet runs that are kept: the machine is not slow in all of them, and older ones are forgotten."""


@dataclass(frozen=True)
class Repeats:
    """Comparisons of a case between two runs, how many had intervals that ``met``, and pairs of cases told ``apart``.

    Of these pairs, ``contradicted`` are told apart the other way round by the second run.
    """

    comparisons: int
    met: int
    apart: int
    contradicted: int

    @property
    def share(self) -> float:
        return self.met / self.comparisons

    @property
    def is_enough(self) -> bool:
        """Whether there are enough comparisons for later reports to state the share."""
        return self.comparisons >= FEWEST


def agreements(measure: Callable[[], list[Record]], seconds: float) -> Iterator[Agreement]:
    """Yield the agreement of each run with the one before: of two runs at least, then of more until ``seconds``."""
    start, old_results = time.monotonic(), results(measure())
    while True:
        new_results = results(measure())
        if comparison := agreement(old_results, new_results):
            yield comparison
        if time.monotonic() - start >= seconds:
            return
        old_results = new_results


def sum_up(comparisons: Iterable[Agreement]) -> Repeats | None:
    """Sum up all comparisons; None if no case had a latency in two runs."""
    agreements = list(comparisons)
    cases = sum(comparison.cases for comparison in agreements)
    if not cases:
        return None
    met_count = round(sum(comparison.meet * comparison.cases for comparison in agreements))
    return Repeats(
        cases,
        met_count,
        sum(comparison.apart for comparison in agreements),
        sum(comparison.contradictions for comparison in agreements),
    )


def keep(environment: Mapping[str, Scalar], repeats: Repeats) -> Path:
    """Keep the share for machines and software like this one. Return the file."""
    return cache.keep(SHARE, environment, repeats.share)


def known_share(environment: Mapping[str, Scalar]) -> float | None:
    """Return the share of intervals that met in a selftest on such a machine and software; None if none was run."""
    return cache.number(SHARE, environment)


def keep_speed(environment: Mapping[str, Scalar], records: Sequence[Record]) -> None:
    """Keep the speed of the reference workload if the run was quiet, so that a later, slower run is recognised."""
    for scope, seconds in quiet_references(records).items():
        with suppress(ConvbenchError):
            cache.keep(REFERENCE, environment, seconds, *scope.setting, last=QUIET_RUNS)


def known_speed(environment: Mapping[str, Scalar], device: str, threads: Scalar) -> float | None:
    """Seconds of the reference workload in the fastest of the last quiet runs on such a machine; None without any.

    Only runs on this device with this number of threads count.
    """
    return min(cache.numbers(REFERENCE, environment, device, threads), default=None)
