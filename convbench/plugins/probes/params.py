"""Parameters, in all and by stage, and the bytes of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from torch import nn

from convbench.core import metrics
from convbench.core.record import STAGES, Case, Features, Finding, Parts, Protocol, Reading
from convbench.core.registry import probes
from convbench.measure.counts.affine import folding
from convbench.measure.probes import static
from convbench.models.network import ConvReducerRNN, feature_shape, stage_modules, weights_bytes
from convbench.models.subject import Subject


@probes.register("params")
@static
def params(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Parameters by stage, exact; buffers (a frozen projection) weigh in weights_bytes but are not parameters."""
    model = subject.model
    total = _count(model)
    stages = {
        stage: sum(_count(model.get_submodule(name)) for name in names)
        for stage, names in stage_modules(subject.case, model).items()
    }
    yield Reading(metrics.PARAMS, (total,))
    for stage in STAGES:
        yield Reading(metrics.PARAMS.part(stage), (stages.get(stage, 0),))
    yield Reading(metrics.PARAMS.part(metrics.OTHER), (total - sum(stages.values()),))
    yield Reading(metrics.WEIGHTS, (weights_bytes(model),))
    if isinstance(model, ConvReducerRNN) and (finding := folding(model, prod(_features(subject.case)))):
        yield finding


def _features(case: Case) -> Features:
    assert isinstance(case.architecture, Parts)
    clip = case.clip
    return feature_shape(case.architecture.backbone, clip.channels, clip.height, clip.width)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
