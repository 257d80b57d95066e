"""Reads a trace in the Chrome format as torch.profiler writes it, plain or gzipped. Never imports torch."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convbench.core.errors import ConvbenchError

OPERATOR, ANNOTATION, MEMORY = "cpu_op", "user_annotation", "cpu_instant_event"
KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``begin`` and ``end`` in microseconds as in the file, equal where it has no duration."""

    name: str
    category: str
    begin: float
    end: float
    thread: tuple[Any, Any]
    args: dict[str, Any]

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) * 1e-6


def read(path: Path) -> dict[str, Any]:
    """The file as it is. Raises ConvbenchError where it cannot be read, is cut off, or is no trace."""
    try:
        content = path.read_bytes()
        found = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except OSError as error:
        raise ConvbenchError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (EOFError, ValueError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise ConvbenchError(f"{path}: damaged or cut off ({error}): profile the case again") from error
    if not isinstance(found, dict) or not isinstance(found.get("traceEvents"), list):
        raise ConvbenchError(f"{path}: no trace of torch.profiler: it has no traceEvents")
    return found


def write(path: Path, trace: dict[str, Any]) -> int:
    """Write a trace gzipped; returns its bytes on disk. The same trace gives the same bytes."""
    content = json.dumps(trace, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(content, mtime=0))
    return path.stat().st_size


def events(trace: dict[str, Any]) -> list[Event]:
    """Its complete and instant events in the order they begin, an outer one before those inside it."""
    listed = [_event(raw) for raw in trace["traceEvents"] if raw.get("ph") in ("X", "i") and "ts" in raw]
    return sorted(listed, key=lambda event: (event.begin, -event.end))


def named(found: Iterable[Event], category: str) -> list[Event]:
    return [event for event in found if event.category == category]


def _event(raw: dict[str, Any]) -> Event:
    begin = float(raw["ts"])
    thread = (raw.get("pid"), raw.get("tid"))
    end = begin + float(raw.get("dur", 0))
    return Event(str(raw.get("name", "")), str(raw.get("cat", "")), begin, end, thread, raw.get("args") or {})
