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

from convbench.check.decision import Triple
from convbench.check.rule import Rule
from convbench.check.settings import Settings
from convbench.core import files, json_form
from convbench.core.errors import StoreError
from convbench.core.record import Scalar

SCHEMA_VERSION = 1
INSTRUCTIONS = "instructions a call"
"""How the name of such a fact begins."""
OUTPUT = "output"
"""The name of the fact that the outputs differ, or cannot be compared; head's value is the sentence that says so."""
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

    def triple(self) -> Triple:
        """What a pair of a confirmation says (base, base again, head)."""
        return Triple(self.log_ratio(1), self.log_ratio(2))

    def best(self, arm: int) -> float:
        return median(times[arm] for times in self.rounds)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something exact of which the two sides differ, or of both sides where that is the same sentence."""

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
    def triples(self) -> list[Triple]:
        return [timing.triple() for timing in self.confirmation]


@dataclass(frozen=True, slots=True)
class SideOutcome:
    """Which code and which machine and software a side was."""

    label: str
    commit: str | None
    dirty: bool
    environment: Mapping[str, Scalar] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check, whole or ``unfinished``.

    ``floor`` is the smallest slowdown that this machine's selftest saw, where one was run; ``budget`` are the seconds
    that ended it, where they did.
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
    budget: float | None = None
    schema_version: int = SCHEMA_VERSION


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    return TypeAdapter(Outcome)


def write(outcome: Outcome, path: Path, remedy: str = "choose another place with --json") -> Path:
    """The outcome as JSON. Raises StoreError, which ends with ``remedy``, where it cannot be written."""
    return files.write(path, json_form.as_json(_outcomes(), outcome), remedy)


def read(path: Path) -> Outcome:
    """An outcome from its file. Raises StoreError where it is none."""
    try:
        outcome = _outcomes().validate_json(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise StoreError(f"{path}: not the JSON of a check: {json_form.reason(error)}") from error
    if outcome.schema_version > SCHEMA_VERSION:
        raise StoreError(f"{path}: written by a newer convbench (schema {outcome.schema_version}): upgrade")
    if problem := without_times(outcome.cases):
        raise StoreError(f"{path}: not the JSON of a check: {problem}")
    return outcome


def without_times(cases: Iterable[CaseOutcome]) -> str:
    """Which case has timings that say nothing, as those of a file that was written by hand; empty where none has."""
    for case in cases:
        if not (_are_times(case.pairs, 2) and _are_times(case.confirmation, 3)):
            return f"some times of {case.id} are missing, or are no times"
    return ""


def _are_times(timings: tuple[Timing, ...], arms: int) -> bool:
    """Whether each timing has rounds, each of them a time above 0 for every arm; on a device as many or none."""
    return all(
        timing.rounds
        and all(len(times) == arms and all(0 < time < math.inf for time in times) for times in timing.rounds)
        and all(len(times) == arms and all(0 < time < math.inf for time in times) for times in timing.device)
        for timing in timings
    )
