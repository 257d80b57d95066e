"""Whether torch.compile is on, and can build for the CPU here, and with which compiler."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from convbench.core import lock
from convbench.core.errors import StoreError

SWITCHES = ("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE")


def switched_off() -> str | None:
    """Explain what switches torch.compile off, and how to undo it; None if it compiles."""
    name = next((name for name in SWITCHES if os.environ.get(name) == "1"), None)
    return name and f"{name}=1 switches torch.compile off, so that it would run eager: unset it"


def missing_tool() -> str | None:
    """Explain what torch.compile lacks to build for the CPU, and how to get it; None if it lacks nothing."""
    compiler = _compiler()
    if not shutil.which(compiler):
        if "CXX" in os.environ:
            return f"CXX={compiler} is not a program that torch can start: set CXX to one, without arguments"
        return f"there is no C++ compiler {compiler}: on Debian, apt-get install g++; or set CXX to another"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python.h is missing: on Debian, apt-get install python3-dev"
    try:
        folder = str(lock.temporary_folder())
    except StoreError as error:
        return str(error)
    if not _is_word(folder):  # torch writes the path unquoted into a command that it splits
        return f"torch cannot build in {folder}, whose path has a blank, a quote or a backslash: set TMPDIR"
    return None


def compiler_version() -> str | None:
    """Return the first line in which the C++ compiler of ``missing_tool`` states its version; None without one.

    The line names the compiler without its folder: ``g++ (Debian 12.2.0-14) 12.2.0``.
    """
    try:
        text = subprocess.run([_compiler(), "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return text.partition("\n")[0].strip() or None


def _compiler() -> str:
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # torch tries no other


def _is_word(path: str) -> bool:
    try:
        return shlex.split(path) == [path]
    except ValueError:  # a quote that does not close
        return False
