"""The first count: MACs on the ``meta`` device, where an LSTM decomposes into products that torch counts exactly.

Nothing is allocated and nothing is computed, so a model of any size costs milliseconds. The convention is torch's: the
multiply-accumulates of convolutions and matrix products; pooling and activations count as zero.
"""

from __future__ import annotations

from dataclasses import replace

from torch.utils.flop_counter import FlopCounterMode

from convbench import subject
from convbench.network import stage_modules
from convbench.record import STAGES, Case, Parts
from convbench.subject import Subject


def macs_by_stage(case: Case) -> dict[str, int]:
    """MACs of one call, by stage; what lies in no stage is ``other``.

    Every stage of a model we assemble works frame by frame, so one frame is counted and multiplied by the frames of a
    call (exact, and 16 times faster on ``meta`` for 16 frames); a user's whole model is counted at full length.
    """
    if isinstance(case.architecture, Parts):
        one_frame = replace(case, clip=replace(case.clip, frames=1), variant=())
        frames = case.frames_per_call // case.clip.batch
        counted = _count(subject.assemble(one_frame, seed=0, device="meta"))
        return {stage: macs * frames for stage, macs in counted.items()}
    return _count(subject.assemble(case.eager, seed=0, device="meta"))


def _count(held: Subject) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter:
        held.run()
    by_module = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    root = type(held.model).__name__
    stages = {
        stage: sum(by_module.get(f"{root}.{name}", 0) for name in names)
        for stage, names in stage_modules(held.case, held.model).items()
    }
    other = counter.get_total_flops() // 2 - sum(stages.values())
    return {stage: stages.get(stage, 0) for stage in STAGES} | {"other": other}
