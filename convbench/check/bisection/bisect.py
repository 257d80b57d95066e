"""Find the first slower place of a history by pairs of good and other places, guided by a posterior over the places.

1. Good and bad are checked as ``check`` does: without a confirmed regression between them there is no search.
2. ``search`` says which place to pair with good next, until one place, or a group that cannot be told apart, is sure.
3. A single place is checked against the place before it, so that the answer rests on a regression between neighbours.
"""

from __future__ import annotations

import glob
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from convbench.check import against_base, gate, pairs
from convbench.check.answers import Inspection
from convbench.check.bisection import bisected
from convbench.check.bisection.bisected import Bisected, State
from convbench.check.bisection.places import Line, Span
from convbench.check.bisection.search import SlowdownModel
from convbench.check.inspection import Request, inspect
from convbench.check.ledger import no_resume
from convbench.check.pairs import Arm, CheckedCase, FailedCase, PairRequest
from convbench.check.settings import Rule, Settings
from convbench.check.stock import Stock
from convbench.check.timings import Timings
from convbench.check.trees import requirements
from convbench.check.trees.sides import Side, WorkingTree, scratch_folder
from convbench.check.verdict import CaseVerdict, verdict
from convbench.core.comparability import fingerprint
from convbench.core.errors import BuildFailed, CaseFailed, ConvbenchError, OutOfTime, Refused, StoreError
from convbench.report.words import units
from convbench.report.words.numbers import likely

T = TypeVar("T")
MOST_PAIRS = 80
ATTEMPTS = 2
"""How often a place that fails is tried."""
REQUIREMENTS = "all commits run with the packages of this environment; --package searches the versions of a package"
"""What a search cannot do about requirements that differ, and what to call instead."""
GOOD, MOST_OPEN = 0, 4
"""The place that every pair needs, and how many others stay open at a time. A closed place is built again if needed."""


@dataclass(frozen=True)
class BisectRequest:
    """What to search, from which directory, and the file ``place`` that keeps it; ``resume`` continues from it."""

    request: Request
    span: Span
    cwd: Path
    place: Path
    resume: bool = False
    budget: float | None = None


def refuse_mistakes(question: BisectRequest, settings: Settings) -> None:
    """Raise at once what ``find`` would raise for the suite and the commits, for a search that has to wait."""
    question.span.line(WorkingTree.at(question.cwd, question.request.suite))
    against_base.refuse_mistakes(question.request, settings)


def find(
    question: BisectRequest, settings: Settings, rule: Rule, announce: Callable[[str], None] = lambda _: None
) -> Bisected:
    """Find the first slower place. The caller holds the machine's lock. Raises ConvbenchError if bad is not slower."""
    deadline = gate.deadline_of(question.budget)
    working_tree = WorkingTree.at(question.cwd, question.request.suite, (question.place,))
    line = question.span.line(working_tree)
    request = replace(question.request, suite=str(working_tree.suite or question.request.suite))
    options = {**asdict(settings), **asdict(rule), "overrides": list(request.overrides)}
    options |= {"same_outputs": request.same_outputs, "build": line.build}
    options |= {"only": list(request.only), "skip": list(request.skip)}
    state = State(request.suite, list(line.places), options, line.code)
    if question.resume:
        earlier_state = bisected.read(question.place)
        bisected.refuse_another(earlier_state, state)
        state = earlier_state
        state.try_again()
    with scratch_folder() as folder:
        method = gate.Method(settings, rule, folder, announce, deadline)
        return Bisection(line, request, method, partial(bisected.write, question.place), state).run()


class Bisection:
    """A search along a line of places with the cases of a request. It continues a state, and saves it as it goes."""

    def __init__(
        self, line: Line, request: Request, method: gate.Method, keep: Callable[[State], object], state: State
    ) -> None:
        self.line, self.request, self.method, self.keep, self.state = line, request, method, keep, state
        self.open_sides: dict[int, tuple[Side, ExitStack]] = {}
        self.stack = ExitStack()

    def run(self) -> Bisected:
        """Return the answer, as sure as the time allowed. Raises ConvbenchError if bad is not slower."""
        with self.stack:
            inspection = self._inspect()
            self.method = replace(self.method, settings=inspection.with_limit(self.method.settings))
            machine = fingerprint(inspection.environments.get("head", {}))
            if self.state.machine not in ("", machine):
                raise no_resume("the stored search was made on another machine, or with other software")
            self.state.machine = machine
            self.keep(self.state)  # replaces the state of any earlier search, which --resume would read
            if not self.state.case:
                self._compare_ends(inspection)
            case = next((case for case in inspection.valid if case.id == self.state.case), None)
            if case is None:
                raise no_resume(f"the suite no longer has the case {self.state.case}")
            self._search(case)
            self._prove(case)
            names = tuple(self.line.name(place) for place in range(len(self.line.places)))
            return Bisected(self.state, names, self.state.search.answer())

    def _side(self, place: int) -> Side:
        """Return the code of a place. Only good and the latest places stay open: each may take gigabytes of disk."""
        if place not in self.open_sides:
            other_places = [other for other in self.open_sides if other != GOOD]
            if len(other_places) == MOST_OPEN:
                _, old_stack = self.open_sides.pop(other_places[0])
                old_stack.close()
            stack = self.stack.enter_context(ExitStack())
            side = replace(stack.enter_context(self.line.side(place)), alias=self._alias(place))
            self.open_sides[place] = side, stack
        self.open_sides[place] = self.open_sides.pop(place)  # the latest place is the last to be closed
        return self.open_sides[place][0]

    def _arms(self, base: int, head: int) -> tuple[Arm, Arm]:
        return Arm(self._alias(base), self._side(base)), Arm(self._alias(head), self._side(head))

    def _alias(self, place: int) -> str:
        """Return what messages call a place: good, bad, or its commit or version."""
        return {GOOD: "good", self.state.search.last: "bad"}.get(place, self.line.places[place][:12])

    def _inspect(self) -> Inspection:
        good, bad = self._side(GOOD), self._side(self.state.search.last)
        self.method.announce(f"good is {self.line.name(0)}, bad is {self.line.name(self.state.search.last)}")
        for note in requirements.notes(good, bad, REQUIREMENTS):
            self.method.announce(note)
        with Stock() as stock:
            inspection = inspect(good, bad, self.request, self.method.settings, self.method.folder, stock)
        if not inspection.valid:
            raise BuildFailed(inspection.faults)
        return inspection

    def _compare_ends(self, inspection: Inspection) -> None:
        """Check bad against good, and store the case that is most surely slower as the one to search."""
        timings = Timings.of(self.state.ends, self._keep_ends)
        timings = self._check(GOOD, self.state.search.last, inspection.valid, inspection.ids, timings)
        verdicts = [self._verdict(case.id, timings, len(inspection.ids)) for case in inspection.valid]
        regressions = [
            (verdict.ratio, verdict.case) for verdict in verdicts if verdict.word == "regression" and verdict.ratio
        ]
        if not regressions and timings.open_cases(inspection.valid, self.method.rule, len(inspection.ids)):
            ratios = _ratios(verdicts)
            raise OutOfTime(f"the time ran out before good and bad were told apart; continue with --resume: {ratios}")
        if not regressions:
            raise ConvbenchError(
                f"bad is not surely slower than good, so there is nothing to search for: {_ratios(verdicts)}"
            )
        self.state.ratio, outcome = max(regressions, key=lambda regression: regression[0].low)
        self.state.case = outcome.id
        self.state.slowdown, self.state.spread = SlowdownModel.of(outcome.triples)
        self.keep(self.state)

    def _keep_ends(self, timings: Timings) -> None:
        self.state.ends = [timings.outcome(case) for case in sorted(timings.pairs)]
        self.keep(self.state)

    def _check(self, base: int, head: int, cases: list[CheckedCase], ids: list[str], timings: Timings) -> Timings:
        """Check two places and return ``timings``, to which the pairs that it lacked are added."""
        return gate.decide(self._arms(base, head), cases, ids, self.method, timings)

    def _verdict(self, case: str, timings: Timings, count: int) -> CaseVerdict:
        return verdict(timings.outcome(case), self.method.rule, count)

    def _search(self, case: CheckedCase) -> None:
        while (place := self.state.search.next()) and self.state.pairs < MOST_PAIRS and not self.method.is_over():
            self.method.announce(self._line(place))
            try:
                log = self._pair(case, place)
            except StoreError:  # the fault is this machine's, not the place's
                raise
            except ConvbenchError as error:
                self.state.logs.pop(place, None)
                self.state.skipped[place] = str(error)
            else:
                self.state.logs.setdefault(place, []).append(log)
            self.keep(self.state)

    def _pair(self, case: CheckedCase, place: int) -> float:
        """Return the log ratio of a pair of good and a place. Raises ConvbenchError if it fails ``ATTEMPTS`` times."""
        arms = self._arms(GOOD, place)
        with Stock() as stock:
            if place not in self.state.logs:
                self._try(place, partial(self._look_at, case, place, stock))
            return self._try(place, partial(self._time, PairRequest(case, arms), stock))

    def _try(self, place: int, attempt: Callable[[], T], number: int = 1) -> T:
        """Return what an attempt returns, which is made again if it fails: the machine may have been the reason.

        Raises CaseFailed with the last reason, and at once what would come again or is a fault of this machine.
        """
        try:
            return attempt()
        except (Refused, StoreError):
            raise
        except ConvbenchError as error:
            if number == ATTEMPTS:
                raise CaseFailed("error", f"{error} (tried {ATTEMPTS} times)") from error
            self.method.announce(f"{self.line.name(place)} failed, and is tried again: {error}")
        return self._try(place, attempt, number + 1)

    def _time(self, request: PairRequest, stock: Stock) -> float:
        """Return the log ratio of one pair. Raises CaseFailed."""
        ((_, result),) = pairs.measure([request], self.method.settings, self.method.folder, stock)
        if isinstance(result, FailedCase):
            raise CaseFailed("error", result.reason)
        return result.log_ratio()

    def _look_at(self, case: CheckedCase, place: int, stock: Stock) -> None:
        """Inspect a place as a check does before timing: one that computes something else says nothing of the slowdown.

        Raises ConvbenchError with the reason if the place cannot be compared. Its idle workers are left in the stock.
        """
        request = replace(self.request, only=(glob.escape(case.id),), skip=())
        good, side = self._side(GOOD), self._side(place)
        inspection = inspect(good, side, request, self.method.settings, self.method.folder, stock)
        if reason := inspection.invalid.get(case.id):
            raise BuildFailed(reason)

    def _prove(self, case: CheckedCase) -> None:
        """Check the place found against the place before it, if a single place was found and there is time left."""
        answer = self.state.search.answer()
        if answer.first != answer.last or self.method.is_over() or self.state.proven is not None:
            return
        place = answer.last
        self.method.announce(f"checking {self.line.name(place)} against the one before it")
        stored = [self.state.proofs[place]] if place in self.state.proofs else []
        timings = Timings.of(stored, partial(self._keep_proof, place))
        try:
            timings = self._check(place - 1, place, [case], [case.id], timings)
        except BuildFailed as error:  # when a place that was closed meanwhile is built again
            timings = Timings(failures={case.id: str(error)})
        verdict = self._verdict(case.id, timings, 1)
        if verdict.word in ("invalid", "inconclusive"):  # no verdict does not mean "not slower"
            reason = "the time ran out" if timings.open_cases([case], self.method.rule, 1) else verdict.reason
            self.method.announce(f"no verdict: {reason}")
            return
        self.state.proven = verdict.word == "regression"
        self.keep(self.state)

    def _keep_proof(self, place: int, timings: Timings) -> None:
        self.state.proofs[place] = timings.outcome(self.state.case)
        self.keep(self.state)

    def _line(self, place: int) -> str:
        answer = self.state.search.answer()
        size = answer.last - answer.first + 1
        return f"pair {self.state.pairs + 1}: {self.line.name(place)}; narrowed to {size}, {likely(answer.chance)} sure"


def _ratios(verdicts: list[CaseVerdict]) -> str:
    """Return in words what a check of good and bad found for each case."""
    return "; ".join(
        f"{verdict.case.id} {verdict.word}" + (f", ratio {units.ratio(verdict.ratio)}" if verdict.ratio else "")
        for verdict in verdicts
    )
