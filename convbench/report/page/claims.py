"""The claims as a page that people read, as plain data, and as a table in a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from convbench.analysis.claims.claim import Claim, Number, tally
from convbench.core import files
from convbench.core.record import Run
from convbench.report.page.claims_chart import draw
from convbench.report.page.page import figure, put, render
from convbench.report.words.claims import number
from convbench.report.words.claims import tally as tally_in_words
from convbench.report.words.facts import place

STYLES = {"supported": "green", "refuted": "red", "depends": "yellow", "undecided": "yellow", "not tested": "dim"}


@dataclass(frozen=True)
class Made:
    """What the numbers were made with: the runs, the seeds of their trainings, and where algebra was run."""

    runs: Sequence[Run] = ()
    seeds: Sequence[int] = ()
    here: Mapping[str, str] = field(default_factory=dict)


def write(claims: Sequence[Claim], made: Made, path: Path) -> tuple[Path, Path]:
    """Write the page and, beside it, claims.json. Raises StoreError where they cannot be written."""
    values = {
        "tally": tally_in_words(tally(claims)),
        "claims": [_shown(one) for one in claims],
        "facts": _facts(made),
    }
    return put(path, render("claims.html", {"size": 0}, **values)), _data(claims, made, path.parent / "claims.json")


def table(claims: Sequence[Claim]) -> Table:
    """Number, claim and verdict, for ``rich``."""
    said = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title_justify="left")
    for heading in ("", "claim", "verdict"):
        said.add_column(heading, overflow="fold", no_wrap=heading != "claim")
    for one in claims:
        said.add_row(one.number, Text(one.claim), Text(one.verdict, style=STYLES[one.verdict]))
    return said


def plain(one: Claim) -> dict[str, Any]:
    """A claim as JSON takes it: numbers in base units, what is not finite left out."""
    names = ("number", "claim", "quote", "prediction", "experiment", "verdict", "why")
    return {
        **{name: getattr(one, name) for name in names},
        "quantified": dict(one.quantified),
        "numbers": [_plain(each) for each in one.numbers],
    }


def _plain(one: Number) -> dict[str, Any]:
    values = one._asdict()
    return {key: value for key, value in values.items() if value is not None and _finite(value)}


def _finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _data(claims: Sequence[Claim], made: Made, path: Path) -> Path:
    data = {"tally": tally(claims), "made_with": _facts(made), "claims": [plain(one) for one in claims]}
    return files.write(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _shown(one: Claim) -> dict[str, Any]:
    return {
        "id": one.number.lower(), "number": one.number, "claim": one.claim, "quote": one.quote,
        "prediction": one.prediction, "experiment": one.experiment, "verdict": one.verdict, "why": one.why,
        "quantified": one.quantified,
        "numbers": [(each.label, number(each), each.n) for each in one.numbers],
        "counted": any(each.n is not None for each in one.numbers),
        "figure": figure(draw(one.plot, one.number.lower()), f"{one.number.lower()}-plot") if one.plot else None,
    }  # fmt: skip


def _facts(made: Made) -> dict[str, str]:
    facts = {f"Run {i}, {run.name}": f"{place(run)}; {run.command}" for i, run in enumerate(made.runs, start=1)}
    if made.seeds:
        facts["Seeds of the trainings"] = ", ".join(map(str, made.seeds))
    return {**facts, **made.here}
