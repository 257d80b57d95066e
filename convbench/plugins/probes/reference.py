"""A fixed workload in the case's own process: what tells a slower model from a slower hour of the same machine."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from convbench.core import metrics
from convbench.core.record import Protocol, Reading
from convbench.core.registry import probes
from convbench.measure.timing import Call, StoppingRule, clock_for, sample, warm_up
from convbench.models.subject import Subject

MAX_WARMUP, MAX_TIME, TARGET = 0.05, 0.1, 0.01


@probes.register("reference")
def reference(subject: Subject, protocol: Protocol) -> Iterator[Reading]:
    """Seconds of a fixed convolution, ReLU and matmul: how fast this machine was while the case was measured."""
    call = _workload(subject.device)
    clock = clock_for(subject.device, call)
    warm_up(call, clock, MAX_WARMUP)
    samples, _ = sample(call, clock, StoppingRule(TARGET, protocol.min_samples, MAX_TIME))
    yield Reading(metrics.REFERENCE, tuple(one.host for one in samples))


def _workload(device: str) -> Call:
    """Maps of 1 MiB and a matrix of 256 KiB: arithmetic and memory, and no block that glibc maps anew each time."""
    generator = torch.Generator().manual_seed(0)
    frames, matrix = torch.randn(16, 3, 32, 32, generator=generator), torch.randn(256, 256, generator=generator)
    weights = torch.randn(16, 3, 3, 3, generator=generator)
    frames, weights, matrix = frames.to(device), weights.to(device), matrix.to(device)

    def call() -> torch.Tensor:
        with torch.no_grad():
            maps = nn.functional.conv2d(frames, weights, padding=1).relu()
            return maps.view(256, -1) @ maps.view(256, -1).T @ matrix

    return call
