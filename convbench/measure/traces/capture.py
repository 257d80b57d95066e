"""Take the trace of one case and write it with its summary: a probe that runs last, if a run asks for profiles.

The trace is bounded: one call is profiled first, and its size and time decide how many of ``STEPS`` follow.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import profile, schedule

from convbench.core import metrics
from convbench.core.errors import ConvbenchError
from convbench.core.findings import NOT_PROFILED, TRACE_BOUNDED
from convbench.core.record import STAGES, Finding, Protocol, Reading
from convbench.core.storage import profiles
from convbench.core.system import files
from convbench.core.traits import opaque
from convbench.measure.attempts import explain
from convbench.measure.memory import allocations
from convbench.measure.stages.hooks import call, listen
from convbench.measure.stages.profiler_marks import Marks, activities
from convbench.measure.stages.spans import BACKWARD, PREFIX, Spans, compiled_marks
from convbench.measure.timing import wait_for
from convbench.measure.traces import trace
from convbench.measure.traces.operators import operators
from convbench.models.subject import Subject

STEPS = 10
MARKED = (trace.ANNOTATION, trace.OPERATOR)
SECONDS, BYTES = 3.0, 8_000_000
"""A trace takes no more steps than about these allow, and none if a single call exceeds ``BYTES``."""
TOP = 200
POINTS = 400


@dataclass(frozen=True, slots=True)
class Capture:
    """The probe: it writes into the case's own directory under ``profiles``. A failure is a finding, not an error."""

    profiles: Path

    def __call__(self, subject: Subject, _protocol: Protocol) -> Iterator[Reading | Finding]:
        try:
            yield from self._take(subject)
        except Exception as error:  # a model's own profiler may have cut the trace short, so that events are missing
            yield Finding(NOT_PROFILED, data={"reason": explain(error).message[:300]})

    def _take(self, subject: Subject) -> Iterator[Reading | Finding]:
        if subject.deployment:
            reason = f"{subject.deployment.runtime.name} runs the model, and torch's profiler sees nothing of it"
            yield Finding(NOT_PROFILED, "note", {"reason": reason})
            return
        start, directory = time.perf_counter(), profiles.directory_of(self.profiles, subject.case.id)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / profiles.trace_name(torch.device(subject.device).type, time.time_ns())
        first_recording = _trace(subject, 1)
        seconds = _step_seconds(first_recording)[0]
        step_bytes = trace.write(path, first_recording)
        if step_bytes > BYTES:
            path.unlink()
            raise ConvbenchError(
                f"the trace of a single call has {step_bytes / 1e6:.0f} MB gzipped, more than {BYTES / 1e6:.0f} MB: "
                "use a shorter clip"
            )
        steps = max(1, min(STEPS, int(SECONDS / seconds), BYTES // step_bytes))
        if steps < STEPS:
            yield Finding(TRACE_BOUNDED, "note", {"steps": steps, "wanted": STEPS, "bytes_per_step": step_bytes})
        recording = _trace(subject, steps) if steps > 1 else first_recording
        trace_bytes = trace.write(path, recording)
        for stale_path in directory.glob(f"*{profiles.TRACE}"):
            if stale_path != path:
                stale_path.unlink()
        files.write(directory / profiles.SUMMARY, json.dumps(_summary(subject, recording, path.name)))
        yield Reading(metrics.TRACE_STEPS, (steps,))
        yield Reading(metrics.TRACE_EXPECTED, (step_bytes * steps,))
        yield Reading(metrics.TRACE_BYTES, (trace_bytes,))
        yield Reading(metrics.PROFILE, (time.perf_counter() - start,))


def spans_of(events: list[trace.TraceEvent]) -> Spans:
    """The phases and stages of our marks in a trace; for a compiled model, its graphs and its LSTM."""
    marks = [(event.name, event.begin, event.end) for event in events if event.category in MARKED]
    own_marks = [mark for mark in marks if mark[0].startswith(PREFIX)]
    has_stages = any(name.removeprefix(PREFIX) in STAGES for name, _, _ in own_marks)
    return Spans(own_marks if has_stages else [*own_marks, *compiled_marks(marks)])


def _trace(subject: Subject, steps: int) -> dict[str, Any]:
    """Trace ``steps`` calls after one of warm-up: a Chrome trace with our ranges and without the machine's paths."""
    marks = Marks()
    hooks = nullcontext() if opaque(subject.case) else listen(subject, marks)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "trace.json")
        with (
            hooks,
            profile(
                activities=activities(subject),
                schedule=schedule(wait=0, warmup=1, active=steps, repeat=1),
                record_shapes=True,
                profile_memory=True,
                with_stack=True,
                on_trace_ready=lambda ready: ready.export_chrome_trace(path),
            ) as profiler,
        ):
            for _ in range(steps + 1):
                call(subject, marks.phase)
                wait_for(torch.device(subject.device))
                profiler.step()
        recording = trace.read(Path(path))
    for name in ("traceName", "host_name"):
        recording.pop(name, None)
    recording["traceEvents"] = trace.only_modules(recording["traceEvents"])
    recording["traceEvents"] += _backward_ranges(trace.events(recording))
    return recording


def _backward_ranges(events: list[trace.TraceEvent]) -> list[dict[str, Any]]:
    """The stages' backward passes as ranges on a track of their own, because they do not nest with autograd's."""
    marks = [event for event in events if event.name.startswith(BACKWARD)]
    if not marks:
        return []
    pid, tid = marks[0].thread[0], "convbench"
    ranges = [
        {"ph": "X", "cat": "convbench", "name": f"{PREFIX}{stage} backward", "pid": pid, "tid": tid,
         "ts": begin, "dur": end - begin, "args": {}}
        for stage, begin, end in spans_of(events).backward()
    ]  # fmt: skip
    return [{"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": "stages, backward"}}, *ranges]


def _summary(subject: Subject, recording: dict[str, Any], name: str) -> dict[str, Any]:
    """Sum up a trace for a report, with the memory of one more call; seconds and bytes are sums over ``steps``."""
    events = trace.events(recording)
    spans, timeline = spans_of(events), allocations.timeline_of(subject)
    rows = operators(events, spans)
    return {
        "case": subject.case.id,
        "eager": subject.case.eager.id,
        "trace": name,
        "steps": len(_step_seconds(recording)),
        "step_s": _step_seconds(recording),
        "operators": [asdict(operator) for operator in rows[:TOP]],
        "memory": {
            "peak_bytes": timeline.peak,
            "at_peak": [[kind, stage, size] for (kind, stage), size in sorted(timeline.at_peak().items())],
            "timeline": thin(timeline.points),
        },
    }


def thin(points: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """At most about ``POINTS`` of a timeline: the lowest and the highest of each stretch, so that the peak stays."""
    if len(points) <= POINTS:
        return points
    stretch = -(-len(points) // (POINTS // 2))
    extremes = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        extremes += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return extremes


def _step_seconds(recording: dict[str, Any]) -> list[float]:
    steps = [event for event in trace.events(recording) if event.name.startswith("ProfilerStep#")]
    seconds_by_begin = {event.begin: event.seconds for event in steps if event.category == trace.ANNOTATION}
    return list(seconds_by_begin.values())
