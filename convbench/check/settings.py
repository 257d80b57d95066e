"""How a check runs both sides, and what it counts as a regression. Its outcome stores both, to tell checks apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from convbench.core.arguments import is_number
from convbench.core.errors import ConvbenchError

SMALLEST, LARGEST = 0.005, 0.5
"""The range of slowdowns that a rule can be asked to detect."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What both sides share: threads, C allocator, device, seconds per slice and most seconds per case in a pair.

    ``timeout`` is the most seconds to wait for a worker's answer.
    """

    threads: int = 1
    allocator: str = "glibc"
    device: str = "cpu"
    slice_s: float = 0.006
    case_s: float = 3.0
    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits of relative slowdowns: up to ``tolerance`` is no regression, ``guard`` or more is not ok."""

    tolerance: float = 0.02
    guard: float = 0.04

    @classmethod
    def detecting(cls, slowdown: float) -> Self:
        """Return the rule that detects a slowdown such as 0.05, which gives the default rule.

        Raises ConvbenchError if it is not a number from SMALLEST to LARGEST.
        """
        if not (is_number(slowdown) and SMALLEST <= slowdown <= LARGEST):
            raise ConvbenchError(
                f"detect {slowdown!r}: give a share from {SMALLEST:g} to {LARGEST:g}, such as 0.05 for 5 %"
            )
        return cls(0.4 * slowdown, 0.8 * slowdown)
