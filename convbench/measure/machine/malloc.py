"""Fix the C allocator of processes that measure: it decides how many pages a call maps anew, often most of its time.

By default, glibc changes the size from which it maps blocks anew, by what a process happens to free first: the same
model then takes 3 ms in one process and 17 ms in the next. Every process that measures fixes the settings, unless the
user has set them. Another library can replace glibc's allocator in a process that starts.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress
from ctypes.util import find_library
from pathlib import Path
from typing import Literal

from convbench.core.errors import Unavailable

NUMBERS = {"MALLOC_MMAP_MAX_": -4, "MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TOP_PAD_": -2, "MALLOC_TRIM_THRESHOLD_": -1}
"""The variables that set malloc for a new process, with mallopt's numbers for this one."""

GLIBC = {"MALLOC_MMAP_THRESHOLD_": 4 << 20, "MALLOC_TRIM_THRESHOLD_": (1 << 31) - 1}
"""``glibc``: blocks from 4 MiB on are mapped anew at every call, smaller ones are reused.

Most processes arrive at that by themselves: of six that ran a convolution, ReLU and mean, none mapped maps of 1 to 3
MiB anew at every call, and all mapped maps of 4, 8 and 12 MiB anew, each a different share of them.
"""

GLIBC_ARENA = {"MALLOC_MMAP_MAX_": 0, "MALLOC_TOP_PAD_": 64 << 20, "MALLOC_TRIM_THRESHOLD_": (1 << 31) - 1}
"""``glibc-arena``: no block is mapped separately, and freed memory stays with the process."""


def variables(settings: Mapping[str, int]) -> dict[str, str]:
    """The environment of a process that starts with these settings."""
    return {name: str(value) for name, value in settings.items()}


def name() -> str:
    """The state of this process: ``glibc`` if it is fixed, ``glibc-arena``, or ``glibc`` with other settings."""
    environment = {name: os.environ[name] for name in ("MALLOC_ARENA_MAX", *NUMBERS) if name in os.environ}
    states = {"glibc": GLIBC, "glibc-arena": GLIBC_ARENA}
    state = next((name for name, settings in states.items() if environment == variables(settings)), None)
    description = ", ".join(f"{name}={value}" for name, value in environment.items()) or "its threshold moving"
    return state or f"glibc ({description})"


def mapped_files() -> str:
    """The system's list of the files that this process has mapped, such as libraries; empty if it reports none."""
    try:
        return Path("/proc/self/maps").read_text(errors="replace")  # a file's name may have any bytes
    except OSError:
        return ""


def hold() -> None:
    """Fix this process's glibc settings, unless the user has set them or the C library is not glibc."""
    if not any(name in os.environ for name in NUMBERS):
        with suppress(Unavailable):
            apply(GLIBC)


def apply(settings: Mapping[str, int]) -> None:
    """Apply settings to this running process, and note them in its environment as for a new process.

    Raises Unavailable if the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except OSError as error:
        raise Unavailable("this needs glibc's mallopt, which this system does not have") from error
    for variable in NUMBERS:
        os.environ.pop(variable, None)
    for variable, value in settings.items():
        if not mallopt(NUMBERS[variable], value):
            raise Unavailable(f"glibc refused mallopt({NUMBERS[variable]}, {value})")
        os.environ[variable] = str(value)


Name = Literal["glibc", "glibc-arena", "jemalloc", "tcmalloc"]
PACKAGES = {"jemalloc": ("jemalloc", "libjemalloc2"), "tcmalloc": ("tcmalloc_minimal", "libtcmalloc-minimal4")}


def preload(*, malloc: Name = "glibc-arena") -> Mapping[str, str]:
    """LD_PRELOAD for an allocator that replaces glibc's. Raises Unavailable if its library is not installed."""
    if malloc not in PACKAGES:
        return {}
    library, package = PACKAGES[malloc]
    path = find_library(library)
    if path is None:
        raise Unavailable(f"{malloc} is not installed: on Debian, apt-get install {package}")
    libraries = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{path}:{libraries}" if libraries else path}
