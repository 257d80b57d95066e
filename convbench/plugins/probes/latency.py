"""Latency of a call, with its raw samples, what disturbed them, and the page faults that may be most of it."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from convbench.core import metrics
from convbench.core.findings import (
    BUSY_MACHINE,
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
from convbench.core.visits import WAITING_TOGETHER
from convbench.measure.machine import cgroup, environment, nvml
from convbench.measure.probes import ProbeTraits
from convbench.measure.reference import Reference
from convbench.measure.timing import Call, Clock, Sample, Sampling, StoppingRule, WarmUp, clock_for, warm_up
from convbench.measure.waiting import Waiting
from convbench.models.subject import Subject
from convbench.models.values import held_bytes, tensors

MANY_FAULTS = 256
"""Page faults a call from which on a warning is given, where the kernel took ``SYSTEM_SHARE`` of the time."""
SYSTEM_SHARE = 0.25
BLOCK_SECONDS = 0.04
"""Samples between two looks at the reference workload."""
SHORT, SHORT_BLOCK_SECONDS, SETTLE_SECONDS = 0.01, 0.08, 0.03
"""Right after the reference workload a call below SHORT seconds takes up to 1.6 times as long, and a tenth longer for
ten calls more: what it works on has left the caches. So calls are made for SETTLE_SECONDS without being timed, and
blocks are longer. Longer calls were seen to take what they always take."""
LONGER_FOR_PERCENTILES = 4
"""What a streaming case may take of the protocol's time, so that its 99th percentile can be stated."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What this process used of the machine: minor page faults, and seconds in user and system mode."""

    faults: int = 0
    user: float = 0.0
    system: float = 0.0

    @classmethod
    def now(cls) -> Usage:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(used.ru_minflt, used.ru_utime, used.ru_stime)

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.faults + other.faults, self.user + other.user, self.system + other.system)

    def since(self, before: Usage) -> Usage:
        return Usage(self.faults - before.faults, self.user - before.user, self.system - before.system)

    @property
    def system_share(self) -> float:
        return self.system / ((self.user + self.system) or 1.0)


@probes.register("latency")
@declares(ProbeTraits(order=30, includes=("reference",)))
def latency(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Seconds per call: warm-up until steady, then samples in turns with the reference workload until they suffice."""
    clock = clock_for(subject.device, subject.timed)
    reference = Reference(subject.device)
    warm = warm_up(subject.timed, clock, protocol.max_warmup)
    carried = _carried(subject)
    sampling = Sampling(subject.timed, clock, _rule(subject, protocol))
    settling, seconds = (SETTLE_SECONDS, SHORT_BLOCK_SECONDS) if warm.call < SHORT else (0.0, BLOCK_SECONDS)
    used, before = Usage(), Waiting.now()
    while sampling.verdict == "go on":
        reference.block()
        _settle(subject.timed, clock, settling)
        start = Usage.now()
        sampling.block(seconds)
        used += Usage.now().since(start)
    waited, stolen = before.shares(Waiting.now())
    yield from _readings(sampling.samples, warm)
    yield Reading(metrics.REFERENCE, tuple(reference.samples))
    if (grown := _carried(subject)) > carried:
        yield Finding(STATE_GROWS, data={"before": carried, "after": grown})
    if protocol.visits == 1:
        yield from _within_one_process(warm, sampling, protocol)
    if subject.device == "cpu":
        yield from _page_faults(used, len(sampling.samples))
        yield Reading(metrics.RUN_DELAY, (waited,))
        yield Reading(metrics.STEAL, (stolen,))
        yield from _busy(waited)
    else:
        yield from _disturbances(torch.device(subject.device))


def _carried(subject: Subject) -> int:
    """Bytes of the state that a streamed case carries on from one more call; of another runtime's nothing is known."""
    if not subject.case.streams or subject.deployment:
        return 0
    _, state = subject.run()
    return held_bytes(tensors(state))


def _settle(call: Call, clock: Clock, seconds: float) -> None:
    end = clock.now() + seconds
    while clock.now() < end:
        call()


def _rule(subject: Subject, protocol: Protocol) -> StoppingRule:
    """That of the protocol; frame by frame the slow end counts, which needs more samples, if they are short."""
    if not subject.case.streams:
        return StoppingRule(protocol.target, protocol.min_samples, protocol.max_time)
    samples = max(protocol.min_samples, math.ceil(SAMPLES_FOR_PERCENTILE[99] / protocol.visits))
    return StoppingRule(protocol.target, samples, LONGER_FOR_PERCENTILES * protocol.max_time)


def _within_one_process(warm: WarmUp, sampling: Sampling, protocol: Protocol) -> Iterator[Finding]:
    """What is amiss with the only visit; of several the spread between them tells more."""
    if not warm.steady:
        yield Finding(NOT_STEADY, data={"change": warm.change})
    if sampling.verdict == "time is up":
        width = median_interval([sample.host for sample in sampling.samples]).relative_half_width
        yield Finding(INTERVAL_WIDE, data={"relative": width, "target": protocol.target})


def _readings(samples: list[Sample], warm: WarmUp) -> Iterator[Reading]:
    yield Reading(metrics.LATENCY, tuple(sample.host for sample in samples))
    on_device = tuple(sample.device for sample in samples if sample.device is not None)
    if on_device:
        yield Reading(metrics.DEVICE_LATENCY, on_device)
    yield Reading(metrics.WARMUP, (warm.seconds,))


def _page_faults(used: Usage, calls: int) -> Iterator[Reading | Finding]:
    yield Reading(metrics.FAULTS, (used.faults / calls,))
    yield Reading(metrics.SYSTEM_SHARE, (used.system_share,))
    if used.faults / calls >= MANY_FAULTS and used.system_share >= SYSTEM_SHARE:
        yield Finding(
            PAGE_FAULTS,
            data={
                "faults_per_call": used.faults / calls,
                "system_share": used.system_share,
                "allocator": environment.allocator(),
            },
        )


def _busy(waited: float) -> Iterator[Finding]:
    """Several threads wait for each other at every operator: with a core taken, for one that is not running.

    Where they are more than the cores, those are noted: it is they who take them from each other.
    """
    threads, cores = torch.get_num_threads(), cgroup.available_cores()
    if waited > WAITING_TOGETHER and threads > 1:
        too_few = {"cores": cores} if cores < threads else {}
        yield Finding(BUSY_MACHINE, data={"waited": waited, "threads": threads, **too_few})


def _disturbances(device: torch.device) -> Iterator[Finding]:
    """What held a GPU back while it was timed, as far as the driver tells."""
    if reasons := nvml.state(device).get("throttle_reasons"):
        yield Finding(THROTTLED, data={"reasons": str(reasons)})
    if others := nvml.foreign_processes(device, os.getpid()):
        yield Finding(FOREIGN_PROCESS, data={"pids": tuple(map(str, others))})
