"""The application that the verbs register with, its entry point and what they share."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from convbench.core.errors import ConvbenchError
from convbench.core.package import __version__

MEASURED, INCOMPLETE = 0, 5

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
Executor = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who measures (see `list executors`) [default: a fresh process for each case]."),
]
ExecutorOptions = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE|FILE",
        help="An option of the executor, as workers=8, or a YAML file of them (see `list executors`); may be repeated.",
    ),
]


def folder(text: str | Path) -> Path:
    """The folder of an option. Raises ConvbenchError of an empty text, as of a shell's variable that is not set."""
    if not str(text).strip():
        raise ConvbenchError("--out is empty: name a directory, or leave it out")
    return Path(text)


def named_folder(text: str | Path) -> Path:
    """A folder that runs are read from or written to. Raises ConvbenchError of an empty text, which is no folder."""
    if not str(text).strip():
        raise ConvbenchError("an empty text names no folder: is a variable of the shell not set?")
    return Path(text)


Out = Annotated[
    Path | None,
    typer.Option(parser=folder, metavar="PATH", help="The run's directory [default: reports/SUITE]."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="On this port of the loopback address; 0: any free one.")]
Runs = Annotated[list[Path], typer.Argument(help="Run directories.")]


def main() -> None:
    """Entry point: a user's mistake ends in one message and its exit code, never in a traceback."""
    from convbench.cli import ending, terminal

    words = sys.argv[1:]
    del sys.argv[1:]  # processes inherit them, and a user's module that parses arguments would take them for its own
    with terminal.guarded() as out:
        code = ending.code_of(partial(app, words, standalone_mode=False))
        out.flush()
        if problem := terminal.not_written(out):
            print(f"convbench: {problem}", file=sys.stderr)
            code = code or ending.UNWRITTEN
    sys.exit(code)


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    plugins: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="Import this first: it registers plug-ins of your own.")
    ] = None,
) -> None:
    if plugins:
        _bring(plugins)
    if version:
        from importlib.metadata import version as installed

        print(f"convbench {__version__}, torch {installed('torch')}")
        raise typer.Exit


def _bring(modules: list[str]) -> None:
    """Name modules that register plug-ins to this process and to those it starts."""
    from convbench.core import imports, installed

    imports.lend(filter(None, [imports.working_directory()]))
    os.environ[installed.VARIABLE] = ",".join([*filter(None, [os.environ.get(installed.VARIABLE)]), *modules])
    installed.load()
    for broken in installed.broken():
        if any(module in broken.reason for module in modules):
            raise ConvbenchError(broken.sentence)


def import_from_here(suite: str) -> None:
    """A suite may name the user's own modules: those beside it and in the working directory can be imported."""
    from convbench.core import imports

    imports.lend_beside(Path(suite))
