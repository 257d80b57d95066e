"""The cores that this process may run on."""

from __future__ import annotations

import os


def allowed_cores() -> tuple[int, ...]:
    """Return the cores of this process's affinity, in order; empty if the system does not tell, as on macOS."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
