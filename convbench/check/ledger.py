"""A check that is kept as it goes: every pair is on disk before the next begins, and an interrupted check goes on.

What is kept of an unfinished check is an ``Outcome`` that says so: it is never a regression, and never fine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from convbench.check.outcome import Outcome, SideOutcome
from convbench.core.errors import Refused


def _nowhere(_: Outcome) -> None:
    return


@dataclass(frozen=True)
class Ledger:
    """``keep`` is given the outcome so far after every pair; ``before`` is what an interrupted check had kept."""

    keep: Callable[[Outcome], None] = _nowhere
    before: Outcome | None = None

    def refuse_another(self, now: Outcome) -> None:
        """Raises Refused where what was kept is of other code, cases, settings or machine than what is measured now."""
        if self.before is None:
            return
        for name, of_then, of_now in _identity(self.before, now):
            if of_then != of_now:
                raise Refused(f"--resume: the {name} was another: run without --resume, all is measured again")


def _identity(before: Outcome, now: Outcome) -> Iterator[tuple[str, object, object]]:
    yield "suite", before.suite, now.suite
    yield "rule", before.rule, now.rule
    # The limit of seconds is the suite's, which is known once the cases are.
    yield "settings", before.settings, replace(now.settings, timeout=before.settings.timeout)
    for name, then, current in (("base", before.base, now.base), ("head", before.head, now.head)):
        yield f"code of {name}", _code(then), _code(current)
        yield f"machine or software of {name}", _machine(then), _machine(current)


def _code(side: SideOutcome) -> object:
    """What tells one code from another; code that is not committed is like no other, itself included."""
    return object() if side.dirty or side.commit is None else side.commit


def _machine(side: SideOutcome) -> dict[str, object]:
    return {name: value for name, value in side.environment.items() if name not in ("commit", "dirty")}
