"""Clocks, warm-up and the stopping rule: how a call is timed until its median is known well enough.

A clock is the only seam to real time: tests pass one with invented samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import pairwise
from statistics import median
from typing import Any, Literal, Protocol

import torch

from convbench.core.statistics import median_interval
from convbench.measure.running_clock import RunningClock

Call = Callable[[], Any]
BLOCK_SECONDS = 1e-3
"""Seconds of a block of calls on a GPU, against which the cost of a synchronisation is small."""
STEADY = 0.02
"""A call is warm if the medians of two windows differ by no more than this share."""
MIN_FOR_INTERVAL = 6
"""The fewest samples whose extremes are a 95 % interval of the median: 2 * 0.5^6 = 3.1 %."""
MARKS = 40
"""Number of consecutive events from which the cost of one is measured."""
MARGIN, LEAST_LEAD, LONGEST_LEAD = 1.3, 30e-6, 0.2
"""Seconds for which a GPU is kept busy: the launch time times the first plus the second, at most the third."""
CYCLES = 2_000_000
"""Cycles of a wait that is long compared with a launch."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds per call: end to end on the host, and on CUDA also on the device itself."""

    host: float
    device: float | None = None


class Clock(Protocol):
    """``now()`` in seconds, and ``time(call)``: one sample of one call or of a short block of calls."""

    def now(self) -> float: ...

    def time(self, call: Call) -> Sample: ...


class CpuClock:
    """A clock that stops while another process has the core (``measure.running_clock``)."""

    def __init__(self) -> None:
        self._clock = RunningClock()

    def now(self) -> float:
        return time.perf_counter()

    def time(self, call: Call) -> Sample:
        return Sample(self._clock.timed(call))


class CudaClock:
    """Times a block of calls on the host until the device has finished, then a block of ``calls`` by CUDA events.

    The first is how long a caller waits. For the second the device is kept busy until the host has launched the whole
    block, so that the events include no waiting for launches. The rest of the host's time is the cost of launching.
    The first block has ``calls`` too, or a single call if the caller needs each result (``waits``): launching several
    overlaps with computing, and their mean hides the slow ones.
    """

    def __init__(self, device: str, calls: int = 1, *, waits: bool = False) -> None:
        self.device = torch.device(device)
        self.calls, self.host_calls = calls, 1 if waits else calls

    def now(self) -> float:
        return time.perf_counter()

    def time(self, call: Call) -> Sample:
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        _repeat(call, self.host_calls)
        launch_seconds = (time.perf_counter() - start) / self.host_calls
        torch.cuda.synchronize(self.device)
        host = time.perf_counter() - start
        keep_busy(self.device, launch_seconds * self.calls)
        device_seconds = _event_seconds(self.device, partial(_repeat, call, self.calls))
        return Sample(host / self.host_calls, device_seconds / self.calls)


def _repeat(call: Call, times: int) -> None:
    for _ in range(times):
        call()


def _event_seconds(device: torch.device, work: Call) -> float:
    """Seconds on the device's own clock from the beginning to the end of the work that ``work`` launches."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize(device)
    return float(begin.elapsed_time(end)) * 1e-3


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished all its work; a CPU has when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def keep_busy(device: torch.device, seconds: float) -> None:
    """Make a CUDA device wait somewhat longer than ``seconds``, while the host launches the work that follows."""
    wait = MARGIN * seconds + LEAST_LEAD
    torch.cuda._sleep(int(min(wait, LONGEST_LEAD) * _cycles_per_second(device)))  # type: ignore[no-untyped-call]


@lru_cache
def _cycles_per_second(device: torch.device) -> float:
    """The rate at which the device counts cycles, from a long wait after its clocks have risen."""
    wait = partial(torch.cuda._sleep, CYCLES)
    _event_seconds(device, wait)
    return CYCLES / _event_seconds(device, wait)


@lru_cache
def mark_seconds(device: torch.device) -> float:
    """Seconds that an event costs a device that has nothing to wait for: the time between two consecutive events."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(MARKS)]  # type: ignore[no-untyped-call]
    keep_busy(device, 1e-3)
    for event in events:
        event.record()
    torch.cuda.synchronize(device)
    return median(float(begin.elapsed_time(end)) * 1e-3 for begin, end in pairwise(events))


def clock_for(device: str, call: Call, *, waits: bool = False) -> Clock:
    """Return the clock of a device; on CUDA its blocks are so long that the cost of a synchronisation is small.

    ``waits`` says that the caller needs the result of each call before the next one.
    """
    if torch.device(device).type != "cuda":
        return CpuClock()
    call_seconds = min(CudaClock(device).time(call).host for _ in range(3))
    return CudaClock(device, calls=max(1, round(BLOCK_SECONDS / call_seconds)), waits=waits)


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """Stop when the 95 % interval of the median is within ``target`` of it (relative half width), or time is up."""

    target: float
    min_samples: int
    max_time: float

    def decide(self, samples: list[float], elapsed: float) -> Literal["go on", "precise", "time is up"]:
        if len(samples) >= self.min_samples and median_interval(samples).relative_half_width <= self.target:
            return "precise"
        return "time is up" if elapsed >= self.max_time and len(samples) >= MIN_FOR_INTERVAL else "go on"


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How long a warm-up took, and by how much the medians of its last two windows still differed (relative)."""

    seconds: float
    calls: int
    change: float

    @property
    def call(self) -> float:
        """Mean seconds per call."""
        return self.seconds / self.calls

    @property
    def is_steady(self) -> bool:
        return self.change <= STEADY


def warm_up(call: Call, clock: Clock, max_seconds: float, window: int = 5) -> WarmUp:
    """Call until the medians of two successive windows agree within 2 %, or ``max_seconds`` are over."""
    start, calls, change = clock.now(), [], float("inf")
    while True:
        calls.append(clock.time(call).host)
        if len(calls) >= 2 * window and len(calls) % window == 0:
            before, after = median(calls[-2 * window : -window]), median(calls[-window:])
            change = abs(after - before) / before
        seconds = clock.now() - start
        if change <= STEADY or seconds >= max_seconds:
            return WarmUp(seconds, len(calls), change)


@dataclass
class Sampling:
    """Samples of a call until the rule says stop. They may be taken in blocks, with other work in between."""

    call: Call
    clock: Clock
    rule: StoppingRule
    samples: list[Sample] = field(default_factory=list)
    verdict: str = "go on"

    def __post_init__(self) -> None:
        self._start, self._decision_count = self.clock.now(), 0

    def block(self, seconds: float) -> None:
        """Take samples for ``seconds``, or until the rule stops; it is asked whenever there are 10 % more samples."""
        end = self.clock.now() + seconds
        while self.verdict == "go on":
            self.samples.append(self.clock.time(self.call))
            moment = self.clock.now()
            if (
                len(self.samples) >= max(self._decision_count * 1.1, MIN_FOR_INTERVAL)
                or moment - self._start >= self.rule.max_time
            ):
                self._decision_count = len(self.samples)
                self.verdict = self.rule.decide([sample.host for sample in self.samples], moment - self._start)
            if moment >= end:
                return


def sample(call: Call, clock: Clock, rule: StoppingRule) -> tuple[list[Sample], str]:
    """Take samples until the rule says stop; return them, and why it did."""
    sampling = Sampling(call, clock, rule)
    sampling.block(float("inf"))
    return sampling.samples, sampling.verdict
