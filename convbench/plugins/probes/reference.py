"""The reference workload by itself, for suites without ``latency``, which alternates it with its own samples."""

from __future__ import annotations

from collections.abc import Iterator

from convbench.core import metrics
from convbench.core.record import Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.measure.probes import ProbeTraits
from convbench.measure.reference import Reference
from convbench.models.subject import Subject

SECONDS = 0.1


@probes.register("reference")
@declares(ProbeTraits(order=70))
def reference(subject: Subject, _protocol: Protocol) -> Iterator[Reading]:
    """Seconds of a fixed convolution, ReLU and matmul: how fast this machine was while the case was measured."""
    workload = Reference(subject.device)
    workload.block(SECONDS)
    yield Reading(metrics.REFERENCE, tuple(workload.samples))
