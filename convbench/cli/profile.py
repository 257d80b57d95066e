"""The verbs that show where time and memory go: profile, trace and tensorboard, and fits for sizes that fit."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import CaseOptions, Only, Overrides, Port, Skip, Source, app
from convbench.cli.run import Quiet, Resumable, ResumeMode, RunOptions, run
from convbench.core.default_folders import REPORTS
from convbench.core.errors import ConvbenchError

if TYPE_CHECKING:
    from convbench.measure.memory.largest import LargestSize

RunDirectory = Annotated[Path, typer.Argument(help="A run directory with profiles of its cases.")]
Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]


@app.command(cls=Resumable)
def profile(
    ctx: typer.Context,
    suite: Source,
    overrides: Overrides = None,
    *,
    cases: CaseOptions,
    out: Annotated[Path | None, typer.Option(help="The run's directory [default: reports/SUITE-profile].")] = None,
    resume: ResumeMode = "",
    quiet: Quiet = False,
) -> None:
    """Measure cases of a suite and take a torch.profiler trace of each."""
    from convbench.runs.user_code import load

    changes = [*(overrides or []), "profile=true"]
    directory = out or REPORTS / f"{load(suite, changes).name}-profile"
    run(ctx, suite, changes, options=RunOptions(**vars(cases)), out=directory, resume=resume, quiet=quiet)


@app.command()
def trace(
    case: Annotated[str, typer.Argument(help="A trace file, or a profiled case: its id, a part of it, or a GLOB.")],
    runs: Annotated[
        list[Path] | None, typer.Option("--run", help="A run to search; may be repeated [default: all under reports].")
    ] = None,
    port: Port = 0,
    open_it: Open = False,
) -> None:
    """Serve a page on loopback that hands a trace to the Perfetto viewer (which is loaded from the network)."""
    from convbench.core.storage import profiles, store
    from convbench.report.viewers import perfetto

    folders = (path.parent for path in REPORTS.rglob(profiles.PROFILES))
    all_runs = sorted(run for run in folders if store.PREVIOUS not in run.parts)
    path = profiles.find_trace(case, runs or all_runs or [REPORTS])
    with perfetto.server(path, port) as (server, address):
        print(address, flush=True)
        if open_it:
            webbrowser.open(address)
        server.serve_forever()


@app.command()
def tensorboard(run: RunDirectory, port: Port = 6006, open_it: Open = False) -> None:
    """Start TensorBoard on the profiles of a run, on loopback (its page needs the network)."""
    from convbench.report.viewers import tensorboard as viewer

    address, process = viewer.start(run, port)
    try:
        print(address, flush=True)
        if open_it:
            webbrowser.open(address)
        code = process.wait()
    finally:  # also if a signal ends this process
        process.terminate()
        process.wait()
    if code:
        raise viewer.exit_error(code)


@app.command()
def fits(
    suite: Source,
    overrides: Overrides = None,
    memory: Annotated[
        str, typer.Option(help="The memory limit, as in 8GB or 500MiB [default: free memory, also in a container].")
    ] = "",
    only: Only = None,
    skip: Skip = None,
) -> None:
    """Predict the largest batch, clip length or LSTM input that fits into memory, from shapes alone."""
    from convbench.core.quantities import amount
    from convbench.measure.machine import environment
    from convbench.measure.memory import largest
    from convbench.measure.planning import select
    from convbench.report.words import units
    from convbench.runs import user_code
    from convbench.suite.selection import Selection

    limit = int(amount("--memory", memory, "B")) if memory else environment.available_memory()
    selection = Selection(only or (), skip or ())
    cases = [case for case in user_code.load(suite, overrides or []).cases if not case.trial]
    with user_code.UserCode(cases) as calls:
        selected_cases = calls.run(select, (cases, selection))
        if not selected_cases:
            raise ConvbenchError(f"{suite}: no case is selected: `convbench run {suite} --dry-run` shows the names")
        if not memory:
            print(f"within {units.size(limit)}, the free memory here")
        for case in selected_cases:
            try:
                peak, results = calls.run(largest.peak_and_fits, (case, limit))
            except ConvbenchError as error:
                print(f"{case.id}: {error}")
                continue
            print(f"{case.id}: predicted peak {units.size(peak)}")
            for fit in results:
                print(f"  {_words(fit)}" + ("" if fit.reason else f", predicted peak {units.size(fit.peak)}"))


def _words(fit: LargestSize) -> str:
    if fit.reason:
        return f"{fit.axis}: {fit.reason}"
    if fit.is_flat:
        return f"{fit.axis}: changes nothing"
    if fit.size == 0:
        return f"{fit.axis}: not even 1 fits"
    return f"{fit.axis} up to {fit.size:,}{' or more (not searched further)' if fit.has_more else ''}"
