"""What a check leaves behind: raw timings, exact facts, what was invalid. Verdicts are derived from it, never stored.

``replay`` reads it back and comes to the same verdicts. Seconds and bytes; standard library types only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median

from pydantic import TypeAdapter, ValidationError

from convbench.check.decision import repeats
from convbench.check.link import Settings
from convbench.check.rule import Rule
from convbench.core import files, store
from convbench.core.errors import StoreError
from convbench.core.record import Scalar

SCHEMA_VERSION = 1
Seconds = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """One pair of processes on one case: of each round the fastest call of every arm, base first.

    ``device`` is the same on the device's own clock, empty on a CPU.
    """

    rounds: tuple[Seconds, ...]
    device: tuple[Seconds, ...] = ()

    def log_ratio(self, arm: int = -1) -> float:
        """Median over the rounds of log(arm / base)."""
        return median(math.log(times[arm] / times[0]) for times in self.rounds)

    def best(self, arm: int) -> float:
        return median(times[arm] for times in self.rounds)


@dataclass(frozen=True, slots=True)
class Confirming:
    """The pairs of a confirmation that count: those in which base repeated itself."""

    timings: tuple[Timing, ...]

    @classmethod
    def of(cls, confirmation: Iterable[Timing]) -> Confirming:
        return cls(tuple(timing for timing in confirmation if repeats(timing.log_ratio(1))))

    @property
    def slower(self) -> list[float]:
        """Head over base, as log ratios."""
        return [timing.log_ratio() for timing in self.timings]

    @property
    def null(self) -> list[float]:
        """Base again over base."""
        return [timing.log_ratio(1) for timing in self.timings]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something exact of which the two sides differ."""

    name: str
    base: Scalar
    head: Scalar


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """A case with its pairs (base, head), its confirmation (base, base again, head), or why there is no verdict."""

    id: str
    pairs: tuple[Timing, ...] = ()
    confirmation: tuple[Timing, ...] = ()
    facts: tuple[Fact, ...] = ()
    invalid: str = ""

    @property
    def logs(self) -> list[float]:
        return [timing.log_ratio() for timing in self.pairs]

    @property
    def confirming(self) -> Confirming:
        return Confirming.of(self.confirmation)


@dataclass(frozen=True, slots=True)
class SideOutcome:
    """Which code and which machine and software a side was."""

    label: str
    commit: str | None
    dirty: bool
    environment: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check, whole or ``unfinished``.

    ``floor`` is the smallest slowdown that this machine's selftest saw, where one was run.
    """

    suite: str
    base: SideOutcome
    head: SideOutcome
    cases: tuple[CaseOutcome, ...]
    rule: Rule
    settings: Settings
    started: str
    seconds: float
    convbench: str
    notes: tuple[str, ...] = field(default=())
    floor: float | None = None
    unfinished: bool = False
    schema_version: int = SCHEMA_VERSION


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    return TypeAdapter(Outcome)


def write(outcome: Outcome, path: Path) -> Path:
    """The outcome as JSON. Raises StoreError where it cannot be written."""
    return files.write(path, store.as_json(_outcomes(), outcome), "choose another place with --json")


def read(path: Path) -> Outcome:
    """An outcome from its file. Raises StoreError where it is none."""
    try:
        return _outcomes().validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise StoreError(
            f"{path}: not the JSON of a check: {'.'.join(map(str, first['loc']))} {first['msg']}"
        ) from error
