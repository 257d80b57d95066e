"""The tested claims as plain objects for ``claims.json``: numbers in base units."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convbench.analysis.claims.claim import Claim, Number, tally
from convbench.core.system import files
from convbench.report.words.claims import Provenance


def write(claims: Sequence[Claim], provenance: Provenance, path: Path) -> Path:
    """Write the claims with their tally and sources. Raises StoreError if they cannot be written."""
    data = {"tally": tally(claims), "made_with": provenance.facts(), "claims": [_claim(claim) for claim in claims]}
    return files.write(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _claim(claim: Claim) -> dict[str, Any]:
    names = ("number", "claim", "quote", "prediction", "experiment", "verdict", "why")
    return {
        **{name: getattr(claim, name) for name in names},
        "quantified": dict(claim.quantified),
        "numbers": [_number(quantity) for quantity in claim.numbers],
    }


def _number(quantity: Number) -> dict[str, Any]:
    """Return the known fields of a number, without infinity, which JSON lacks."""
    return {
        key: value
        for key, value in quantity._asdict().items()
        if value is not None and (not isinstance(value, float) or math.isfinite(value))
    }
