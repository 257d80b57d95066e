"""How often the intervals of two runs meet on this machine: a suite run again and again, each run against the last.

What was found is kept per machine and software, where later runs find it and their reports say it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from convbench.analysis.agreement import Agreement, agreement
from convbench.analysis.repeat import quiet_reference
from convbench.analysis.results import results
from convbench.core import files
from convbench.core.comparability import machine
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record, Scalar

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


def counted(comparisons: Iterable[Agreement]) -> Repeats | None:
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
        sum(comparison.contradicted for comparison in agreements),
    )


def path(name: str = "repeats") -> Path:
    """Where it is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "convbench" / f"{name}.json"


def keep(environment: Mapping[str, Scalar], repeats: Repeats) -> Path:
    """Keep the share for machines and software like this."""
    return _keep("repeats", environment, repeats.share)


def known(environment: Mapping[str, Scalar]) -> float | None:
    """The share of intervals that met in a selftest of such a machine and software; None where none was run."""
    return _stored_value("repeats", environment)


def keep_speed(environment: Mapping[str, Scalar], records: Sequence[Record]) -> None:
    """Keep how fast the reference workload was, if the run was quiet: what a later, slower run is told by."""
    if seconds := quiet_reference(records):
        with suppress(ConvbenchError):
            _keep("reference", environment, [*_speeds(environment), seconds][-QUIET_RUNS:])


def known_speed(environment: Mapping[str, Scalar]) -> float | None:
    """Seconds of the reference workload in the fastest of the last quiet runs on such a machine; None without any."""
    return min(_speeds(environment), default=None)


def _speeds(environment: Mapping[str, Scalar]) -> list[float]:
    stored = _stored_values("reference").get(_key(environment))
    values = stored if isinstance(stored, list) else [stored]
    return [float(value) for value in values if isinstance(value, int | float) and value > 0]


def _keep(name: str, environment: Mapping[str, Scalar], value: float | list[float]) -> Path:
    stored = _stored_values(name) | {_key(environment): value}
    return files.write(path(name), json.dumps(stored, indent=1) + "\n", "set XDG_CACHE_HOME")


def _stored_value(name: str, environment: Mapping[str, Scalar]) -> float | None:
    value = _stored_values(name).get(_key(environment))
    return float(value) if isinstance(value, int | float) else None


def _key(environment: Mapping[str, Scalar]) -> str:
    return " | ".join(map(str, machine(environment)))


def _stored_values(name: str) -> dict[str, object]:
    try:
        content = json.loads(path(name).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
