"""All claims in the order of their numbers."""

from __future__ import annotations

from convbench.claims import (  # noqa: F401  (importing them puts their claims on the list)
    algebra,
    arithmetic,
    choice,
    layers,
    ordering,
    overfitting,
    saturation,
    shifting,
    sizes,
    spatial,
    timing,
)
from convbench.claims.claim import SHELF, Claim
from convbench.claims.evidence import Evidence


def tested(evidence: Evidence) -> list[Claim]:
    """Every claim, tested on this evidence."""
    return [SHELF[number](evidence) for number in sorted(SHELF)]
