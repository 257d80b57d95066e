"""Whether what a variant computes is what eager computes: outputs, gradients, other clips and frames of a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from convbench.core import metrics
from convbench.core.errors import CaseFailed
from convbench.core.findings import FRAMES_ARE_NO_CLIP
from convbench.core.record import Finding, Reading
from convbench.core.registry import scenarios
from convbench.measure.machine import precision
from convbench.measure.outputs import copied
from convbench.measure.parity import NEXT_TO_NOTHING, TOLERANCE, Parity, compare, parity_of
from convbench.models.inputs import Inputs, inputs
from convbench.models.subject import Subject
from convbench.models.training_step import Step


def agreement(subject: Subject, eager: Subject, output: Any, expected: Any) -> Iterator[Reading | Finding]:
    """How far an output is from eager's. Raises CaseFailed where it is another."""
    if isinstance(output, Step):
        _compare_steps(output, expected, tolerance(subject))
        return
    parity = compare(output, expected, tolerance(subject))
    yield from _elsewhere(subject, eager, parity) if subject.deployment else parity.readings()


def _elsewhere(subject: Subject, eager: Subject, parity: Parity) -> Iterator[Reading | Finding]:
    """Parity on inputs that the model was not exported with, and of every frame of a streamed clip.

    A branch, or a state, that an exporter has taken for a constant shows only there.
    """
    if subject.case.streams:
        yield from _frame_by_frame(subject, eager, parity)
        return
    other = inputs(subject.case, subject.seed + 1, subject.device, subject.model)
    lowered = other.typed_as(subject.inputs)
    expected = copied(_run(eager, other))
    parity = parity.worse(compare(copied(_run(subject, lowered)), expected, tolerance(subject), " on another clip"))
    yield from parity.readings()


def _frame_by_frame(subject: Subject, eager: Subject, parity: Parity) -> Iterator[Reading | Finding]:
    frames = subject.case.clip.frames
    streams = [_stream(model, frames) for model in (subject, eager)]
    for number, (output, expected) in enumerate(zip(*streams, strict=True)):
        parity = parity.worse(compare(output, expected, tolerance(subject), f" at frame {number}"))
    yield from parity.readings()
    whole = _whole(eager)
    if whole is None or any("[0]" not in output for stream in streams for output in stream):
        return
    joined, of_eager = (_of_frames([output["[0]"] for output in stream], whole) for stream in streams)
    if joined is None or of_eager is None:
        return
    itself = parity_of([(of_eager, whole)]).largest
    if itself > tolerance(eager):
        yield Finding(FRAMES_ARE_NO_CLIP, "note", {"largest": itself})
    else:
        yield Reading(metrics.PARITY_FRAMES, (parity_of([(joined, whole)]).largest,))


def _of_frames(outputs: list[torch.Tensor], whole: torch.Tensor) -> torch.Tensor | None:
    """What stands against the output of the whole clip: the frames' outputs joined, or, of a model that answers once a
    clip, the last one; None where they are neither."""
    if outputs[-1].shape == whole.shape:
        return outputs[-1]
    moment = (whole.shape[0], 1, *whole.shape[2:])
    if len(outputs) == whole.shape[1] and all(output.shape == moment for output in outputs):
        return torch.cat(outputs, dim=1)
    return None


def _stream(subject: Subject, frames: int) -> list[dict[str, Any]]:
    """The outputs of a clip's frames from the first on, whatever was called before."""
    run = scenarios.get(subject.case.scenario).build(subject)
    return [copied(run()) for _ in range(frames)]


def _whole(eager: Subject) -> torch.Tensor | None:
    """Eager's output (B, T, ...) or (B, ...) of the whole clip; None of a model whose step is of its user's making."""
    if eager.forward is not eager.model:
        return None
    output = eager.without_gradients(*eager.inputs.args, **eager.inputs.kwargs)
    first = output[0] if isinstance(output, (tuple, list)) and output else None
    return first if isinstance(first, torch.Tensor) and first.dim() >= 2 else None


def _run(subject: Subject, inputs: Inputs) -> Any:
    return replace(subject, inputs=inputs).run()


def tolerance(subject: Subject) -> float:
    """How closely a variant must agree with eager."""
    return TOLERANCE[arithmetic(subject)]


def arithmetic(subject: Subject) -> torch.dtype:
    """The coarsest number type of the model, its inputs or a variant.

    On a GPU it may be TF32 for float32, which has the mantissa of float16, and whose sums depend on the memory order of
    what is summed.
    """
    coarse = {torch.float16} if precision.tf32(subject.device) else set()
    dtypes = (tensor.dtype for tensor in (*subject.model.parameters(), *subject.inputs.tensors))
    kinds = {kind for kind in dtypes if kind.is_floating_point} | {subject.dtype, torch.float32} | coarse
    return max((kind for kind in kinds if kind in TOLERANCE), key=TOLERANCE.__getitem__)


def _compare_steps(step: Step, expected: Step, allowed: float) -> None:
    """The loss, and each gradient by the norm of what differs; one that is next to nothing by that of all gradients."""
    compare({"": step.loss}, {"": expected.loss}, allowed)
    if step.gradients.keys() != expected.gradients.keys():
        missing = ", ".join(sorted(step.gradients.keys() ^ expected.gradients.keys()))
        raise CaseFailed("wrong output", f"not the same parameters have a gradient as in eager: {missing}")
    norms = {name: float(gradient.norm()) for name, gradient in expected.gradients.items()}
    if nan := [name for name, norm in norms.items() if math.isnan(norm)]:
        raise CaseFailed("wrong output", f"not eager's gradients: those of {nan[0]} are NaN themselves")
    floor = NEXT_TO_NOTHING * math.hypot(*norms.values())
    for name, gradient in expected.gradients.items():
        difference = float((step.gradients[name] - gradient).norm())
        if not difference <= allowed * max(norms[name], floor):
            share = difference / max(norms[name], floor)
            raise CaseFailed("wrong output", f"not eager's gradient of {name}: {share:.2g} of its norm differs")
