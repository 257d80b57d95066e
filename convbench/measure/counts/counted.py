"""The counts of a case and of a live module: taken on ``meta`` or of the real call, by stage or by any modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from torch import nn

from convbench.core.record import Case, Choice, Clip, Parts, Whole
from convbench.measure.counts import dispatched, traced
from convbench.measure.counts.dispatched import Count
from convbench.measure.stages.spans import OTHER
from convbench.models import network, subject
from convbench.models.stages import Roots, stage_by_module, stage_by_parameter, stage_roots
from convbench.models.subject import Inputs, Subject


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


def called(held: Subject) -> Subject:
    held.call()
    return held


def reason_of(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:200]}"


@lru_cache(maxsize=256)
def count_case(case: Case, seed: int) -> Count:
    """The first count of one call of the eager case, by stage. Of training forward and backward together."""
    return count_subject(twin(case.eager, seed).subject)


def macs_by_stage(case: Case, seed: int = 0) -> dict[str, int]:
    """MACs of one call of the eager case, by stage; what lies in no stage is ``other``."""
    return count_case(case, seed).macs


def count_subject(held: Subject) -> Count:
    """The first count of a subject that was called once.

    Every stage of a model we assemble works frame by frame, so that the count is affine in the number of frames and one
    or two frames are counted instead of all of them (exact, and much faster on ``meta``); a user's whole model is
    counted at full length.
    """
    case = held.case.eager
    if not isinstance(case.architecture, Parts):
        return dispatched.count(held)
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
    """What one call of a live module costs. ``macs`` and ``params`` by name, what is in none of them as ``other``.

    ``second`` is the independent count by the same names, None where the call cannot be traced and ``reason`` says why.
    ``uncounted`` names operators that no formula knows; ``uncounted_share`` of the parameters is read by them only.
    """

    macs: dict[str, int]
    params: dict[str, int]
    second: dict[str, int] | None
    reason: str | None
    uncounted: tuple[str, ...]
    uncounted_share: float


def count_module(
    model: nn.Module, inputs: Inputs, names: Mapping[str, Sequence[str]] | None = None, flops: Mapping[str, str] = {}
) -> ModuleCounts:
    """Count one call of a live module as it stands, without gradients, on the device and in the mode that it is in.

    ``names`` maps any names to submodules of the model (``{"lstm": ["rnn"], "all": ["."]}``); by default every child is
    one. The module is called twice before it is traced. Raises what the module raises.
    """
    held = _live(model, inputs, flops)
    held.call()
    roots = _roots(held, names)
    macs, uncounted, share = dispatched.count_by(held, roots)
    second, reason = _second(held, roots)
    return ModuleCounts(macs, params_by(model, roots), second, reason, uncounted, share)


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


def _live(model: nn.Module, inputs: Inputs, flops: Mapping[str, str]) -> Subject:
    tensors = [*model.parameters(), *model.buffers(), *inputs.tensors]
    device = str(tensors[0].device) if tensors else "cpu"
    whole = Whole(Choice(type(model).__name__), flops=tuple(flops.items()))
    return Subject(Case(whole, Clip(), device=device), 0, device, model, inputs, model)


def _roots(held: Subject, names: Mapping[str, Sequence[str]] | None) -> dict[str, tuple[nn.Module, ...]]:
    if names is None:
        return {name: (child,) for name, child in held.model.named_children()} or {".": (held.model,)}
    pairs = tuple((name, path) for name, paths in names.items() for path in paths)
    assert isinstance(held.case.architecture, Whole)
    return stage_roots(replace(held.case, architecture=replace(held.case.architecture, stages=pairs)), held.model)


def _second(held: Subject, roots: Roots) -> tuple[dict[str, int] | None, str | None]:
    try:
        return traced.trace(held, roots).macs, None
    except Exception as error:
        return None, reason_of(error)
