"""The C allocator behind CPU tensors: it decides how many pages are mapped anew at every call."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from ctypes.util import find_library
from pathlib import Path
from typing import Literal

from convbench.errors import Unavailable
from convbench.registry import variants
from convbench.subject import Subject
from convbench.variants import starts_with

Name = Literal["glibc", "glibc-arena", "jemalloc", "tcmalloc"]
PACKAGES = {"jemalloc": ("jemalloc", "libjemalloc2"), "tcmalloc": ("tcmalloc_minimal", "libtcmalloc-minimal4")}
KEEP_FREED = {
    "MALLOC_MMAP_MAX_": (-4, 0),
    "MALLOC_TRIM_THRESHOLD_": (-1, (1 << 31) - 1),
    "MALLOC_TOP_PAD_": (-2, 64 << 20),
}
"""Settings of glibc by the variable that sets each for a new process: mallopt's number of it, and the value."""


def preload(*, malloc: Name = "glibc-arena") -> Mapping[str, str]:
    """LD_PRELOAD for an allocator that replaces glibc's. Raises Unavailable where its library is not installed."""
    if malloc not in PACKAGES:
        return {}
    library, package = PACKAGES[malloc]
    found = find_library(library)
    if found is None:
        raise Unavailable(f"{malloc} is not installed: on Debian, apt-get install {package}")
    before = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{found}:{before}" if before else found}


@variants.register("allocator")
@starts_with(preload)
def allocator(subject: Subject, *, malloc: Name = "glibc-arena") -> Subject:
    """glibc, glibc-arena (keeps freed memory instead of returning it to the system), jemalloc or tcmalloc."""
    if malloc == "glibc-arena":
        keep_freed_memory()
    elif malloc in PACKAGES and PACKAGES[malloc][0] not in Path("/proc/self/maps").read_text():
        raise Unavailable(f"{malloc} is not in this process: run it isolated, so that it can be preloaded")
    return subject


def keep_freed_memory() -> None:
    """Set in this running process, and note in its environment, what KEEP_FREED's variables set in a new one."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except OSError as error:
        raise Unavailable("glibc-arena needs glibc's mallopt, which this system does not have") from error
    for variable, (parameter, value) in KEEP_FREED.items():
        if not mallopt(parameter, value):
            raise Unavailable(f"glibc refused mallopt({parameter}, {value})")
        os.environ[variable] = str(value)
