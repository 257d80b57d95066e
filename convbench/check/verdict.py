"""What an outcome says: a verdict a case, and the exit code of them all. Derived from raw timings alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from convbench.check import decision
from convbench.check.decision import CONFIRM_LEVELS, OFF, Ratio
from convbench.check.outcome import CaseOutcome, Outcome
from convbench.check.rule import Rule

Word = Literal["ok", "regression", "inconclusive", "invalid"]
FINE, REGRESSION, INCONCLUSIVE, INVALID = 0, 1, 3, 5
CODES: dict[Word, int] = {"ok": FINE, "regression": REGRESSION, "inconclusive": INCONCLUSIVE, "invalid": INVALID}
BUSY = "the machine is too busy"
GRAVEST = (REGRESSION, INVALID, INCONCLUSIVE, FINE)


@dataclass(frozen=True, slots=True)
class CaseVerdict:
    """A case's word, its ratio where it was timed, and why it is not ok."""

    case: CaseOutcome
    word: Word
    ratio: Ratio | None
    reason: str

    @property
    def faster(self) -> bool:
        return self.ratio is not None and self.ratio.high < 1


def verdicts(outcome: Outcome) -> list[CaseVerdict]:
    return [verdict(case, outcome.rule, len(outcome.cases)) for case in outcome.cases]


def exit_code(outcome: Outcome) -> int:
    """0 fine, 1 a confirmed regression and nothing else, 3 inconclusive or unfinished, 5 a case without a verdict."""
    if outcome.unfinished:
        return INCONCLUSIVE
    codes = {CODES[one.word] for one in verdicts(outcome)}
    return next((code for code in GRAVEST if code in codes), FINE)


def verdict(case: CaseOutcome, rule: Rule, cases: int) -> CaseVerdict:
    """The word of one case of as many."""
    if case.invalid:
        return CaseVerdict(case, "invalid", None, case.invalid)
    logs = case.logs
    ratio = decision.ratio(logs) if logs else None
    match decision.decide(logs, rule, cases):
        case "ok":
            return CaseVerdict(case, "ok", ratio, "")
        case "suspect":
            return CaseVerdict(case, *_confirmed(case, rule, ratio))
    return CaseVerdict(case, "inconclusive", ratio, _unseen(logs, rule, cases))


def _confirmed(suspect: CaseOutcome, rule: Rule, first: Ratio | None) -> tuple[Word, Ratio | None, str]:
    """What the new pairs make of a suspect; the ratio shown is theirs, which chance has not picked."""
    if not suspect.confirmation:
        return "inconclusive", first, "suspected and not confirmed: no new pairs were measured"
    kept = suspect.confirming
    if len(kept.timings) < min(CONFIRM_LEVELS):
        off = f"in {len(suspect.confirmation) - len(kept.timings)} of {len(suspect.confirmation)} pairs"
        return "inconclusive", first, f"suspected, but {off} base differs from itself by more than {OFF:.0%}: {BUSY}"
    ratio = decision.ratio(kept.slower)
    match decision.confirmation(kept.slower, kept.null, rule):
        case "regression":
            return "regression", ratio, ""
        case "ok":
            return "ok", ratio, ""
    if not decision.clean(kept.null, rule):
        differs = decision.ratio(kept.null).estimate - 1
        return "inconclusive", ratio, f"base differs from itself by {differs:+.1%}: {BUSY}"
    return "inconclusive", ratio, "suspected, and not surely slower in new pairs"


def _unseen(logs: list[float], rule: Rule, cases: int) -> str:
    if not logs:
        return "not measured"
    visible = decision.smallest_visible(logs, rule, cases)
    seen = f"a slowdown below {visible:.1%}" if math.isfinite(visible) else "any slowdown"
    return f"too noisy after {len(logs)} pairs to see {seen}"
