"""Peak memory of one warmed call, under names that say which memory it is."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from convbench import nvml
from convbench.network import weights_bytes
from convbench.record import Metric, Protocol, Reading
from convbench.registry import probes
from convbench.subject import Subject

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@probes.register("memory")
def memory(subject: Subject, protocol: Protocol) -> Iterator[Reading]:
    """CUDA: peak allocated, peak reserved, the process's use; CPU: peak tensor bytes and the process's peak RSS."""
    gc.collect()
    if torch.device(subject.device).type == "cuda":
        yield from _cuda(subject)
    else:
        yield from _cpu(subject)


def _cuda(subject: Subject) -> Iterator[Reading]:
    device = torch.device(subject.device)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    subject.run()
    torch.cuda.synchronize(device)
    yield Reading(Metric("cuda_peak_allocated_bytes", "B"), (torch.cuda.max_memory_allocated(device),))
    yield Reading(Metric("cuda_peak_reserved_bytes", "B"), (torch.cuda.max_memory_reserved(device),))
    used = nvml.process_bytes(device, os.getpid())
    if used is not None:
        yield Reading(Metric("cuda_process_bytes", "B"), (used,))


def _cpu(subject: Subject) -> Iterator[Reading]:
    peak_rss = _peak_rss_of_a_call(subject)
    if peak_rss is not None:
        yield Reading(Metric("cpu_peak_rss_bytes", "B"), (peak_rss,))
    held = weights_bytes(subject.model) + sum(tensor.nbytes for tensor in subject.inputs.tensors)
    yield Reading(Metric("cpu_peak_tensor_bytes", "B"), (held + _peak_of_a_call(subject),))


def _peak_of_a_call(subject: Subject) -> int:
    """Most bytes of CPU tensors alive at once that a call allocates, from the profiler's allocation events."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as profiler:
        subject.run()
    pending = list(profiler.profiler.kineto_results.experimental_event_tree())
    changes = []
    while pending:
        event = pending.pop()
        pending.extend(event.children)
        if event.typed[0] == _EventType.Allocation:
            changes.append((event.start_time_ns, event.typed[1].alloc_size))
    alive = peak = 0
    for _, change in sorted(changes, key=lambda one: one[0]):
        alive += change
        peak = max(peak, alive)
    return peak


def _peak_rss_of_a_call(subject: Subject) -> int | None:
    """The process's high-water mark of resident memory over one call, libraries included, where Linux tells it."""
    try:
        CLEAR_REFS.write_text("5")
        subject.run()
        mark = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        return None
    return int(mark.group(1)) * 1024 if mark else None
