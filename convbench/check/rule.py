"""What counts as a regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from convbench.core.errors import ConvbenchError

SMALLEST, LARGEST = 0.005, 0.5
"""Slowdowns that a rule can be asked to see."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Relative slowdowns: up to ``tolerance`` is no regression, from ``guard`` on is no pass."""

    tolerance: float = 0.02
    guard: float = 0.04

    @classmethod
    def detecting(cls, slowdown: float) -> Self:
        """The rule that is meant to see a slowdown, such as 0.05 (which is the default rule).

        Raises ConvbenchError for one that no rule could see, or that is no share.
        """
        if not (isinstance(slowdown, (int, float)) and SMALLEST <= slowdown <= LARGEST):
            raise ConvbenchError(f"detect {slowdown!r}: a share from {SMALLEST:g} to {LARGEST:g}, as 0.05 for 5 %")
        return cls(0.4 * slowdown, 0.8 * slowdown)
