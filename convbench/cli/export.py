"""The verb that writes a run for other tools: export."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from convbench.cli.app import app, names_on
from convbench.core.errors import ConvbenchError
from convbench.core.registry import exports
from convbench.core.text import one_line


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    file_format: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="The export (see `list exports`).", autocompletion=names_on(exports)
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write [default: standard output].")] = None,
) -> None:
    """Write a run as JSON that another tool reads, such as pytest-benchmark, github-action-benchmark or Bencher.

    Failed cases and cases without a latency are named. It is an error if the file would be empty.
    """
    from convbench.core import files, metrics, store
    from convbench.report.words.findings import failure

    plugin = exports.get(file_format)
    stored_run = store.load(run)
    costs = [record for record in stored_run[1] if not record.case.trial]
    has_latency = any(record.samples(metrics.LATENCY) for record in costs)
    for record in costs:
        if record.status == "failed":
            print(one_line(f"left out: {record.case.id}: {failure(record.failure)}"), file=sys.stderr)
        elif record.status == "ok" and has_latency and not record.samples(metrics.LATENCY):
            print(one_line(f"without a latency: {record.case.id}"), file=sys.stderr)
    with plugin.refuse_errors("export"):
        document = plugin.build(*stored_run)
        text = json.dumps(document, indent=1)
    if not document:
        raise ConvbenchError(f"{run}: no case has a latency, or anything else that --format {file_format} can hold")
    if out is None:
        print(text)
    else:
        files.write(out, text + "\n")
