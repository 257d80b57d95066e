"""The verbs that show what is available: list, schema and doctor."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from convbench.cli.app import app
from convbench.cli.terminal import console
from convbench.core import registry
from convbench.core.errors import ConvbenchError

SHELVES = {f"{plugins.kind}s": plugins for plugins in registry.SHELVES}
NAMES = ("suites", *SHELVES, "columns")
WIDEST = 80
"""Characters of an entry's name and options that widen the column of its shelf: Slurm's options take 230."""


@app.command("list")
def list_shelves(
    shelf: Annotated[str, typer.Argument(help=f"{', '.join(NAMES)}.", autocompletion=lambda: NAMES)] = "",
) -> None:
    """List what each shelf holds, one line per entry."""
    from convbench.core import installed
    from convbench.suite import load, shipped_suites

    if shelf and shelf not in NAMES:
        raise ConvbenchError(f"unknown shelf {shelf!r}{registry.did_you_mean(shelf, NAMES)}")
    if shelf == "columns":
        from convbench.analysis.table import columns

        # base units of results.csv and ``run --json``; the columns of a user's own probes come after
        _print_shelf("columns", {f"{name:<42} {unit:<9}".rstrip(): meaning for name, unit, meaning in columns()})
    if shelf in ("", "suites"):
        _print_shelf("suites", {name: load(name).description for name in shipped_suites()})
    for name, plugins in SHELVES.items():
        if shelf in ("", name):
            _print_shelf(name, {_signature(plugin): _description(plugin) for plugin in plugins})
    for entry in installed.missing_plugins():
        print(f"lacking: {entry.sentence}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of suites, for editors."""
    from convbench.suite import schema as suite_schema

    print(json.dumps(suite_schema(), indent=2))


@app.command()
def doctor() -> None:
    """Show what this machine can and cannot measure."""
    from convbench.measure.machine import doctor

    screen = console(wide=False)
    for check in doctor.examine():
        screen.print("ok  " if check.is_good else "lack", style="green" if check.is_good else "yellow", end=" ")
        screen.print(f"{check.name}: {check.message}", markup=False, highlight=False, soft_wrap=True)


def _print_shelf(name: str, entries: dict[str, str]) -> None:
    """Print entries and summaries in two columns. An entry longer than ``WIDEST`` widens only its own line."""
    width = max((len(entry) for entry in entries if len(entry) <= WIDEST), default=0)
    print(f"{name}:", *(f"  {entry:<{width}}  {summary}" for entry, summary in entries.items()), "", sep="\n")


def _signature(plugin: Any) -> str:
    """Return ``avg-k(k=4)``; a required option has no default: ``npz-folder(path)``."""
    options = ", ".join(
        name if parameter.default is parameter.empty else f"{name}={registry.default_text(parameter.default)}"
        for name, parameter in plugin.options.items()
    )
    return f"{plugin.name}({options})" if options else plugin.name


def _description(plugin: Any) -> str:
    """Return a plug-in's summary, its origin unless it is convbench's own, and the extra that it lacks here."""
    from convbench.core.traits import VariantTraits, missing_modules

    marks = [] if plugin.origin == "convbench" else [plugin.origin]
    declaration = plugin.declaration
    if isinstance(declaration, VariantTraits) and (names := missing_modules(declaration.modules)):
        remedy = f"pip install 'convbench[{declaration.extra}]'" if declaration.extra else ", ".join(names)
        marks.append(f"not installed: {remedy}")
    return " ".join([plugin.summary, *(f"[{mark}]" for mark in marks)])
