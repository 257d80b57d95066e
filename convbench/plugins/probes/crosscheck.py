"""The second, independent count of MACs, and what neither count knows."""

from __future__ import annotations

from collections.abc import Iterator

from convbench.core import metrics
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import probes
from convbench.measure.counts import meta
from convbench.measure.counts.traced import trace as traced_counts
from convbench.measure.probes import exact
from convbench.models import subject
from convbench.models.subject import Subject


@probes.register("crosscheck")
@exact
def crosscheck(held: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Traces a model that is not timed and says where its MACs by stage differ from those of the meta device.

    Of training the forward pass: a trace does not know the backward one.
    """
    twin = subject.assemble(held.case.forward_only, protocol.seed)
    try:
        trace = traced_counts(twin)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        yield Finding("counted_once", data={"reason": reason})
        return
    for stage, counted in meta.macs_by_stage(held.case.forward_only).items():
        if counted != trace.macs[stage]:
            yield Finding("counts_disagree", data={"stage": stage, "meta": counted, "traced": trace.macs[stage]})
    if trace.uncounted:
        yield Finding("uncounted_operators", data={"operators": trace.uncounted})
    yield Reading(metrics.ADDS, (trace.adds,))
