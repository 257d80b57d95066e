"""What the variants of a case need from the process that measures it, as plain data.

Asking a variant means importing it. A variant of the user's own is asked in a separate process, since importing it may
print, start threads or end the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convbench.core.errors import Unavailable
from convbench.core.record import Case, Choice
from convbench.core.traits import builds, packages
from convbench.models.variants import process_environment


@dataclass(frozen=True, slots=True)
class ProcessNeeds:
    """What a case needs: packages whose versions count, torch's compiler (``builds``), and environment variables.

    ``missing`` is why those variables cannot be provided; empty if they can.
    """

    packages: tuple[str, ...] = ()
    builds: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


class AllNeeds:
    """The needs of cases. The user's own variants are asked once, by ``learn``."""

    def __init__(self) -> None:
        self._needs: dict[tuple[Choice, ...], ProcessNeeds] = {}

    def learn(self, cases: Sequence[Case], call: Callable[..., Any]) -> None:
        """Ask the user's variants that have not been asked yet; ``call`` calls a function in another process."""
        own_cases = {case.variant: case for case in cases if has_own_variant(case) and case.variant not in self._needs}
        if own_cases:
            self._needs |= dict(zip(own_cases, call(_needs, tuple(own_cases.values())), strict=True))

    def of(self, case: Case) -> ProcessNeeds:
        return self._needs[case.variant] if case.variant in self._needs else _needs_of(case)

    def packages(self, cases: Sequence[Case]) -> tuple[str, ...]:
        """Return the packages of all cases, sorted, each once."""
        return tuple(sorted({package for case in cases for package in self.of(case).packages}))


def has_own_variant(case: Case) -> bool:
    """Whether an import path names one of the case's variants."""
    return any(choice.is_imported for choice in case.variant)


def _needs(cases: Sequence[Case]) -> list[ProcessNeeds]:
    return [_needs_of(case) for case in cases]


def _needs_of(case: Case) -> ProcessNeeds:
    try:
        variables, missing = process_environment(case), ""
    except Unavailable as error:
        variables, missing = {}, str(error)
    return ProcessNeeds(packages([case]), builds(case), variables, missing)
