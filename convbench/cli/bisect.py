"""The verb that finds the commit at which a history became slower: bisect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli import gate
from convbench.cli.app import Overrides, Source, app
from convbench.core.default_folders import BISECT
from convbench.core.errors import ConvbenchError

if TYPE_CHECKING:
    from convbench.check.bisection.bisected import Bisected
    from convbench.check.bisection.places import Span

NAMED, A_RANGE = 0, 3


@dataclass(frozen=True)
class SpanOptions:
    """What to search: commits, or versions of a package."""

    good: Annotated[str, typer.Option(help="A fast commit, an ancestor of bad.")] = ""
    bad: Annotated[str, typer.Option(help="A slow commit.")] = "HEAD"
    package: Annotated[
        tuple[str, str], typer.Option(metavar="NAME FROM..TO", help="Search these versions of a package instead.")
    ] = ("", "")
    build: Annotated[str, typer.Option(help="A command that builds each commit in its tree.")] = ""

    def span(self) -> Span:
        """Return what to search. Raises ConvbenchError unless the options name either commits or a package."""
        from convbench.check.bisection.places import Span

        if bool(self.good) == bool(self.package[0]):
            raise ConvbenchError("name what to search: --good REF [--bad REF] for commits, or --package NAME FROM..TO")
        if self.package[0] and (self.bad != "HEAD" or self.build):
            raise ConvbenchError("--bad and --build are for commits, and --package searches versions: leave them out")
        return Span(self.good, self.bad, *self.package, self.build)


@app.command()
def bisect(
    suite: Source,
    overrides: Overrides = None,
    *,
    options: SpanOptions,
    sides: gate.SideOptions,
    budget: Annotated[
        str,
        typer.Option(metavar="TIME", help="Time limit, builds included, as in 10m; when it is up, a range is named."),
    ] = "",
    different_outputs: gate.DifferentOutputs = False,
    as_json: Annotated[
        Path | None,
        typer.Option("--json", help="The JSON file to write [default: reports/bisect/SUITE.json]."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a search that was interrupted.")] = False,
) -> None:
    """Find the first slower commit by paired checks along the history: exit 0 names one commit, exit 3 a range.

    Good and bad are checked first: if bad is not certainly slower, the search ends with exit 2. Commits that do not
    build are passed over. With --package, versions that pip can install are laid over this environment.
    """
    from convbench.check.bisection import bisect as search
    from convbench.check.inspection import Request
    from convbench.core import imports
    from convbench.core.system import files

    span = options.span()
    place = as_json or BISECT / f"{Path(suite).stem}.json"
    if resume and not place.exists():
        raise ConvbenchError(
            f"--resume: {place} does not exist: run without --resume, or name the interrupted search's file with --json"
        )
    files.refuse_unwritable(place, f"{files.ELSEWHERE} with --json")
    request = Request(suite, overrides or (), *sides.globs, not different_outputs)
    limit = gate.seconds_of(budget)
    question = search.BisectRequest(request, span, imports.require_working_directory(), place, resume, limit)
    settings, rule = sides.settings(), sides.rule()
    with gate.hold_machine(partial(search.refuse_mistakes, question, settings)):
        answer = search.find(question, settings, rule, gate.announcer())
    raise typer.Exit(_show(answer, place))


def _show(answer: Bisected, place: Path) -> int:
    from convbench.check.bisection.bisected import sentences

    print("\n".join(sentences(answer)))
    print(f"kept in {place}")
    return NAMED if answer.is_confirmed else A_RANGE
