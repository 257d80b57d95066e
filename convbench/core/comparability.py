"""What makes the numbers of two runs comparable: the one list, for fingerprints, comparisons, the gate and its floor.

Every fact of an environment (``measure.machine.environment.describe``) and setting of a protocol decides, except those
in FREE. So does a new fact, unless whoever adds it puts it into FREE.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from convbench.core.record import Scalar
from convbench.core.text import digest

FREE = frozenset({"commit", "dirty", "convbench", "os", "started"})
"""What may differ: the code that is compared, who measured it, the kernel's patch level, and when."""

OF_MACHINE = ("cpu", "gpu", "cores", "torch", "python")
"""What a selftest's floor belongs to: it outlives an upgrade of numpy, but no other processor or torch."""


MEMORIES = frozenset({"memory_bytes", "gpu_memory_bytes"})
"""Facts that count in whole GiB, the last one begun: a kernel of another patch level takes some KiB more for itself."""
HARDWARE = MEMORIES | {"cpu", "gpu"}
"""What nobody changes on a host without making another of it, as an upgrade or an option of the call does the rest."""


def decides(key: str, values: Iterable[Scalar]) -> bool:
    """Whether numbers are incomparable where a fact has these values."""
    return key not in FREE and len({repr(_comparable_value(key, value)) for value in values}) > 1


def identity(facts: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The facts that decide, sorted by name."""
    return {key: _comparable_value(key, value) for key, value in sorted(facts.items()) if key not in FREE}


def fingerprint(facts: Mapping[str, Scalar]) -> str:
    """Twelve hexadecimal digits over the facts that decide: numbers under the same one may be compared."""
    return digest(json.dumps(identity(facts)))


def machine_key(facts: Mapping[str, Scalar]) -> tuple[Scalar, ...]:
    """The facts that a selftest's floor belongs to, None where one is not known."""
    return tuple(facts.get(key) for key in OF_MACHINE)


def differing(first: Mapping[str, Scalar], second: Mapping[str, Scalar]) -> list[str]:
    """The facts that decide and differ, sorted by name."""
    return sorted(key for key in first.keys() | second.keys() if decides(key, (first.get(key), second.get(key))))


def other_hardware(first: Mapping[str, Scalar], second: Mapping[str, Scalar]) -> bool:
    """Whether two hosts differ in hardware, whatever is installed on them."""
    return not HARDWARE.isdisjoint(differing(first, second))


def _comparable_value(key: str, value: Scalar) -> Scalar:
    """What of a fact decides."""
    return -(-value // 2**30) if key in MEMORIES and isinstance(value, int) else value
