"""The C allocator behind CPU tensors: it decides how many pages are mapped anew at every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.core.errors import Unavailable
from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits
from convbench.measure.machine import malloc as glibc
from convbench.measure.machine.malloc import PACKAGES, Name, preload

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("allocator")
@declares(VariantTraits(own_process=True, environment=preload, same_tensors=True))
def allocator(subject: Subject, *, malloc: Name = "glibc-arena") -> Subject:
    """The C allocator: glibc, glibc-arena (does not return freed memory to the system), jemalloc or tcmalloc."""
    if malloc == "glibc-arena":
        glibc.apply(glibc.GLIBC_ARENA)
    elif malloc in PACKAGES and PACKAGES[malloc][0] not in glibc.mapped_files():
        raise Unavailable(f"{malloc} is not loaded in this process: run it isolated, so that it can be preloaded")
    return subject
