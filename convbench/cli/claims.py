"""The verb that tests the article's claims against measured runs: claims."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import app
from convbench.cli.report import print_missing_plugins
from convbench.cli.terminal import console
from convbench.core.system.files import destination

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from convbench.analysis.claims.claim import Claim
    from convbench.analysis.claims.evidence import Evidence
    from convbench.report.words.claims import Provenance

STYLES = {"supported": "green", "refuted": "red", "depends": "yellow", "undecided": "yellow", "not tested": "dim"}


@app.command()
def claims(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run directories [default: none, only arithmetic and algebra].")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page, or its directory; claims.json is written beside it.")] = Path(
        "reports/claims"
    ),
) -> None:
    """Test the article's claims: supported, refuted, depends or undecided, with the experiment and its numbers."""
    from convbench.analysis.claims.claim import all_claims, tally
    from convbench.analysis.claims.evidence import Evidence
    from convbench.core.storage import merging, store
    from convbench.report.export import claims_json
    from convbench.report.page import claims as page
    from convbench.report.words import claims as words

    stored_runs = tuple(store.load(path) for path in runs or ())
    if merging.repeats(stored_runs):
        print("convbench: a run is named twice, which adds nothing", file=sys.stderr)
    evidence = Evidence(stored_runs)
    answers = all_claims(evidence)
    provenance = _provenance(evidence)
    place = _page(out)
    paths = (
        page.write(answers, provenance, place),
        claims_json.write(answers, provenance, place.with_name("claims.json")),
    )
    print_missing_plugins()
    screen = console(wide=False, highlight=False)
    screen.print(_table(answers))
    screen.print(f"\n{words.tally(tally(answers))}\n")
    for path in paths:
        print(path)


def _table(claims: Sequence[Claim]) -> Table:
    """Return a table of number, claim and verdict."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("", "claim", "verdict"):
        grid.add_column(heading, overflow="fold", no_wrap=heading != "claim")
    for claim in claims:
        grid.add_row(claim.number, Text(claim.claim), Text(claim.verdict, style=STYLES[claim.verdict]))
    return grid


def _page(out: Path) -> Path:
    """Return the file, or ``index.html`` in the directory; ``claims.html`` in a run's, whose page is ``index.html``."""
    from convbench.core.storage import store

    return destination(out, "claims.html" if store.exists(out) else "index.html")


def _provenance(evidence: Evidence) -> Provenance:
    from convbench.measure.machine import environment
    from convbench.report.words.claims import Provenance

    facts = environment.describe("cpu")
    machine = " · ".join(str(facts[key]) for key in ("cpu", "os") if facts.get(key))
    day = datetime.now(UTC).date().isoformat()
    return Provenance(
        tuple(run for run, _ in evidence.runs),
        sorted({lesson.seed for lesson in evidence.lessons}),
        {"Arithmetic and algebra": f"{machine} · torch {facts['torch']} · seed 0 · {day}"},
    )
