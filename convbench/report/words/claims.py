"""The numbers of claims, their tally and their sources, as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from convbench.analysis.claims.claim import Number, Verdict
from convbench.core.record import RunDescription
from convbench.core.statistics import Interval
from convbench.core.text import counted
from convbench.report.words import units
from convbench.report.words.facts import place
from convbench.report.words.numbers import shares, signed

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TINY = 1e-4
SUFFIXES = {"points": " points", "share": " %", "×": "×"}


@dataclass(frozen=True)
class Provenance:
    """The sources of the numbers: runs, seeds of their trainings, and in ``machine_facts`` where algebra was run."""

    runs: Sequence[RunDescription] = ()
    seeds: Sequence[int] = ()
    machine_facts: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, str]:
        """Return the facts by heading."""
        facts = {f"Run {i}, {run.name}": f"{place(run)}; {run.command}" for i, run in enumerate(self.runs, start=1)}
        if self.seeds:
            facts["Seeds of the trainings"] = ", ".join(map(str, self.seeds))
        return {**facts, **self.machine_facts}


def tally(counts: Mapping[Verdict, int]) -> str:
    """Return ``17 claims: 8 supported, 2 refuted, 2 depend, 5 not tested``."""
    texts = [
        f"{count} {'depend' if verdict == 'depends' and count != 1 else verdict}" for verdict, count in counts.items()
    ]
    total = sum(counts.values())
    return f"{counted(total, 'claim')}: {', '.join(texts)}"


def number(quantity: Number) -> str:
    """Return the value in its unit, with its 95 % interval if it has one: ``+21.4 points [18.0, 24.8]``."""
    unit = quantity.unit
    if quantity.low is None or quantity.high is None:
        return _value(quantity.value, unit)
    interval = Interval(quantity.value, quantity.low, quantity.high)
    if unit == "s":
        return units.interval(interval)
    if not interval.bounded:
        return _value(quantity.value, unit)
    if unit in ("points", "share"):
        middle, low, high = shares(interval, "+z" if unit == "points" else "")
        return f"{middle}{SUFFIXES[unit]} [{low}, {high}]"
    low, high = (_value(bound, unit).removesuffix(SUFFIXES.get(unit, "")) for bound in interval[1:])
    return f"{units.factor(interval) if unit == '×' else _value(quantity.value, unit)} [{low}, {high}]"


def _value(value: float, unit: str) -> str:
    if unit == "points":
        return f"{signed(value)} points"
    if unit == "share":
        return _tiny(value) if 0 < abs(value) < TINY else f"{100 * value:.3g} %"
    if unit == "size":
        return f"{value if float(value).is_integer() else float(f'{value:.3g}'):,.0f}"
    if unit == "1":
        return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e6 else units.human(value, "1")
    return units.factor(value) if unit == "×" else units.human(value, unit)


def _tiny(value: float) -> str:
    """Return a share too small for per cent: ``6.8 × 10⁻⁸``."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"
