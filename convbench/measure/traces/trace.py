"""Read and write a trace in the Chrome format, as torch.profiler writes it, plain or gzipped. Never imports torch."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convbench.core.errors import ConvbenchError
from convbench.core.system import files

OPERATOR, ANNOTATION, MEMORY = "cpu_op", "user_annotation", "cpu_instant_event"
SMALL = 2**24
MOST_BYTES = 2**31
"""The largest trace that is passed on, unpacked."""
NO_EVENTS = "not a trace of torch.profiler: it has no traceEvents"
KERNELS = ("kernel", "gpu_memcpy", "gpu_memset")
PYTHON, MODULE = "python_function", "nn.Module: "
ID, PARENT = "Python id", "Python parent id"


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One event; ``begin`` and ``end`` in microseconds as in the file, equal if it has no duration."""

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
    """Return the file's content. Raises ConvbenchError if it cannot be read, is cut off, or is no trace."""
    with _explained(path):
        content = json.loads(files.read(path))
    if not isinstance(content, dict) or not isinstance(content.get("traceEvents"), list):
        raise ConvbenchError(f"{path}: {NO_EVENTS}")
    return content


def refuse_broken(path: Path) -> None:
    """Raise ConvbenchError if the file cannot be read, is cut off, or is no trace. Never holds a large one whole."""
    with _explained(path):
        ends, has_events, total = _scan(path)
    if total <= SMALL:
        read(path)
    elif ends != b"{}" or not has_events:
        raise ConvbenchError(f"{path}: {NO_EVENTS}")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise the error of a file that cannot be read or parsed as ConvbenchError."""
    try:
        yield
    except OSError as error:
        raise ConvbenchError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (EOFError, ValueError, RecursionError, zlib.error) as error:
        raise ConvbenchError(f"{path}: damaged or cut off ({error}): profile the case again") from error


def _scan(path: Path) -> tuple[bytes, bool, int]:
    """The first and the last character that is no space, whether the events' key occurs, and the unpacked bytes."""
    first, last, has_events, tail, total = b"", b"", False, b"", 0
    for chunk in files.chunks(path):
        total += len(chunk)
        if total > MOST_BYTES:
            raise ValueError(f"it unpacks to more than {MOST_BYTES / 2**30:g} GiB")
        has_events = has_events or b'"traceEvents"' in tail + chunk
        tail, content = chunk[-16:], chunk.strip()
        first, last = first or content[:1], content[-1:] or last
    return first + last, has_events, total


def write(path: Path, trace: dict[str, Any]) -> int:
    """Write a trace gzipped and return its bytes on disk. The same trace gives the same bytes."""
    content = json.dumps(trace, separators=(",", ":")).encode()
    files.write(path, gzip.compress(content, mtime=0))
    return path.stat().st_size


def events(trace: dict[str, Any]) -> list[TraceEvent]:
    """A trace's complete and instant events in the order in which they begin, an outer one before those inside it."""
    trace_events = [_event(entry) for entry in trace["traceEvents"] if entry.get("ph") in ("X", "i") and "ts" in entry]
    return sorted(trace_events, key=lambda event: (event.begin, -event.end))


def of_category(events: Iterable[TraceEvent], category: str) -> list[TraceEvent]:
    return [event for event in events if event.category == category]


def _event(entry: dict[str, Any]) -> TraceEvent:
    begin = float(entry["ts"])
    thread = (entry.get("pid"), entry.get("tid"))
    end = begin + float(entry.get("dur", 0))
    name, category = str(entry.get("name", "")), str(entry.get("cat", ""))
    return TraceEvent(name, category, begin, end, thread, entry.get("args") or {})


def only_modules(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ``events`` without Python functions other than module calls; a module's parent is the module around it.

    So no file of the machine is named, and the module view still works.
    """
    python = {event["args"][ID]: event for event in events if event.get("cat") == PYTHON}
    calls = [event for event in events if event.get("cat") != PYTHON or event["name"].startswith(MODULE)]
    return [_with_parent(event, python) if event.get("cat") == PYTHON else event for event in calls]


def _with_parent(event: dict[str, Any], python: dict[int, dict[str, Any]]) -> dict[str, Any]:
    parent = event["args"].get(PARENT)
    while parent in python and not python[parent]["name"].startswith(MODULE):
        parent = python[parent]["args"].get(PARENT)
    return event | {"args": event["args"] | {PARENT: parent if parent in python else None}}
