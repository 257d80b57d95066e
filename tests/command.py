"""The command line as a person calls it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def start(*words: str, cwd: Path, path: Path = TESTS, columns: int = 100, **more) -> subprocess.Popen[str]:
    """``convbench WORDS`` in a folder, on a terminal of that width; modules are found at ``path``."""
    environment = os.environ | {"PYTHONPATH": str(path), "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "convbench", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=cwd, env=environment, **pipes, **more)


def convbench(*words: str, cwd: Path, **more) -> subprocess.CompletedProcess[str]:
    """What comes of it; it may fail, but not with a traceback."""
    process = start(*words, cwd=cwd, **more)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return subprocess.CompletedProcess(words, process.returncode, out, err)
