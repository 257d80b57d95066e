"""An outcome in words: the rows of its table and the sentences around it, the same for terminal, Markdown and JUnit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from convbench.check.decision import Ratio
from convbench.check.outcome import INSTRUCTIONS, CaseOutcome, Fact, Outcome, SideOutcome
from convbench.check.verdict import CaseVerdict, verdicts
from convbench.report.words import names, units

HEADINGS = ("case", "base", "head", "ratio", "95 % interval", "pairs", "verdict")


class Row(NamedTuple):
    """One case as people read it: ``name`` tells it from the others, ``details`` are exact facts and reasons."""

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


def rows(outcome: Outcome) -> list[Row]:
    judged = verdicts(outcome)
    apart, _ = names.apart([one.case.id for one in judged])
    return [_row(one, name) for one, name in zip(judged, apart, strict=True)]


def headline(outcome: Outcome) -> str:
    """How many cases of each verdict, the gravest first."""
    words = [one.word for one in verdicts(outcome)]
    counted = {word: words.count(word) for word in ("regression", "invalid", "inconclusive", "ok") if word in words}
    return ", ".join(f"{count} {word}" for word, count in counted.items()) or "no cases"


def heading(outcome: Outcome) -> str:
    return f"{outcome.suite}: {side(outcome.head)} against {side(outcome.base)}"


def side(one: SideOutcome) -> str:
    commit = f" at {one.commit[:12]}" if one.commit and one.commit[:7] not in one.label else ""
    return f"{one.label}{commit}{' with uncommitted changes' if one.dirty else ''}"


def footing(outcome: Outcome) -> list[str]:
    """How it was measured and what counts as a regression."""
    settings, rule = outcome.settings, outcome.rule
    threads = f"{settings.threads} thread{'s' if settings.threads > 1 else ''}"
    _, shared = names.apart([case.id for case in outcome.cases])
    lines = [
        *([f"in every case: {', '.join(shared)}"] if shared else []),
        (
            f"slower than {rule.tolerance:.1%} in pairs of fresh processes, and again in new pairs, is a regression; "
            f"ok means less than {rule.guard:.1%} slower; {threads}, allocator {settings.allocator}, "
            f"{units.seconds(outcome.seconds)}"
        ),
        *outcome.notes,
    ]
    if any(each.name.startswith(INSTRUCTIONS) for case in outcome.cases for each in case.facts):
        lines.append(
            "instructions repeat to some 0.2 % beside any load and decide nothing: valgrind has no AVX-512 and no AMX, "
            "so that other kernels may run than in reality"
        )
    if outcome.budget is not None:
        lines.append(f"its budget of {units.seconds(outcome.budget)} ended it: with more time, more is decided")
    if outcome.floor is not None:
        lines.append(f"the selftest of this machine saw slowdowns from {outcome.floor:.1%} on")
    return lines


def fact(one: Fact) -> str:
    """``params: 83,840 before, 83,841 now``; of instructions also by how much, since they are never quite the same."""
    if isinstance(one.base, str) and one.base == one.head:
        return f"{one.name}: {one.base}"
    sentence = f"{one.name}: {_value(one.base)} before, {_value(one.head)} now"
    if one.name.startswith(INSTRUCTIONS) and isinstance(one.base, float) and isinstance(one.head, float):
        sentence += f" ({one.head / one.base - 1:+.1%})"
    return sentence


def interval(ratio: Ratio) -> str:
    if not (math.isfinite(ratio.low) and math.isfinite(ratio.high)) or ratio.low == 0:
        return units.MISSING
    return f"{ratio.low:.3f} to {ratio.high:.3f}"


def _row(one: CaseVerdict, name: str) -> Row:
    case = one.case
    faster = " (faster)" if one.word == "ok" and one.faster else ""
    return Row(
        case.id,
        name,
        units.seconds(_seconds(case, 0)),
        units.seconds(_seconds(case, -1)),
        f"{one.ratio.estimate:.3f}" if one.ratio else units.MISSING,
        interval(one.ratio) if one.ratio else units.MISSING,
        str(len(case.pairs)) + (f" + {len(case.confirmation)}" if case.confirmation else ""),
        one.word + faster,
        tuple(_details(one)),
    )


def _seconds(case: CaseOutcome, arm: int) -> float | None:
    timed = case.confirmation or case.pairs
    return median(timing.best(arm) for timing in timed) if timed else None


def _details(one: CaseVerdict) -> Iterator[str]:
    if one.reason:
        yield one.reason
    yield from map(fact, one.case.facts)
    timed = one.case.confirmation or one.case.pairs
    if timed and timed[0].device:
        on_device = median(median(math.log(times[-1] / times[0]) for times in timing.device) for timing in timed)
        yield f"on the device's own clock {math.exp(on_device):.3f}"


def _value(value: object) -> str:
    return f"{value:,.12g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
