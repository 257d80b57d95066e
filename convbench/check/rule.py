"""What counts as a regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Rule:
    """Relative slowdowns: up to ``tolerance`` is no regression, from ``guard`` on is no pass."""

    tolerance: float = 0.02
    guard: float = 0.04

    @classmethod
    def detecting(cls, slowdown: float) -> Self:
        """The rule that is meant to see a slowdown, such as 0.05 (which is the default rule)."""
        return cls(0.4 * slowdown, 0.8 * slowdown)
