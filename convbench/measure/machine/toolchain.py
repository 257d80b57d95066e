"""Whether torch.compile can build for the CPU here."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path


def missing_tool() -> str | None:
    """What torch.compile lacks on this machine to build for the CPU, and how to get it; None where it has all."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")  # torch tries no other
    if not shutil.which(compiler):
        if "CXX" in os.environ:
            return f"CXX={compiler} is no program that torch could start: name one there, without arguments"
        return f"there is no C++ compiler {compiler}: on Debian, apt-get install g++; or name another by CXX"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python.h is missing: on Debian, apt-get install python3-dev"
    return None
