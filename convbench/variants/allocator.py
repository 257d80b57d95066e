"""The C allocator behind CPU tensors: it decides how many pages are mapped anew at every call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ctypes.util import find_library
from pathlib import Path
from typing import Literal

from convbench import malloc as glibc
from convbench.errors import Unavailable
from convbench.registry import variants
from convbench.subject import Subject
from convbench.variants import starts_with

Name = Literal["glibc", "glibc-arena", "jemalloc", "tcmalloc"]
PACKAGES = {"jemalloc": ("jemalloc", "libjemalloc2"), "tcmalloc": ("tcmalloc_minimal", "libtcmalloc-minimal4")}


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
        glibc.become(glibc.KEPT)
    elif malloc in PACKAGES and PACKAGES[malloc][0] not in Path("/proc/self/maps").read_text():
        raise Unavailable(f"{malloc} is not in this process: run it isolated, so that it can be preloaded")
    return subject
