"""The verb that answers: which configuration, task by task, or why none can be named."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convbench.cli.app import app
from convbench.cli.terminal import console
from convbench.core.errors import ConvbenchError
from convbench.core.text import joined

if TYPE_CHECKING:
    from convbench.analysis.choice.recommendation import Ask, Constraints, Grade
    from convbench.analysis.quality.lessons import Budget
    from convbench.analysis.results import Result
    from convbench.core.metric import Metric
    from convbench.core.record import Record, RunDescription

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
        str,
        typer.Option(
            metavar="METRIC",
            help="What to be cheap in: latency, params, memory, flops or another cost that was measured.",
        ),
    ] = "latency",
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A limit of a metric, as in latency=5ms, also of your own probe: a maximum, or a minimum where more "
            "is better; may be repeated. steps, flops or seconds alone is --equal.",
        ),
    ] = None,
    equal: Annotated[
        Literal["steps", "flops", "seconds"], typer.Option(help="Compare trainings of an equal budget of these.")
    ] = "steps",
    per_ms: Annotated[
        str | None,
        typer.Option(help="What a millisecond a call is worth in accuracy, as in 0.2pt: pick the best of both."),
    ] = None,
    require: Annotated[
        Literal["open", "provisional", "sure"], typer.Option(help="Exit 3 where an answer's grade is below this.")
    ] = "provisional",
    as_json: Annotated[bool, typer.Option("--json", help="The answers as JSON, in base units.")] = False,
) -> None:
    """The cheapest configuration within a margin of the best, task by task, with how sure that is.

    Exit 3 if an answer is less sure than --require.
    """
    from convbench.analysis.choice.by_task import recommendations
    from convbench.analysis.choice.recommendation import Ask, budgets
    from convbench.analysis.quality.qualities import has_training
    from convbench.analysis.results import results
    from convbench.core import store
    from convbench.core.quantities import share

    margin = share("--within", within)
    texts = {"latency": latency, "params": params, "memory": memory, "flops": flops}
    description, records = store.load(run)
    metrics = budgets(results(records))
    budget_names = [text for text in budget or () if text in ("steps", "flops", "seconds")]
    limits = [(f"--{name}", name, text) for name, text in texts.items() if text is not None]
    limits += [_parse_limit(text) for text in budget or () if text not in budget_names]
    _refuse_no_cost(cheapest, metrics)
    ask = Ask(_limits(limits, metrics), margin, cheapest, per_second=_price(per_ms), metrics=metrics)
    tasks = _check_tasks(task or (), records, run)
    equal_budget = _equal_budget(budget_names, equal)
    if not has_training(records):
        _print_not_run(run, description, results(records), ask, equal_budget, as_json)
        raise typer.Exit(_exit_code(["open"], require))
    answers = recommendations(records, ask, tasks, equal_budget)
    if as_json:
        from convbench.report.export.advice_json import plain

        print(json.dumps([plain(answer) for answer in answers], indent=1, allow_nan=False))
    else:
        from convbench.report.terminal.advice import Advice

        console(wide=False, highlight=False).print(Advice(answers, equal_budget))
    raise typer.Exit(_exit_code([answer.grade for answer in answers], require))


def _equal_budget(budget_names: Sequence[str], equal: Budget) -> Budget:
    """What trainings are compared by an equal budget of. Raises ConvbenchError where two are named."""
    budgets: list[Any] = list(dict.fromkeys([*budget_names, *([equal] if equal != "steps" else [])]))
    if len(budgets) > 1:
        raise ConvbenchError(f"trainings are compared by an equal budget of one: {joined(budgets)} are named")
    return budgets[0] if budgets else equal


def _exit_code(grades: Sequence[Grade], minimum: Grade) -> int:
    """The exit code: whether every answer has at least this grade."""
    from convbench.analysis.choice.recommendation import GRADES

    return ADVISED if all(GRADES.index(grade) >= GRADES.index(minimum) for grade in grades) else ABSTAINED


def _price(text: str | None) -> float | None:
    """Accuracy a second, from points or per cent a millisecond. Raises ConvbenchError for what is neither."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:pt|points?|%)", text.strip())
    if not match or float(match[1]) == 0:
        raise ConvbenchError(f"--per-ms {text}: not a price: write 0.2pt, which is 0.2 points of accuracy")
    return float(match[1]) / 100 * 1000


def _parse_limit(text: str) -> tuple[str, str, str]:
    """The option as written, the metric's name and its limit. Raises ConvbenchError for what is no name=value."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise ConvbenchError(f"--budget {text}: write it as name=value, such as latency=5ms")
    return f"--budget {name}=", name, value


def _limits(texts: Sequence[tuple[str, str, str]], metrics: Mapping[str, Metric]) -> Constraints:
    """Limits in base units. Raises ConvbenchError for a name or amount that is none, and for one given twice."""
    from convbench.core.quantities import amount, option_text
    from convbench.core.registry import did_you_mean

    limits: dict[str, float] = {}
    for option, name, text in texts:
        if name not in metrics:
            raise ConvbenchError(f"--budget {name}: no metric that is weighed here{did_you_mean(name, metrics)}")
        if name in limits:
            raise ConvbenchError(f"{option_text(option, text)}: {name} has a limit already: give it once")
        limits[name] = amount(option, text, metrics[name].unit)
    return limits


def _refuse_no_cost(name: str, metrics: Mapping[str, Metric]) -> None:
    """Raises ConvbenchError for a metric that advice does not weigh, or that is not better when lower."""
    from convbench.core.registry import did_you_mean

    if name not in metrics:
        raise ConvbenchError(f"--cheapest {name}: no cost that is weighed here{did_you_mean(name, metrics)}")
    if metrics[name].better != "lower":
        costs = ", ".join(option for option, metric in metrics.items() if metric.better == "lower")
        raise ConvbenchError(f"--cheapest {name}: less of it is not better: choose a cost, of {costs}")


def _check_tasks(tasks: Sequence[str], records: Sequence[Record], run: Path) -> Sequence[str]:
    """The tasks asked for. Raises ConvbenchError for one that the run does not know, without trainings nobody does."""
    from convbench.core import registry

    trials = (record.case.trial for record in records if record.case.trains)
    run_tasks = {str(trial.task): None for trial in trials if trial}
    names = {name.partition("(")[0] for name in run_tasks} | set(run_tasks)
    if not run_tasks:
        for name in tasks:
            registry.tasks.get(name.partition("(")[0])
        return tasks
    if unknown_tasks := [task for task in tasks if task not in names]:
        raise ConvbenchError(f"--task {unknown_tasks[0]}: not a task of {run}: it has {', '.join(run_tasks)}")
    return tasks


def _cost_answer(results: Sequence[Result], ask: Ask) -> str:
    """What cost alone says within the limits, as the page's sliders do, and the cases that it says nothing of.

    Empty where nothing was measured.
    """
    from convbench.analysis.choice.by_budget import answer_within
    from convbench.report.words.answer import withheld_sentence
    from convbench.report.words.budget import fitting

    answer = answer_within(results, ask.constraints)
    return f"By cost alone: {fitting(answer)} {withheld_sentence(results)}".strip() if answer.models else ""


def _idle_options(ask: Ask, equal_budget: Budget) -> str:
    """Which options that were given choose among trainings, and so choose nothing; empty without any."""
    from convbench.analysis.choice.recommendation import Ask

    default = Ask()
    differences = {
        "--within": ask.within != default.within, "--cheapest": ask.cheapest != default.cheapest,
        "--per-ms": ask.per_second is not None, "--equal": equal_budget != "steps",
    }  # fmt: skip
    options = [option for option, differs in differences.items() if differs]
    verb = "chooses" if len(options) == 1 else "choose"
    return f"{joined(options)} {verb} among trainings, of which there are none" if options else ""


def _print_not_run(
    path: Path, run: RunDescription, results: Sequence[Result], ask: Ask, equal_budget: Budget, as_json: bool
) -> None:
    from convbench.report.words.advice import missing_quality

    reason = missing_quality(run, results, str(path if path.is_dir() else path.parent))
    text = ". ".join(filter(None, (reason, _idle_options(ask, equal_budget), _cost_answer(results, ask))))
    answer = {"task": None, "grade": "open", "pick": None, "reason": "not-run", "words": text}
    print(json.dumps([answer], indent=1) if as_json else text)
