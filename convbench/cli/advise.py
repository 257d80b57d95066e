"""The verb that answers: which configuration, task by task, or why none can be named."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from convbench.cli.app import app
from convbench.core.errors import ConvbenchError

if TYPE_CHECKING:
    from convbench.analysis.choice.recommendation import Constraints
    from convbench.core.record import Record, Run

ADVISED, ABSTAINED = 0, 3


@app.command()
def advise(
    run: Annotated[Path, typer.Argument(help="A run directory, or a file in it.")],
    latency: Annotated[str | None, typer.Option(help="The median of a call at most, as in 5ms or 300us.")] = None,
    params: Annotated[str | None, typer.Option(help="Parameters at most, as in 1M or 250k.")] = None,
    memory: Annotated[str | None, typer.Option(help="Peak memory at most, as in 64MB or 64MiB.")] = None,
    flops: Annotated[str | None, typer.Option(help="FLOPs of a call at most, as in 1G.")] = None,
    within: Annotated[str, typer.Option(help="How far below the best accuracy is good enough, as in 2%.")] = "2%",
    cheapest: Annotated[
        Literal["latency", "params", "memory", "flops"], typer.Option(help="What to be cheap in.")
    ] = "latency",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    budget: Annotated[
        Literal["steps", "flops", "seconds"], typer.Option(help="Compare trainings of an equal budget of these.")
    ] = "steps",
    as_json: Annotated[bool, typer.Option("--json", help="The answers as JSON, in base units.")] = False,
) -> None:
    """The cheapest configuration that is shown to be within a margin of the best, task by task; exit 3 without one."""
    from convbench.analysis.choice.by_task import recommendations
    from convbench.analysis.choice.recommendation import Ask
    from convbench.analysis.quality.qualities import tried
    from convbench.core import store

    limits = _limits(latency=latency, params=params, memory=memory, flops=flops)
    ask = Ask(limits, _share(within), cheapest)
    described, records = store.load(run)
    if not tried(records):
        _print_not_run(run, described, as_json)
        raise typer.Exit(ABSTAINED)
    found = recommendations(records, ask, _known(task or (), records, run), budget)
    if as_json:
        from convbench.report.export.advice_json import plain

        print(json.dumps([plain(one) for one in found], indent=1))
    else:
        from rich.console import Console

        from convbench.report.terminal.advice import Advised

        Console(highlight=False).print(Advised(found, budget))
    raise typer.Exit(ADVISED if all(one.pick for one in found) else ABSTAINED)


def _limits(**written: str | None) -> Constraints:
    from convbench.cli.quantities import limit

    return {name: limit(name, text) for name, text in written.items() if text is not None}  # type: ignore[misc]


def _share(text: str) -> float:
    from convbench.cli.quantities import share

    return share(text)


def _known(tasks: Sequence[str], records: Sequence[Record], run: Path) -> Sequence[str]:
    """The tasks asked for. Raises ConvbenchError for one that the run does not know."""
    trials = (record.case.trial for record in records if record.case.scenario == "learn")
    known = {str(trial.task): None for trial in trials if trial}
    names = {name.partition("(")[0] for name in known} | set(known)
    if unknown := [task for task in tasks if task not in names]:
        raise ConvbenchError(f"--task {unknown[0]}: not a task of {run}: it has {', '.join(known)}")
    return tasks


def _print_not_run(path: Path, run: Run, as_json: bool) -> None:
    from convbench.report.words.advice import not_run

    said = not_run(str(path), _suite(run))
    print(json.dumps({"reason": "not-run", "words": said}, indent=1) if as_json else said)


def _suite(run: Run) -> str:
    """The suite as the run's command names it."""
    words = shlex.split(run.command)
    return words[2] if words[:2] == ["convbench", "run"] and len(words) > 2 else run.name
