"""Latency of a call: its raw samples, what disturbed them, and page faults, which may take most of the time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from convbench.core import metrics
from convbench.core.findings import (
    FOREIGN_PROCESS,
    INTERVAL_WIDE,
    NOT_STEADY,
    PAGE_FAULTS,
    STATE_GROWS,
    THROTTLED,
)
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.core.statistics import SAMPLES_FOR_PERCENTILE, median_interval
from convbench.measure.machine import environment, nvml
from convbench.measure.probes import ProbeTraits
from convbench.measure.reference import Reference
from convbench.measure.timing import Call, Clock, Sample, Sampling, StoppingRule, WarmUp, clock_for, warm_up
from convbench.measure.waiting import Waiting, busy_machine
from convbench.models.subject import Subject
from convbench.models.values import held_bytes

MANY_FAULTS = 256
"""Page faults per call from which a warning is given, if the kernel took ``SYSTEM_SHARE`` of the CPU time."""
SYSTEM_SHARE = 0.25
BLOCK_SECONDS = 0.04
"""Seconds of sampling between two runs of the reference workload."""
SHORT, SHORT_BLOCK_SECONDS, SETTLE_SECONDS = 0.01, 0.08, 0.03
"""Right after the reference workload, a call of less than SHORT seconds takes up to 1.6 times as long, and the next ten
calls take a tenth longer, because their data has left the caches. So for SETTLE_SECONDS such calls are not timed, and
their blocks are longer (SHORT_BLOCK_SECONDS). Longer calls were seen to take no longer than usual."""
LONGER_FOR_PERCENTILES = 4
"""A streaming case may sample for this many times the protocol's time, so that its 99th percentile can be stated."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that this process used: minor page faults, and CPU seconds in user and system mode."""

    faults: int = 0
    user: float = 0.0
    system: float = 0.0

    @classmethod
    def now(cls) -> Usage:
        import resource  # Windows has none, and reads the metrics of this module's probe

        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(usage.ru_minflt, usage.ru_utime, usage.ru_stime)

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.faults + other.faults, self.user + other.user, self.system + other.system)

    def since(self, start: Usage) -> Usage:
        return Usage(self.faults - start.faults, self.user - start.user, self.system - start.system)

    @property
    def system_share(self) -> float:
        return self.system / ((self.user + self.system) or 1.0)


@probes.register("latency")
@declares(ProbeTraits(order=30, includes=("reference",)))
def latency(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Seconds per call: warm-up until steady, then enough samples, alternated with the reference workload."""
    clock = clock_for(subject.device, subject.timed_call, waits=subject.case.streams)
    reference = Reference(subject.device)
    warmup = warm_up(subject.timed_call, clock, protocol.max_warmup)
    bytes_before = held_bytes(subject.next_state())
    sampling = Sampling(subject.timed_call, clock, _rule(subject, protocol))
    settle_seconds, seconds = (SETTLE_SECONDS, SHORT_BLOCK_SECONDS) if warmup.call < SHORT else (0.0, BLOCK_SECONDS)
    usage, waiting = Usage(), Waiting.now()
    while sampling.verdict == "go on":
        reference.block()
        _settle(subject.timed_call, clock, settle_seconds)
        start = Usage.now()
        sampling.block(seconds)
        usage += Usage.now().since(start)
    run_delay, steal, pause = waiting.shares(Waiting.now())
    yield from _readings(sampling.samples, warmup)
    yield Reading(metrics.REFERENCE, tuple(reference.samples))
    if (bytes_after := held_bytes(subject.next_state())) > bytes_before:
        yield Finding(STATE_GROWS, data={"before": bytes_before, "after": bytes_after})
    if protocol.visits == 1:
        yield from _within_one_process(warmup, sampling, protocol)
    if subject.device == "cpu":
        yield from _page_faults(usage, len(sampling.samples))
        yield Reading(metrics.RUN_DELAY, (run_delay,))
        yield Reading(metrics.STEAL, (steal,))
        yield from busy_machine(run_delay, pause)
    else:
        yield from _disturbances(torch.device(subject.device))


def _settle(call: Call, clock: Clock, seconds: float) -> None:
    end = clock.now() + seconds
    while clock.now() < end:
        call()


def _rule(subject: Subject, protocol: Protocol) -> StoppingRule:
    """Return the protocol's stopping rule; for streaming, with enough samples and time for the 99th percentile."""
    if not subject.case.streams:
        return StoppingRule(protocol.target, protocol.min_samples, protocol.max_time)
    samples = max(protocol.min_samples, math.ceil(SAMPLES_FOR_PERCENTILE[99] / protocol.visits))
    return StoppingRule(protocol.target, samples, LONGER_FOR_PERCENTILES * protocol.max_time)


def _within_one_process(warmup: WarmUp, sampling: Sampling, protocol: Protocol) -> Iterator[Finding]:
    """Report problems of the only visit; of several visits, the spread between them tells more."""
    if not warmup.is_steady:
        yield Finding(NOT_STEADY, data={"change": warmup.change})
    if sampling.verdict == "time is up":
        width = median_interval([sample.host for sample in sampling.samples]).relative_half_width
        yield Finding(INTERVAL_WIDE, data={"relative": width, "target": protocol.target})


def _readings(samples: list[Sample], warmup: WarmUp) -> Iterator[Reading]:
    yield Reading(metrics.LATENCY, tuple(sample.host for sample in samples))
    device_seconds = tuple(sample.device for sample in samples if sample.device is not None)
    if device_seconds:
        yield Reading(metrics.DEVICE_LATENCY, device_seconds)
    yield Reading(metrics.WARMUP, (warmup.seconds,))


def _page_faults(usage: Usage, calls: int) -> Iterator[Reading | Finding]:
    yield Reading(metrics.FAULTS, (usage.faults / calls,))
    yield Reading(metrics.SYSTEM_SHARE, (usage.system_share,))
    if usage.faults / calls >= MANY_FAULTS and usage.system_share >= SYSTEM_SHARE:
        yield Finding(
            PAGE_FAULTS,
            data={
                "faults_per_call": usage.faults / calls,
                "system_share": usage.system_share,
                "allocator": environment.allocator(),
            },
        )


def _disturbances(device: torch.device) -> Iterator[Finding]:
    """Report what held a GPU back while it was timed, as far as the driver tells."""
    if reasons := nvml.state(device).get("throttle_reasons"):
        yield Finding(THROTTLED, data={"reasons": str(reasons)})
    all_pids = nvml.process_bytes(device)
    pids = tuple(str(pid) for pid in all_pids if pid != os.getpid())
    if os.getpid() not in all_pids:  # a container's processes have other ids outside
        pids = (f"{len(pids) - 1} of {', '.join(pids)}",) if len(pids) > 1 else ()
    if pids:
        yield Finding(FOREIGN_PROCESS, data={"pids": pids})
