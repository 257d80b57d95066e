"""Seconds of a training step by phase: forward, backward, and the optimizer's step."""

from __future__ import annotations

import time
from collections.abc import Iterator

from convbench.core import metrics
from convbench.core.findings import NO_GRADIENT
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.measure.probes import ProbeTraits
from convbench.measure.stages.hooks import call
from convbench.measure.stages.spans import PHASES
from convbench.measure.stages.stopwatch import Split, Stopwatch, passes
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep

MAX_NAMES = 5
"""How many parameters without a gradient are named at most; the others are counted."""


@probes.register("phases")
@declares(ProbeTraits(order=50))
def phases(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Seconds of a training step in forward, backward and optimizer; nothing for other scenarios.

    Reports the parameters that get no gradient from the loss.
    """
    if not isinstance(subject.run, TrainingStep):
        return
    splits = [_split(subject) for _ in passes(protocol)]
    for phase in PHASES:
        yield Reading(metrics.PHASES[phase], tuple(split[phase] for split in splits))
    if names := subject.run.without_gradient():
        parameters = dict(subject.model.named_parameters())
        listing = (*names[:MAX_NAMES], *((f"and {len(names) - MAX_NAMES} more",) if len(names) > MAX_NAMES else ()))
        yield Finding(NO_GRADIENT, data={"params": sum(parameters[name].numel() for name in names), "names": listing})


def _split(subject: Subject) -> Split:
    """Time one step by phase; on a GPU time a second step, with the device's own clock, as for stages."""
    stopwatch, start = Stopwatch(subject), time.perf_counter()
    call(subject, stopwatch.phase)
    if stopwatch.on_gpu:
        stopwatch.begin_anew(time.perf_counter() - start)
        call(subject, stopwatch.phase)
    return stopwatch.seconds()
