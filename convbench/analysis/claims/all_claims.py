"""All claims in the order of their numbers, those of other packages by name after the article's."""

from __future__ import annotations

from convbench.analysis.claims.claim import Claim
from convbench.analysis.claims.evidence import Evidence
from convbench.core.installed import OWN
from convbench.core.registry import claims


def tested(evidence: Evidence) -> list[Claim]:
    """Every claim on the shelf, tested on this evidence."""
    return [plugin.build(evidence) for plugin in sorted(claims, key=lambda plugin: plugin.origin != OWN)]
