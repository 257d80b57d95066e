"""All claims in the order of their numbers."""

from __future__ import annotations

import importlib
import pkgutil

from convbench.analysis.claims.claim import SHELF, Claim
from convbench.analysis.claims.evidence import Evidence

PACKAGE = "convbench.plugins.claims"


def tested(evidence: Evidence) -> list[Claim]:
    """Every claim, tested on this evidence."""
    for module in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
        importlib.import_module(f"{PACKAGE}.{module.name}")
    return [SHELF[number](evidence) for number in sorted(SHELF)]
