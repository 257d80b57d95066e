"""All claims in the order of their numbers."""

from __future__ import annotations

from convbench.analysis.claims.claim import SHELF, Claim
from convbench.analysis.claims.evidence import Evidence


def tested(evidence: Evidence) -> list[Claim]:
    """Every claim, tested on this evidence."""
    return [SHELF[number](evidence) for number in sorted(SHELF)]
