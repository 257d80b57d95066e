"""Run the command line as a person does, in a new or forked process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import forked

TESTS = Path(__file__).parent


def start(*words: str, cwd: Path, **more) -> subprocess.Popen[str]:
    """Start ``convbench WORDS`` in a folder, in a new process that can be killed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "convbench", *words], cwd=cwd, env=_environment(), **pipes, **more)


def convbench(*words: str, cwd: Path, path: Path = TESTS, columns: int = 100) -> subprocess.CompletedProcess[str]:
    """Run ``convbench WORDS`` in a folder, in a forked process. It may fail, but not with a traceback.

    Modules are imported from ``path``.
    """
    done = forked.python("-m", "convbench", *words, cwd=cwd, env=_environment(path, columns))
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _environment(path: Path = TESTS, columns: int = 100) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(path), "COLUMNS": str(columns)}


def git(cwd: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def commit(cwd: Path, message: str) -> None:
    """Commit all files in the folder."""
    git(cwd, "add", "-A")
    git(cwd, "commit", "-qm", message)
