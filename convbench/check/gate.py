"""A check from suite to outcome: inspect both sides, measure pairs until all is decided, confirm what is suspect."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from convbench import __version__
from convbench.check import decision, pairs
from convbench.check.decision import CONFIRM_AT_MOST, CONFIRM_LEVELS
from convbench.check.inspection import Inspected, Request, inspect
from convbench.check.link import Settings
from convbench.check.outcome import CaseOutcome, Confirming, Outcome, SideOutcome, Timing
from convbench.check.pairs import Arm, Failed, Planned
from convbench.check.rule import Rule
from convbench.check.sides import Side
from convbench.core.comparability import differing


class Announcer(Protocol):
    """Is told how far the check is."""

    def says(self, message: str) -> None: ...


@dataclass
class Timed:
    """What has been measured so far, by case."""

    pairs: dict[str, list[Timing]] = field(default_factory=dict)
    confirmation: dict[str, list[Timing]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def logs(self, case: str) -> list[float]:
        return [timing.log_ratio() for timing in self.pairs.get(case, [])]

    def unconfirmed(self, case: str, rule: Rule) -> bool:
        """Whether a suspect needs more pairs: none of the looks so far has decided, and there is another."""
        kept = Confirming.of(self.confirmation.get(case, ()))
        more = len(kept.timings) < max(CONFIRM_LEVELS)
        return more and decision.confirmation(kept.slower, kept.null, rule) == "undecided"


def check(
    base: Side, head: Side, request: Request, how: tuple[Settings, Rule], room: Path, watcher: Announcer
) -> Outcome:
    """Inspect, measure and confirm. Raises ConvbenchError for what makes the whole comparison impossible."""
    settings, rule = how
    start, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    watcher.says(f"base {base.label}, head {head.label}: inspecting both")
    found = inspect(base, head, request, settings, room)
    settings = replace(settings, timeout=found.timeout)
    arms = (Arm("base", base), Arm("head", head))
    timed = decide(arms, found.valid, (settings, rule, len(found.ids)), room, watcher)
    return Outcome(
        suite=found.suite,
        base=_side(base, found.environments.get("base", {})),
        head=_side(head, found.environments.get("head", {})),
        cases=_cases(found, timed),
        rule=rule,
        settings=settings,
        started=started,
        seconds=time.monotonic() - start,
        convbench=__version__,
        notes=_notes(head, found),
    )


def decide(
    arms: tuple[Arm, Arm], cases: Sequence[Planned], how: tuple[Settings, Rule, int], room: Path, watcher: Announcer
) -> Timed:
    """Pairs up to each look for the cases still undecided, then the confirmation of those that are suspect."""
    settings, rule, count = how
    timed, waiting, done = Timed(), list(cases), 0
    while waiting and (look := decision.next_look(done)):
        for number in range(done + 1, look + 1):
            watcher.says(f"pair {number} of {look}, {len(waiting)} of {count} cases undecided")
            _measure(arms, waiting, settings, room, (timed.pairs, timed.failed))
            waiting = [case for case in waiting if case.id not in timed.failed]
        done = look
        waiting = [case for case in waiting if decision.call(timed.logs(case.id), rule, count) == "undecided"]
    _confirm(arms, _suspects(cases, timed, rule, count), (settings, rule, timed), room, watcher)
    return timed


def _suspects(cases: Sequence[Planned], timed: Timed, rule: Rule, count: int) -> list[Planned]:
    kept = (case for case in cases if case.id not in timed.failed)
    return [case for case in kept if decision.decide(timed.logs(case.id), rule, count) == "suspect"]


def _confirm(
    arms: tuple[Arm, Arm], suspects: list[Planned], to: tuple[Settings, Rule, Timed], room: Path, watcher: Announcer
) -> None:
    """New pairs of suspects with base in them twice, until a look at those in which base repeats itself decides."""
    settings, rule, timed = to
    base, head = arms
    three = (base, replace(base, name="base again"), head)
    for number in range(1, CONFIRM_AT_MOST + 1):
        if suspects:
            watcher.says(f"confirming {len(suspects)} suspected regressions, pair {number}")
            _measure(three, suspects, settings, room, (timed.confirmation, timed.failed))
            left = (case for case in suspects if case.id not in timed.failed)
            suspects = [case for case in left if timed.unconfirmed(case.id, rule)]


def _measure(
    arms: Sequence[Arm],
    cases: Sequence[Planned],
    settings: Settings,
    room: Path,
    to: tuple[dict[str, list[Timing]], dict[str, str]],
) -> None:
    timings, failed = to
    for case, measured in pairs.measure(arms, cases, settings, room):
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
