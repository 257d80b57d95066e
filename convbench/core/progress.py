"""Where a run is, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run is: the round that is made (``FACTS`` first), the rounds asked for, the cases still open.

    ``hosts`` is how many measure. ``trainings`` is how many are made, 0 before they begin; from the second ``look`` on
    they are further seeds. ``visits`` are those of this state, and ``following`` those of the rounds after it;
    ``unplanned`` ones come from what was measured. ``budget_left`` is in seconds, None without a budget.
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
