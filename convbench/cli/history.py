"""The verb that finds changes over stored runs: history."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import Only, app
from convbench.cli.gate import announcer, hold_machine, say_unused
from convbench.core.commands import Command
from convbench.core.errors import ConvbenchError
from convbench.core.system.files import destination

if TYPE_CHECKING:
    from convbench.analysis.history.overview import History, HistoryQuery
    from convbench.check.confirm import Suspect


@dataclass(frozen=True)
class QueryOptions:
    """What is asked: about which runs, metric and cases, and since when."""

    runs: Annotated[list[Path] | None, typer.Argument(help="Run directories, or folders that hold them.")] = None
    store: Annotated[Path | None, typer.Option(help="A folder of runs, which also keeps confirmations.")] = None
    metric: Annotated[str, typer.Option(metavar="NAME", help="The metric's short name, such as memory.")] = "latency"
    only: Only = None
    since: Annotated[str, typer.Option(metavar="DATE", help="Ignore changes before this date, as in 2026-11-01.")] = ""

    def query(self) -> HistoryQuery:
        """Return the query. Raises ConvbenchError unless either runs or a store are named, and for an invalid date."""
        from convbench.analysis.history.overview import HistoryQuery
        from convbench.core import git, imports

        if bool(self.runs) == bool(self.store):
            raise ConvbenchError("name the runs: either run directories, or --store FOLDER that holds them")
        folders = (self.store,) if self.store else tuple(self.runs or ())
        place = imports.working_directory()
        commits = git.commits(place) if place else ()
        return HistoryQuery(folders, self.metric, tuple(self.only or ()), self.since, commits)


@app.command()
def history(
    options: QueryOptions,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Check the commits of suspected changes side by side.")
    ] = False,
    build: Annotated[str, typer.Option(help="With --confirm: a command that builds each commit in its tree.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON, in base units.")] = False,
    out: Annotated[Path | None, typer.Option(help="A page to write, or its directory.")] = None,
) -> None:
    """Say when stored runs became slower: exit 1 means confirmed by a paired check, 3 suspected, 4 incomparable.

    Values are taken relative to the reference workload; spikes and drift are not changes, and each machine has a
    series of its own. With --confirm, both commits of a change are measured side by side, here and now.
    """
    from convbench.check import confirm as confirmation

    say_unused("only --confirm builds anything", {"--build": build and not confirm})
    question, store = options.query(), options.store
    answer = _answer(question, store)
    if confirm:
        if options.metric != "latency":
            raise ConvbenchError(f"--confirm measures latency, not {options.metric}: leave out --confirm or --metric")
        if store is None:
            raise ConvbenchError("--confirm keeps what it measures in a store: name the store with --store")
        suspects, reasons = confirmation.suspects(answer)
        for reason in reasons:
            print(f"cannot be confirmed: {reason}", file=sys.stderr)
        _confirm(suspects, store, build)
        answer = _answer(question, store)
    _show(answer, store, question.line, as_json, out)
    raise typer.Exit(answer.exit_code)


def _answer(question: HistoryQuery, store: Path | None) -> History:
    from convbench.analysis.history import overview
    from convbench.check import confirm

    return overview.history(question, *(confirm.confirmations(store) if store else ()))


def _confirm(suspects: list[Suspect], store: Path, build: str) -> None:
    """Check each pair of commits and keep the result. A pair that cannot be checked is reported, the others go on.

    A check that is interrupted keeps its pairs, and goes on with them the next time.
    """
    from convbench.check import confirm
    from convbench.core import imports

    for suspect in suspects:
        with hold_machine():
            try:
                confirm.refuse_unwritable(store)
                cwd, ledger = imports.require_working_directory(), confirm.ledger(store, suspect)
                place = confirm.keep(store, confirm.confirm(suspect, cwd, announcer(), build, ledger))
                confirm.forget_unfinished(store, suspect)
            except ConvbenchError as error:
                print(f"cannot be confirmed: {suspect.before} to {suspect.after}: {error}", file=sys.stderr)
                continue
        print(f"kept in {place}", file=sys.stderr)


def _show(answer: History, store: Path | None, line: Sequence[str], as_json: bool, out: Path | None) -> None:
    from convbench.report.words import history as words

    command = words.next_command(answer, str(store), _command_of, line) if store else ""
    if out:
        from convbench.report.page import history as page

        place = page.write(answer, destination(out, "history.html"), command)
        print(place, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        from convbench.report.export.history_json import plain

        print(json.dumps(plain(answer), indent=1, allow_nan=False))
        return
    print("\n".join(words.lines(answer)))
    if command:
        print(command)


def _command_of(run: str) -> Command:
    from convbench.core.storage import store

    return Command.of(store.read_description(Path(run)))
