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
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
KEEP_BYTES, PAD_BYTES = (1 << 31) - 1, 64 << 20


def preload(*, name: Name = "glibc-arena") -> Mapping[str, str]:
    """LD_PRELOAD for an allocator that replaces glibc's. Raises Unavailable where its library is not installed."""
    if name not in PACKAGES:
        return {}
    library, package = PACKAGES[name]
    found = find_library(library)
    if found is None:
        raise Unavailable(f"{name} is not installed: on Debian, apt-get install {package}")
    before = os.environ.get("LD_PRELOAD", "")
    return {"LD_PRELOAD": f"{found}:{before}" if before else found}


@variants.register("allocator")
@starts_with(preload)
def allocator(subject: Subject, *, name: Name = "glibc-arena") -> Subject:
    """glibc, glibc-arena (keeps freed memory instead of returning it to the system), jemalloc or tcmalloc."""
    if name == "glibc-arena":
        keep_freed_memory()
    elif name in PACKAGES and PACKAGES[name][0] not in Path("/proc/self/maps").read_text():
        raise Unavailable(f"{name} is not in this process: run it isolated, so that it can be preloaded")
    return subject


def keep_freed_memory() -> None:
    """What MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ do, in a running process."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except OSError as error:
        raise Unavailable("glibc-arena needs glibc's mallopt, which this system does not have") from error
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, KEEP_BYTES), (M_TOP_PAD, PAD_BYTES)):
        if not mallopt(parameter, value):
            raise Unavailable(f"glibc refused mallopt({parameter}, {value})")
