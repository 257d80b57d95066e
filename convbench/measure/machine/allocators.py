"""The C allocators that can replace glibc's, where their libraries are, and how to start a process with one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ctypes.util import find_library
from typing import Literal

from convbench.core.errors import Unavailable

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
