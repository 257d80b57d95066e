"""The verb that tests how reliable the gate, or `run`, is on this machine: selftest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli import gate
from convbench.cli.app import CaseOptions, Overrides, app, suite_names
from convbench.core import imports
from convbench.core.default_folders import SELFTEST
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.scales import percent
from convbench.core.system import files
from convbench.core.text import counted

if TYPE_CHECKING:
    from convbench.runs.repeats import Repeats

LONGEST = 7 * 24 * 60
"""The longest selftest, in minutes: a week."""
SLOWDOWNS, TRIALS = "0,3,5,10", SELFTEST / "trials.jsonl"


@app.command()
def selftest(
    suite: Annotated[
        str,
        typer.Argument(help="A suite whose cases are checked against themselves.", autocompletion=suite_names),
    ] = "smoke",
    overrides: Overrides = None,
    *,
    minutes: Annotated[
        float, typer.Option(help="Start no new experiment after this time, once every slowdown was tried.")
    ] = 10.0,
    slowdowns: Annotated[
        str, typer.Option(metavar="PERCENTS", help="Slowdowns to inject, in percent; 0 is unchanged code.")
    ] = SLOWDOWNS,
    options: gate.SideOptions,
    run: Annotated[
        bool, typer.Option("--run", help="Test `run` instead: repeat the suite and compare each run with the last.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="The file to append trials to; figures use all its trials under the same conditions.")
    ] = TRIALS,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON, in base units.")] = False,
) -> None:
    """Test how often `check` raises a false alarm here and which slowdowns it sees: real checks, real extra work.

    With --run, test how often the intervals of two runs of the suite meet.
    """
    if not 0 <= minutes <= LONGEST:
        raise ConvbenchError(f"--minutes {minutes:g}: give a number from 0 to {LONGEST:,}")
    if run:
        gate.say_unused(
            "--run measures the suite itself",
            {
                "--slowdowns": slowdowns != SLOWDOWNS, **options.changed, "--out": out != TRIALS,
            },
        )  # fmt: skip
        _repeat(suite, overrides, options, 60 * minutes, as_json)
        return
    from convbench.check import against_base, floor
    from convbench.check import selftest as test
    from convbench.check.inspection import Request
    from convbench.check.trees import sides

    files.refuse_unwritable(out, "choose another place with --out")
    settings, rule, percents = options.settings(), options.rule(), _percents(slowdowns)
    location = sides.WorkingTree.at(imports.require_working_directory(), suite)
    request = Request(suite, overrides or (), *options.globs)
    with gate.hold_machine(partial(against_base.refuse_mistakes, request, settings)), ExitStack() as stack:
        folder = stack.enter_context(sides.scratch_folder())
        side = stack.enter_context(sides.materialise(".", location, folder))
        self_test = test.Selftest(side, request, settings, rule, folder)
        for trial in test.append(self_test.experiments(percents, 60 * minutes, gate.announcer()), out):
            print(f"  {trial.word}: {trial.case}, {percent(trial.seen, signed=True)} seen", file=sys.stderr)
    figures = test.figures(test.stored_attempts(out, self_test.conditions))
    lines, smallest = list(test.sentences(figures)), test.smallest_seen(figures)
    if not smallest and test.is_too_short(figures):
        lines.append("too few verdicts to say which slowdown is seen: run the same command again")
    if smallest:
        note = _note(partial(floor.keep, self_test.environment, settings, rule, smallest))
        lines.append(f"smallest slowdown seen nine times in ten: {test.percentage(smallest)}, {note}")
    _show({"figures": list(map(asdict, figures)), "smallest_seen": smallest}, lines, as_json)


def _show(figures: Mapping[str, Any], lines: Sequence[str], as_json: bool) -> None:
    """Print the sentences, or one JSON object of the figures with the sentences as ``words``."""
    print(json.dumps({**figures, "words": lines}, indent=1, allow_nan=False) if as_json else "\n".join(lines))


def _repeat(suite: str, overrides: list[str] | None, cases: CaseOptions, seconds: float, as_json: bool) -> None:
    """Run the suite repeatedly, print a line per run on standard error, and the figures, also if it is interrupted."""
    from convbench.runs import preparation, sweep
    from convbench.runs import repeats as test
    from convbench.runs.user_code import load
    from convbench.suite.selection import Selection

    loaded_suite, agreements, repeats = load(suite, overrides or []), [], None
    note = "not kept for reports: too few intervals, so give it more --minutes"
    with preparation.executor_of(loaded_suite, cases.device) as executor:
        prepared = preparation.prepare(loaded_suite, executor, Selection(*cases.globs), "convbench selftest --run")
        try:
            for agreement in test.agreements(partial(sweep.measure_unstored, prepared), seconds):
                agreements.append(agreement)
                print(f"  {percent(agreement.meet)} of {counted(agreement.cases, 'interval')} met", file=sys.stderr)
                repeats = test.sum_up(agreements)
                if repeats and repeats.is_enough:  # kept now: the next run takes minutes, and may be killed
                    note = _note(partial(test.keep, prepared.facts, repeats))
        finally:
            if repeats:
                _show({**asdict(repeats), "share": repeats.share}, [_agreement(repeats), note], as_json)
    if not agreements:
        raise ConvbenchError(f"{suite}: no case had a latency in two runs, so nothing can be said")


def _agreement(repeats: Repeats) -> str:
    """Return how many intervals met, with exact 95 % bounds, and how many orders were contradicted."""
    from convbench.core.statistics import rate_interval

    low, high = rate_interval(repeats.met, repeats.comparisons)
    intervals, pairs = counted(repeats.comparisons, "interval"), counted(repeats.apart, "pair")
    return (
        f"{repeats.met} of {intervals} of two runs met ({percent(repeats.share)}, 95 %: {percent(low, high)}); "
        f"{repeats.contradicted} of {pairs} told apart by one run contradicted by the next"
    )


def _note(keep: Callable[[], Path]) -> str:
    """Keep a figure and say where, or why not: a cache that cannot be written must not lose what was measured."""
    try:
        return f"kept in {keep()}"
    except StoreError as error:
        return f"not kept: {error}"


def _percents(text: str) -> list[float]:
    try:
        percents = [float(part) for part in text.split(",")]
    except ValueError:
        percents = []
    if not percents or not all(0 <= percent <= 1000 for percent in percents):
        raise ConvbenchError(f"--slowdowns {text}: give percentages from 0 to 1000, separated by commas, as in 0,3,10")
    return [percent / 100 for percent in percents]
