"""The measurements of a bisection in their file, and the answer that follows from them, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import FiniteFloat, ValidationError

from convbench.check.bisection.search import Range, Search, SlowdownModel
from convbench.check.decision import confirmed_ratio
from convbench.check.ledger import no_resume
from convbench.check.outcome import CaseOutcome, without_times
from convbench.core.arguments import in_python
from convbench.core.errors import StoreError
from convbench.core.record import AS_JSON
from convbench.core.scales import percent
from convbench.core.storage import json_form
from convbench.core.system import files
from convbench.core.text import counted
from convbench.report.words import units

SCHEMA_VERSION = 2
CERTAIN = 0.999
"""The largest certainty that an answer states, however many pairs there are."""
SURELY = 4.0
"""By how many standard deviations of a pair bad must be slower than the answer before another slowdown is named."""
OPTIONS = {
    "threads": "--threads", "allocator": "--allocator", "device": "--device", "build": "--build",
    "tolerance": "--detect", "guard": "--detect", "same_outputs": "--different-outputs", "overrides": "override",
    "only": "--only", "skip": "--skip",
}  # fmt: skip
"""The command-line option behind each setting. Settings without an option are convbench's own."""


@dataclass
class State:
    """What a search has measured so far: enough to resume it and to answer from it.

    ``asked`` is how it measures and judges, ``code`` the code that it measures at every place, as ``Line.code`` gives
    it, and ``machine`` the fingerprint of the machine: a search with other values cannot resume it.
    ``ends`` are the pairs of good and bad for all cases. ``slowdown`` and ``spread`` follow from the pairs of ``case``,
    which is the one that is searched. By place, ``logs`` are the log ratios of its pairs over good, and ``skipped``
    says why a place cannot be measured. ``proven`` is whether a separate check found the answer slower than the place
    before it; None if no check came to a verdict. ``proofs`` holds the pairs of such checks, by place.
    """

    suite: str
    places: list[str]
    asked: dict[str, Any] = field(default_factory=dict)
    code: str | None = ""
    machine: str = ""
    ends: list[CaseOutcome] = field(default_factory=list)
    case: str = ""
    slowdown: FiniteFloat = 0.0
    spread: FiniteFloat = 0.0
    ratio: tuple[float, float, float] = (1.0, 0.0, math.inf)
    logs: dict[int, list[FiniteFloat]] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)
    proven: bool | None = None
    proofs: dict[int, CaseOutcome] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    __pydantic_config__: ClassVar = AS_JSON

    @property
    def search(self) -> Search:
        return Search(len(self.places) - 1, SlowdownModel(self.slowdown, self.spread), self.logs, self.skipped)

    @property
    def pairs(self) -> int:
        return sum(map(len, self.logs.values()))

    def try_again(self) -> None:
        """Forget the failures of places that may be the answer: their reason, such as a full disk, may have passed."""
        first, last, _ = self.search.answer()
        self.skipped = {place: reason for place, reason in self.skipped.items() if not first <= place <= last}


@dataclass(frozen=True, repr=False)
class Bisected:
    """The answer: the slowdown began at one of the places in ``range``, with the probability that it gives.

    ``names`` are the names of all places, ``state`` holds the measurements.
    """

    state: State
    names: tuple[str, ...]
    range: Range

    @property
    def is_confirmed(self) -> bool:
        """Whether the answer is a single place, and a check against the place before it confirmed the slowdown."""
        return self.range.first == self.range.last and self.state.proven is True

    def __repr__(self) -> str:
        return f"Bisected({in_python('; '.join(sentences(self)))})"


def write(path: Path, state: State) -> Path:
    text = json_form.as_json(json_form.adapter(State), state, indent=1)
    return files.write(path, text, "choose another place with --json")


def read(path: Path) -> State:
    """Read the state of a search. Raises StoreError if the file holds none."""
    try:
        state: State = json_form.adapter(State).validate_json(files.read(path))
        if state.schema_version != SCHEMA_VERSION:
            raise ValueError(f"its format is {state.schema_version}, not {SCHEMA_VERSION}")
        if problem := without_times([*state.ends, *state.proofs.values()]):
            raise ValueError(problem)
        return state
    except (OSError, ValueError) as error:
        reason = json_form.reason(error) if isinstance(error, ValidationError) else error
        raise StoreError(f"{path}: not the state of a bisection ({reason}): run without --resume") from error


def refuse_another(before: State, state: State) -> None:
    """Raise Refused if the stored state is of another suite, other places, code or settings than this search."""
    if (before.suite, before.places) != (state.suite, state.places):
        raise no_resume("the stored search was of another suite, or among other commits or versions")
    if None in (before.code, state.code):
        raise no_resume(
            "the working tree has no commit, or has uncommitted changes, so there is no telling whether it is still "
            "the same"
        )
    if before.code != state.code:
        raise no_resume("the code of the working tree has changed")
    options = {OPTIONS.get(name, "convbench") for name in state.asked if before.asked.get(name) != state.asked[name]}
    if options:
        raise no_resume(f"the stored search was made with a different {', '.join(sorted(options))}")


def sentences(bisected: Bisected) -> Iterator[str]:
    """Yield the answer in sentences, the result first."""
    state, (first, last, chance) = bisected.state, bisected.range
    if bisected.is_confirmed:
        yield f"first slower: {bisected.names[last]}"
    elif first == last and state.proven is None:
        yield (
            f"most likely {bisected.names[last]}, but no check against the one before it has a verdict yet: "
            "continue with --resume"
        )
    elif first == last:
        yield f"most likely {bisected.names[last]}, but a check against the one before it did not confirm that"
    else:
        yield f"the slowdown began at one of {last - first + 1}, {bisected.names[first]} to {bisected.names[last]}"
    for place, reason in sorted(state.skipped.items()):
        if first <= place <= last:
            yield f"not measured: {bisected.names[place]}: {reason}"
    if bisected.is_confirmed and _has_another_step(state, last):
        yield f"it is only a part of the slowdown: to find the next part, search with {bisected.names[last]} as good"
    proof = ", and confirmed in a check against the one before it" if bisected.is_confirmed else ""
    if state.pairs:
        certainty = percent(chance) if chance < CERTAIN else f"more than {percent(CERTAIN)}"
        yield f"{certainty} sure after {counted(state.pairs, 'pair')}{proof}"
    else:
        yield f"known from the check of good and bad{proof}"
    yield f"{state.case}: bad over good {units.ratio(state.ratio)}"


def _has_another_step(state: State, place: int) -> bool:
    """Whether bad is surely slower over good than a place is over the place before it."""
    proof = state.proofs.get(place)
    if not (proof and proof.confirmation):
        return False
    return state.slowdown - math.log(confirmed_ratio(proof.triples, 1).estimate) > SURELY * state.spread
