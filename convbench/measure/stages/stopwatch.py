"""Seconds of an eager call by stage, from the moments at which its modules are entered and left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch

from convbench.core.metrics import OTHER
from convbench.core.record import STAGES, Parts, Protocol
from convbench.measure.running_clock import Moment, RunningClock
from convbench.measure.stages.hooks import call, listen
from convbench.measure.stages.spans import PHASES
from convbench.measure.timing import keep_busy, mark_seconds, wait_for
from convbench.models.subject import Subject

Split = dict[str, float]
"""Seconds by stage."""
LEAST, MOST = 6, 40
SHARE_OF_TIME = 0.3
"""Share of the time that the protocol gives to samples of the latency."""
SHORT = 5e-3
"""Calls of fewer seconds are short: cold hooks would be a notable share of them."""


def passes(protocol: Protocol) -> Iterator[int]:
    """Yield the numbers of the passes to make, one after another, as long as there is time."""
    until = time.perf_counter() + SHARE_OF_TIME * protocol.max_time
    for number in range(MOST):
        if number >= LEAST and time.perf_counter() >= until:
            return
        yield number


class Stopwatch:
    """A listener that keeps the moment at which each stage begins, on the host's clock or as events of a GPU.

    In a model that we assemble, a stage's time includes freeing its input and handing on its output, up to the
    beginning of the next stage. In a user's own model, the time between stages is ``other``.
    """

    def __init__(self, subject: Subject) -> None:
        self.device = torch.device(subject.device)
        self.on_gpu = subject.on_gpu
        self.clock = RunningClock()
        self.final_stages = STAGES if not isinstance(subject.case.architecture, Parts) else STAGES[-1:]
        self.moments: list[tuple[Any, str]] = []
        self.stack: list[str] = []
        self.outer_stage = OTHER

    def enters(self, stage: str) -> None:
        self.stack.append(stage)
        self._mark(stage)

    def leaves(self, stage: str, _outputs: list[torch.Tensor]) -> None:
        self.stack.pop()
        if self.stack or stage in self.final_stages:
            self._mark(self.stack[-1] if self.stack else self.outer_stage)

    def reverses(self, stage: str) -> None:
        self.outer_stage = stage
        self._mark(stage)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Mark a phase: its time is its own until a stage begins in it."""
        self._mark(name)
        yield
        self.outer_stage = OTHER
        self._mark(OTHER)

    def begin_anew(self, launch_seconds: float) -> None:
        """Forget all marks. A GPU then waits as long as launching took, so that the next call includes no launches."""
        self.moments.clear()
        if self.on_gpu:
            keep_busy(self.device, launch_seconds)

    def seconds(self) -> Split:
        """Seconds by stage; time outside of all stages is under the name of its phase."""
        split: Split = dict.fromkeys((stage for _, stage in self.moments), 0.0)
        wait_for(self.device)
        for (begin, stage), (end, _) in pairwise(self.moments):
            split[stage] += self._seconds_between(begin, end)
        return split

    def _mark(self, stage: str) -> None:
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self.moments.append((event, stage))
        else:
            self.moments.append((self.clock.moment(), stage))

    def _seconds_between(self, begin: Any, end: Any) -> float:
        """Seconds between two marks; on a CPU without the time that other processes had, as in a plain pass."""
        if isinstance(begin, Moment):
            return begin.seconds_to(end)
        return max(0.0, float(begin.elapsed_time(end)) * 1e-3 - mark_seconds(self.device))


def split_by_hooks(subject: Subject) -> Split:
    """Return the seconds by stage of one call with hooks on its stages.

    For a short call, and on a GPU, they are those of a second call, for which the hooks are warm. A GPU begins it after
    waiting for as long as the first call took to launch. How long a call is does not include what other processes took:
    else a short call on a busy machine would keep the cost of cold hooks.
    """
    watch = Stopwatch(subject)
    with listen(subject, watch), _without_recompiling():
        first_seconds = watch.clock.timed(lambda: call(subject, watch.phase))
        if watch.on_gpu or first_seconds < SHORT:
            watch.begin_anew(first_seconds)
            call(subject, watch.phase)
    split = watch.seconds()
    phase_seconds = sum(split.pop(phase, 0.0) for phase in PHASES[:2])
    return split | {OTHER: split.get(OTHER, 0.0) + phase_seconds}


def _without_recompiling() -> AbstractContextManager[Any]:
    """Run compiled parts of the user's own model eagerly if hooks would make the compiler start anew."""
    return torch.compiler.set_stance("eager_on_recompile") if "torch._dynamo" in sys.modules else nullcontext()
