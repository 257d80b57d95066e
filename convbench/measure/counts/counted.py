"""The counts of a case and of a live module: taken on ``meta`` or of the real call, by stage or by any modules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from torch import nn

from convbench.core.record import Case, Parts
from convbench.measure.counts import dispatched
from convbench.measure.counts.dispatched import Count
from convbench.measure.stages.spans import OTHER
from convbench.models import network, subject
from convbench.models.stages import Roots, stage_by_module, stage_by_parameter
from convbench.models.subject import Subject

ADDRESS = re.compile(r" at 0x[0-9a-f]+|(?<=torch_mangle)_\d+")
"""What of an error's words differs from process to process."""


@dataclass(frozen=True)
class Twin:
    """A case's eager subject to be counted, called once: on ``meta``, or on its device and then for this ``reason``."""

    subject: Subject
    reason: str | None = None


def twin(case: Case, seed: int) -> Twin:
    """The case where it can be counted, on ``meta`` if it runs there. Raises what its model raises elsewhere."""
    on_meta = on_meta_or_reason(case, seed)
    if isinstance(on_meta, Subject):
        return Twin(on_meta)
    return Twin(called(subject.assemble(case, seed)), on_meta)


def on_meta_or_reason(case: Case, seed: int) -> Subject | str:
    """The case's eager subject on ``meta``, called once where it is a user's model; or why it does not run there."""
    if isinstance(case.architecture, Parts):
        return subject.assemble(case, seed, device="meta")
    try:
        return called(subject.assemble(case, seed, device="meta"))
    except Exception as error:
        return reason_of(error)


def called(subject: Subject) -> Subject:
    subject.call()
    return subject


def reason_of(error: BaseException) -> str:
    """The first line of an error; the same for the same error of another process."""
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {ADDRESS.sub('', lines[0])[:200]}"


@lru_cache(maxsize=256)
def count_case(case: Case, seed: int) -> Count:
    """The first count of one call of the eager case, by stage. Of training forward and backward together."""
    return count_subject(twin(case.eager, seed).subject)


def macs_by_stage(case: Case, seed: int = 0) -> dict[str, int]:
    """MACs of one call of the eager case, by stage; what lies in no stage is ``other``."""
    return count_case(case, seed).macs


def count_subject(subject: Subject) -> Count:
    """The first count of a subject that was called once.

    Every stage of a model we assemble works frame by frame, so that the count is affine in the number of frames and one
    or two frames are counted instead of all of them (exact, and much faster on ``meta``); a user's whole model is
    counted at full length.
    """
    case = subject.case.eager
    if not isinstance(case.architecture, Parts):
        return dispatched.count(subject)
    frames = case.frames_per_call // case.clip.batch
    first = _of_frames(case, 1)
    if case.scenario != "train":
        return replace(first, macs={stage: macs * frames for stage, macs in first.macs.items()})
    second = _of_frames(case, 2).macs
    line = {stage: macs + (frames - 1) * (second[stage] - macs) for stage, macs in first.macs.items()}
    return replace(first, macs=line)


def _of_frames(case: Case, frames: int) -> Count:
    """The eager case with that many frames a clip; the first of them costs less to train, with no state before it."""
    clip = replace(case.clip, frames=frames)
    return dispatched.count(subject.assemble(replace(case, clip=clip), seed=0, device="meta"))


@dataclass(frozen=True)
class ModuleCounts:
    """What one call of a module costs. ``macs`` and ``params`` by the dotted name of each submodule.

    Either includes what lies inside; ``""`` is the module itself. ``uncounted`` names operators that no formula knows;
    ``uncounted_share`` of the parameters is read by them only.
    """

    macs: dict[str, int]
    params: dict[str, int]
    uncounted: tuple[str, ...]
    uncounted_share: float


def count_by_module(subject: Subject) -> ModuleCounts:
    """The first count of a subject that was called once, by each of its model's submodules."""
    modules = {name: module for name, module in subject.model.named_modules() if name}
    roots = {name: (module,) for name, module in modules.items()}
    macs, uncounted, share = dispatched.count_by(subject, roots)
    params = params_by(subject.model, roots)
    return ModuleCounts(_inclusive(macs), _inclusive(params), uncounted, share)


def _inclusive(own: Mapping[str, int]) -> dict[str, int]:
    """What belongs to a module by its name and to all that are named inside of it; ``""`` is all there is."""
    names = [name for name in own if name != OTHER]
    inside = {name: sum(own[inner] for inner in names if f"{inner}.".startswith(f"{name}.")) for name in names}
    return {"": sum(own.values()), **inside}


def params_by(model: nn.Module, roots: Roots) -> dict[str, int]:
    """Parameters by the names of ``roots``, ``other`` for the rest; a shared one counts once, where it comes first."""
    owners, modules = stage_by_parameter(roots), stage_by_module(roots)
    sizes = dict.fromkeys((*roots, OTHER), 0)
    for parameter in model.parameters():
        sizes[owners.get(parameter, OTHER)] += parameter.numel()
    for module in model.modules():
        for weight in network.quantised_weights(module):
            sizes[modules.get(module, OTHER)] += weight.numel()
    return sizes
