"""Export the model of a measured case as an ONNX file, for the command line and for Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convbench.core import imports
from convbench.core.commands import Command
from convbench.core.errors import ConvbenchError
from convbench.core.option_types import Exporter
from convbench.core.record import Record, RunDescription, Scalar
from convbench.runs.user_code import UserCode

if TYPE_CHECKING:
    from convbench.measure.comparison.parity import Parity

WINNER = "winner"
"""Stands for the case that the run recommends."""


class ModelFiles(NamedTuple):
    """The files of an exported model: the ONNX file first, the program that runs it last.

    ``parity`` is None if the model is as far from eager as eager is from itself. ``omissions`` are the case's variants
    whose number type the file lacks.
    """

    paths: list[Path]
    parity: Parity | None
    omissions: list[str]


def export_model(
    name: str,
    to: Path,
    run: Path,
    stored_run: tuple[RunDescription, Sequence[Record]],
    weights: Path | None = None,
    exporter: Exporter | None = None,
    any_batch: bool = False,
) -> ModelFiles:
    """Write the model of the measured case of that name to ``to``, checked against eager, and a program beside it.

    Modules beside the run's suite can be imported. ``run`` is the path of the stored run, for messages. A user's model
    has as long as a visit of the run had. Raises ConvbenchError if there is no such case, or if the model cannot be
    exported in that time.
    """
    from convbench.measure.handover import foreign_variants, hand_over

    if to.suffix != ".onnx" or not to.parent.is_dir():
        raise ConvbenchError(f"--to {to}: name a file that ends in .onnx, in a directory that exists")
    description, records = stored_run
    imports.add_suite_folder(Path(Command.of(description).source))
    record = _find_record(name, records, run)
    facts: dict[str, Scalar] = {"run": description.name, "environment": record.environment, **_latency(record)}
    places = to.absolute(), weights and weights.absolute()  # the model's code may change the working directory
    args = (record.case, description.protocol.seed, *places, facts, exporter, any_batch)
    with UserCode([record.case]) as calls:
        paths, parity = calls.run(hand_over, args, description.protocol.timeout, limited_by="protocol.timeout")
    return ModelFiles([to.with_name(path.name) for path in paths], parity, foreign_variants(record.case))


def _find_record(name: str, records: Sequence[Record], run: Path) -> Record:
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
