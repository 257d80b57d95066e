"""MACs and FLOPs of one call, in total and by stage, and the parts of the model that they leave out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from convbench.core import metrics
from convbench.core.errors import line_of
from convbench.core.findings import NAME_STAGES, NOT_COUNTED, STAGES_UNSEEN, UNCOUNTED_OPERATORS
from convbench.core.record import Finding, Parts, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.measure.counts.counted import NotCounted, count_subject
from convbench.measure.counts.dispatched import StageCounts
from convbench.measure.probes import ProbeTraits
from convbench.models.stages import WRAPPERS, stage_by_module, stage_roots
from convbench.models.subject import Subject

MUCH = 0.2
"""If more than this share of the MACs is in no stage, a finding suggests naming the stages."""


@probes.register("macs")
@declares(ProbeTraits(static=True, order=20))
def macs(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Multiply-accumulates of the timed call by stage, exact; FLOPs are twice as many.

    They are counted on the meta device, or on the real device if the model does not run on meta.
    """
    try:
        count = count_subject(subject)
    except NotCounted as error:
        yield Finding(NOT_COUNTED, data={"reason": line_of(error)})
        return
    yield Reading(metrics.MACS, (count.total,))
    yield Reading(metrics.FLOPS, (2 * count.total,))
    for stage, number in count.macs.items():
        yield Reading(metrics.MACS.part(stage), (number,))
    yield from _doubts(subject, count)


def _doubts(subject: Subject, count: StageCounts) -> Iterator[Finding]:
    if count.unknown_operators:
        yield Finding(UNCOUNTED_OPERATORS, data={"operators": count.unknown_operators, "share": count.unknown_share})
    if count.missing_stages:
        yield Finding(STAGES_UNSEEN, data={"stages": count.missing_stages})
    architecture = subject.case.architecture
    if isinstance(architecture, Parts) or count.macs[metrics.OTHER] <= MUCH * count.total:
        return
    share = count.macs[metrics.OTHER] / count.total
    stages = stage_by_module(stage_roots(subject.case, subject.model)) if architecture.stages else {}
    yield Finding(NAME_STAGES, "note", {"share": share, "modules": tuple(_outside(stages, subject.model))})


def _outside(stages: Mapping[nn.Module, str], model: nn.Module, prefix: str = "") -> Iterator[str]:
    """Yield the names of the largest submodules with parameters that neither are in ``stages`` nor hold one."""
    for name, child in _inner_children(model):
        if child not in stages and not stages.keys().isdisjoint(child.modules()):
            yield from _outside(stages, child, f"{prefix}{name}.")
        elif child not in stages and any(True for _ in child.parameters()):
            yield prefix + name


def _inner_children(model: nn.Module) -> list[tuple[str, nn.Module]]:
    children = list(model.named_children())
    wraps = len(children) == 1 and children[0][0] in WRAPPERS
    return _inner_children(children[0][1]) if wraps else children
