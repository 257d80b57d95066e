"""Sum up a trace: each operator's calls, own and total time, and memory, by stage and phase. Never imports torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from convbench.core.grouping import grouped
from convbench.measure.stages.spans import Spans
from convbench.measure.traces.trace import KERNELS, MEMORY, OPERATOR, TraceEvent, of_category

Key = tuple[str, str, str]
"""Operator, stage, phase."""


@dataclass(slots=True)
class Operator:
    """One operator in one stage and phase, over all calls of a trace. Seconds; bytes are allocated less released."""

    name: str
    stage: str
    phase: str
    calls: int = 0
    self_s: float = 0.0
    total_s: float = 0.0
    device_s: float = 0.0
    self_bytes: int = 0


@dataclass(slots=True)
class _Frame:
    event: TraceEvent
    operator: Operator
    is_outer: bool
    inner_s: float = 0.0


def operators(events: Iterable[TraceEvent], spans: Spans) -> list[Operator]:
    """Return all operators of a trace, those with the most time of their own first.

    An operator's own time excludes the operators inside it; the total time of a recursive operator counts once.
    """
    events = list(events)
    by_key: dict[Key, Operator] = {}
    device = _device_seconds(events)
    entries = (
        event for event in events if event.category == OPERATOR or (event.category, event.name) == (MEMORY, "[memory]")
    )
    for thread in grouped(entries, lambda event: event.thread).values():
        stack: list[_Frame] = []
        for event in thread:
            while stack and event.begin >= stack[-1].event.end:
                _close(stack)
            if event.category == MEMORY:
                if stack:
                    stack[-1].operator.self_bytes += int(event.args.get("Bytes", 0))
                continue
            key = (event.name, spans.stage(event.begin), spans.phase(event.begin))
            operator = by_key.setdefault(key, Operator(*key))
            is_outer = all(frame.operator is not operator for frame in stack)
            operator.device_s += device.get(event.args.get("External id"), 0.0)
            stack.append(_Frame(event, operator, is_outer))
        while stack:
            _close(stack)
    return sorted(
        by_key.values(),
        key=lambda operator: (-max(operator.self_s, operator.device_s), operator.name, operator.stage, operator.phase),
    )


def _close(stack: list[_Frame]) -> None:
    call = stack.pop()
    seconds = call.event.seconds
    call.operator.calls += 1
    call.operator.self_s += max(0.0, seconds - call.inner_s)
    if call.is_outer:
        call.operator.total_s += seconds
    if stack:
        stack[-1].inner_s += seconds


def _device_seconds(events: list[TraceEvent]) -> dict[Any, float]:
    """Seconds of kernels and copies, by the id of the operator that launched them."""
    seconds: dict[Any, float] = defaultdict(float)
    for category in KERNELS:
        for kernel in of_category(events, category):
            seconds[kernel.args.get("External id")] += kernel.seconds
    seconds.pop(None, None)
    return seconds
