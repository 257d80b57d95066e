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
class Provenance:
    """What the numbers were made with: the runs, the seeds of their trainings, and where algebra was run."""

    runs: Sequence[Run] = ()
    seeds: Sequence[int] = ()
    here: Mapping[str, str] = field(default_factory=dict)


def write(claims: Sequence[Claim], provenance: Provenance, path: Path) -> tuple[Path, Path]:
    """Write the page and, beside it, claims.json. Raises StoreError where they cannot be written."""
    values = {
        "tally": tally_in_words(tally(claims)),
        "claims": [_shown(claim) for claim in claims],
        "facts": _facts(provenance),
    }
    return put(path, render("claims.html", {"size": 0}, **values)), _data(
        claims, provenance, path.parent / "claims.json"
    )


def table(claims: Sequence[Claim]) -> Table:
    """Number, claim and verdict, for ``rich``."""
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title_justify="left")
    for heading in ("", "claim", "verdict"):
        grid.add_column(heading, overflow="fold", no_wrap=heading != "claim")
    for claim in claims:
        grid.add_row(claim.number, Text(claim.claim), Text(claim.verdict, style=STYLES[claim.verdict]))
    return grid


def plain(claim: Claim) -> dict[str, Any]:
    """A claim as JSON takes it: numbers in base units, what is not finite left out."""
    names = ("number", "claim", "quote", "prediction", "experiment", "verdict", "why")
    return {
        **{name: getattr(claim, name) for name in names},
        "quantified": dict(claim.quantified),
        "numbers": [_plain(quantity) for quantity in claim.numbers],
    }


def _plain(quantity: Number) -> dict[str, Any]:
    values = quantity._asdict()
    return {key: value for key, value in values.items() if value is not None and _finite(value)}


def _finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _data(claims: Sequence[Claim], provenance: Provenance, path: Path) -> Path:
    data = {"tally": tally(claims), "made_with": _facts(provenance), "claims": [plain(claim) for claim in claims]}
    return files.write(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _shown(claim: Claim) -> dict[str, Any]:
    name = claim.number.lower()
    return {
        "id": name, "number": claim.number, "claim": claim.claim, "quote": claim.quote,
        "prediction": claim.prediction, "experiment": claim.experiment, "verdict": claim.verdict, "why": claim.why,
        "quantified": claim.quantified,
        "numbers": [(quantity.label, number(quantity), quantity.n) for quantity in claim.numbers],
        "counted": any(quantity.n is not None for quantity in claim.numbers),
        "figure": figure(draw(claim.plot, name), f"{name}-plot") if claim.plot else None,
    }  # fmt: skip


def _facts(provenance: Provenance) -> dict[str, str]:
    facts = {f"Run {i}, {run.name}": f"{place(run)}; {run.command}" for i, run in enumerate(provenance.runs, start=1)}
    if provenance.seeds:
        facts["Seeds of the trainings"] = ", ".join(map(str, provenance.seeds))
    return {**facts, **provenance.here}
