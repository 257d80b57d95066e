"""The verb that turns runs into reports, and what every run ends with."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from convbench.cli.app import Runs, app
from convbench.cli.terminal import console


@app.command()
def report(
    runs: Runs,
    out: Annotated[Path | None, typer.Option(help="A directory, or a file [default: beside the run].")] = None,
    file_format: Annotated[str, typer.Option("--format", help="html, md, or png, svg, pdf for the figures.")] = "html",
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report of a run again, or lay several runs side by side."""
    from convbench.analysis.table import write_csv
    from convbench.core import store
    from convbench.core.files import write
    from convbench.report.export import figure_files, summary
    from convbench.report.page import compare
    from convbench.report.page import run as page

    loaded = [store.load(path) for path in runs]
    directory = runs[0] if runs[0].is_dir() else runs[0].parent
    if file_format == "md":
        text = "\n\n".join(summary.markdown(*run) for run in loaded)
        print(write(placed(out, "summary.md"), f"{text}\n") if out else text)
        return
    if file_format != "html":
        for run in loaded:
            for path in figure_files.write(*run, out or directory / "figures", file_format):
                print(path)
        return
    if len(loaded) > 1:
        written = compare.write(loaded, placed(out or directory, "compare.html"))
    else:
        write_csv(directory, loaded[0][1])
        written = page.write(*loaded[0], placed(out or directory, "index.html"))
    print(written)
    if open_it:
        webbrowser.open(written.resolve().as_uri())


def placed(out: Path, name: str) -> Path:
    """Where a file goes: into the directory that is meant, or there where a file is meant, which has our extension."""
    is_file = out.suffix == Path(name).suffix and not out.is_dir()
    return out if is_file else out / name


def conclude(directory: Path, show: bool) -> None:
    """The table and the answer, and always the report and its path."""
    from convbench.core import store
    from convbench.report.page import run as page
    from convbench.report.terminal import table
    from convbench.report.words import answer

    run, records = store.load(directory)
    path = page.write(run, records, directory / "index.html")
    if not show:
        return
    out = console(wide=False)
    out.print(table.table(records))
    out.print("\n" + answer.answer(run, records) + "\n", markup=False, highlight=False)
    print(path)
