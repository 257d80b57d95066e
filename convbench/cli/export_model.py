"""The verb that exports a measured model as an ONNX file, with a program that runs it: export-model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from convbench.cli.app import app, bring
from convbench.core import imports
from convbench.core.errors import ConvbenchError

if TYPE_CHECKING:
    from convbench.core.record import Record, Scalar

WINNER = "winner"


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
        Literal["dynamo", "torchscript"] | None,
        typer.Option(help="The exporter of torch to use [default: the measured one, else dynamo]."),
    ] = None,
    any_batch: Annotated[
        bool, typer.Option("--any-batch", help="Let the file take any number of clips, not only the measured one.")
    ] = False,
) -> None:
    """Write a measured model as ONNX, checked against eager, with a short program beside it that runs it."""
    from convbench.core import store
    from convbench.core.commands import Command
    from convbench.measure.handover import foreign_variants, hand_over
    from convbench.report.words import units
    from convbench.runs.user_code import UserCode

    if to.suffix != ".onnx" or not to.parent.is_dir():
        raise ConvbenchError(f"--to {to}: name a file that ends in .onnx, in a directory that exists")
    description, records = store.load(run)
    command = Command.of(description)
    imports.add_suite_folder(Path(command.source))
    bring(command.plugins)
    record = _find_record(case, records, run)
    facts: dict[str, Scalar] = {"run": description.name, "environment": record.environment, **_latency(record)}
    places = to.absolute(), weights and weights.absolute()  # the model's code may change the working directory
    args = (record.case, description.protocol.seed, *places, facts, exporter, any_batch)
    with UserCode([record.case]) as calls:
        files, parity = calls.run(hand_over, args, seconds=math.inf)
    for path in files:
        print(f"{to.with_name(path.name)} ({units.size(path.stat().st_size)})")
    if parity:
        print(f"largest difference from eager {parity.largest:.2g}, relative error {parity.relative:.2g}")
    else:
        print("as far from eager as eager is from itself with other random numbers")
    if omissions := foreign_variants(record.case):
        print(f"without {', '.join(omissions)}: the file computes in the model's own number type")


def _find_record(name: str, records: list[Record], run: Path) -> Record:
    """Return the measured case of that name. Raises ConvbenchError if there is none, or more than one."""
    from convbench.analysis.choice.by_task import recommendations
    from convbench.analysis.choice.recommendation import Ask
    from convbench.analysis.costs.headlines import headline_of
    from convbench.analysis.results import results
    from convbench.core.case import id_matches
    from convbench.core.registry import did_you_mean

    measured_records = [record for record in records if record.status == "ok" and record.case.trial is None]
    if name == WINNER:
        picks = {answer.pick.result.record.case.id: answer for answer in recommendations(records, Ask()) if answer.pick}
        if len(picks) > 1:
            choices = "; ".join(f"{case_id} for {answer.task}" for case_id, answer in picks.items())
            raise ConvbenchError(f"{run}: its tasks need different configurations; name one of them: {choices}")
        cheapest = headline_of(results(measured_records)).pick
        ids = list(picks) or ([cheapest.case.id] if cheapest else [])
        matches = [record for record in measured_records if record.case.id in ids]
    else:
        exact_matches = [record for record in measured_records if name == record.case.id]
        matches = exact_matches or [record for record in measured_records if id_matches(record.case.id, [name])]
    if not matches:
        suggestion = did_you_mean(name, {part for record in measured_records for part in record.case.id.split("/")})
        hint = suggestion if suggestion.startswith("; did") else f": `convbench report {run}` shows their names"
        raise ConvbenchError(f"{run}: no measured case is called {name!r}{hint}")
    if len(matches) > 1:
        raise ConvbenchError(
            f"{run}: {len(matches)} cases match {name!r}, such as {matches[0].case.id} and {matches[1].case.id}: name "
            "one"
        )
    return matches[0]


def _latency(record: Record) -> dict[str, float]:
    from convbench.analysis.results import result
    from convbench.core import metrics

    latency = result(record).latency
    return {metrics.LATENCY.name: latency.median} if latency else {}
