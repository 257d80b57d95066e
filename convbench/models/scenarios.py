"""The shelf of scenarios: how a subject is called. Subject -> the one call that is timed. One file per scenario."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convbench.models.subject import Subject

Scenario = Callable[["Subject"], Callable[[], Any]]
