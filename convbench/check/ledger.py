"""A check that is kept as it goes: a pair of every case is on disk before the next, so that --resume goes on with it.

What is kept of an unfinished check is an ``Outcome`` that says so: it is never a regression, and never fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from convbench.check.outcome import Outcome, SideOutcome
from convbench.core.comparability import identity
from convbench.core.errors import Refused
from convbench.core.text import some


def _keep_nothing(_: Outcome) -> None:
    return


@dataclass(frozen=True)
class Ledger:
    """``keep`` is given the outcome so far after a pair of every case.

    ``before`` is what an interrupted check had kept. ``written`` are the files that the check writes, whose being there
    is no change of the code.
    """

    keep: Callable[[Outcome], None] = _keep_nothing
    before: Outcome | None = None
    written: tuple[Path, ...] = ()

    def refuse_another(self, outcome: Outcome, changes: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        """Raises Refused where what was kept is of other code, cases, settings or machine than what is measured now.

        ``changes`` are by side the files that are not as its commit has them.
        """
        if self.before is None:
            return
        for name, earlier, side in (("base", self.before.base, outcome.base), ("head", self.before.head, outcome.head)):
            if None in (earlier.commit, side.commit):
                raise no_resume(f"{name} is no commit, so that it cannot be told whether it is the same")
            if earlier.dirty or side.dirty:
                files = f" ({some(changes[name])})" if changes.get(name) else ""
                reason = "so that it cannot be told whether they are the same"
                raise no_resume(f"{name} has changes that are not committed{files}, {reason}")
        for name, before, after in _identity(self.before, outcome):
            if before != after:
                raise no_resume(f"the {name} was another")


def no_resume(reason: str) -> Refused:
    """The refusal to go on with what was kept, and what to do."""
    return Refused(f"--resume: {reason}: run without --resume, all is measured again")


def _identity(before: Outcome, outcome: Outcome) -> Iterator[tuple[str, object, object]]:
    yield "suite", before.suite, outcome.suite
    yield "selection of cases", {case.id for case in before.cases}, {case.id for case in outcome.cases}
    yield "rule", before.rule, outcome.rule
    # The limit of seconds is the suite's, which is known once the cases are.
    yield "settings", before.settings, replace(outcome.settings, timeout=before.settings.timeout)
    for name, earlier, side in (("base", before.base, outcome.base), ("head", before.head, outcome.head)):
        yield f"code of {name}", earlier.commit, side.commit
        yield f"machine or software of {name}", _machine(earlier), _machine(side)


def _machine(side: SideOutcome) -> dict[str, object]:
    """What decides whether numbers may be compared, and what measured them; not the kernel's patch level."""
    return {**identity(side.environment), "convbench": side.environment.get("convbench")}
