"""A check from suite to outcome: inspect both sides, measure pairs until all is decided, confirm what is suspect."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from convbench.check import pairs, progress
from convbench.check.answers import Inspection
from convbench.check.counting import count_instructions
from convbench.check.inspection import Request, inspect
from convbench.check.outcome import CaseOutcome, Outcome, SideOutcome
from convbench.check.pairs import Arm, CheckedCase, PairRequest
from convbench.check.rule import Rule
from convbench.check.settings import Settings
from convbench.check.sides import Side
from convbench.check.stock import Stock
from convbench.check.timed import Timed
from convbench.core.comparability import differing
from convbench.core.errors import ConvbenchError
from convbench.core.package import __version__
from convbench.core.record import timestamp
from convbench.core.text import some

UNFINISHED = "unfinished: it was interrupted, and --resume goes on with it"


class Announcer(Protocol):
    """Is told how far the check is."""

    def says(self, message: str) -> None: ...


class SilentAnnouncer:
    """An announcer for a caller who does not watch."""

    def says(self, message: str) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Method:
    """How a check measures and judges, the folder for what it writes meanwhile, and who is told how far it is.

    ``deadline`` is of ``time.monotonic``; ``stock`` is where workers are started before their pair.
    """

    settings: Settings
    rule: Rule
    folder: Path
    watcher: Announcer
    deadline: float = math.inf
    stock: Stock = field(default_factory=Stock)

    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline


def deadline_of(budget: float | None) -> float:
    """When the time is over that a caller gives, from now on. Raises ConvbenchError for seconds that are none."""
    if budget is None:
        return math.inf
    if not (isinstance(budget, (int, float)) and budget > 0):
        raise ConvbenchError(f"budget {budget!r}: seconds, more than 0")
    return time.monotonic() + budget


def check(base: Side, head: Side, request: Request, method: Method, budget: float | None = None) -> Outcome:
    """Inspect, measure and confirm, until the method's time is over, which was ``budget`` seconds.

    Raises ConvbenchError for what makes the whole comparison impossible.
    """
    start, started = time.monotonic(), timestamp("seconds")
    method.watcher.says(f"base {base.label}, head {head.label}: inspecting both")
    with method.stock:
        inspected = inspect(base, head, request, method.settings, method.folder, method.stock)
        method = replace(method, settings=inspected.within(method.settings))

        def so_far(timed: Timed, unfinished: bool = True) -> Outcome:
            count = len(inspected.ids)
            stopped = method.is_over() and bool(timed.waiting(inspected.valid, method.rule, count))
            return Outcome(
                suite=inspected.suite,
                base=_side(base, inspected.environments.get("base", {})),
                head=_side(head, inspected.environments.get("head", {})),
                cases=_cases(inspected, timed),
                rule=method.rule,
                settings=method.settings,
                started=started,
                seconds=time.monotonic() - start,
                convbench=__version__,
                notes=(*_notes(base, head, inspected), *([UNFINISHED] if unfinished else [])),
                unfinished=unfinished,
                budget=budget if stopped and not unfinished else None,
            )

        ledger = request.ledger
        ledger.refuse_another(so_far(Timed()), {"base": base.changes, "head": head.changes})
        before = ledger.before.cases if ledger.before else ()
        timed = Timed.of(before, keep=lambda timed: ledger.keep(so_far(timed)))
        decide((Arm("base", base), Arm("head", head)), inspected.valid, inspected.ids, method, timed)
        if request.instructions:
            method.watcher.says("counting instructions")
            count_instructions({"head": head, "base": base}, method.settings, method.folder, inspected, method.deadline)
        return so_far(timed, unfinished=False)


def decide(
    arms: tuple[Arm, Arm], cases: Sequence[CheckedCase], ids: Sequence[str], method: Method, timed: Timed
) -> Timed:
    """Visits of all undecided cases until there is none left or the time is over: pairs, and triples of suspects.

    The rule's error is shared by all that are named; ``timed`` holds the pairs that there are already.
    """
    count, rule = len(ids), method.rule
    base, head = arms
    stages = {"pair": arms, "confirm": (base, replace(base, name="base again"), head)}
    with method.stock:
        while not method.is_over() and (waiting := timed.waiting(cases, rule, count)):
            method.watcher.says(progress.line(timed, waiting, rule, ids))
            start = time.monotonic()
            visits = [PairRequest(case, stages[stage]) for case, stage in waiting]
            expected = ((case, timed.following(case.id, stage, rule, count)) for case, stage in waiting)
            following = [PairRequest(case, stages[stage]) for case, stage in expected if stage]
            try:
                with closing(pairs.measure(visits, method.settings, method.folder, method.stock, following)) as results:
                    for visit, measured in results:
                        timed.add(visit, measured)
                        if method.is_over():
                            break
            finally:  # of an interrupted visit too: a suite of slow cases takes minutes for one
                timed.visit_seconds.append(time.monotonic() - start)
                timed.keep(timed)
    return timed


def _cases(inspected: Inspection, timed: Timed) -> tuple[CaseOutcome, ...]:
    outcomes = (timed.outcome(case, inspected.facts.get(case, ())) for case in inspected.ids)
    return tuple(replace(case, invalid=case.invalid or inspected.invalid.get(case.id, "")) for case in outcomes)


def _side(side: Side, environment: Mapping[str, object]) -> SideOutcome:
    facts = {key: value for key, value in environment.items() if isinstance(value, str | int | float | bool | None)}
    return SideOutcome(side.label, side.commit, side.dirty, facts)


def _notes(base: Side, head: Side, inspected: Inspection) -> tuple[str, ...]:
    """What a reader must know of the comparison as a whole."""
    differ = differing(*(inspected.environments.get(name, {}) for name in ("base", "head")))
    clean = base.commit is not None and not (base.dirty or head.dirty)
    same = clean and (base.commit, base.python) == (head.commit, head.python)
    return (
        *(["base and head are the same commit, without changes: the same code is compared"] if same else []),
        *([f"head has uncommitted changes: {some(head.changes)}"] if head.dirty else []),
        *([f"the sides' environments differ: {', '.join(differ)}"] if differ else []),
        *inspected.notes,
    )
