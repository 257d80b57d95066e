"""Explain why a process died without sending a result, by its exit code and the last line it printed."""

from __future__ import annotations

import signal
from pathlib import Path

from convbench.core.errors import CaseFailed


def explain_death(exitcode: int | None, output: Path) -> CaseFailed:
    """Name the signal or exit code that ended the process, and the last line that it printed to ``output``."""
    lines = output.read_text(errors="replace").strip().splitlines() if output.exists() else []
    last_output = f"; last output: {lines[-1][:300]}" if lines else ""
    if exitcode is None or exitcode >= 0:
        return CaseFailed("crash", f"the process ended with exit code {exitcode} and no result{last_output}")
    signal_names = {number.value: number.name for number in signal.Signals}
    name = signal_names.get(-exitcode, f"signal {-exitcode}")  # real-time signals have no names of their own
    if -exitcode == signal.SIGKILL:
        return CaseFailed("out of memory", f"killed by {name}, as the system's out-of-memory killer does{last_output}")
    return CaseFailed("crash", f"killed by {name}{last_output}")
