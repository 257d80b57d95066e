"""The verb that exports a measured model as an ONNX file, with a program that runs it: export-model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convbench.cli.app import app, bring
from convbench.core.option_types import Exporter


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
    from convbench.core import store
    from convbench.core.commands import Command
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
