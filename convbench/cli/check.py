"""The verbs that compare code: check, and replay for the file that a check writes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli import gate
from convbench.cli.app import Overrides, Source, app
from convbench.cli.check_files import CheckFiles, FileOptions
from convbench.cli.terminal import console, print_table
from convbench.core.errors import ConvbenchError, StoreError

if TYPE_CHECKING:
    from convbench.check.outcome import Outcome


@app.command()
def check(
    suite: Source,
    overrides: Overrides = None,
    *,
    base: Annotated[str, typer.Option(help="What to compare with: a git ref, a wheel or a directory.")] = "",
    baseline: Annotated[Path | None, typer.Option(help="A stored run: its commit is the base.")] = None,
    base_python: Annotated[
        str, typer.Option(help="Another interpreter for base, such as one with another torch.")
    ] = "",
    build: Annotated[str, typer.Option(help="A command that builds base in its tree.")] = "",
    sides: gate.SideOptions,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time limit, builds included, as in 90s, 3m or 1h; undecided cases end when it is up.",
        ),
    ] = "",
    different_outputs: gate.DifferentOutputs = False,
    instructions: Annotated[
        bool,
        typer.Option("--instructions", help="Also count a call's instructions: minutes per case if valgrind counts."),
    ] = False,
    file_options: FileOptions,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a check that was interrupted.")] = False,
) -> None:
    """Measure base and head side by side, now: exit 1 means a confirmed regression and nothing else."""
    from convbench.check.inspection import Request

    if base and baseline:
        raise ConvbenchError(f"--base {base} and --baseline {baseline}: give only one of them")
    settings, rule, limit = sides.settings(), sides.rule(), gate.seconds_of(budget)
    if baseline is not None:
        from convbench.cli.compare import base_of, lay_beside_baseline
        from convbench.suite.selection import Selection

        base = base_of(baseline) or ""
        if not base:
            gate.say_unused(
                "nothing is decided without a base",
                {
                    **sides.changed,
                    "--budget": budget, "--instructions": instructions, **file_options.paths, "--resume": resume,
                    "--base-python": base_python, "--build": build, "--different-outputs": different_outputs,
                },
            )  # fmt: skip
            raise typer.Exit(
                lay_beside_baseline(baseline, suite, overrides or (), sides.device, Selection(*sides.globs))
            )
    if not (base or base_python):
        raise ConvbenchError("nothing to compare with: give --base (a git ref, a wheel or a directory) or --baseline")
    files = CheckFiles(suite, file_options)
    from convbench.check import against_base
    from convbench.check.trees.sides import Base

    side = Base(base or ".", base_python, build)
    request = Request(suite, overrides or (), *sides.globs, not different_outputs, instructions)
    look = partial(against_base.refuse_mistakes, request, settings, side)
    try:
        with gate.hold_machine(look), files.write_when_interrupted():
            ledger = files.ledger(resume)  # read only now: the check that held the machine may be the one to resume
            request = replace(request, ledger=ledger)
            outcome = against_base.check(request, side, settings, rule, limit, gate.announcer()).outcome
    except (StoreError, KeyboardInterrupt):  # on a full disk, what was measured is on no file
        if files.latest:
            _show(files.latest)
        raise
    code = _show(outcome)  # before the files: one that cannot be written must not hide the answer
    files.write(outcome)
    raise typer.Exit(code)


@app.command()
def replay(file: Annotated[Path, typer.Argument(help="The JSON file of a check.")]) -> None:
    """Work out the verdicts of a check again, from the timings that it stored."""
    from convbench.check import outcome

    raise typer.Exit(_show(outcome.read(file)))


def _show(outcome: Outcome) -> int:
    from convbench.check import words
    from convbench.check.verdict import exit_code

    screen, rows = console(), words.rows(outcome)
    print_table(
        screen, words.HEADINGS, [row.cells for row in rows], words.heading(outcome), wrapping=("case", "verdict")
    )
    details = [f"{row.case}: {'; '.join(row.details)}" for row in rows if row.details]
    screen.print("\n".join([*details, *words.footing(outcome), words.headline(outcome)]), markup=False, highlight=False)
    return exit_code(outcome)
