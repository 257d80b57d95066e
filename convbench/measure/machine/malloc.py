"""glibc's malloc, held still: its settings decide how many pages a call maps anew, which may be most of the call.

Left alone, glibc moves the size from which it maps a block anew by what a process happens to free first: the same model
then takes 3 ms in one process and 17 ms in the next. Every process that measures holds it, where the user has not.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from contextlib import suppress

from convbench.core.errors import Unavailable

NUMBERS = {
    "MALLOC_MMAP_MAX_": -4,
    "MALLOC_MMAP_THRESHOLD_": -3,
    "MALLOC_TOP_PAD_": -2,
    "MALLOC_TRIM_THRESHOLD_": -1,
}
"""What is set for a new process by a variable, and mallopt's number of it for this one."""

GLIBC = {"MALLOC_MMAP_THRESHOLD_": 4 << 20, "MALLOC_TRIM_THRESHOLD_": (1 << 31) - 1}
"""``glibc``: blocks from 4 MiB on are mapped anew at every call, smaller ones are used again.

Most processes come to that by themselves: of six that ran a convolution, ReLU and mean, none mapped maps of 1 to 3 MiB
anew at every call, and all mapped those of 4, 8 and 12 MiB, each another share of them.
"""

GLIBC_ARENA = {"MALLOC_MMAP_MAX_": 0, "MALLOC_TOP_PAD_": 64 << 20, "MALLOC_TRIM_THRESHOLD_": (1 << 31) - 1}
"""``glibc-arena``: nothing is mapped apart, and what is freed stays with the process."""


def variables(settings: Mapping[str, int]) -> dict[str, str]:
    """The environment of a process that starts with these settings."""
    return {name: str(value) for name, value in settings.items()}


def name() -> str:
    """The state of this process: ``glibc`` where it is held, ``glibc-arena``, or what else its variables say."""
    environment = {name: os.environ[name] for name in ("MALLOC_ARENA_MAX", *NUMBERS) if name in os.environ}
    states = {"glibc": GLIBC, "glibc-arena": GLIBC_ARENA}
    state = next((name for name, settings in states.items() if environment == variables(settings)), None)
    description = ", ".join(f"{name}={value}" for name, value in environment.items()) or "its threshold moving"
    return state or f"glibc ({description})"


def hold() -> None:
    """Hold this process's glibc, unless the user has set it or the C library is another."""
    if not any(name in os.environ for name in NUMBERS):
        with suppress(Unavailable):
            apply(GLIBC)


def apply(settings: Mapping[str, int]) -> None:
    """Set in this running process, and note in its environment, what the settings' variables set in a new one.

    Raises Unavailable where the C library is not glibc.
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
