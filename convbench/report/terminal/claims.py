"""The claims in a terminal, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from convbench.analysis.claims.claim import Claim

STYLES = {"supported": "green", "refuted": "red", "depends": "yellow", "undecided": "yellow", "not tested": "dim"}


def table(claims: Sequence[Claim]) -> Table:
    """Return a rich table of number, claim and verdict."""
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("", "claim", "verdict"):
        grid.add_column(heading, overflow="fold", no_wrap=heading != "claim")
    for claim in claims:
        grid.add_row(claim.number, Text(claim.claim), Text(claim.verdict, style=STYLES[claim.verdict]))
    return grid
