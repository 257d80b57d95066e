"""The progress of a run, for those who display it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunState:
    """The progress of a run: its ``round`` (``FACTS`` first), the number of ``rounds``, the ids of the ``open`` cases.

    ``hosts`` is the number of hosts that measure. ``trainings`` is the number of trainings at this stage, 0 before they
    begin; from the second ``look`` on they have further seeds. ``visits`` is the number of visits at this stage,
    ``following`` the number in the rounds after it; ``unplanned`` visits depend on what was measured.
    ``budget_left`` is in seconds, None without a budget.
    """

    round: int
    rounds: int
    open: tuple[str, ...] = ()
    hosts: int = 1
    trainings: int = 0
    look: int = 1
    visits: int = 0
    following: int = 0
    unplanned: bool = False
    budget_left: float | None = None
