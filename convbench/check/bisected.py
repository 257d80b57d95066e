"""What a bisection has measured so far, in its file, and the answer that follows from it, in words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from convbench.check.ledger import no_resume
from convbench.check.outcome import CaseOutcome, without_times
from convbench.check.search import Model, Range, Search
from convbench.core import files, json_form
from convbench.core.errors import StoreError
from convbench.core.text import counted
from convbench.report.words import units

SCHEMA_VERSION = 2
CERTAIN = 0.999
"""No answer is called surer than this, however many pairs there are."""
OPTIONS = {
    "threads": "--threads", "allocator": "--allocator", "device": "--device", "build": "--build",
    "tolerance": "--detect", "guard": "--detect", "same_outputs": "--different-outputs", "overrides": "override",
    "only": "--only", "skip": "--skip",
}  # fmt: skip
"""The option of the command line behind each setting; settings without one are convbench's own."""


@dataclass
class State:
    """What a search has measured so far: enough to go on with it, and to answer from.

    ``asked`` is how it measures and judges, ``code`` what besides the places is measured, as a ``Line`` says it, and
    ``machine`` the fingerprint of where: with others it does not go on.
    ``ends`` are the pairs of good and bad, of all cases; ``slowdown`` and ``spread`` follow from those of the ``case``
    that is searched for. ``logs`` are log ratios of its pairs over good and ``skipped`` why a place cannot be measured,
    by place; ``proven`` is whether it is slower than the place before it in a check of its own, None where none came to
    a verdict. ``proofs`` holds the pairs of such a check, by place.
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

    @property
    def search(self) -> Search:
        return Search(len(self.places) - 1, Model(self.slowdown, self.spread), self.logs, self.skipped)

    @property
    def pairs(self) -> int:
        return sum(map(len, self.logs.values()))

    def try_again(self) -> None:
        """Forget that places failed which may hold the answer: the reason may have passed, as a full disk has."""
        first, last, _ = self.search.answer()
        self.skipped = {place: reason for place, reason in self.skipped.items() if not first <= place <= last}


@dataclass(frozen=True, repr=False)
class Bisected:
    """The answer: the slowdown began at one of the places ``first`` to ``last`` of its range, with so great a chance.

    ``names`` are those of all places, ``state`` holds what was measured.
    """

    state: State
    names: tuple[str, ...]
    range: Range

    @property
    def is_confirmed(self) -> bool:
        """Whether a single place is named, and its slowdown was seen again beside the place before it."""
        return self.range.first == self.range.last and self.state.proven is True

    def __repr__(self) -> str:
        return f"Bisected({'; '.join(sentences(self))})"


def write(path: Path, state: State) -> Path:
    return files.write(path, json.dumps(asdict(state), indent=1) + "\n", "choose another place with --json")


def read(path: Path) -> State:
    """Raises StoreError where there is no state of a search."""
    try:
        state = _states().validate_json(path.read_bytes())
        if state.schema_version != SCHEMA_VERSION:
            raise ValueError(f"its format is {state.schema_version}, not {SCHEMA_VERSION}")
        if problem := without_times([*state.ends, *state.proofs.values()]):
            raise ValueError(problem)
        return state
    except (OSError, ValueError) as error:
        reason = json_form.reason(error) if isinstance(error, ValidationError) else error
        raise StoreError(f"{path}: no state of a bisection ({reason}): run it without --resume") from error


@cache
def _states() -> TypeAdapter[State]:
    return TypeAdapter(State)


def refuse_another(before: State, state: State) -> None:
    """Raises Refused where what was kept is of other places, code or settings than what is searched now."""
    if (before.suite, before.places) != (state.suite, state.places):
        raise no_resume("it was a search of another suite, or among other places")
    if None in (before.code, state.code):
        raise no_resume(
            "the working tree is no commit, or has changes that are not committed, so that it cannot be told whether "
            "it is the same"
        )
    if before.code != state.code:
        raise no_resume("the code of the working tree was another")
    options = {OPTIONS.get(name, "convbench") for name in state.asked if before.asked.get(name) != state.asked[name]}
    if options:
        raise no_resume(f"it was begun with another {', '.join(sorted(options))}")


def sentences(bisected: Bisected) -> Iterator[str]:
    """The answer in words, the first sentence what was found."""
    state, (first, last, chance) = bisected.state, bisected.range
    if bisected.is_confirmed:
        yield f"first slower: {bisected.names[last]}"
    elif first == last and state.proven is None:
        yield f"most likely {bisected.names[last]}, without a verdict on it and the one before it: --resume seeks one"
    elif first == last:
        yield f"most likely {bisected.names[last]}, but beside the one before it, it was not seen to be slower again"
    else:
        yield f"the slowdown began at one of {last - first + 1}, {bisected.names[first]} to {bisected.names[last]}"
    for place, reason in sorted(state.skipped.items()):
        if first <= place <= last:
            yield f"not measured: {bisected.names[place]}: {reason}"
    proof = ", and again in a check against the one before it" if bisected.is_confirmed else ""
    if state.pairs:
        certainty = f"{chance:.1%}" if chance < CERTAIN else f"more than {CERTAIN:.1%}"
        yield f"{certainty} sure after {counted(state.pairs, 'pair')}{proof}"
    else:
        yield f"known from the check of good and bad{proof}"
    yield f"{state.case}: bad over good {units.ratio(state.ratio)}"
