"""Where the verbs keep what they measured, below the current directory, unless they are told another place."""

from __future__ import annotations

from pathlib import Path

REPORTS = Path("reports")
CHECK, BISECT, SELFTEST = REPORTS / "check", REPORTS / "bisect", REPORTS / "selftest"
OF_GATE = (CHECK, BISECT, SELFTEST)
"""Those of the gate's verbs, which hold no runs."""
