"""What a check has measured so far, and what each case needs next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from convbench.check import decision
from convbench.check.decision import Triple
from convbench.check.outcome import CaseOutcome, Fact, Timing
from convbench.check.pairs import CheckedCase, FailedCase, PairRequest, PairResult
from convbench.check.settings import Rule

Stage = Literal["pair", "confirm"]
PAIR = 2


@dataclass
class Timings:
    """Timings and failures so far, by case; ``visit_seconds`` are the durations of visits to all undecided cases."""

    pairs: dict[str, list[Timing]] = field(default_factory=dict)
    confirmation: dict[str, list[Timing]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    keep: Callable[[Timings], None] = field(default=lambda _: None, repr=False)
    visit_seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, cases: Sequence[CaseOutcome], keep: Callable[[Timings], None]) -> Timings:
        """Return what an interrupted check measured of these cases. Failed cases are tried again."""
        pairs = {case.id: list(case.pairs) for case in cases if case.pairs}
        return cls(pairs, {case.id: list(case.confirmation) for case in cases if case.confirmation}, keep=keep)

    def add(self, visit: PairRequest, result: PairResult) -> None:
        """Add a pair or triple of a case, or the reason why it failed."""
        if isinstance(result, FailedCase):
            self.failures[visit.case.id] = result.reason
        else:
            timings = self.pairs if len(visit.arms) == PAIR else self.confirmation
            timings.setdefault(visit.case.id, []).append(result)

    def open_cases(self, cases: Sequence[CheckedCase], rule: Rule, count: int) -> list[tuple[CheckedCase, Stage]]:
        """Return the cases that need more measuring, each with what it needs."""
        stages = ((case, self.stage(case.id, rule, count)) for case in cases if case.id not in self.failures)
        return [(case, stage) for case, stage in stages if stage is not None]

    def stage(self, case: str, rule: Rule, count: int) -> Stage | None:
        """Return whether a case needs another pair or, as a suspect, another triple; None if it needs no more."""
        logs = self.logs(case)
        match decision.decide(logs, rule):
            case "undecided":
                return "pair" if len(logs) < decision.SLOWER.max_pairs else None
            case "suspect":
                triples = self.triples(case)
                is_open = len(triples) < decision.CONFIRM_AT_MOST
                return "confirm" if is_open and decision.confirmation(triples, rule, count) == "undecided" else None
        return None

    def next_stage(self, case: str, stage: Stage, rule: Rule, count: int) -> Stage | None:
        """Return what a case needs after a next visit that is like those before; None if that visit decides."""
        if stage == "confirm":
            return None if decision.pairs_to_confirm(self.triples(case), rule, count) == 1 else stage
        match decision.forecast(self.logs(case), rule):
            case "suspect", 1:
                return "confirm"
            case "ok", 1:
                return None
        return stage

    def outcome(self, case: str, facts: tuple[Fact, ...] = ()) -> CaseOutcome:
        """Return the outcome of a case, in the form that is stored and judged."""
        pairs, confirmation = (tuple(timings.get(case, ())) for timings in (self.pairs, self.confirmation))
        return CaseOutcome(case, pairs, confirmation, facts, self.failures.get(case, ""))

    def logs(self, case: str) -> list[float]:
        return self.outcome(case).logs

    def triples(self, case: str) -> list[Triple]:
        return self.outcome(case).triples
