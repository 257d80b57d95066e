"""Read amounts as people write them into base units, strictly: ``5ms``, ``8GiB``, ``250k``, ``2%``. The only reader."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from convbench.core.errors import ConvbenchError

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
WAITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
LARGE = {prefix: factor for prefix, factor in COUNTS.items() if prefix} | BINARY
BYTES = {"B": 1.0, "KB": 1e3} | LARGE | {f"{prefix}B": factor for prefix, factor in LARGE.items()}
SMALL = {"m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}
READERS: Mapping[str, tuple[Mapping[str, float], str]] = {
    "s": (SECONDS, "5ms, 300us or 0.005s"),
    "B": (BYTES, "64MB, 64MiB, 500KB or 1GB"),
    "1": (COUNTS, "1M, 250k or 250000"),
    "FLOP": (COUNTS | {f"{prefix}FLOP": factor for prefix, factor in COUNTS.items()}, "1G or 250M"),
    "MAC": (COUNTS | {f"{prefix}MAC": factor for prefix, factor in COUNTS.items()}, "1G or 250M"),
}
"""For each base unit, the factors of what may follow the number, and examples of what to write."""


def amount(option: str, text: str, unit: str) -> float:
    """Return a positive amount in a base unit. Raises ConvbenchError that names the option and says what to write."""
    factors, examples = READERS.get(unit) or _generic_reader(unit)
    number, suffix = _split(text)
    value = number * factors[suffix] if number is not None and suffix in factors else None
    if value is None or not 0 < value < math.inf:
        remedy = "write it as" if value is None else "write an amount that is more than 0, as"
        raise ConvbenchError(f"{option_text(option, text)}: {remedy} {examples}")
    return value


def option_text(option: str, text: str) -> str:
    """Return an option with its value as it was written: ``--latency 5ms``, ``--budget latency=5ms``."""
    return f"{option}{text}" if option.endswith("=") else f"{option} {text}"


def duration(option: str, text: str) -> float:
    """Return the seconds of a time that people wait: ``90s``, ``5m`` or ``1.5h``. Raises ConvbenchError."""
    number, unit = _split(text)
    value = number * WAITS[unit] if number is not None and unit in WAITS else None
    if value is None or not 0 < value < math.inf:
        raise ConvbenchError(f"{option} {text}: not a time: write 90s, 5m or 1h")
    return value


def share(option: str, text: str) -> float:
    """Return a share between 0 and 1. Raises ConvbenchError for anything but ``2%`` or ``0.02``."""
    number, unit = _split(text)
    value = None if number is None or unit not in ("", "%") else number / (100 if unit else 1)
    if value is None or not 0 < value < 1:
        raise ConvbenchError(f"{option} {text}: not a margin of accuracy: write 2% or 0.02")
    return value


def _generic_reader(unit: str) -> tuple[Mapping[str, float], str]:
    """Return the reader for any other unit (``J``, ``frames/s``): plain, with a prefix, or with the unit, too."""
    factors = {f"{prefix}{unit}": factor for prefix, factor in (COUNTS | SMALL).items()}
    return COUNTS | factors, f"12, 1.5k or 12{unit}"


def _split(text: str) -> tuple[float | None, str]:
    """Return the number and what follows it; None if the text does not begin with digits."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([^\d\s.].*)?", text.strip(), re.ASCII)
    return (float(match[1]), match[2] or "") if match else (None, "")
