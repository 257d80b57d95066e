"""The live line of a check: which cases are undecided, what will decide each, and when."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from convbench.check import decision
from convbench.check.pairs import CheckedCase
from convbench.check.settings import Rule
from convbench.check.timings import Stage, Timings
from convbench.core.scales import percent
from convbench.core.text import counted, first_names
from convbench.report.words import names, units

RECENT_VISITS = 3
"""How many of the last visits are averaged to estimate the duration of the next."""


def line(timings: Timings, open_cases: Sequence[tuple[CheckedCase, Stage]], rule: Rule, cases: Sequence[str]) -> str:
    """Write the line: ``2 of 10 undecided: gap (+0.1 %, ok if 2 more pairs agree), fc (...); 12 s if all agree``.

    ``cases`` are the ids of all cases, which decide how short the names can be.
    """
    count, short_names = len(cases), dict(zip(cases, names.brief(cases), strict=True))
    prospects = [prospect(timings, case.id, stage, rule, count) for case, stage in open_cases]
    parts = [f"{short_names[case.id]} ({words})" for (case, _), (words, _) in zip(open_cases, prospects, strict=True)]
    end = _end(timings, max(visits for _, visits in prospects))
    return f"{len(open_cases)} of {count} undecided: {', '.join(first_names(parts))}{end}"


def prospect(timings: Timings, case: str, stage: Stage, rule: Rule, count: int) -> tuple[str, int]:
    """Return what will decide a case if further pairs are like those so far, and how many visits that takes."""
    if stage == "confirm":
        triples = timings.triples(case)
        pairs = decision.pairs_to_confirm(triples, rule, count)
        if pairs is None:
            return "a suspect, and base differs too much from itself", decision.CONFIRM_AT_MOST - len(triples)
        return f"a suspect, decided if {_agreement(pairs, 'new pair')}", pairs
    logs = timings.logs(case)
    outlook = decision.forecast(logs, rule)
    if outlook is None:
        return "too noisy so far", decision.SLOWER.max_pairs - len(logs)
    conclusion, pairs = outlook
    change = f"{percent(decision.ratio(logs).estimate - 1, signed=True)}, " if logs else ""
    confirm_pairs = decision.CONFIRM_FIRST if conclusion == "suspect" else 0
    return f"{change}{conclusion} if {_agreement(pairs, 'pair')}", pairs + confirm_pairs


def _agreement(count: int, noun: str) -> str:
    return counted(count, f"more {noun} agrees", f"more {noun}s agree")


def _end(timings: Timings, visits: int) -> str:
    seconds = timings.visit_seconds[-RECENT_VISITS:]
    return f"; {units.seconds(mean(seconds) * visits)} if all agree" if seconds else ""
