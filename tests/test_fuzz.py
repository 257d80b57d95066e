"""A quick, seeded part of the fuzzers and of the kills; the whole is ``make fuzz`` and ``make kills``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parent / "fuzz"


def test_mutated_inputs_end_in_a_sentence():
    """Fifteen of each kind; one process imports torch for all of them."""
    command = [sys.executable, str(FUZZ / "fuzz.py"), "quick", "15", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_kills_lose_nothing():
    command = [sys.executable, str(FUZZ / "kills.py"), "2", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
