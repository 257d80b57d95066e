"""Compare a variant with eager: outputs, gradients, other clips, and the frames of a stream."""

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
from convbench.measure.comparison.outputs import clone
from convbench.measure.comparison.parity import NEXT_TO_NOTHING, TOLERANCE, Parity, compare, parity_of
from convbench.measure.machine import precision
from convbench.models.inputs import Inputs, inputs
from convbench.models.subject import Subject
from convbench.models.training_step import StepResult


def agreement(subject: Subject, eager: Subject, output: Any, expected: Any) -> Iterator[Reading | Finding]:
    """Yield how far an output is from eager's. Raises CaseFailed if it is not the same output."""
    if isinstance(output, StepResult):
        _compare_steps(output, expected, tolerance(subject))
        return
    parity = compare(output, expected, tolerance(subject))
    yield from _export_parity(subject, eager, parity) if subject.deployment else parity.readings()


def _export_parity(subject: Subject, eager: Subject, parity: Parity) -> Iterator[Reading | Finding]:
    """Yield the parity on inputs that the model was not exported with, or for every frame of a streamed clip.

    Only these show a branch or a state that the exporter took for a constant.
    """
    if subject.case.streams:
        yield from _stream_parity(subject, eager, parity)
        return
    other_inputs = inputs(subject.case, subject.seed + 1, subject.device, subject.model)
    typed_inputs = other_inputs.with_types_of(subject.inputs)
    expected = clone(_run(eager, other_inputs.map_tensors(torch.clone)))  # a model may write into them
    output = clone(_run(subject, typed_inputs))
    yield from parity.merge(_compare_exported(output, expected, subject, " on another clip")).readings()


def _stream_parity(subject: Subject, eager: Subject, parity: Parity) -> Iterator[Reading | Finding]:
    frames = subject.case.clip.frames
    streams = [_stream(model, frames) for model in (subject, eager)]
    for number, (output, expected) in enumerate(zip(*streams, strict=True)):
        parity = parity.merge(_compare_exported(output, expected, subject, f" at frame {number}"))
    yield from parity.readings()
    clip_output = _clip_output(eager)
    if clip_output is None or any("[0]" not in output for stream in streams for output in stream):
        return
    joint_output, eager_output = (_join_frames([output["[0]"] for output in stream], clip_output) for stream in streams)
    if joint_output is None or eager_output is None:
        return
    largest = parity_of([(eager_output, clip_output)]).largest
    if largest > tolerance(eager):
        yield Finding(FRAMES_ARE_NO_CLIP, "note", {"largest": largest})
    else:
        yield Reading(metrics.PARITY_FRAMES, (parity_of([(joint_output, clip_output)]).largest,))


def _join_frames(outputs: list[torch.Tensor], clip_output: torch.Tensor) -> torch.Tensor | None:
    """Return the frames' outputs in the shape of the whole clip's output, or None if they do not fit.

    They are joined; if the model answers once per clip, the last one is taken.
    """
    if outputs[-1].shape == clip_output.shape:
        return outputs[-1]
    frame_shape = (clip_output.shape[0], 1, *clip_output.shape[2:])
    if len(outputs) == clip_output.shape[1] and all(output.shape == frame_shape for output in outputs):
        return torch.cat(outputs, dim=1)
    return None


def _stream(subject: Subject, frames: int) -> list[dict[str, Any]]:
    """The outputs of a clip's frames, beginning with the first frame whatever was called before."""
    run = scenarios.get(subject.case.scenario).build(subject)
    return [clone(run()) for _ in range(frames)]


def _compare_exported(output: dict[str, Any], expected: dict[str, Any], subject: Subject, place: str) -> Parity:
    """Return how far a runtime's output is from eager's. Its text, such as decoded letters, must be the same.

    A runtime returns only tensors. The text of the call with which the model was exported stands beside them.
    """
    parity = compare(output, expected, tolerance(subject), place)
    for path, text in expected.items():
        if isinstance(text, str) and output[path] != text:
            raise CaseFailed(
                "wrong output",
                f"returns text that was fixed at the export, {output[path]!r} instead of {text!r}{place}: "
                "let it return tensors, and decode them after the call",
            )
    return parity


def _clip_output(eager: Subject) -> torch.Tensor | None:
    """Eager's output (B, T, ...) or (B, ...) for the whole clip; None if the model has a step of the user's making."""
    if eager.forward is not eager.model:
        return None
    output = eager.without_gradients(*eager.inputs.args, **eager.inputs.kwargs)
    first_output = output[0] if isinstance(output, (tuple, list)) and output else None
    return first_output if isinstance(first_output, torch.Tensor) and first_output.dim() >= 2 else None


def _run(subject: Subject, inputs: Inputs) -> Any:
    return replace(subject, inputs=inputs).run()


def tolerance(subject: Subject) -> float:
    """How far a variant may be from eager, relative and absolute."""
    return TOLERANCE[arithmetic(subject)]


def arithmetic(subject: Subject) -> torch.dtype:
    """The coarsest number type of the model, its inputs or a variant.

    On a GPU, TF32 may replace float32 and counts as float16: it has the same mantissa, and its sums depend on the
    memory order of the summands.
    """
    coarse_types = {torch.float16} if precision.tf32(subject.device) else set()
    dtypes = (tensor.dtype for tensor in (*subject.model.parameters(), *subject.inputs.tensors))
    kinds = {kind for kind in dtypes if kind.is_floating_point} | {subject.dtype, torch.float32} | coarse_types
    return max((kind for kind in kinds if kind in TOLERANCE), key=TOLERANCE.__getitem__)


def _compare_steps(step: StepResult, expected: StepResult, limit: float) -> None:
    """Compare the losses, and each gradient by the norm of its difference.

    For a gradient that is next to nothing, the norm of all gradients decides.
    """
    compare({"": step.loss}, {"": expected.loss}, limit)
    if step.gradients.keys() != expected.gradients.keys():
        names = ", ".join(sorted(step.gradients.keys() ^ expected.gradients.keys()))
        raise CaseFailed("wrong output", f"other parameters have a gradient than in eager: {names}")
    norms = {name: float(gradient.norm()) for name, gradient in expected.gradients.items()}
    if nan_names := [name for name, norm in norms.items() if math.isnan(norm)]:
        raise CaseFailed("wrong output", f"cannot be compared with eager's gradients: those of {nan_names[0]} are NaN")
    floor = NEXT_TO_NOTHING * math.hypot(*norms.values())
    for name, gradient in expected.gradients.items():
        difference = float((step.gradients[name] - gradient).norm())
        if not difference <= limit * max(norms[name], floor):
            share = difference / max(norms[name], floor)
            raise CaseFailed("wrong output", f"differs from eager's gradient of {name} by {share:.2g} of its norm")
