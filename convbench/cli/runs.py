"""The verb that lists stored runs: runs."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.terminal import console, print_table
from convbench.core.default_folders import REPORTS
from convbench.core.errors import ConvbenchError
from convbench.core.imports import near
from convbench.core.registry import did_you_mean

if TYPE_CHECKING:
    from convbench.core.storage.index import RunEntry

FORMATS = ("table", "json", "csv")


@app.command()
def runs(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Run directories, or folders that hold them [default: reports].")
    ] = None,
    suite: Annotated[str, typer.Option(metavar="GLOB", help="Only runs of these suites.")] = "",
    machine: Annotated[str, typer.Option(metavar="GLOB", help="Only runs of machines described so, as in epyc.")] = "",
    since: Annotated[str, typer.Option(metavar="DATE", help="Only runs since this date, as in 2026-11-01.")] = "",
    file_format: Annotated[str, typer.Option("--format", help="table, json or csv.")] = "table",
) -> None:
    """List stored runs, the newest first: date, suite, commit, machine, what became of the cases, and the folder.

    Copies of a run, the shards of a merged run and runs that cannot be read are listed, too.
    """
    from convbench.analysis.history.run_list import runs_of

    if file_format not in FORMATS:
        raise ConvbenchError(f"unknown --format {file_format!r}{did_you_mean(file_format, FORMATS)}")
    entries = runs_of(folders or [REPORTS], suite, machine, since)
    rows = [_row(entry) for entry in entries]
    if file_format == "json":
        print(json.dumps(rows, indent=1))
    elif file_format == "csv":
        from convbench.core.text import cell

        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(rows[0])
        lines.writerows([cell(value) for value in row.values()] for row in rows)
    else:
        _print(entries)


def _row(entry: RunEntry) -> dict[str, Any]:
    """Return a run as a flat object; ``ok``, ``failed``, ``skipped`` and ``missing`` are numbers of cases."""
    return {
        "started": entry.started, "suite": entry.name, "commit": entry.commit, "dirty": entry.dirty,
        "machine": entry.machines, "ok": entry.results - entry.failed - entry.skipped, "failed": entry.failed,
        "skipped": entry.skipped, "missing": entry.missing, "folder": entry.path, "problem": entry.problem,
    }  # fmt: skip


def _print(entries: list[RunEntry]) -> None:
    from convbench.analysis.history.overview import reason
    from convbench.analysis.history.series import minute

    rows = []
    for entry in entries:
        row = _row(entry)
        commit = entry.commit + " (dirty)" * entry.dirty
        counts = [str(row[name]) if row[name] else "" for name in ("ok", "failed", "skipped", "missing")]
        rows.append([near(entry.path), minute(entry.started), entry.name, commit, *counts, entry.machines])
    headings = ("folder", "started (UTC)", "suite", "commit", "ok", "failed", "skipped", "missing", "machine")
    print_table(console(), headings, rows, wrapping=("folder", "machine"))
    for entry in entries:
        if entry.problem:
            print(reason(entry), file=sys.stderr)
