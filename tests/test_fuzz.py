"""Run a quick, seeded part of the fuzzers and kills. ``make fuzz`` and ``make kills`` run all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parent / "fuzz"


def test_mutated_inputs_end_in_a_message():
    """Fifteen inputs of each kind share one process, which imports torch once."""
    command = [sys.executable, str(FUZZ / "fuzz.py"), "quick", "15", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_killed_runs_lose_nothing():
    command = [sys.executable, str(FUZZ / "kills.py"), "2", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
