"""The first call of a case: it is compared with eager, and timed, since it is the one that compiles and initialises."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from convbench.core import metrics
from convbench.core.errors import CaseFailed
from convbench.core.findings import (
    FRAMES_ARE_NO_CLIP,
    INPUTS_CHANGED,
    NOT_A_NUMBER,
    NOT_IN_INFERENCE_MODE,
    RANDOM_OUTPUT,
)
from convbench.core.record import Case, Finding, Reading
from convbench.core.registry import scenarios
from convbench.core.traits import compiles
from convbench.measure.counts.counted import reason_of
from convbench.measure.machine import precision
from convbench.measure.parity import NEXT_TO_NOTHING, NUMBERS, TOLERANCE, Parity, compare, parity_of
from convbench.models import network, values
from convbench.models.deployment import Deployment
from convbench.models.inputs import Inputs, inputs
from convbench.models.subject import Subject, assemble, transform
from convbench.models.training_step import Step

Opening = list[Reading | Finding]
DRAWS, MARGIN = 4, 2
"""Calls of eager with other random numbers that show how far chance takes it, and how much further it may take a
variant: of an output of few numbers so few calls do not show the furthest."""


def open_case(case: Case, seed: int, *, checked: bool = False) -> tuple[Subject, Opening]:
    """The case's subject, called once, and what that call cost. Raises CaseFailed where its output is not eager's.

    One that was ``checked`` before is not compared again, nor is its time to compile taken: that may have been kept.
    """
    if checked and case.variant:
        subject = transform(assemble(case, seed))
        _, seconds, doubts = _first(subject)
        cold = [] if compiles(case) else [_cold(seconds)]
        return subject, [*_deployed(subject.deployment), *cold, *doubts]
    if not case.variant:
        subject = assemble(case, seed)
        _, seconds, doubts = _first(subject)
        return subject, [_cold(seconds), *doubts]
    eager = assemble(case.eager, seed)
    expected, eager_seconds = _timed(eager)
    subject = transform(assemble(case, seed))
    output, seconds, doubts = _first(subject)
    costs: Opening = [*_deployed(subject.deployment), _cold(seconds), *_compile_time(case, seconds - eager_seconds)]
    costs += doubts
    try:
        return subject, [*costs, *_agreement(subject, eager, output, expected)]
    except CaseFailed as error:
        if error.kind != "wrong output" or not _by_chance(subject, eager, output, expected):
            raise
        return subject, [*costs, Finding(RANDOM_OUTPUT, "note")]


def _first(subject: Subject) -> tuple[Any, float, list[Finding]]:
    """The output of a subject's first call, its seconds, and what is amiss with either."""
    before = versions(subject.inputs)
    output, seconds = _timed(subject)
    return output, seconds, [*_gradients(subject), *amiss(subject.inputs, before, output)]


def versions(inputs: Inputs) -> list[int]:
    """How often each tensor was written into so far, where torch keeps count of that."""
    return [0 if tensor.is_inference() else tensor._version for tensor in inputs.tensors]


def amiss(inputs: Inputs, before: list[int], output: Any) -> Iterator[Finding]:
    """What is amiss with a call: it has written into its inputs, of the versions ``before``, or returned NaN."""
    if versions(inputs) != before:
        yield Finding(INPUTS_CHANGED)
    numbers = [leaf for leaf in _numbers(output).values() if isinstance(leaf, torch.Tensor)]
    none = sum(int(leaf.isnan().sum()) for leaf in numbers)
    if none:
        part = "loss and gradients" if isinstance(output, Step) else "output"
        yield Finding(NOT_A_NUMBER, data={"share": none / sum(leaf.numel() for leaf in numbers), "part": part})


def _agreement(subject: Subject, eager: Subject, output: Any, expected: Any) -> Iterator[Reading | Finding]:
    """How far an output is from eager's. Raises CaseFailed where it is another."""
    if isinstance(output, Step):
        _compare_steps(output, expected, tolerance(subject))
        return
    parity = compare(output, expected, tolerance(subject))
    yield from _elsewhere(subject, eager, parity) if subject.deployment else parity.readings()


def _by_chance(subject: Subject, eager: Subject, output: Any, expected: Any) -> bool:
    """Whether an output is as near to eager's as its number type and chance let it be.

    Chance goes as far as it takes eager itself with other random numbers, such as dropout of a compiler draws.
    """
    first = _drawn_again(eager, 1)
    if not _differs(eager, first, expected):
        return False
    others = (_drawn_again(eager, draw) for draw in range(2, DRAWS + 1))
    chance = max(_off(other, expected) for other in chain((first,), others))
    # What is refused though nothing is off has NaN where eager has it: that is not by chance.
    return 0 < _off(output, expected) < MARGIN * chance + tolerance(subject)


def _drawn_again(eager: Subject, draw: int) -> Any:
    """The output of a first call of eager with other random numbers."""
    again = assemble(eager.case, eager.seed)
    network.seed_all(eager.seed + draw)
    return _timed(again)[0]


def _differs(eager: Subject, output: Any, expected: Any) -> bool:
    try:
        list(_agreement(eager, eager, output, expected))
    except CaseFailed:
        return True
    return False


def _off(output: Any, expected: Any) -> float:
    """The relative error over all parts together; infinite where they, their shapes or what is finite differ."""
    parts, wanted = _numbers(output), _numbers(expected)
    if parts.keys() != wanted.keys():
        return math.inf
    return parity_of([(parts[path], leaf) for path, leaf in wanted.items()]).relative


def _numbers(output: Any) -> dict[str, Any]:
    """What can be compared of an output, by its path; of a training step its loss and gradients."""
    parts = {"": output.loss, **output.gradients} if isinstance(output, Step) else output
    return {path: values.dense(leaf) for path, leaf in parts.items() if isinstance(leaf, NUMBERS)}


def _gradients(subject: Subject) -> Iterator[Finding]:
    """Says where a model is called otherwise than in inference mode, and what it says there."""
    call = subject.without_gradients
    if call.refused:
        mode = "without gradients" if call.mode is torch.no_grad else "with gradients"
        yield Finding(NOT_IN_INFERENCE_MODE, "note", {"mode": mode, "reason": reason_of(call.refused)})


def _deployed(deployment: Deployment | None) -> Iterator[Reading]:
    """What it cost to bring a model into another runtime."""
    if deployment is None:
        return
    if deployment.export_seconds is not None:
        yield Reading(metrics.EXPORT, (deployment.export_seconds,))
    yield Reading(metrics.LOAD, (deployment.load_seconds,))
    yield Reading(metrics.DISK, (deployment.bytes,))


def _elsewhere(subject: Subject, eager: Subject, parity: Parity) -> Iterator[Reading | Finding]:
    """Parity on inputs that the model was not exported with, and of every frame of a streamed clip.

    A branch, or a state, that an exporter has taken for a constant shows only there.
    """
    if subject.case.streams:
        yield from _frame_by_frame(subject, eager, parity)
        return
    other = inputs(subject.case, subject.seed + 1, subject.device, subject.model)
    lowered = other.typed_as(subject.inputs)
    expected = _copied(_run(eager, other))
    parity = parity.worse(compare(_copied(_run(subject, lowered)), expected, tolerance(subject), " on another clip"))
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
    return [_copied(run()) for _ in range(frames)]


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
    """How closely a variant must agree with eager: by the coarsest number type, of the model, its inputs or a variant.

    On a GPU it may be TF32 for float32, which has the mantissa of float16, and whose sums depend on the memory order of
    what is summed.
    """
    coarse = {torch.float16} if precision.tf32(subject.device) else set()
    dtypes = (tensor.dtype for tensor in (*subject.model.parameters(), *subject.inputs.tensors))
    kinds = {kind for kind in dtypes if kind.is_floating_point} | {subject.dtype, torch.float32} | coarse
    return max(TOLERANCE[kind] for kind in kinds if kind in TOLERANCE)


def _timed(subject: Subject) -> tuple[Any, float]:
    start = time.perf_counter()
    returned = subject.timed()
    if torch.device(subject.device).type == "cuda":
        torch.cuda.synchronize(subject.device)
    seconds = time.perf_counter() - start
    output = subject.output(returned)
    return output if isinstance(output, Step) else _copied(output), seconds


def _copied(output: Any) -> dict[str, Any]:
    """What a model returned, leaf by leaf; compiled models write their next output over it."""
    return {path: _kept(leaf) for path, leaf in values.leaves(output)}


def _kept(leaf: Any) -> Any:
    """A copy of a tensor, and a tensor of an array, which is compared as such; whatever else as it is."""
    if isinstance(leaf, torch.Tensor):
        return leaf.clone()
    if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind in "biufc":
        return torch.from_numpy(np.array(leaf))
    return leaf


def _cold(seconds: float) -> Reading:
    return Reading(metrics.COLD_CALL, (seconds,))


def _compile_time(case: Case, seconds: float) -> Iterator[Reading]:
    if compiles(case):
        yield Reading(metrics.COMPILE, (max(0.0, seconds),))


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
