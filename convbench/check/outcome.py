"""The stored result of a check: raw timings, exact facts, invalid cases. Verdicts are derived from it, never stored.

``replay`` reads it back and comes to the same verdicts. Values are in seconds and bytes, in standard library types.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from convbench.check.decision import Triple
from convbench.check.settings import Rule, Settings
from convbench.core.errors import NewerFormat, StoreError
from convbench.core.record import Scalar
from convbench.core.storage import json_form
from convbench.core.system import files

SCHEMA_VERSION = 1
INSTRUCTIONS = "instructions a call"
"""The beginning of the name of a fact about instructions."""
OUTPUT = "output"
"""The name of the fact that the outputs differ or cannot be compared. Head's value is a sentence about it."""
Seconds = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """One pair of processes on one case: by round, the fastest call of every arm in seconds, base first.

    ``device`` is the same on the device's own clock, empty on a CPU.
    """

    rounds: tuple[Seconds, ...]
    device: tuple[Seconds, ...] = ()

    def log_ratio(self, arm: int = -1) -> float:
        """Median over the rounds of log(arm / base)."""
        return median(math.log(times[arm] / times[0]) for times in self.rounds)

    def triple(self) -> Triple:
        """Return the log ratios of a confirmation's pair (base, base again, head)."""
        return Triple(self.log_ratio(1), self.log_ratio(2))

    def best(self, arm: int) -> float:
        return median(times[arm] for times in self.rounds)


@dataclass(frozen=True, slots=True)
class Fact:
    """An exact value in which the two sides differ, or a sentence that is the same for both."""

    name: str
    base: Scalar
    head: Scalar


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """A case with its pairs (base, head), its confirmation (base, base again, head), or why it is ``invalid``."""

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
    """The code, the machine and the software of a side, and the command that built it."""

    label: str
    commit: str | None
    dirty: bool
    environment: Mapping[str, Scalar] = field(hash=False)
    build: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check, complete or ``unfinished``.

    ``floor`` is the smallest slowdown that this machine's selftest saw, None if none was run. ``budget`` is the number
    of seconds after which the check ended with undecided cases, None if it did not. ``seed`` is that of weights and
    inputs; None in older files.
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
    notes: tuple[str, ...] = ()
    floor: float | None = None
    unfinished: bool = False
    budget: float | None = None
    seed: int | None = None
    schema_version: int = SCHEMA_VERSION


def write(outcome: Outcome, path: Path, remedy: str = "choose another place with --json") -> Path:
    """Write the outcome as JSON. Raises StoreError, whose message ends with ``remedy``, if it cannot be written."""
    return files.write(path, json_form.as_json(json_form.adapter(Outcome), outcome), remedy)


def read(path: Path, remedy: str = "name a file that check --json has written") -> Outcome:
    """Read an outcome from its file. Raises StoreError, whose message ends with ``remedy``, if the file holds none."""
    try:
        outcome: Outcome = json_form.adapter(Outcome).validate_json(files.read(path))
    except ValidationError as error:
        raise StoreError(f"{path}: not the JSON of a check: {json_form.reason(error)}: {remedy}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"{path}: cannot be read ({reason}): {remedy}") from error
    if outcome.schema_version > SCHEMA_VERSION:
        raise NewerFormat(path, outcome.schema_version)
    rule, problem = outcome.rule, without_times(outcome.cases)
    if not 0 < rule.tolerance < rule.guard < 1:
        problem = f"its rule is no pair of slowdowns: tolerance {rule.tolerance:g}, guard {rule.guard:g}"
    if problem:
        raise StoreError(f"{path}: not the JSON of a check: {problem}: {remedy}")
    return outcome


def without_times(cases: Iterable[CaseOutcome]) -> str:
    """Return which case has invalid timings, such as those of a file written by hand; empty if none has."""
    for case in cases:
        if not (_are_times(case.pairs, 2) and _are_times(case.confirmation, 3)):
            return f"some times of {case.id} are missing or not positive"
    return ""


def _are_times(timings: tuple[Timing, ...], arms: int) -> bool:
    """Whether each timing has rounds with a time above 0 for every arm, and as many on the device if that was timed."""
    return all(
        timing.rounds
        and len(timing.device) in (0, len(timing.rounds))
        and all(
            len(times) == arms and all(0 < time < math.inf for time in times)
            for times in (*timing.rounds, *timing.device)
        )
        for timing in timings
    )
