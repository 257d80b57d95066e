"""The files of a check: its JSON, kept as it goes on, and at its end, also an early one, JUnit XML and Markdown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from convbench.core.errors import ConvbenchError

if TYPE_CHECKING:
    from convbench.check.ledger import Ledger
    from convbench.check.outcome import Outcome

REPORTS = Path("reports/check")
SUMMARY = "GITHUB_STEP_SUMMARY"


class CheckFiles:
    """Where an outcome is written: the JSON, which has a default place, and what else was asked for."""

    def __init__(self, suite: str, as_json: Path | None, junit: Path | None, summary: Path | None) -> None:
        self._json, self._junit = as_json or REPORTS / f"{Path(suite).stem}.json", junit
        self._summary = summary or (Path(os.environ[SUMMARY]) if SUMMARY in os.environ else None)
        self._latest: Outcome | None = None

    def ledger(self, resume: bool) -> Ledger:
        """Where a check keeps what it has, and what it goes on with. Raises ConvbenchError where there is nothing."""
        from convbench.check import outcome
        from convbench.check.ledger import Ledger

        if resume and not self._json.exists():
            raise ConvbenchError(
                f"--resume: {self._json} is not there: name with --json what the interrupted check has written"
            )
        written = tuple(path for path in (self._json, self._junit, self._summary) if path)
        return Ledger(self._keep, outcome.read(self._json) if resume else None, written)

    @contextmanager
    def written_when_interrupted(self) -> Iterator[None]:
        """What a CI system ends at its limit leaves the same files as a whole check."""
        try:
            yield
        except KeyboardInterrupt:
            if self._latest:
                self.write(self._latest)
            raise

    def write(self, outcome: Outcome) -> None:
        """Write all files, and say how to come to the verdicts again."""
        from convbench.check import ci
        from convbench.core import files

        self._keep(outcome)
        if self._junit:
            files.write(self._junit, ci.junit(outcome))
        if self._summary:
            files.append(self._summary, ci.markdown(outcome))
        print(f"replay with: convbench replay {self._json}", file=sys.stderr)

    def _keep(self, outcome: Outcome) -> None:
        from convbench.check import outcome as outcomes

        self._latest = outcome
        outcomes.write(outcome, self._json)
