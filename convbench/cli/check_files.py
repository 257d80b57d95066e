"""The files of a check: its JSON, updated as it goes on, and JUnit XML and Markdown at its end, even if interrupted."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.core.default_folders import CHECK
from convbench.core.errors import ConvbenchError, StoreError

if TYPE_CHECKING:
    from convbench.check.ledger import Ledger
    from convbench.check.outcome import Outcome

SUMMARY = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True)
class FileOptions:
    """Which files to write."""

    as_json: Annotated[
        Path | None, typer.Option("--json", help="The JSON file to write [default: reports/check/SUITE.json].")
    ] = None
    junit: Annotated[Path | None, typer.Option(help="The JUnit XML file to write.")] = None
    summary: Annotated[Path | None, typer.Option(help="Markdown to append to [default: $GITHUB_STEP_SUMMARY].")] = None

    @property
    def paths(self) -> dict[str, Path | None]:
        """The files by option."""
        return {"--json": self.as_json, "--junit": self.junit, "--summary": self.summary}


class CheckFiles:
    """Where to write an outcome: the JSON, at a default path if none is given, other requested files, and CI's summary.

    Raises StoreError if a requested file cannot be written, before anything is measured.
    """

    def __init__(self, suite: str, options: FileOptions) -> None:
        from convbench.core.system import files

        self._json = options.as_json or CHECK / f"{Path(suite).stem}.json"
        self._junit, self._summary = options.junit, options.summary
        self._step_summary = Path(os.environ[SUMMARY]) if os.environ.get(SUMMARY) and not options.summary else None
        self.latest: Outcome | None = None
        for option, path in {**options.paths, "--json": self._json}.items():
            if path:
                files.refuse_unwritable(path, f"{files.ELSEWHERE} with {option}")

    def ledger(self, resume: bool) -> Ledger:
        """Return the ledger that stores the check; with ``resume``, with the check so far.

        Raises ConvbenchError if there is none to resume.
        """
        from convbench.check import outcome
        from convbench.check.ledger import Ledger

        if resume and not self._json.exists():
            raise ConvbenchError(
                f"--resume: {self._json} does not exist: run without --resume, or name the interrupted check's file "
                "with --json"
            )
        paths = tuple(path for path in (self._json, self._junit, self._summary, self._step_summary) if path)
        return Ledger(self._keep, outcome.read(self._json) if resume else None, paths)

    @contextmanager
    def write_when_interrupted(self) -> Iterator[None]:
        """Write the same files as a whole check if a CI system ends this one at its time limit."""
        try:
            yield
        except KeyboardInterrupt:
            if self.latest:
                self.write(self.latest)
            raise

    def write(self, outcome: Outcome) -> None:
        """Write all files, and print how to work out the verdicts again. Raises StoreError for those that it cannot."""
        from convbench.check import ci
        from convbench.core.system import files

        replay = f"convbench replay {shlex.quote(str(self._json))}"
        errors: list[str] = []
        with _collect(errors):
            self._keep(outcome)
        is_stored = not errors  # or the JSON there is that of another check
        remedy = f"{files.ELSEWHERE}; all timings are stored: {replay}" if is_stored else files.ELSEWHERE
        if self._junit:
            with _collect(errors):
                files.write(self._junit, ci.junit(outcome), remedy)
        if self._summary:
            with _collect(errors):
                files.append(self._summary, ci.markdown(outcome), remedy)
        if self._step_summary:
            try:
                files.append(self._step_summary, ci.markdown(outcome))
            except StoreError as error:  # nobody asked for it: a container may have the variable but not the file
                print(f"no step summary: {error}", file=sys.stderr)
        if is_stored:
            print(f"replay with: {replay}", file=sys.stderr)
        if errors:
            raise StoreError("\n".join(errors))

    def _keep(self, outcome: Outcome) -> None:
        from convbench.check import outcome as outcomes

        self.latest = outcome
        outcomes.write(outcome, self._json)


@contextmanager
def _collect(errors: list[str]) -> Iterator[None]:
    """Note that a file cannot be written, and go on: the others may be on another disk."""
    try:
        yield
    except StoreError as error:
        errors.append(str(error))
