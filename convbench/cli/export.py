"""The verbs that write a run for other tools, export, and a measured model as an ONNX file: export-model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from convbench.cli.app import app, bring, names_on
from convbench.core.errors import ConvbenchError
from convbench.core.option_types import Exporter
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
    """Write a run as another tool reads it, such as pytest-benchmark, github-action-benchmark or Bencher.

    Failed cases and cases without a latency are named. It is an error if the file would be empty.
    """
    from convbench.core import metrics
    from convbench.core.storage import store
    from convbench.core.system import files
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
        content = document if isinstance(document, str | bytes) else json.dumps(document, indent=1) + "\n"
    if not document:
        raise ConvbenchError(f"{run}: no case has a latency, or anything else that --format {file_format} can hold")
    if out is not None:
        files.write(out, content)
    elif isinstance(content, bytes):
        raise ConvbenchError(f"--format {file_format} is a binary file: add --out FILE")
    else:
        print(content, end="")


@app.command("export-model")
def export_model(
    case: Annotated[
        str,
        typer.Argument(help="A measured case: a GLOB for its id or a part of it; `winner` is what the run recommends."),
    ],
    to: Annotated[Path, typer.Option(help="The file to write, as in model.onnx.")],
    run: Annotated[Path, typer.Option(help="The run that measured the case.")] = Path("reports/default"),
    weights: Annotated[
        Path | None, typer.Option(help="A state_dict of the model [default: seeded, untrained].")
    ] = None,
    exporter: Annotated[
        Exporter | None,
        typer.Option(help="The exporter of torch to use [default: the measured one, else dynamo]."),
    ] = None,
    any_batch: Annotated[
        bool, typer.Option("--any-batch", help="Let the file take any number of clips, not only the measured one.")
    ] = False,
) -> None:
    """Write a measured model as ONNX, checked against eager, with a short program beside it that runs it."""
    from convbench.core.commands import Command
    from convbench.core.storage import store
    from convbench.report.words import units
    from convbench.runs import model_file

    stored_run = store.load(run)
    bring(Command.of(stored_run[0]).plugins)
    files = model_file.export_model(case, to, run, stored_run, weights, exporter, any_batch)
    for path in files.paths:
        print(f"{path} ({units.size(path.stat().st_size)})")
    if files.parity:
        print(f"largest difference from eager {files.parity.largest:.2g}, relative error {files.parity.relative:.2g}")
    else:
        print("as far from eager as eager is from itself with other random numbers")
    if files.omissions:
        print(f"without {', '.join(files.omissions)}: the file computes in the model's own number type")
