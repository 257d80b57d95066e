"""The verb that fetches shared runs: pull."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convbench.cli.app import app
from convbench.cli.push import tell


@app.command()
def pull(
    place: Annotated[str, typer.Argument(help="A folder that is shared, or s3://BUCKET/PATH and the like.")],
    store: Annotated[Path, typer.Argument(help="The folder of runs to fill; what it has stays.")],
) -> None:
    """Copy the runs that a shared place has and a store lacks: `convbench history --store` reads them."""
    from convbench.core import exchange

    tell(exchange.pull(place, store), str(store))
