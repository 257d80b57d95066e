"""The second, independent count of MACs: where it differs from the first."""

from __future__ import annotations

from collections.abc import Iterator

from convbench.core import metrics
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import probes
from convbench.measure.counts.counted import NotCounted, after_call, count_forward, reason_of
from convbench.measure.counts.traced import trace as traced_counts
from convbench.measure.probes import exact
from convbench.models.subject import Subject, assemble_forward


@probes.register("crosscheck")
@exact
def crosscheck(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Traces a model that is not timed and says where its MACs by stage differ from those of the first count.

    Of training the forward pass: a trace does not know the backward one.
    """
    try:
        first = count_forward(subject.case, protocol.seed)
    except NotCounted:
        return  # the probe ``macs`` has said so
    try:
        trace = traced_counts(after_call(assemble_forward(subject.case, protocol.seed)))
    except Exception as error:
        yield Finding("counted_once", data={"reason": reason_of(error)})
        return
    for stage, counted in first.macs.items():
        if counted != trace.macs[stage]:
            yield Finding("counts_disagree", data={"stage": stage, "meta": counted, "traced": trace.macs[stage]})
    if trace.uncounted and not first.uncounted:
        yield Finding("uncounted_operators", data={"operators": trace.uncounted, "share": 0.0})
    yield Reading(metrics.ADDS, (trace.adds,))
