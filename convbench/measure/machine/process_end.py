"""How a process ended that was to send a result and did not: in words, from its exit code and its last line."""

from __future__ import annotations

import signal
from pathlib import Path

from convbench.core.errors import CaseFailed


def death(exitcode: int | None, output: Path) -> CaseFailed:
    """By which signal or exit code it ended, and the last line that it printed to ``output``."""
    lines = output.read_text(errors="replace").strip().splitlines() if output.exists() else []
    last = f"; last output: {lines[-1][:300]}" if lines else ""
    if exitcode is None or exitcode >= 0:
        return CaseFailed("crash", f"the process ended with exit code {exitcode} and no result{last}")
    name = signal.Signals(-exitcode).name
    if -exitcode == signal.SIGKILL:
        return CaseFailed("out of memory", f"killed by {name}, as the system's out-of-memory killer does{last}")
    return CaseFailed("crash", f"killed by {name}{last}")
