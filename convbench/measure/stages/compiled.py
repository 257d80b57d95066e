"""Seconds of a compiled call by what its trace can attribute: the compiler's graphs, the LSTM, and everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import profile

from convbench.core.metrics import GRAPHS
from convbench.measure.stages.hooks import call
from convbench.measure.stages.profiler_marks import Marks, activities
from convbench.measure.stages.spans import PHASES, PREFIX, Spans, TimedMark, compiled_marks
from convbench.measure.timing import wait_for
from convbench.models.subject import Subject

COMPILED = "Compiled"
"""Part of the names of the compiler's own events, such as "Torch-Compiled Region", which begins before its graph."""


def compiled_split(subject: Subject) -> dict[str, float]:
    """Profile one call and return its seconds by ``graphs``, ``lstm``, ``optimizer`` and ``other``.

    On a GPU they are the seconds of kernels, each counted where the operator that launched it lies.
    """
    with profile(activities=activities(subject), acc_events=subject.on_gpu) as profiler:
        call(subject, Marks().phase)
        wait_for(torch.device(subject.device))
    if subject.on_gpu:
        return _kernel_split(profiler.events())
    events = _marks(profiler.profiler.kineto_results.experimental_event_tree())
    return {stage: time * 1e-9 for stage, time in _spans(events).durations().items()}


def _spans(events: list[TimedMark]) -> Spans:
    own_marks = [event for event in events if event[0].startswith(PREFIX)]
    return Spans([*own_marks, *compiled_marks(events)])


def _kernel_split(events: Any) -> dict[str, float]:
    """Seconds of kernels by where the operator that launched them lies; the profiler's times are microseconds.

    Kernels that no operator launched belong to the compiler's graphs.
    """
    on_host = [event for event in events if event.device_type == DeviceType.CPU]
    spans = _spans([(event.name, event.time_range.start, event.time_range.end) for event in on_host])
    split: dict[str, float] = {}
    for event in on_host:
        if not event.is_user_annotation:  # a mark launches nothing: its kernel is its own shadow on the device
            stage = _stage(event, spans)
            split[stage] = split.get(stage, 0.0) + sum(kernel.duration for kernel in event.kernels) * 1e-6
    kernels = (event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation)
    total = sum(event.time_range.elapsed_us() for event in kernels) * 1e-6
    return split | {GRAPHS: split.get(GRAPHS, 0.0) + max(0.0, total - sum(split.values()))}


def _stage(event: Any, spans: Spans) -> str:
    """The stage of an event's kernels. Those that the compiler's own event launches are a replayed CUDA graph's."""
    if COMPILED in event.name:
        return GRAPHS
    moment = event.time_range.start
    return spans.phase(moment) if spans.phase(moment) == PHASES[2] else spans.stage(moment)


def _marks(roots: list[Any]) -> list[TimedMark]:
    pending, marks = list(roots), []
    while pending:
        event = pending.pop()
        pending.extend(event.children)
        marks.append((event.name, event.start_time_ns, event.end_time_ns))
    return marks
