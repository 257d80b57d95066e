"""Save a check as it runs: a killed one loses at most the pairs of its last seconds, and --resume continues it.

An unfinished check is stored as an ``Outcome`` that is marked as such: it is never a regression and never fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from convbench.check.outcome import CaseOutcome, Outcome, SideOutcome
from convbench.core.comparability import identity
from convbench.core.errors import Refused
from convbench.core.text import some


@dataclass(frozen=True)
class Ledger:
    """Where a check saves itself: ``keep`` receives the outcome so far, after a visit to all undecided cases or sooner.

    ``earlier_outcome`` is the stored outcome of an interrupted check; if it is not ``required``, one of another check
    is ignored instead of refused. ``written_files`` are the files that the check itself writes: they do not count as
    changes of the code.
    """

    keep: Callable[[Outcome], None] = field(default=lambda _: None)
    earlier_outcome: Outcome | None = None
    written_files: tuple[Path, ...] = ()
    required: bool = True

    def earlier_cases(
        self, outcome: Outcome, changes: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> tuple[CaseOutcome, ...]:
        """Return the cases of the stored outcome to go on with. Raises Refused as ``refuse_another``."""
        try:
            self.refuse_another(outcome, changes)
        except Refused:
            if self.required:
                raise
            return ()
        return self.earlier_outcome.cases if self.earlier_outcome else ()

    def refuse_another(self, outcome: Outcome, changes: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        """Raise Refused if the stored outcome is of other code, cases, settings or machine than this check.

        ``changes`` holds by side the files that differ from its commit.
        """
        if self.earlier_outcome is None:
            return
        for name, earlier, side in (
            ("base", self.earlier_outcome.base, outcome.base),
            ("head", self.earlier_outcome.head, outcome.head),
        ):
            if None in (earlier.commit, side.commit):
                raise no_resume(f"{name} is not a commit, so there is no telling whether it is still the same")
            if earlier.dirty or side.dirty:
                files = f" ({some(changes[name])})" if changes.get(name) else ""
                reason = "so there is no telling whether they are still the same"
                raise no_resume(f"{name} has uncommitted changes{files}, {reason}")
        for name, before, after in _identity(self.earlier_outcome, outcome):
            if before != after:
                raise no_resume(f"not the same {name} as before")


def no_resume(reason: str) -> Refused:
    """Return the error that refuses to resume, with the reason and what to do."""
    return Refused(f"--resume: {reason}: run without --resume to measure everything again")


def _identity(before: Outcome, outcome: Outcome) -> Iterator[tuple[str, object, object]]:
    yield "suite", before.suite, outcome.suite
    yield "selection of cases", {case.id for case in before.cases}, {case.id for case in outcome.cases}
    yield "protocol.seed", before.seed, outcome.seed if before.seed is not None else None
    yield "rule", before.rule, outcome.rule
    # A new time limit applies from here on: no pair depends on it, and a case that exceeded the old one is tried again.
    yield "settings", before.settings, replace(outcome.settings, timeout=before.settings.timeout)
    for name, earlier, side in (("base", before.base, outcome.base), ("head", before.head, outcome.head)):
        yield f"code of {name}", earlier.commit, side.commit
        yield f"build command of {name}", earlier.build, side.build
        yield f"machine or software of {name}", _machine(earlier), _machine(side)


def _machine(side: SideOutcome) -> dict[str, object]:
    """Return the facts that decide whether numbers are comparable, and the version of convbench.

    The patch level of the kernel is not among them.
    """
    return {**identity(side.environment), "convbench": side.environment.get("convbench")}
