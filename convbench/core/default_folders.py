"""Where the commands keep what they measured, below the current directory, unless another place is given."""

from __future__ import annotations

from pathlib import Path

REPORTS = Path("reports")
CHECK, BISECT, SELFTEST = REPORTS / "check", REPORTS / "bisect", REPORTS / "selftest"
OF_GATE = (CHECK, BISECT, SELFTEST)
"""The folders of the gate's commands, which hold no runs."""
