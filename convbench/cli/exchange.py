"""The verbs that share runs: push and pull."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import app
from convbench.core.errors import ConvbenchError
from convbench.core.text import counted

if TYPE_CHECKING:
    from convbench.core.storage.exchange import Transfer

PlaceName = Annotated[str, typer.Argument(help="A shared folder, or a URL such as s3://BUCKET/PATH.")]


@app.command()
def push(
    source: Annotated[Path, typer.Argument(help="A run directory, or a folder that holds runs.")],
    place: PlaceName,
) -> None:
    """Copy runs to a shared place: each whole or not at all, and never over another run.

    Runs that cannot be read are passed over and named. It is an error if the given run, or every run, is one of them.
    """
    from convbench.core.storage import exchange

    transfer = exchange.push(source, place)
    is_named = any(reason.startswith(f"{source}: ") for reason in transfer.passed_over)
    _tell(transfer, place)
    if is_named or transfer.has_failed:
        raise typer.Exit(ConvbenchError.exit_code)


@app.command()
def pull(
    place: PlaceName,
    store: Annotated[Path, typer.Argument(help="The folder of runs to fill; runs that it has stay.")],
) -> None:
    """Copy the runs that a shared place has and a store lacks: `convbench history --store` reads them.

    Runs that are not complete yet, or do not match their name, are passed over and named. It is an error if there are
    no others.
    """
    from convbench.core.storage import exchange

    transfer = exchange.pull(place, store)
    _tell(transfer, str(store))
    if transfer.has_failed:
        raise typer.Exit(ConvbenchError.exit_code)


def _tell(transfer: Transfer, place: str) -> None:
    """Print what was copied, and on standard error what was not."""
    for reason in transfer.passed_over:
        print(f"passed over: {reason}", file=sys.stderr)
    confirmations = f" and {counted(transfer.confirmations, 'confirmation')}" if transfer.confirmations else ""
    print(f"{counted(transfer.runs, 'run')}{confirmations} copied to {place}, {transfer.present_count:,} there already")
