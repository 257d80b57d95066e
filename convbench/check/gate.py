"""A check from suite to outcome: inspect both sides, measure pairs until all is decided, confirm what is suspect."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from convbench.check import decision, pairs
from convbench.check.decision import CONFIRM_AT_MOST, CONFIRM_LEVELS
from convbench.check.inspection import Inspected, Request, inspect
from convbench.check.link import Settings
from convbench.check.outcome import CaseOutcome, Confirming, Outcome, SideOutcome, Timing
from convbench.check.pairs import Arm, Failed, Planned
from convbench.check.rule import Rule
from convbench.check.sides import Side
from convbench.core.comparability import differing
from convbench.core.package import __version__

UNFINISHED = "unfinished: it was interrupted, and --resume goes on with it"


class Announcer(Protocol):
    """Is told how far the check is."""

    def says(self, message: str) -> None: ...


@dataclass
class Timed:
    """What has been measured so far, by case."""

    pairs: dict[str, list[Timing]] = field(default_factory=dict)
    confirmation: dict[str, list[Timing]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    keep: Callable[[Timed], None] = field(default=lambda _: None, repr=False)

    @classmethod
    def of(cls, before: Outcome | None, keep: Callable[[Timed], None]) -> Timed:
        """What an interrupted check had measured; its failed cases are tried again."""
        cases = before.cases if before else ()
        pairs = {case.id: list(case.pairs) for case in cases if case.pairs}
        return cls(pairs, {case.id: list(case.confirmation) for case in cases if case.confirmation}, keep=keep)

    def alive(self, cases: Sequence[Planned]) -> list[Planned]:
        """Those of the cases that have not failed."""
        return [case for case in cases if case.id not in self.failed]

    def logs(self, case: str) -> list[float]:
        return [timing.log_ratio() for timing in self.pairs.get(case, [])]

    def unconfirmed(self, case: str, rule: Rule) -> bool:
        """Whether a suspect needs more pairs: none of the looks so far has decided, and there is another."""
        kept = Confirming.of(self.confirmation.get(case, ()))
        more = len(kept.timings) < max(CONFIRM_LEVELS)
        return more and decision.confirmation(kept.slower, kept.null, rule) == "undecided"


@dataclass(frozen=True)
class Method:
    """How a check measures and judges, the folder for what it writes meanwhile, and who is told how far it is."""

    settings: Settings
    rule: Rule
    room: Path
    watcher: Announcer


def check(base: Side, head: Side, request: Request, method: Method) -> Outcome:
    """Inspect, measure and confirm. Raises ConvbenchError for what makes the whole comparison impossible."""
    start, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    method.watcher.says(f"base {base.label}, head {head.label}: inspecting both")
    found = inspect(base, head, request, method.settings, method.room)
    method = replace(method, settings=replace(method.settings, timeout=found.timeout))

    def so_far(timed: Timed, unfinished: bool = True) -> Outcome:
        return Outcome(
            suite=found.suite,
            base=_side(base, found.environments.get("base", {})),
            head=_side(head, found.environments.get("head", {})),
            cases=_cases(found, timed),
            rule=method.rule,
            settings=method.settings,
            started=started,
            seconds=time.monotonic() - start,
            convbench=__version__,
            notes=(*_notes(head, found), *([UNFINISHED] if unfinished else [])),
            unfinished=unfinished,
        )

    ledger = request.ledger
    ledger.refuse_another(so_far(Timed()))
    timed = Timed.of(ledger.before, keep=lambda timed: ledger.keep(so_far(timed)))
    decide((Arm("base", base), Arm("head", head)), found.valid, len(found.ids), method, timed)
    return so_far(timed, unfinished=False)


def decide(
    arms: tuple[Arm, Arm], cases: Sequence[Planned], count: int, method: Method, timed: Timed | None = None
) -> Timed:
    """Pairs up to each look for the cases still undecided, then the confirmation of those that are suspect.

    The rule's error is shared by ``count`` cases; ``timed`` holds the pairs that there are already.
    """
    timed = timed or Timed()
    measured = _look(arms, cases, count, method, timed)
    calls = {case.id: decision.decide(timed.logs(case.id), method.rule, count) for case in measured}
    _confirm(arms, [case for case in measured if calls[case.id] == "suspect"], method, timed)
    return timed


def _look(arms: tuple[Arm, Arm], cases: Sequence[Planned], count: int, method: Method, timed: Timed) -> list[Planned]:
    """Pairs up to the look that decides each case, or the last; the cases that were measured so far."""
    waiting, done = list(cases), 0
    while waiting and (look := decision.next_look(done)):
        for number in range(done + 1, look + 1):
            method.watcher.says(f"pair {number} of {look}, {len(waiting)} of {count} cases undecided")
            lacking = [case for case in waiting if len(timed.pairs.get(case.id, ())) < number]
            _measure(arms, lacking, method, timed.pairs, timed.failed)
            timed.keep(timed)
            waiting = timed.alive(waiting)
        done = look
        waiting = [case for case in waiting if decision.call(timed.logs(case.id), method.rule, count) == "undecided"]
    return timed.alive(cases)


def _confirm(arms: tuple[Arm, Arm], suspects: list[Planned], method: Method, timed: Timed) -> None:
    """New pairs of suspects with base in them twice, until a look at those in which base repeats itself decides."""
    base, head = arms
    three = (base, replace(base, name="base again"), head)
    for number in range(1, CONFIRM_AT_MOST + 1):
        if suspects:
            method.watcher.says(f"confirming {len(suspects)} suspected regressions, pair {number}")
            lacking = [case for case in suspects if len(timed.confirmation.get(case.id, ())) < number]
            _measure(three, lacking, method, timed.confirmation, timed.failed)
            timed.keep(timed)
            suspects = [case for case in timed.alive(suspects) if timed.unconfirmed(case.id, method.rule)]


def _measure(
    arms: Sequence[Arm],
    cases: Sequence[Planned],
    method: Method,
    timings: dict[str, list[Timing]],
    failed: dict[str, str],
) -> None:
    """A pair of every case, added to ``timings``, or why there is none, to ``failed``."""
    for case, measured in pairs.measure(arms, cases, method.settings, method.room):
        if isinstance(measured, Failed):
            failed[case.id] = measured.reason
        else:
            timings.setdefault(case.id, []).append(measured)


def _cases(found: Inspected, timed: Timed) -> tuple[CaseOutcome, ...]:
    invalid = found.invalid | timed.failed
    return tuple(
        CaseOutcome(
            case,
            tuple(timed.pairs.get(case, ())),
            tuple(timed.confirmation.get(case, ())),
            found.facts.get(case, ()),
            invalid.get(case, ""),
        )
        for case in found.ids
    )


def _side(side: Side, environment: Mapping[str, object]) -> SideOutcome:
    facts = {key: value for key, value in environment.items() if isinstance(value, str | int | float | bool | None)}
    return SideOutcome(side.label, side.commit, side.dirty, facts)


def _notes(head: Side, found: Inspected) -> tuple[str, ...]:
    """What a reader must know of the comparison as a whole."""
    base, ours = (found.environments.get(name, {}) for name in ("base", "head"))
    differ = differing(base, ours)
    return (
        *(["head has uncommitted changes"] if head.dirty else []),
        *([f"the sides' environments differ: {', '.join(differ)}"] if differ else []),
    )
