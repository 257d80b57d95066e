"""Parameters, in total and by stage, and the bytes of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from convbench.core import metrics
from convbench.core.findings import TWO_WAY_STREAM
from convbench.core.record import STAGES, Finding, Parts, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.measure.counts.affine import folding_finding
from convbench.measure.counts.counted import params_by
from convbench.measure.probes import ProbeTraits
from convbench.models.network import ConvReducerRNN, map_shape
from convbench.models.stages import stage_roots
from convbench.models.subject import Subject
from convbench.models.weights import weights_bytes


@probes.register("params")
@declares(ProbeTraits(static=True, passive=True, order=10))
def params(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Parameters by stage, exact; buffers (a frozen projection) count in weights_bytes but are not parameters."""
    model = subject.model
    stages = params_by(model, stage_roots(subject.case, model))
    yield Reading(metrics.PARAMS, (sum(stages.values()),))
    for stage in (*STAGES, metrics.OTHER):
        yield Reading(metrics.PARAMS.part(stage), (stages.get(stage, 0),))
    yield Reading(metrics.WEIGHTS, (weights_bytes(model),))
    parts = subject.case.architecture
    if isinstance(parts, Parts) and parts.rnn.bidirectional and subject.case.streams:
        yield Finding(TWO_WAY_STREAM, "note")
    if isinstance(parts, Parts) and isinstance(model, ConvReducerRNN):
        finding = folding_finding(model, prod(map_shape(parts, subject.case.clip)))
        yield from [finding] if finding else []
