"""Seconds of a compiled call by what its trace can attribute: the compiler's graphs, the LSTM, and the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import profile

from convbench.measure.memory import allocations
from convbench.measure.stages.hooks import call
from convbench.measure.stages.profiler_marks import Marks
from convbench.measure.stages.spans import PREFIX, Mark, Spans, compiled_marks
from convbench.models.subject import Subject


def compiled_split(subject: Subject) -> dict[str, float]:
    """One call under the profiler; its seconds by ``graphs``, ``lstm``, ``optimizer`` and ``other``."""
    with profile(activities=allocations.activities(subject), acc_events=False) as profiler:
        call(subject, Marks().phase)
        if torch.device(subject.device).type == "cuda":
            torch.cuda.synchronize(subject.device)
    events = _all(profiler.profiler.kineto_results.experimental_event_tree())
    ours = [event for event in events if event[0].startswith(PREFIX)]
    return {stage: time * 1e-9 for stage, time in Spans([*ours, *compiled_marks(events)]).durations().items()}


def _all(roots: list[Any]) -> list[Mark]:
    pending, found = list(roots), []
    while pending:
        event = pending.pop()
        pending.extend(event.children)
        found.append((event.name, event.start_time_ns, event.end_time_ns))
    return found
