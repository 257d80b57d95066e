"""An outcome in words: the rows of its table and the sentences around it, the same for terminal, Markdown and JUnit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from convbench.check.outcome import INSTRUCTIONS, OUTPUT, CaseOutcome, Fact, Outcome, SideOutcome
from convbench.check.verdict import CODES, CaseVerdict, verdicts
from convbench.core.arguments import is_number
from convbench.core.metrics import CATALOGUE
from convbench.core.scales import percent
from convbench.core.text import counted, inside
from convbench.report.words import names, units

GRAVITY: tuple[str, ...] = tuple(CODES)
"""The words of verdicts, the gravest first."""
HEADINGS = ("case", "base", "head", "ratio", "95 % interval", "pairs", "verdict")


class CaseRow(NamedTuple):
    """One case as people read it: a short ``name`` that is unique in the table; ``details`` are facts and reasons."""

    case: str
    name: str
    base: str
    head: str
    ratio: str
    interval: str
    pairs: str
    verdict: str
    details: tuple[str, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.name, self.base, self.head, self.ratio, self.interval, self.pairs, self.verdict)


def rows(outcome: Outcome) -> list[CaseRow]:
    """Return the table, a row per case. Its name leaves out the parts that all cases share."""
    case_verdicts = verdicts(outcome)
    short_names, _ = names.apart([verdict.case.id for verdict in case_verdicts])
    return [_row(verdict, name) for verdict, name in zip(case_verdicts, short_names, strict=True)]


def headline(outcome: Outcome) -> str:
    """Return how many cases have each verdict, the gravest first; for an unfinished check, so far."""
    words: list[str] = [verdict.word for verdict in verdicts(outcome)]
    numbers = {word: words.count(word) for word in GRAVITY if word in words}
    counts = ", ".join(f"{count} {word}" for word, count in numbers.items()) or "no cases"
    return f"unfinished, so far {counts}" if outcome.unfinished else counts


def heading(outcome: Outcome) -> str:
    return f"{outcome.suite}: {side(outcome.head)} against {side(outcome.base)}"


def side(outcome: SideOutcome) -> str:
    """Describe the code of a side: ``main at 0123abc with uncommitted changes``."""
    commit = f" at {outcome.commit[:12]}" if outcome.commit and outcome.commit[:7] not in outcome.label else ""
    return f"{outcome.label}{commit}{' with uncommitted changes' if outcome.dirty else ''}"


def footing(outcome: Outcome) -> list[str]:
    """Return the sentences below the table: how the check measured, and what counts as a regression."""
    settings, rule = outcome.settings, outcome.rule
    threads = counted(settings.threads, "thread")
    threads += " unless a case names another number" if any("/threads=" in case.id for case in outcome.cases) else ""
    _, common_parts = names.apart([case.id for case in outcome.cases])
    lines = [
        *([f"in every case: {', '.join(common_parts)}"] if common_parts else []),
        (
            f"a regression is more than {percent(rule.tolerance)} slower in pairs of fresh processes, and again in new "
            f"pairs; ok means less than {percent(rule.guard)} slower; {threads}, allocator {settings.allocator}, "
            f"{units.seconds(outcome.seconds)}"
        ),
        *outcome.notes,
    ]
    facts = {entry.name for case in outcome.cases for entry in case.facts}
    if counts := [name for name in facts if name.startswith(f"{INSTRUCTIONS}, by ")]:
        limits = "valgrind has no AVX-512 and no AMX, so other kernels may run than on the real processor"
        reason = f": {limits}" if any(name.endswith("by valgrind") for name in counts) else ""
        lines.append(f"instruction counts repeat within about 0.2 % under any load and decide nothing{reason}")
    if outcome.budget is not None:
        lines.append(f"the budget of {units.seconds(outcome.budget)} ended the check: with more time, it decides more")
    if outcome.floor is not None:
        lines.append(f"the selftest of this machine saw slowdowns of {units.percent(outcome.floor)} or more")
    return lines


def fact(entry: Fact) -> str:
    """Describe a fact: ``parameters: 83,840 before, 83,841 now``. Instructions also get their relative change.

    Instruction counts are never quite the same. Facts about different outputs and missing counts are sentences already.
    """
    if entry.name == OUTPUT or (isinstance(entry.base, str) and entry.base == entry.head):
        return f"{entry.name}: {entry.head}"
    metric = CATALOGUE.get(entry.name)
    before, now = _values(entry, metric.unit if metric else "")
    sentence = f"{inside(metric.title) if metric else entry.name}: {before} before, {now} now"
    if entry.name.startswith(INSTRUCTIONS) and isinstance(entry.base, float) and isinstance(entry.head, float):
        sentence += f" ({percent(entry.head / entry.base - 1, signed=True)})"
    return sentence


def _row(verdict: CaseVerdict, name: str) -> CaseRow:
    case = verdict.case
    faster = " (faster)" if verdict.word == "ok" and verdict.faster else ""
    return CaseRow(
        case.id,
        name,
        units.seconds(_seconds(case, 0)),
        units.seconds(_seconds(case, -1)),
        f"{verdict.ratio.estimate:.3f}" if verdict.ratio else units.MISSING,
        units.span(*verdict.ratio[1:]) if verdict.ratio else units.MISSING,
        str(len(case.pairs)) + (f" + {len(case.confirmation)}" if case.confirmation else ""),
        verdict.word + faster,
        tuple(_details(verdict)),
    )


def _seconds(case: CaseOutcome, arm: int) -> float | None:
    timings = case.confirmation or case.pairs
    return median(timing.best(arm) for timing in timings) if timings else None


def _details(verdict: CaseVerdict) -> Iterator[str]:
    if verdict.reason:
        yield verdict.reason
    yield from (fact(entry) for entry in verdict.case.facts if not _is_reason(entry, verdict.reason))
    timings = verdict.case.confirmation or verdict.case.pairs
    if timings and timings[0].device:
        on_device = median(median(math.log(times[-1] / times[0]) for times in timing.device) for timing in timings)
        yield f"on the device's own clock {math.exp(on_device):.3f}"


def _is_reason(entry: Fact, reason: str) -> bool:
    """Whether a fact only repeats the reason why there is no verdict: how the outputs differ."""
    return entry.name == OUTPUT and str(entry.head) in reason


def _values(entry: Fact, unit: str) -> list[str]:
    """Return the values of both sides, exact, but bytes with a prefix if that tells them apart."""
    values = [entry.base, entry.head]
    sizes = [units.size(value) for value in values if isinstance(value, int | float)] if unit == "B" else []
    if len(set(sizes)) == len(values):
        return sizes
    suffix = f" {unit}" if sizes else ""
    return [f"{value:,.12g}{suffix}" if is_number(value) else str(value) for value in values]
