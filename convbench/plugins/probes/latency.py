"""Latency of a call, with its raw samples, and the page faults that may be most of it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from convbench.core import metrics
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import probes
from convbench.core.statistics import median_interval
from convbench.measure.machine import environment, nvml
from convbench.measure.timing import Sample, StoppingRule, WarmUp, clock_for, sample, warm_up
from convbench.models.subject import Subject

MANY_FAULTS = 256
SYSTEM_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Usage:
    """What this process had used of the machine so far: minor page faults, and seconds in user and system mode."""

    faults: int
    user: float
    system: float

    @classmethod
    def now(cls) -> Usage:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(used.ru_minflt, used.ru_utime, used.ru_stime)

    def since(self, before: Usage) -> Usage:
        return Usage(self.faults - before.faults, self.user - before.user, self.system - before.system)

    @property
    def system_share(self) -> float:
        return self.system / ((self.user + self.system) or 1.0)


@probes.register("latency")
def latency(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Seconds per call: warm-up until steady, then samples until the median is known to the protocol's target."""
    clock = clock_for(subject.device, subject.run)
    warm = warm_up(subject.run, clock, protocol.max_warmup)
    rule = StoppingRule(protocol.target, protocol.min_samples, protocol.max_time)
    before = Usage.now()
    samples, verdict = sample(subject.run, clock, rule)
    used = Usage.now().since(before)
    yield from _readings(samples, warm)
    if not warm.steady:
        yield Finding("not_steady", data={"change": warm.change})
    if verdict == "time is up":
        width = median_interval([one.host for one in samples]).relative_half_width
        yield Finding("interval_wide", data={"relative": width, "target": protocol.target})
    if subject.device == "cpu":
        yield from _page_faults(used, len(samples))
        yield from _busy(verdict)
    else:
        yield from _disturbances(torch.device(subject.device))


def _readings(samples: list[Sample], warm: WarmUp) -> Iterator[Reading]:
    yield Reading(metrics.LATENCY, tuple(one.host for one in samples))
    on_device = tuple(one.device for one in samples if one.device is not None)
    if on_device:
        yield Reading(metrics.DEVICE_LATENCY, on_device)
    yield Reading(metrics.WARMUP, (warm.seconds,))


def _page_faults(used: Usage, calls: int) -> Iterator[Reading | Finding]:
    yield Reading(metrics.FAULTS, (used.faults / calls,))
    yield Reading(metrics.SYSTEM_SHARE, (used.system_share,))
    if used.faults / calls >= MANY_FAULTS and used.system_share >= SYSTEM_SHARE:
        yield Finding(
            "page_faults",
            data={
                "faults_per_call": used.faults / calls,
                "system_share": used.system_share,
                "allocator": environment.allocator(),
            },
        )


def _busy(verdict: str) -> Iterator[Finding]:
    """Several threads wait for each other at every operator: with the cores busy, for one that is not running."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if verdict != "precise" and load > cores and torch.get_num_threads() > 1:
        yield Finding("busy_machine", data={"load": load, "cores": cores, "threads": torch.get_num_threads()})


def _disturbances(device: torch.device) -> Iterator[Finding]:
    """What held a GPU back while it was timed, as far as the driver tells."""
    if reasons := nvml.state(device).get("throttle_reasons"):
        yield Finding("throttled", data={"reasons": str(reasons)})
    if others := nvml.foreign_processes(device, os.getpid()):
        yield Finding("foreign_process", data={"pids": tuple(map(str, others))})
