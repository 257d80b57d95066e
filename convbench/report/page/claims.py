"""The tested claims as a page for readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convbench.analysis.claims.claim import Claim, tally
from convbench.core import files
from convbench.report.page.claims_chart import draw
from convbench.report.page.figure import figure
from convbench.report.page.template import render
from convbench.report.words import claims as words


def write(claims: Sequence[Claim], provenance: words.Provenance, path: Path) -> Path:
    """Write the page. Raises StoreError if it cannot be written."""
    entries = [_claim(claim) for claim in claims]
    values = {"tally": words.tally(tally(claims)), "claims": entries, "facts": provenance.facts()}
    return files.write(path, render("claims.html", {"size": 0}, **values))


def _claim(claim: Claim) -> dict[str, Any]:
    name = claim.number.lower()
    return {
        "id": name, "number": claim.number, "claim": claim.claim, "quote": claim.quote,
        "prediction": claim.prediction, "experiment": claim.experiment, "verdict": claim.verdict, "why": claim.why,
        "quantified": claim.quantified,
        "numbers": [(quantity.label, words.number(quantity), quantity.n) for quantity in claim.numbers],
        "counted": any(quantity.n is not None for quantity in claim.numbers),
        "figure": figure(draw(claim.plot, name), f"{name}-plot") if claim.plot else None,
    }  # fmt: skip
