"""The verb that writes a run for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from convbench.cli.app import app
from convbench.core.errors import ConvbenchError


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    file_format: Annotated[str, typer.Option("--format", help="pytest-benchmark, github-action or bencher.")],
    out: Annotated[Path | None, typer.Option(help="The file to write [default: standard output].")] = None,
) -> None:
    """Write a run as JSON that pytest-benchmark, github-action-benchmark or Bencher reads."""
    from convbench.core import files, store
    from convbench.core.registry import did_you_mean
    from convbench.report.export import FORMATS

    if file_format not in FORMATS:
        raise ConvbenchError(f"--format {file_format!r}{did_you_mean(file_format, FORMATS)}")
    text = json.dumps(FORMATS[file_format](*store.load(run)), indent=1)
    if out is None:
        print(text)
    else:
        files.write(out, text + "\n")
