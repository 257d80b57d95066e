"""Whether torch.compile is on, and can build for the CPU and the GPU here, and with which compiler."""

from __future__ import annotations

import codecs
import locale
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from convbench.core.errors import StoreError
from convbench.core.system import lock
from convbench.core.traits import missing_modules

TRITONS_LEAST = (7, 0)
"""The first compute capability of a GPU that triton builds for."""
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
    if reason := _missing_everywhere():
        return reason
    try:
        folder = str(lock.temporary_folder())
    except StoreError as error:
        return str(error)
    if not _is_word(folder):  # torch writes the path unquoted into a command that it splits
        return f"torch cannot build in {folder}, whose path has a blank, a quote or a backslash: set TMPDIR"
    if _is_noexec(folder):
        return "the folder for temporary files is mounted noexec, so nothing built there runs: set TMPDIR to another"
    return None


def _is_noexec(folder: str) -> bool:
    with suppress(AttributeError, OSError):  # Windows has no such call; the folder may be gone
        return bool(os.statvfs(folder).f_flag & os.ST_NOEXEC)
    return False


def missing_gpu_tool() -> str | None:
    """Explain what torch.compile lacks to build for the GPU, and how to get it; None if it lacks nothing.

    This asks CUDA, which no process may do that starts others by fork.
    """
    import torch

    if missing_modules(["triton"]):
        return f"there is no triton: install the one that torch {torch.__version__} requires"
    if (capability := torch.cuda.get_device_capability()) < TRITONS_LEAST:
        return f"triton builds for no GPU of compute capability {'.'.join(map(str, capability))}, only from 7.0"
    if not any(shutil.which(name) for name in (os.environ.get("CC"), "gcc", "clang") if name):
        return "triton finds no C compiler: on Debian, apt-get install gcc; or set CC to one"
    return _missing_everywhere()


def missing_cuda_toolkit() -> str | None:
    """Explain how to let AOTInductor find the CUDA toolkit, whose headers its libraries include; None if it does."""
    from torch.utils.cpp_extension import CUDA_HOME

    return None if CUDA_HOME else "there is no CUDA toolkit (nvcc): install it, or set CUDA_HOME to its folder"


def _missing_everywhere() -> str | None:
    """Explain what torch lacks to build for any device.

    That is an encoding in which it can read its own files, or Python's header where torch and triton look for it: not
    in the folder of Debian's own scheme.
    """
    if codecs.lookup(locale.getpreferredencoding(False)).name == "ascii":
        return "Python reads text as ASCII, and torch's own files are UTF-8: unset PYTHONUTF8, or set LC_ALL=C.UTF-8"
    if Path(sysconfig.get_path("include", "nt" if sys.platform == "win32" else "posix_prefix"), "Python.h").exists():
        return None
    return "Python.h is missing: on Debian, apt-get install python3-dev"


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
