"""The first count: MACs on the ``meta`` device, where an LSTM decomposes into products that torch counts exactly.

Nothing is allocated and nothing is computed, so a model of any size costs milliseconds. The convention is torch's: the
multiply-accumulates of convolutions and matrix products; pooling and activations count as zero.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convbench.core.record import STAGES, Case, Parts
from convbench.models import subject
from convbench.models.network import stage_modules
from convbench.models.subject import Subject


def macs_by_stage(case: Case) -> dict[str, int]:
    """MACs of one call, by stage; what lies in no stage is ``other``. Of training forward and backward together.

    Every stage of a model we assemble works frame by frame, so that the count is affine in the number of frames and one
    or two frames are counted instead of all of them (exact, and much faster on ``meta``); a user's whole model is
    counted at full length.
    """
    if not isinstance(case.architecture, Parts):
        return _count(subject.assemble(case.eager, seed=0, device="meta"))
    frames = case.frames_per_call // case.clip.batch
    first = _count(_of_frames(case, 1))
    if case.scenario != "train":
        return {stage: macs * frames for stage, macs in first.items()}
    second = _count(_of_frames(case, 2))
    return {stage: macs + (frames - 1) * (second[stage] - macs) for stage, macs in first.items()}


def _of_frames(case: Case, frames: int) -> Subject:
    """The eager case with that many frames a clip; the first of them costs less to train, with no state before it."""
    return subject.assemble(replace(case.eager, clip=replace(case.clip, frames=frames)), seed=0, device="meta")


def _count(held: Subject) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter:
        held.run()
    by_module = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    root = type(held.model).__name__
    stages = {
        stage: sum(by_module.get(f"{root}.{name}", 0) for name in names if not _passes_on(held.model, name))
        for stage, names in stage_modules(held.case, held.model).items()
    }
    other = counter.get_total_flops() // 2 - sum(stages.values())
    return {stage: stages.get(stage, 0) for stage in STAGES} | {"other": other}


def _passes_on(model: nn.Module, name: str) -> bool:
    """Whether a module hands on its input: the backward pass of what is before it would be counted as its own."""
    return isinstance(model.get_submodule(name), nn.Identity)
