"""Judge an outcome: a verdict per case, and the exit code of them all, derived from raw timings alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from convbench.check import decision
from convbench.check.decision import MOST_NULL, Ratio
from convbench.check.outcome import CaseOutcome, Outcome
from convbench.check.settings import Rule
from convbench.core.scales import percent
from convbench.core.text import counted
from convbench.report.words import units

VerdictName = Literal["ok", "regression", "inconclusive", "invalid"]
FINE, REGRESSION, INCONCLUSIVE, INVALID = 0, 1, 3, 5
CODES: dict[VerdictName, int] = {"regression": REGRESSION, "invalid": INVALID, "inconclusive": INCONCLUSIVE, "ok": FINE}
"""The exit code for each verdict, the gravest first."""
BUSY = "the machine is too busy"


@dataclass(frozen=True, slots=True, repr=False)
class CaseVerdict:
    """A case's word, its ratio if it was timed, and the reason if it is not ok."""

    case: CaseOutcome
    word: VerdictName
    ratio: Ratio | None
    reason: str

    @property
    def faster(self) -> bool:
        return self.ratio is not None and self.ratio.high < 1

    def __repr__(self) -> str:
        parts = (repr(self.case.id), self.word, units.ratio(self.ratio) if self.ratio else "", self.reason)
        return f"CaseVerdict({', '.join(filter(None, parts))})"


def verdicts(outcome: Outcome) -> list[CaseVerdict]:
    return [verdict(case, outcome.rule, len(outcome.cases)) for case in outcome.cases]


def exit_code(outcome: Outcome) -> int:
    """Return 0 for fine, 1 only for a confirmed regression, 3 for inconclusive or unfinished, 5 for an invalid case."""
    if outcome.unfinished:
        return INCONCLUSIVE
    words = {case_verdict.word for case_verdict in verdicts(outcome)}
    return next((code for word, code in CODES.items() if word in words), FINE)


def verdict(case: CaseOutcome, rule: Rule, cases: int) -> CaseVerdict:
    """Judge one case of a check of ``cases`` cases."""
    if case.invalid:
        return CaseVerdict(case, "invalid", None, case.invalid)
    logs = case.logs
    ratio = decision.ratio(logs) if logs else None
    match decision.decide(logs, rule):
        case "ok":
            return CaseVerdict(case, "ok", ratio, "")
        case "suspect":
            return CaseVerdict(case, *_confirmation(case, rule, cases, ratio))
    return CaseVerdict(case, "inconclusive", ratio, _reason(logs, rule))


def _confirmation(
    suspect: CaseOutcome, rule: Rule, cases: int, pair_ratio: Ratio | None
) -> tuple[VerdictName, Ratio | None, str]:
    """Judge a suspect by its new pairs. The ratio shown is theirs, which is free of selection bias."""
    triples = suspect.triples
    if not triples:
        return "inconclusive", pair_ratio, "suspected and not confirmed: no new pairs were measured"
    ratio = decision.confirmed_ratio(triples, cases)
    match decision.confirmation(triples, rule, cases):
        case "regression":
            return "regression", ratio, ""
        case "ok":
            return "ok", ratio, ""
    pairs_text = counted(len(triples), "new pair")
    count = sum(abs(triple.null) > math.log1p(MOST_NULL) for triple in triples)
    if count:
        limit = percent(MOST_NULL, places=0)
        evidence = f"in {count} of {pairs_text} base differs from itself by more than {limit}"
        return "inconclusive", ratio, f"suspected, but {evidence}: {BUSY}"
    return "inconclusive", ratio, f"suspected, but not surely slower in {pairs_text}"


def _reason(logs: list[float], rule: Rule) -> str:
    if not logs:
        return "not measured"
    slowdown, extent = decision.smallest_visible(logs, rule), f"after {counted(len(logs), 'pair')}"
    if len(logs) >= decision.SLOWER.max_pairs:
        limit = f"a slowdown below {percent(slowdown)}" if math.isfinite(slowdown) else "any slowdown"
        return f"too noisy {extent} to see {limit}"
    if math.isfinite(slowdown):
        return f"undecided {extent}, which would have shown a slowdown of {percent(slowdown)} or more"
    return f"undecided {extent}, which is too few to show any slowdown"
