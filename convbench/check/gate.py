"""Run a check from suite to outcome: inspect both sides, measure pairs until all is decided, confirm suspects."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from convbench.check import pairs, progress
from convbench.check.answers import Inspection
from convbench.check.counting import count_instructions
from convbench.check.inspection import Request, inspect
from convbench.check.outcome import CaseOutcome, Outcome, SideOutcome
from convbench.check.pairs import Arm, CheckedCase, PairRequest
from convbench.check.settings import Rule, Settings
from convbench.check.stock import Stock
from convbench.check.timings import Timings
from convbench.check.trees import requirements
from convbench.check.trees.sides import Side
from convbench.core.arguments import is_number
from convbench.core.comparability import differing
from convbench.core.errors import ConvbenchError
from convbench.core.package import __version__
from convbench.core.record import timestamp
from convbench.core.text import some

UNFINISHED = "unfinished: it was interrupted; continue it with --resume"
SECONDS_BETWEEN_SAVES = 10.0
"""Seconds of finished pairs that a killed check loses at most: a visit to all cases may take an hour."""


@dataclass(frozen=True)
class Method:
    """How a check measures and judges, its scratch folder, and who is told about its progress.

    ``deadline`` is a time of ``time.monotonic``; ``stock`` holds the workers that are started before their pair.
    """

    settings: Settings
    rule: Rule
    folder: Path
    announce: Callable[[str], None] = lambda _: None
    deadline: float = math.inf
    stock: Stock = field(default_factory=Stock)

    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline


def deadline_of(budget: float | None) -> float:
    """Return the deadline of a budget that starts now. Raises ConvbenchError if it is not a positive number."""
    if budget is None:
        return math.inf
    if not (is_number(budget) and budget > 0):
        raise ConvbenchError(f"budget {budget!r}: give seconds, more than 0")
    return time.monotonic() + budget


def check(base: Side, head: Side, request: Request, method: Method, budget: float | None = None) -> Outcome:
    """Inspect, measure and confirm until every case is decided or the method's deadline, after ``budget`` seconds.

    Raises ConvbenchError if the whole comparison is impossible.
    """
    start, date = time.monotonic(), timestamp("seconds")
    method.announce(f"base {base.label}, head {head.label}: inspecting both")
    with method.stock:
        inspection = inspect(base, head, request, method.settings, method.folder, method.stock)
        method = replace(method, settings=inspection.with_limit(method.settings))
        inspection.notes += requirements.notes(base, head)

        def outcome_of(timings: Timings, unfinished: bool = True) -> Outcome:
            count = len(inspection.ids)
            is_stopped = method.is_over() and bool(timings.open_cases(inspection.valid, method.rule, count))
            return Outcome(
                suite=inspection.suite,
                base=_side(base, inspection.environments.get("base", {})),
                head=_side(head, inspection.environments.get("head", {})),
                cases=_cases(inspection, timings),
                rule=method.rule,
                settings=method.settings,
                started=date,
                seconds=time.monotonic() - start,
                convbench=__version__,
                notes=(*_notes(base, head, inspection), *([UNFINISHED] if unfinished else [])),
                unfinished=unfinished,
                budget=budget if is_stopped and not unfinished else None,
                seed=inspection.seed,
            )

        ledger = request.ledger
        earlier_cases = ledger.earlier_cases(outcome_of(Timings()), {"base": base.changes, "head": head.changes})
        timings = Timings.of(earlier_cases, keep=lambda timings: ledger.keep(outcome_of(timings)))
        decide((Arm("base", base), Arm("head", head)), inspection.valid, inspection.ids, method, timings)
        if request.instructions:
            method.announce("counting instructions")
            try:
                count_instructions(
                    {"head": head, "base": base}, method.settings, method.folder, inspection, method.deadline
                )
            except KeyboardInterrupt:  # what was counted stays
                timings.keep(timings)
                raise
        return outcome_of(timings, unfinished=False)


def decide(
    arms: tuple[Arm, Arm], cases: Sequence[CheckedCase], ids: Sequence[str], method: Method, timings: Timings
) -> Timings:
    """Visit all undecided cases until none is left or the time is over: a pair each, or a triple of a suspect.

    The cases of ``ids`` share the rule's error. ``timings`` holds earlier pairs, and the new ones are added to it.
    """
    count, rule = len(ids), method.rule
    base, head = arms
    stages = {"pair": arms, "confirm": (base, replace(base, name=f"{base.name} again"), head)}
    with method.stock:
        while not method.is_over() and (open_cases := timings.open_cases(cases, rule, count)):
            method.announce(progress.line(timings, open_cases, rule, ids))
            visits = [PairRequest(case, stages[stage]) for case, stage in open_cases]
            next_stages = ((case, timings.next_stage(case.id, stage, rule, count)) for case, stage in open_cases)
            next_visits = [PairRequest(case, stages[stage]) for case, stage in next_stages if stage]
            _visit(visits, next_visits, method, timings)
    return timings


def _visit(visits: Sequence[PairRequest], next_visits: Sequence[PairRequest], method: Method, timings: Timings) -> None:
    """Make the visits, or as many as the time allows, and add their results to ``timings``."""
    start = last_save = time.monotonic()
    try:
        with closing(pairs.measure(visits, method.settings, method.folder, method.stock, next_visits)) as results:
            for visit, result in results:
                timings.add(visit, result)
                if method.is_over():
                    return
                if time.monotonic() - last_save >= SECONDS_BETWEEN_SAVES:
                    timings.keep(timings)  # between two pairs, when nothing is timed
                    last_save = time.monotonic()
    finally:  # also if the visit is interrupted: with slow cases it takes minutes
        timings.visit_seconds.append(time.monotonic() - start)
        timings.keep(timings)


def _cases(inspection: Inspection, timings: Timings) -> tuple[CaseOutcome, ...]:
    outcomes = (timings.outcome(case, inspection.facts.get(case, ())) for case in inspection.ids)
    return tuple(replace(case, invalid=case.invalid or inspection.invalid.get(case.id, "")) for case in outcomes)


def _side(side: Side, environment: Mapping[str, object]) -> SideOutcome:
    facts = {key: value for key, value in environment.items() if isinstance(value, str | int | float | bool | None)}
    return SideOutcome(side.label, side.commit, side.dirty, facts, side.build)


def _notes(base: Side, head: Side, inspection: Inspection) -> tuple[str, ...]:
    """Return what a reader must know about the comparison as a whole."""
    differences = differing(*(inspection.environments.get(name, {}) for name in ("base", "head")))
    is_clean = base.commit is not None and not (base.dirty or head.dirty)
    is_same = is_clean and (base.commit, base.python) == (head.commit, head.python)
    return (
        *(["base and head are the same commit, without changes: the same code is compared"] if is_same else []),
        *([f"head has uncommitted changes: {some(head.changes)}"] if head.dirty else []),
        *([f"the sides' environments differ: {', '.join(differences)}"] if differences else []),
        *inspection.notes,
    )
