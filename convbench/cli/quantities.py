"""Limits as people write them, read strictly into base units."""

from __future__ import annotations

import re
from collections.abc import Mapping

from convbench.core.errors import ConvbenchError

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
COUNT = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
FLOPS = {**COUNT, **{f"{prefix}FLOP": factor for prefix, factor in COUNT.items()}}
UNITS: Mapping[str, tuple[Mapping[str, float], str]] = {
    "latency": (SECONDS, "5ms, 300us or 0.005s"),
    "params": (COUNT, "1M, 250k or 250000"),
    "memory": (BYTES, "64MB, 64MiB or 1GB"),
    "flops": (FLOPS, "1G or 250M"),
}


def limit(name: str, text: str) -> float:
    """An upper limit in base units. Raises ConvbenchError that says what to write."""
    factors, examples = UNITS[name]
    number, unit = _split(text)
    if number is None or number <= 0 or unit not in factors:
        raise ConvbenchError(f"--{name} {text}: not an amount of it: write {examples}")
    return number * factors[unit]


def share(text: str) -> float:
    """A margin as a share. Raises ConvbenchError for what is neither ``2%`` nor ``0.02``."""
    number, unit = _split(text)
    value = None if number is None or unit not in ("", "%") else number / (100 if unit else 1)
    if value is None or not 0 < value < 1:
        raise ConvbenchError(f"--within {text}: not a margin of accuracy: write 2% or 0.02")
    return value


def _split(text: str) -> tuple[float | None, str]:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-zµ%]*)", text.strip())
    return (float(found[1]), found[2]) if found else (None, "")
