"""MACs and FLOPs of one call, in all and by stage."""

from __future__ import annotations

from collections.abc import Iterator

from convbench.core import metrics
from convbench.core.record import Protocol, Reading
from convbench.core.registry import probes
from convbench.measure.counts.meta import macs_by_stage
from convbench.measure.probes import static
from convbench.models.subject import Subject


@probes.register("macs")
@static
def macs(subject: Subject, protocol: Protocol) -> Iterator[Reading]:
    """Multiply-accumulates by stage, exact, from the meta device; FLOPs are twice as many."""
    stages = macs_by_stage(subject.case)
    total = sum(stages.values())
    yield Reading(metrics.MACS, (total,))
    yield Reading(metrics.FLOPS, (2 * total,))
    for stage, count in stages.items():
        yield Reading(metrics.MACS.part(stage), (count,))
