"""The verb that turns runs into reports, and the report at the end of every run."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import RunDirectories, app
from convbench.cli.terminal import console
from convbench.core import installed
from convbench.core.errors import ConvbenchError
from convbench.core.system.files import destination, is_special, means_file

if TYPE_CHECKING:
    from convbench.core.storage.store import Stored


@app.command()
def report(
    runs: RunDirectories,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A directory, or a file for html, md or tex [default: beside the run; md and tex are printed]."
        ),
    ] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="html, md, tex for LaTeX, or png, svg, pdf for the figures.")
    ] = "html",
    open_it: Annotated[bool, typer.Option("--open", help="Open the html in the browser.")] = False,
) -> None:
    """Write the report of a run again, or lay several runs side by side."""
    from convbench.core.registry import did_you_mean
    from convbench.core.storage import merging, store
    from convbench.report.export import figure_files

    formats = ("html", "md", "tex", *figure_files.FORMATS)
    if file_format not in formats:
        raise ConvbenchError(f"unknown --format {file_format!r}{did_you_mean(file_format, formats)}")
    stored_runs = [store.load(path) for path in runs]
    if merging.repeats(stored_runs):
        print("convbench: a run is named twice, so it appears twice", file=sys.stderr)
    directories = [store.directory_of(path) for path in runs]
    if open_it and file_format != "html":
        raise ConvbenchError(f"--open shows the page of --format html; --format {file_format} has none")
    if file_format in ("md", "tex"):
        _write_text(stored_runs, file_format, out)
    elif file_format != "html":
        _write_figures(stored_runs, directories, file_format, out)
    else:
        place = _write_page(stored_runs, directories, out)
        print_missing_plugins()
        _print_place(place)
        if open_it:
            webbrowser.open(place.resolve().as_uri())


def _write_text(stored_runs: Sequence[Stored], file_format: str, out: Path | None) -> None:
    """Write the summaries or the tables of all runs, one after another, or print them without a place."""
    from convbench.core.system.files import write
    from convbench.report.export import latex, summary

    budget = summary.BUDGET // len(stored_runs)
    texts = (summary.markdown(*run, budget) if file_format == "md" else latex.latex(*run) for run in stored_runs)
    text = "\n\n".join(texts)
    if out:
        name = "summary.md" if file_format == "md" else "tables.tex"
        _print_place(write(destination(out, name), f"{text}\n"))
    else:
        print(text)


def _write_figures(
    stored_runs: Sequence[Stored], directories: Sequence[Path], file_format: str, out: Path | None
) -> None:
    """Write the figures of each run beside it, or those of the only run to a directory, and print their paths."""
    from convbench.report.export import figure_files

    if out and len(stored_runs) > 1:
        raise ConvbenchError("--out can hold one run's figures only: leave it out to write them beside each run")
    if out and means_file(out, f".{file_format}"):
        raise ConvbenchError(f"--out {out}: a run has more than one figure: name a directory")
    for run, directory in zip(stored_runs, directories, strict=True):
        for path in figure_files.write(*run, out or directory / "figures", file_format):
            print(path)
    print_missing_plugins()


def _write_page(stored_runs: Sequence[Stored], directories: Sequence[Path], out: Path | None) -> Path:
    """Write the page of the run, with its table if it goes beside the run, or that of several runs. Return its path."""
    from convbench.analysis.table import write_csv
    from convbench.report.page import compare
    from convbench.report.page import run as page

    place = out or directories[0]
    if len(stored_runs) > 1:
        return compare.write(stored_runs, destination(place, "compare.html"), directories)
    if out is None:
        write_csv(place, stored_runs[0][1])
    return page.write(*stored_runs[0], destination(place, "index.html"), directories[0])


_printed = set[installed.MissingPlugins]()


def _print_place(place: Path) -> None:
    if not is_special(place):  # a pipe's reader has the report already, and must get no line after it
        print(place)


def print_missing_plugins() -> None:
    """Print which plug-ins could not be loaded, and which figures and claims raised, each once in a process."""
    for entry in installed.missing_plugins():
        if entry not in _printed:
            _printed.add(entry)
            print(f"convbench: {entry.sentence}", file=sys.stderr)


def conclude(directory: Path, show: bool) -> None:
    """Write the report of a run. If ``show``, first print the table and the answer, and last the report's path.

    If not, standard error still tells that cases failed or were skipped.
    """
    from convbench.analysis.results import results
    from convbench.core.storage import store
    from convbench.report.page import run as page
    from convbench.report.terminal.table import ResultTable
    from convbench.report.words import answer

    run, records = store.load(directory)
    if show:  # before the page: one that cannot be written must not hide the answer
        screen = console(wide=False)
        screen.print(ResultTable(records))
        screen.print("\n" + answer.answer(run, records) + "\n", markup=False, highlight=False)
    path = page.write(run, records, directory / "index.html", remedy=store.report_elsewhere(directory))
    print_missing_plugins()
    if show:
        print(path)
    elif any(record.status != "ok" for record in records):
        print(f"convbench: {answer.outcome(run, results(records))}: {path} says why", file=sys.stderr)
