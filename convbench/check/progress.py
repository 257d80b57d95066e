"""The live line: which cases are undecided, what will decide each, and when."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from convbench.check import decision
from convbench.check.pairs import CheckedCase
from convbench.check.rule import Rule
from convbench.check.timed import Stage, Timed
from convbench.core.text import counted
from convbench.report.words import names, units

MOST_NAMES = 3
LATELY = 3
"""Visits whose mean tells how long the next will take."""


def line(timed: Timed, waiting: Sequence[tuple[CheckedCase, Stage]], rule: Rule, cases: Sequence[str]) -> str:
    """``2 of 10 undecided: gap (+0.1%, ok if 2 more pairs agree), fc (+9.0%, suspect if ...); 12 s if all agree``

    ``cases`` are the names of all, which tell each from the others.
    """
    count, short = len(cases), dict(zip(cases, names.brief(cases), strict=True))
    prospects = [prospect(timed, case.id, stage, rule, count) for case, stage in waiting]
    parts = [f"{short[case.id]} ({words})" for (case, _), (words, _) in zip(waiting, prospects, strict=True)]
    rest = [f"{len(parts) - MOST_NAMES} more"] if len(parts) > MOST_NAMES else []
    end = _end(timed, max(visits for _, visits in prospects))
    return f"{len(waiting)} of {count} undecided: {', '.join([*parts[:MOST_NAMES], *rest])}{end}"


def prospect(timed: Timed, case: str, stage: Stage, rule: Rule, count: int) -> tuple[str, int]:
    """What will decide about a case if further pairs are like those so far, and the number of visits it takes."""
    if stage == "confirm":
        triples = timed.triples(case)
        more = decision.needed_to_confirm(triples, rule, count)
        if more is None:
            return "a suspect, and base differs too much from itself", decision.CONFIRM_AT_MOST - len(triples)
        return f"a suspect, decided if {_agreeing(more, 'new pair')}", more
    logs = timed.logs(case)
    expected = decision.needed(logs, rule)
    if expected is None:
        return "too noisy so far", decision.SLOWER.most - len(logs)
    called, more = expected
    seen = f"{decision.ratio(logs).estimate - 1:+.1%}, " if logs else ""
    later = decision.CONFIRM_FIRST if called == "suspect" else 0
    return f"{seen}{called} if {_agreeing(more, 'pair')}", more + later


def _agreeing(more: int, what: str) -> str:
    return counted(more, f"more {what} agrees", f"more {what}s agree")


def _end(timed: Timed, visits: int) -> str:
    lately = timed.visit_seconds[-LATELY:]
    return f"; {units.seconds(mean(lately) * visits)} if all agree" if lately else ""
