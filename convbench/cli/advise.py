"""The verb that recommends a configuration for each task, or says why it cannot: advise."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

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
EqualBudget = Literal["steps", "flops", "seconds"]


@dataclass(frozen=True)
class AskOptions:
    """What is asked: limits, the margin, the cost to keep low, the tasks, and the budget that trainings are given."""

    latency: Annotated[str | None, typer.Option(help="Maximum median time of a call, as in 5ms or 300us.")] = None
    params: Annotated[str | None, typer.Option(help="Maximum number of parameters, as in 1M or 250k.")] = None
    memory: Annotated[str | None, typer.Option(help="Maximum peak memory, as in 64MB or 64MiB.")] = None
    flops: Annotated[str | None, typer.Option(help="Maximum FLOPs of a call, as in 1G.")] = None
    within: Annotated[str, typer.Option(help="How far below the best accuracy is good enough, as in 2%.")] = "2%"
    cheapest: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="The cost to keep low: latency, params, memory, flops or another measured cost.",
        ),
    ] = "latency"
    task: Annotated[list[str] | None, typer.Option(help="Only this task; may be repeated.")] = None
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A limit on any metric, also one of your own probes, as in latency=5ms: a maximum, or a minimum if "
            "more is better; may be repeated. A bare steps, flops or seconds means --equal.",
        ),
    ] = None
    equal: Annotated[
        EqualBudget,
        typer.Option(help="Compare trainings at an equal budget of steps, FLOPs or seconds."),
    ] = "steps"
    per_ms: Annotated[
        str | None,
        typer.Option(help="Accuracy that a millisecond per call is worth, as in 0.2pt: pick the best trade-off."),
    ] = None

    def ask(self, margin: float, metrics: Mapping[str, Metric]) -> Ask:
        """Return the question in base units. Raises ConvbenchError for a limit, cost or price that cannot be read."""
        from convbench.analysis.choice.recommendation import Ask

        texts = {"latency": self.latency, "params": self.params, "memory": self.memory, "flops": self.flops}
        limits = [(f"--{name}", name, text) for name, text in texts.items() if text is not None]
        limits += [_parse_limit(text) for text in self.budget or () if text not in get_args(EqualBudget)]
        _refuse_no_cost(self.cheapest, metrics)
        return Ask(_limits(limits, metrics), margin, self.cheapest, per_second=_price(self.per_ms), metrics=metrics)

    def equal_budget(self) -> EqualBudget:
        """Return the kind of budget at which trainings are compared. Raises ConvbenchError if two kinds are named."""
        names = [text for text in self.budget or () if text in get_args(EqualBudget)]
        budgets: list[Any] = list(dict.fromkeys([*names, *([self.equal] if self.equal != "steps" else [])]))
        if len(budgets) > 1:
            kinds = joined(budgets)
            raise ConvbenchError(f"trainings are compared at one kind of equal budget: name only one of {kinds}")
        return budgets[0] if budgets else self.equal


@app.command()
def advise(
    run: Annotated[Path, typer.Argument(help="A run directory, or a file in it.")],
    *,
    options: AskOptions,
    require: Annotated[
        Literal["open", "provisional", "sure"], typer.Option(help="Exit 3 if an answer's grade is below this.")
    ] = "provisional",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answers as JSON, in base units.")] = False,
) -> None:
    """Name the cheapest configuration within a margin of the best, task by task, and say how sure that is.

    Exit 3 if an answer is less sure than --require.
    """
    from convbench.analysis.choice.by_task import recommendations
    from convbench.analysis.choice.recommendation import budgets
    from convbench.analysis.quality.qualities import has_training
    from convbench.analysis.results import results
    from convbench.core.quantities import share
    from convbench.core.storage import store
    from convbench.report.words.advice import missing_costs, unfinished

    margin = share("--within", options.within)
    description, records = store.load(run)
    case_results = results(records)
    ask = options.ask(margin, budgets(case_results))
    tasks = _check_tasks(options.task or (), records, run)
    equal_budget = options.equal_budget()
    answers = recommendations(records, ask, tasks, equal_budget) if has_training(records) else []
    if not answers:
        _print_not_run(run, description, case_results, ask, equal_budget, as_json)
    elif as_json:
        from convbench.report.export.advice_json import plain

        print(json.dumps([plain(answer) for answer in answers], indent=1, allow_nan=False))
    else:
        from convbench.report.terminal.advice import Advice

        console(wide=False, highlight=False).print(Advice(answers, equal_budget))
    place = str(store.directory_of(run))
    if note := unfinished(description, records, place) or missing_costs(description, case_results, answers, place):
        print(note, file=sys.stderr)
    raise typer.Exit(_exit_code([answer.grade for answer in answers] or ["open"], require))


def _exit_code(grades: Sequence[Grade], minimum: Grade) -> int:
    """Return the exit code: whether every answer has at least this grade."""
    from convbench.analysis.choice.recommendation import GRADES

    return ADVISED if all(GRADES.index(grade) >= GRADES.index(minimum) for grade in grades) else ABSTAINED


def _price(text: str | None) -> float | None:
    """Convert points or percent per millisecond to accuracy per second. Raises ConvbenchError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:pt|points?|%)", text.strip())
    if not match or float(match[1]) == 0:
        raise ConvbenchError(f"--per-ms {text}: not a price: write 0.2pt, which is 0.2 points of accuracy")
    return float(match[1]) / 100 * 1000


def _parse_limit(text: str) -> tuple[str, str, str]:
    """Return the option as written, the metric's name and its limit. Raises ConvbenchError if not name=value."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise ConvbenchError(f"--budget {text}: write it as name=value, such as latency=5ms")
    return f"--budget {name}=", name, value


def _limits(texts: Sequence[tuple[str, str, str]], metrics: Mapping[str, Metric]) -> Constraints:
    """Return limits in base units. Raises ConvbenchError for an unknown name, a bad amount or a repeated limit."""
    from convbench.core.quantities import amount, option_text
    from convbench.core.registry import did_you_mean

    limits: dict[str, float] = {}
    for option, name, text in texts:
        if name not in metrics:
            raise ConvbenchError(f"--budget {name}: not a metric that advise weighs{did_you_mean(name, metrics)}")
        if name in limits:
            raise ConvbenchError(f"{option_text(option, text)}: {name} has a limit already: give it once")
        limits[name] = amount(option, text, metrics[name].unit)
    return limits


def _refuse_no_cost(name: str, metrics: Mapping[str, Metric]) -> None:
    """Raises ConvbenchError for a metric that advice does not weigh, or that is not better if lower."""
    from convbench.core.registry import did_you_mean

    if name not in metrics:
        raise ConvbenchError(f"--cheapest {name}: not a cost that advise weighs{did_you_mean(name, metrics)}")
    if metrics[name].better != "lower":
        costs = ", ".join(option for option, metric in metrics.items() if metric.better == "lower")
        raise ConvbenchError(f"--cheapest {name}: less of it is not better: choose one of the costs {costs}")


def _check_tasks(tasks: Sequence[str], records: Sequence[Record], run: Path) -> Sequence[str]:
    """Return the tasks. Raises ConvbenchError for one that the run lacks, or that is unknown if it trained none."""
    from convbench.core import registry

    trials = (record.case.trial for record in records if record.case.trains)
    run_tasks = {str(trial.task): None for trial in trials if trial}
    names = {name.partition("(")[0] for name in run_tasks} | set(run_tasks)
    if not run_tasks:
        for name in (task.partition("(")[0] for task in tasks):
            if ":" not in name:  # a task of the user's own is not imported here
                registry.tasks.get(name)
        return tasks
    if unknown_tasks := [task for task in tasks if task not in names]:
        raise ConvbenchError(f"--task {unknown_tasks[0]}: not a task of {run}, which has {', '.join(run_tasks)}")
    return tasks


def _cost_answer(results: Sequence[Result], ask: Ask) -> str:
    """Say which configurations fit the limits by cost alone, as the page's sliders do, and which cases are left out.

    The text is empty if nothing was measured.
    """
    from convbench.analysis.choice.by_budget import answer_within
    from convbench.report.words.answer import withheld_sentence
    from convbench.report.words.budget import fitting

    answer = answer_within(results, ask.constraints)
    text = fitting(answer, is_limited=bool(ask.constraints))
    return f"By cost alone: {text} {withheld_sentence(results)}".strip() if answer.models else ""


def _idle_options(ask: Ask, equal_budget: Budget) -> str:
    """Say which of the given options choose among trainings and so have no effect; empty if none does."""
    from convbench.analysis.choice.recommendation import Ask

    default = Ask()
    differences = {
        "--within": ask.within != default.within, "--cheapest": ask.cheapest != default.cheapest,
        "--per-ms": ask.per_second is not None, "--equal": equal_budget != "steps",
    }  # fmt: skip
    options = [option for option, differs in differences.items() if differs]
    verb = "chooses" if len(options) == 1 else "choose"
    return f"{joined(options)} {verb} among trainings, but there are none" if options else ""


def _print_not_run(
    path: Path, run: RunDescription, results: Sequence[Result], ask: Ask, equal_budget: Budget, as_json: bool
) -> None:
    from convbench.core.storage import store
    from convbench.report.words.advice import missing_quality

    reason = missing_quality(run, results, str(store.directory_of(path)))
    text = ". ".join(filter(None, (reason, _idle_options(ask, equal_budget), _cost_answer(results, ask))))
    answer = {"task": None, "grade": "open", "pick": None, "reason": "not-run", "words": text}
    print(json.dumps([answer], indent=1) if as_json else text)
