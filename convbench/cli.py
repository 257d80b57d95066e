"""The verbs; the only place that prints to the terminal and exits. What is slow to import is imported by its verb."""

from __future__ import annotations

import json
import os
import shlex
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from convbench import __version__
from convbench.errors import ConvbenchError

if TYPE_CHECKING:
    from convbench.record import Record
    from convbench.sweep import Prepared

MEASURED, INCOMPLETE, INTERRUPTED = 0, 5, 130

app = typer.Typer(
    name="convbench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which reducer and which LSTM input size for a Conv2D -> reducer -> LSTM model: measured, on your machine.",
)

Source = Annotated[str, typer.Argument(help="A suite: a YAML file, or the name of one that ships (see `list suites`).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Change the suite, as in variant=eager or protocol.max_time=0.2."),
]
Device = Annotated[str, typer.Option(help="auto (the GPU where there is one), cpu, cuda or cuda:N.")]
Only = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only cases whose id, or a part of it, matches.")]
Skip = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Leave out cases whose id, or a part, matches.")]
Shard = Annotated[str, typer.Option(metavar="I/N", help="The I-th of N parts of the suite; `merge` joins their runs.")]
Metrics = Annotated[str, typer.Option(help="Only these, comma-separated: params,macs take milliseconds a case.")]
Out = Annotated[Path | None, typer.Option(help="The run's directory [default: reports/SUITE].")]
Runs = Annotated[list[Path], typer.Argument(help="Run directories.")]


def main() -> None:
    """Entry point: a user's mistake ends in one message and its exit code, never in a traceback."""
    try:
        app(standalone_mode=True)
    except ConvbenchError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INCOMPLETE)


@app.command()
def run(
    suite: Source,
    overrides: Overrides = None,
    device: Device = "auto",
    only: Only = None,
    skip: Skip = None,
    shard: Shard = "1/1",
    metrics: Metrics = "",
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the directory.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cases and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a finished case.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")] = False,
) -> None:
    """Measure a suite and write its report."""
    _import_from_here(suite)
    from convbench import sweep
    from convbench.suite import load

    chosen = [*(overrides or []), *([f"metrics=[{metrics}]"] if metrics else [])]
    loaded = load(suite, chosen)
    directory = out or Path("reports") / loaded.name
    selection = sweep.Selection(only or (), skip or (), _shard(shard))
    command = shlex.join(["convbench", "run", suite, *chosen])
    with sweep.prepare(loaded, device, selection, command) as prepared:
        if dry_run:
            _show_plan(prepared)
            return
        records = _measured(prepared, directory, resume, as_json, quiet)
    _conclude(directory, show=not (as_json or quiet))
    raise typer.Exit(INCOMPLETE if any(record.status == "failed" for record in records) else MEASURED)


@app.command()
def report(
    runs: Runs,
    out: Annotated[Path | None, typer.Option(help="Where to write [default: beside the run].")] = None,
    file_format: Annotated[str, typer.Option("--format", help="html, md, or png, svg, pdf for the figures.")] = "html",
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the report of a run again, or lay several runs side by side."""
    from convbench import store
    from convbench.report import compare, files, page

    loaded = [store.load(path) for path in runs]
    directory = runs[0] if runs[0].is_dir() else runs[0].parent
    if file_format == "md":
        print("\n\n".join(files.markdown(*one) for one in loaded))
        return
    if file_format != "html":
        for one in loaded:
            for path in files.write_figures(*one, out or directory / "figures", file_format):
                print(path)
        return
    if len(loaded) > 1:
        written = compare.write(loaded, out or directory / "compare.html")
    else:
        store.write_csv(directory, loaded[0][1])
        written = page.write(*loaded[0], out or directory / "index.html")
    print(written)
    if open_it:
        webbrowser.open(written.resolve().as_uri())


@app.command()
def merge(
    runs: Runs, out: Annotated[Path, typer.Option(help="The directory of the joined run.")] = Path("reports/merged")
) -> None:
    """Join the runs of the shards of one suite into one."""
    from convbench import store

    run, records = store.merge([store.load(path) for path in runs])
    store.start(out, run)
    for record in records:
        store.append(out, record)
    store.write_csv(out, records)
    _conclude(out, show=True)


@app.command("list")
def list_shelves(
    shelf: Annotated[str, typer.Argument(help="suites, backbones, reducers, variants, scenarios, probes.")] = "",
) -> None:
    """What each shelf holds, one line each."""
    from convbench import registry
    from convbench.suite import load, shipped

    shelves = {f"{one.kind}s": one for one in registry.SHELVES}
    if shelf and shelf not in (*shelves, "suites"):
        raise ConvbenchError(f"unknown shelf {shelf!r}{registry.did_you_mean(shelf, [*shelves, 'suites'])}")
    if shelf in ("", "suites"):
        _print_shelf("suites", {name: load(name).description for name in shipped()})
    for name, plugins in shelves.items():
        if shelf in ("", name):
            _print_shelf(name, {_signature(plugin): plugin.summary for plugin in plugins})


@app.command()
def schema() -> None:
    """Print the JSON Schema of suites, for editors."""
    from convbench.suite import schema as suite_schema

    print(json.dumps(suite_schema(), indent=2))


@app.command()
def doctor() -> None:
    """What this machine can measure and what not."""
    from rich.console import Console

    from convbench import checkup

    console = Console()
    for check in checkup.examine():
        console.print(
            f"[{'green' if check.good else 'yellow'}]{'ok  ' if check.good else 'lack'}[/] {check.name}: ", end=""
        )
        console.print(check.message, markup=False, highlight=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"convbench {__version__}, torch {installed('torch')}")
        raise typer.Exit


def _measured(prepared: Prepared, directory: Path, resume: bool, as_json: bool, quiet: bool) -> list[Record]:
    """Measure into ``directory``; Ctrl-C says how to go on."""
    from rich.console import Console

    from convbench import progress, store, sweep

    with store.locked(directory):
        done = sweep.begin(prepared, directory, resume)
        console, total = Console(stderr=True), len(prepared.plan.cases)
        with progress.watcher(console, quiet, len(done), total) as watcher:
            told = _Printing(watcher) if as_json else watcher
            try:
                return sweep.measure(prepared, directory, done, told)
            except KeyboardInterrupt:
                finished = len(store.load(directory)[1])
        _fail(f"interrupted; {finished} of {total} cases are in {directory}: add --resume to go on", INTERRUPTED)


class _Printing:
    """A watcher that also prints each Record to standard output, as one JSON object a line."""

    def __init__(self, watcher: Any) -> None:
        self.begins = watcher.begins
        self._ended = watcher.ended

    def ended(self, record: Record) -> None:
        from convbench.analysis import table

        print(json.dumps(table.row(record)), flush=True)
        self._ended(record)


def _conclude(directory: Path, show: bool) -> None:
    """The table and the answer, and always the report and its path."""
    from rich.console import Console

    from convbench import store
    from convbench.report import page, terminal, words

    run, records = store.load(directory)
    path = page.write(run, records, directory / "index.html")
    if not show:
        return
    console = Console()
    console.print(terminal.table(records))
    console.print("\n" + words.answer(run, records) + "\n", markup=False, highlight=False)
    print(path)


def _show_plan(prepared: Prepared) -> None:
    for case in prepared.plan.cases:
        equal = prepared.plan.equal.get(case.id)
        print(f"{case.id}  (also {', '.join(equal)})" if equal else case.id)
    given, planned = len(prepared.suite.cases), len(prepared.plan.cases)
    print(f"{planned} cases to measure, of {given} combinations in the suite", file=sys.stderr)


def _print_shelf(name: str, entries: dict[str, str]) -> None:
    width = max(map(len, entries), default=0)
    print(f"{name}:", *(f"  {entry:<{width}}  {summary}" for entry, summary in entries.items()), "", sep="\n")


def _signature(plugin: Any) -> str:
    options = ", ".join(f"{name}={parameter.default}" for name, parameter in plugin.options.items())
    return f"{plugin.name}({options})" if options else plugin.name


def _shard(text: str) -> tuple[int, int]:
    index, _, shards = text.partition("/")
    if not (index.isdigit() and shards.isdigit() and 1 <= int(index) <= int(shards)):
        raise ConvbenchError(f"--shard {text}: write it as I/N with I from 1 to N, as in 1/3")
    return int(index), int(shards)


def _import_from_here(suite: str) -> None:
    """A suite may name the user's own modules: those beside it and in the working directory can be imported."""
    sys.path[:0] = [str(Path.cwd()), *([str(Path(suite).parent.resolve())] if Path(suite).is_file() else [])]


def _fail(message: str, code: int) -> NoReturn:
    print(f"convbench: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
