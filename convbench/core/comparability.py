"""Decide which runs have comparable numbers: the one list for fingerprints, comparisons, the gate and its floor.

Every fact of an environment (``measure.machine.environment.describe``) and every setting of a protocol decides, except
those in FREE. A new fact decides too, unless it is added to FREE.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from convbench.core.record import Scalar
from convbench.core.text import digest

FREE = frozenset({"commit", "dirty", "convbench", "os", "started", "gpu_unused"})
"""Facts that may differ: the code that is compared, convbench's version, the kernel's patch level, the time, and why a
GPU was left unused.
"""

OF_MACHINE = ("cpu", "gpu", "cores", "torch", "python")
"""Facts that a selftest's floor depends on: it outlives an upgrade of numpy, but not a change of processor or torch."""
MEMORIES = frozenset({"memory_bytes", "gpu_memory_bytes"})
"""Facts compared in whole GiB, rounded up: a kernel of another patch level takes some KiB more for itself."""
HARDWARE = MEMORIES | {"cpu", "gpu"}
"""Facts that differ only between machines; the others also change by an upgrade or an option of a call."""


def decides(key: str, values: Iterable[Scalar]) -> bool:
    """Whether these values of a fact make numbers incomparable."""
    return key not in FREE and len({repr(_comparable_value(key, value)) for value in values}) > 1


def identity(facts: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the facts that decide, sorted by name."""
    return {key: _comparable_value(key, value) for key, value in sorted(facts.items()) if key not in FREE}


def fingerprint(facts: Mapping[str, Scalar]) -> str:
    """Return twelve hexadecimal digits over the facts that decide: numbers of one fingerprint may be compared."""
    return digest(json.dumps(identity(facts)))


def machine_key(facts: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
    """Return the facts that a selftest's floor depends on; None for an unknown fact."""
    return tuple(facts.get(key) for key in OF_MACHINE)


def differing(first: Mapping[str, Scalar], second: Mapping[str, Scalar]) -> list[str]:
    """Return the names of the facts that decide and differ, sorted."""
    return sorted(key for key in first.keys() | second.keys() if decides(key, (first.get(key), second.get(key))))


def other_hardware(first: Mapping[str, Scalar], second: Mapping[str, Scalar]) -> bool:
    """Whether two hosts differ in hardware, whatever is installed on them."""
    return not HARDWARE.isdisjoint(differing(first, second))


def _comparable_value(key: str, value: Scalar) -> Scalar:
    """Return a fact's value as it is compared: an amount of memory in GiB, rounded up, any other as it is."""
    return -(-value // 2**30) if key in MEMORIES and isinstance(value, int) else value
