"""Peak memory of one warmed-up call, a metric for each kind of memory, and what was alive at the peak."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import torch

from convbench.core import metrics
from convbench.core.findings import OWN_THREADS
from convbench.core.record import STAGES, Finding, Metric, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.measure.machine import nvml
from convbench.measure.memory import allocations, alone
from convbench.measure.probes import ProbeTraits
from convbench.models.subject import Subject

RECORDING_CALLS = 3
"""Calls after the first one until CUDA graphs are replayed: a stream's second frame, the first with a state, is
compiled anew, and then each graph has a call to warm up and one to be recorded."""


@probes.register("memory")
@declares(ProbeTraits(exact=True, order=60))
def memory(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """CUDA: peak allocated, peak reserved, the process's use; CPU: peak tensor bytes and the process's peak RSS.

    The buffers of another runtime are not tensors: for it the probe reads how much a separate process grows, and on
    CUDA this process's use.
    """
    gc.collect()
    yield from (_cuda if subject.on_gpu else _cpu)(subject)


def _cuda(subject: Subject) -> Iterator[Reading]:
    device = torch.device(subject.device)
    for _ in range(RECORDING_CALLS):  # in a visit without timed probes, nothing has called it since its first call
        subject.run()
    gc.collect()
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()  # else what eager took before, to be compared with, would count as reserved and in use
    torch.cuda.reset_peak_memory_stats(device)
    subject.run()
    torch.cuda.synchronize(device)
    process_bytes = nvml.process_bytes(device).get(os.getpid())
    if process_bytes is not None:
        yield Reading(metrics.CUDA_PROCESS, (process_bytes,))
    if subject.deployment:  # its runtime asks CUDA for memory, not torch's allocator
        return
    yield Reading(metrics.CUDA_PEAK, (torch.cuda.max_memory_allocated(device) + allocations.held_by_graphs(),))
    yield Reading(metrics.CUDA_RESERVED, (torch.cuda.max_memory_reserved(device),))
    yield from _parts(metrics.CUDA_PEAK, allocations.timeline_of(subject))


def _cpu(subject: Subject) -> Iterator[Reading | Finding]:
    peak_rss = alone.peak_rss_of(subject.run)
    if peak_rss is not None:
        yield Reading(metrics.CPU_PEAK_RSS, (peak_rss,))
    if subject.deployment:
        if (growth := alone.growth(subject.deployment)) is not None:
            yield Reading(metrics.RUNTIME_PEAK, (growth,))
        return
    timeline = allocations.timeline_of(subject)
    yield Reading(metrics.CPU_PEAK, (timeline.peak,))
    yield from _parts(metrics.CPU_PEAK, timeline)
    if timeline.threads:
        yield Finding(OWN_THREADS)


def _parts(peak: Metric, timeline: allocations.Timeline) -> Iterator[Reading]:
    """Yield the bytes alive at the peak, by kind and then by the stage that made them; each split sums to the peak."""
    bytes_by_holder = timeline.at_peak()
    for place, parts in enumerate((metrics.KINDS, (*STAGES, metrics.OTHER))):
        for part in parts:
            size = sum(size for holder, size in bytes_by_holder.items() if holder[place] == part)
            yield Reading(peak.part(part), (size,))
