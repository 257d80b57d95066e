"""Whether torch.compile can build for the CPU here."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path


def missing_tool() -> str | None:
    """What torch.compile lacks on this machine to build for the CPU, and how to get it; None where it has all."""
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        return "there is no C++ compiler: on Debian, apt-get install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python.h is missing: on Debian, apt-get install python3-dev"
    return None
