"""Every allocation of one call, from the profiler: when it was alive, its kind, and the stage that made it.

Kinds: ``weights`` (parameters and buffers), ``inputs``, ``optimizer`` (its state), ``gradients`` (of parameters),
``workspace`` (memory that a recurrent operator allocates beyond its outputs, and that GPU libraries and CUDA graphs
keep between calls), ``activations`` (made by the forward pass and alive after the operator that made them, or kept by
modules between calls), ``temporaries``
(everything else: scratch within an operator, gradients of activations, the optimizer's intermediates). Sizes are those
of tensors as torch allocates them, in B.
"""

from __future__ import annotations

import gc
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from convbench.core.metrics import OTHER
from convbench.core.traits import opaque
from convbench.measure.stages.entries import in_threads
from convbench.measure.stages.hooks import call, listen
from convbench.measure.stages.profiler_marks import Marks, activities
from convbench.measure.stages.spans import PREFIX, Spans, is_recurrent
from convbench.models.stages import stage_by_module, stage_by_parameter, stage_roots
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep
from convbench.models.values import storage_tensors
from convbench.models.weights import quantised_weights, shaped_tensors, watch_attributes

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # otherwise torch's profiler writes two lines per call to stderr

Holder = tuple[str, str]
"""Kind and stage."""
DEFAULT_POOL = (0, 0)
"""The pool of CUDA's allocator that all tensors outside of CUDA graphs come from."""


@dataclass(frozen=True, slots=True)
class AllocationChange:
    """One allocation (bytes > 0) or release (bytes < 0), its time (ns), and the events around it (outermost first)."""

    time: int
    bytes: int
    pointer: int
    stack: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class Life:
    """A tensor's storage from its allocation to its release (ns); an infinite end lies outside the call."""

    bytes: int
    holder: Holder
    begin: float = -math.inf
    end: float = math.inf


@dataclass(frozen=True)
class Timeline:
    """The memory alive over a call. ``points``: (seconds since the start, bytes) after each change.

    With ``threads`` the model called modules in its own threads, whose allocations are missing.
    """

    lives: list[Life] = field(repr=False)
    points: list[tuple[float, int]]
    peak: int
    peak_time: float
    threads: bool = False

    def at_peak(self) -> Counter[Holder]:
        """Bytes alive at the peak by kind and stage; they sum to the peak."""
        sizes: Counter[Holder] = Counter()
        for life in self.lives:
            if life.begin <= self.peak_time < life.end:
                sizes[life.holder] += life.bytes
        return sizes


def timeline_of(subject: Subject) -> Timeline:
    """Profile one call of a warmed-up subject. Allocations of a compiled subject have a kind but no stage.

    The call before it is profiled too: on a CPU the profiler reports the release only of memory whose allocation it
    saw, and the model may keep a state, or what a hook saw, until the next call replaces it.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False):
        subject.run()
        if isinstance(subject.run, TrainingStep):
            subject.run.forget()
        gc.collect()
        initial_lives = holdings(subject)  # a stream makes a call for its state
    marks, device = Marks(), torch.device(subject.device)
    attributes = watch_attributes(subject.model)
    allocated_bytes = torch.cuda.memory_allocated(device) + held_by_graphs() if subject.on_gpu else None
    threads: set[int] = set()
    hooks = nullcontext() if opaque(subject.case) else listen(subject, marks)
    recording = profile(activities=activities(subject), profile_memory=True, acc_events=False)
    with recording as profiler, in_threads(partial(_note_thread, threads)), hooks:
        call(subject, marks.phase)
    events = list(_events(profiler.profiler.kineto_results.experimental_event_tree(), device.type))
    changes = sorted((event for event in events if isinstance(event, AllocationChange)), key=lambda change: change.time)
    spans = Spans([event for event in events if isinstance(event, tuple)])
    for tensor in attributes():
        if tensor.device.type == device.type:
            size = tensor.untyped_storage().nbytes()
            initial_lives.setdefault(tensor.untyped_storage().data_ptr(), Life(size, ("activations", OTHER)))
    lives = _lives(changes, initial_lives, _Kinds(subject, spans, marks.outputs))
    if allocated_bytes is not None:
        lives.append(_library_life(allocated_bytes, lives))
    return replace(timeline(lives), threads=bool(threads))


def sizes_of(call: Callable[[], Any]) -> list[int]:
    """Return the bytes of a call's allocations (> 0) and releases (< 0) on the CPU, in order; its result is kept."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiler:
        result = call()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns())
    del result
    return [change.nbytes() for change in changes]


def _note_thread(threads: set[int]) -> AbstractContextManager[Any]:
    """Note a thread that the profiler does not follow; it does follow autograd's own."""
    if not torch._C._autograd._profiler_enabled():
        threads.add(threading.get_ident())
    return nullcontext()


def timeline(lives: list[Life]) -> Timeline:
    """Return the bytes alive over time for these lives, and their peak."""
    changes = [(life.begin, life.bytes) for life in lives] + [(life.end, -life.bytes) for life in lives]
    finite_changes = sorted(change for change in changes if math.isfinite(change[0]))
    total = sum(size for time, size in changes if time == -math.inf)
    begin = finite_changes[0][0] if finite_changes else 0.0
    points, peak, peak_time = [(0.0, total)], total, -math.inf
    for time, size in finite_changes:
        total += size
        points.append(((time - begin) * 1e-9, total))
        if total > peak:
            peak, peak_time = total, time
    return Timeline(lives, points, peak, peak_time)


def holdings(subject: Subject) -> dict[int, Life]:
    """Memory that a warmed-up subject holds between calls (weights, inputs, optimizer or carried state), by address."""
    stage_of = _stages_of_parameters(subject)
    lives: dict[int, Life] = {}

    def hold(tensor: Any, kind: str, stage: str) -> None:
        for part in storage_tensors(tensor) if isinstance(tensor, torch.Tensor) else ():
            if part.device.type == torch.device(subject.device).type:
                storage = part.untyped_storage()
                lives.setdefault(storage.data_ptr(), Life(storage.nbytes(), (kind, stage)))

    for tensor in shaped_tensors((*subject.model.parameters(), *subject.model.buffers())):
        hold(tensor, "weights", stage_of(tensor))
    lives |= _packed_weights(subject)
    for tensor in subject.inputs.tensors:
        hold(tensor, "inputs", OTHER)
    if isinstance(subject.run, TrainingStep):
        for parameter, state in subject.run.optimizer.state.items():
            for tensor in state.values():
                hold(tensor, "optimizer", stage_of(parameter))
    for tensor in subject.next_state():
        hold(tensor, "activations", OTHER)
    return lives


def _library_life(allocated_bytes: int, lives: list[Life]) -> Life:
    """Memory in use on CUDA before the call, beyond the tensors that we know of or saw released.

    It consists of cuBLAS's workspace, what CUDA graphs hold, and the rounding of blocks up to 512 B.
    """
    initial_bytes = sum(life.bytes for life in lives if life.begin == -math.inf)
    return Life(allocated_bytes - initial_bytes, ("workspace", OTHER))


def held_by_graphs() -> int:
    """Bytes that CUDA graphs hold for the tensors of their replays: torch's allocator counts none of them as allocated.

    A graph keeps the segments of its pool from its recording on, and nothing else is put into them. Other allocators,
    such as cudaMallocAsync, do not tell their segments.
    """
    if torch.cuda.get_allocator_backend() != "native":
        return 0
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        if segment["segment_pool_id"] != DEFAULT_POOL
    )


def _packed_weights(subject: Subject) -> dict[int, Life]:
    """Weights that a quantised layer keeps packed. torch shows only copies of them, which have no address."""
    stages = stage_by_module(stage_roots(subject.case, subject.model))
    weights = [
        (weight.nbytes, stages.get(module, OTHER))
        for module in subject.model.modules()
        for weight in quantised_weights(module)
    ]
    return {-place: Life(size, ("weights", stage)) for place, (size, stage) in enumerate(weights, start=1)}


class _Kinds:
    """Tells the kind and stage of an allocation from when and where it was made and released."""

    def __init__(self, subject: Subject, spans: Spans, outputs: set[int]) -> None:
        self.spans = spans
        self.outputs = outputs
        self.stages = not opaque(subject.case)
        stage_of = _stages_of_parameters(subject)
        self.gradients = {
            part.untyped_storage().data_ptr(): stage_of(parameter)
            for parameter in subject.model.parameters()
            if parameter.grad is not None
            for part in storage_tensors(parameter.grad)
        }

    def of(self, birth: AllocationChange, release: AllocationChange | None) -> Holder:
        if release is None and birth.pointer in self.gradients:
            return "gradients", self.gradients[birth.pointer]
        stage = self.spans.stage(birth.time) if self.stages else OTHER
        return self._kind(birth, release), stage

    def _kind(self, birth: AllocationChange, release: AllocationChange | None) -> str:
        recurrent = next((event for event in birth.stack if is_recurrent(event[0])), None)
        if recurrent and self._is_workspace(birth, release, recurrent):
            return "workspace"
        operator = next((event for event in birth.stack if not event[0].startswith(PREFIX)), None)
        if self.spans.phase(birth.time) != "forward" or (release and operator in release.stack):
            return "temporaries"
        return "activations"

    def _is_workspace(
        self, birth: AllocationChange, release: AllocationChange | None, recurrent: tuple[str, int]
    ) -> bool:
        if release and recurrent in release.stack:
            return True
        return self.stages and self.spans.phase(birth.time) == "forward" and birth.pointer not in self.outputs


def _lives(changes: list[AllocationChange], initial_lives: dict[int, Life], kinds: _Kinds) -> list[Life]:
    """Match allocations with their releases. A release of unknown memory means that it was alive before the call."""
    open_lives = dict(initial_lives)
    births: dict[int, AllocationChange] = {}
    lives = list(initial_lives.values())
    for change in changes:
        if change.bytes > 0:
            births[change.pointer] = change
            continue
        birth = births.pop(change.pointer, None)
        if birth:
            lives.append(Life(birth.bytes, kinds.of(birth, change), birth.time, change.time))
        elif change.pointer in open_lives:
            open_lives.pop(change.pointer).end = change.time
        else:
            lives.append(Life(-change.bytes, ("activations", OTHER), end=change.time))
    return lives + [Life(birth.bytes, kinds.of(birth, None), birth.time) for birth in births.values()]


def _events(roots: list[Any], device: str) -> Iterator[AllocationChange | tuple[str, int, int]]:
    """Yield the event tree's allocations on one device type, and our own marks as (name, begin ns, end ns)."""
    pending: list[tuple[Any, tuple[tuple[str, int], ...]]] = [(root, ()) for root in roots]
    while pending:
        event, stack = pending.pop()
        if event.typed[0] == _EventType.Allocation:
            if event.typed[1].device.type == device:
                yield AllocationChange(event.start_time_ns, event.typed[1].alloc_size, event.typed[1].ptr, stack)
            continue
        if event.name.startswith(PREFIX):
            yield event.name, event.start_time_ns, event.end_time_ns
        inner_stack = (*stack, (event.name, event.start_time_ns))
        pending.extend((child, inner_stack) for child in event.children)


def _stages_of_parameters(subject: Subject) -> Callable[[torch.Tensor], str]:
    stages = stage_by_parameter(stage_roots(subject.case, subject.model))
    return lambda tensor: stages.get(tensor, OTHER)
