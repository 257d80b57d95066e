"""How both sides of a check are run, alike: what its outcome keeps, so that two checks can be told apart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What both sides share: threads, C allocator, device, seconds of a slice and most seconds of a case in a pair."""

    threads: int = 1
    allocator: str = "glibc"
    device: str = "cpu"
    slice_s: float = 0.006
    case_s: float = 3.0
    timeout: float = 300.0
