"""How a check runs both of its sides. Its outcome stores this, so that two checks can be told apart."""

from __future__ import annotations

from dataclasses import dataclass


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
