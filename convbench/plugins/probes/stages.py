"""Seconds of a call by stage, from passes of their own between plain ones: the latency's samples know nothing of it."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from convbench.core import metrics
from convbench.core.record import STAGES, Finding, Parts, Protocol, Reading
from convbench.core.registry import probes
from convbench.core.statistics import median_interval
from convbench.core.traits import INDUCTOR, engine, opaque
from convbench.measure.ready import Moment, Ready
from convbench.measure.stages.compiled import compiled_split
from convbench.measure.stages.hooks import call, listening
from convbench.measure.stages.spans import GRAPHS, OTHER, PHASES
from convbench.measure.timing import clock_for, keep_busy, mark_seconds
from convbench.models.deployment import Deployment
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep

TOLERANCE = 0.05
MARKS = 1e-4
"""Seconds that the marks of a call may take: of tiny calls a large share that says nothing of the stages."""
SHARE_OF_TIME = 0.3
MIN_PASSES, MAX_PASSES = 6, 40
OPTIMIZER = "optimizer"
FEW = 5
RUNTIME_PASSES = 10
Split = dict[str, float]
Splitter = Callable[[Subject], Split]


@probes.register("stages")
def stages(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Time of backbone, reducer, LSTM, head and training's optimizer; of compiled cases what their trace can attribute.

    Plain and split passes alternate. A warning says where the passes with marks differ from the plain ones by more than
    5 % and the marks' own cost.
    """
    if subject.deployment:
        yield from _by_the_runtime(subject, subject.deployment)
        return
    compiled, runtime = opaque(subject.case), engine(subject.case)
    if compiled and runtime != INDUCTOR:
        yield Finding("opaque_engine", "note", {"engine": runtime})
        return
    optimizer = (OPTIMIZER,) if isinstance(subject.run, TrainingStep) else ()
    named = (*((GRAPHS, "lstm") if compiled else STAGES), *optimizer)
    split = compiled_split if compiled else split_by_hooks
    plain, splits = _alternate(subject, split, SHARE_OF_TIME * protocol.max_time)
    for stage in (*named, OTHER):
        yield Reading(metrics.LATENCY.part(stage), tuple(split.get(stage, 0.0) for split in splits))
    sums = [sum(split.get(stage, 0.0) for stage in (*named, OTHER)) for split in splits]
    if not adds_up(sums, plain):
        yield Finding("stages_do_not_add_up", data={"stages": median(sums), "whole": median(plain)})


def _by_the_runtime(subject: Subject, deployment: Deployment) -> Iterator[Reading | Finding]:
    """Stages as the runtime's own profile tells them, of calls of a second session of it; not where it has none."""
    clock, plain = clock_for(subject.device, subject.timed), list[float]()
    splits = deployment.profiled(RUNTIME_PASSES, lambda: plain.append(_device_or_host(clock.time, subject.timed)))
    if splits is None:
        yield Finding("opaque_engine", "note", {"engine": deployment.engine.name})
        return
    for stage in (*STAGES, OTHER):
        yield Reading(metrics.LATENCY.part(stage), tuple(split.get(stage, 0.0) for split in splits))
    yield Finding("stages_by_runtime", "note", {"engine": deployment.engine.name})
    sums = [sum(split.values()) for split in splits]
    if not adds_up(sums, plain):
        yield Finding("stages_do_not_add_up", data={"stages": median(sums), "whole": median(plain)})


def adds_up(sums: list[float], plain: list[float]) -> bool:
    """Whether passes with marks in them take what plain ones take, within 5 % and what the marks may cost."""
    difference = median_interval([both - whole for both, whole in zip(sums, plain, strict=True)])
    allowed = max(TOLERANCE * median(plain), MARKS)
    return difference.low <= allowed and difference.high >= -allowed


@probes.register("phases")
def phases(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Training's seconds forward, backward and in the optimizer; nothing for other scenarios.

    Says which parameters the loss gives no gradient.
    """
    if not isinstance(subject.run, TrainingStep):
        return
    until = time.perf_counter() + SHARE_OF_TIME * protocol.max_time
    passes: list[Split] = []
    while _go_on(len(passes), until):
        watch = Stopwatch(subject)
        call(subject, watch.phase)
        passes.append(watch.seconds())
    for phase in PHASES:
        yield Reading(metrics.PHASES[phase], tuple(split[phase] for split in passes))
    if names := subject.run.without_gradient():
        sizes = {name: parameter.numel() for name, parameter in subject.model.named_parameters()}
        shown = (*names[:FEW], *((f"and {len(names) - FEW} more",) if len(names) > FEW else ()))
        yield Finding("no_gradient", data={"params": sum(sizes[name] for name in names), "names": shown})


class Stopwatch:
    """A listener that keeps the moment at which each stage begins, on the host's clock or as events of a GPU.

    In a model that we assemble, a stage's input is freed and its output handed on before the next stage begins: that is
    the earlier one's time. What lies between the stages of a user's own model is ``other``.
    """

    def __init__(self, subject: Subject) -> None:
        self.device = torch.device(subject.device)
        self.on_gpu = self.device.type == "cuda"
        self.ready = Ready()
        self.last = STAGES if not isinstance(subject.case.architecture, Parts) else STAGES[-1:]
        self.moments: list[tuple[Any, str]] = []
        self.forward: list[str] = []
        self.around = OTHER

    def enters(self, stage: str) -> None:
        self.forward.append(stage)
        self._mark(stage)

    def leaves(self, stage: str, _outputs: list[torch.Tensor]) -> None:
        self.forward.pop()
        if self.forward or stage in self.last:
            self._mark(self.forward[-1] if self.forward else self.around)

    def reverses(self, stage: str) -> None:
        self.around = stage
        self._mark(stage)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The whole of a phase is its own until a stage begins in it."""
        self._mark(name)
        yield
        self.around = OTHER
        self._mark(OTHER)

    def seconds(self) -> Split:
        """Seconds by stage; what belongs to none, under the name of its phase."""
        split: Split = dict.fromkeys((stage for _, stage in self.moments), 0.0)
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
        for (begin, stage), (end, _) in pairwise(self.moments):
            split[stage] += self._between(begin, end)
        return split

    def _mark(self, stage: str) -> None:
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self.moments.append((event, stage))
        else:
            self.moments.append((self.ready.moment(), stage))

    def _between(self, begin: Any, end: Any) -> float:
        """Seconds between two marks; on a CPU without the time that other processes had, as a plain pass is timed."""
        if isinstance(begin, Moment):
            return begin.seconds_to(end)
        return max(0.0, float(begin.elapsed_time(end)) * 1e-3 - mark_seconds(self.device))


def _alternate(subject: Subject, split: Splitter, seconds: float) -> tuple[list[float], list[Split]]:
    """Seconds of plain passes, and of as many split ones taken right after each."""
    clock, plain, splits = clock_for(subject.device, subject.run), list[float](), list[Split]()
    split(subject)
    gc.collect()  # or what was imported meanwhile is looked through in a pass with marks, as those leave garbage
    until = time.perf_counter() + seconds
    while _go_on(len(splits), until):
        plain.append(_device_or_host(clock.time, subject.run))
        splits.append(split(subject))
    return plain, splits


def split_by_hooks(subject: Subject) -> Split:
    """One call with hooks on its stages; its seconds by stage.

    On a GPU those of a second call, begun when the device had been given so long to wait as the first took to launch.
    """
    watch = Stopwatch(subject)
    with listening(subject, watch), _not_compiled_again():
        if watch.on_gpu:
            start = time.perf_counter()
            call(subject, watch.phase)
            keep_busy(watch.device, time.perf_counter() - start)
            watch.moments.clear()
        call(subject, watch.phase)
    split = watch.seconds()
    rest = sum(split.pop(phase, 0.0) for phase in PHASES[:2])
    return split | {OTHER: split.get(OTHER, 0.0) + rest}


def _not_compiled_again() -> AbstractContextManager[Any]:
    """Parts that the user's own model compiles run eagerly where hooks would make the compiler start anew."""
    return torch.compiler.set_stance("eager_on_recompile") if "torch._dynamo" in sys.modules else nullcontext()


def _device_or_host(timed: Callable[..., Any], run: Callable[[], Any]) -> float:
    sample = timed(run)
    return float(sample.host if sample.device is None else sample.device)


def _go_on(passes: int, until: float) -> bool:
    return passes < MIN_PASSES or (passes < MAX_PASSES and time.perf_counter() < until)
