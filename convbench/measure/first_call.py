"""The first call of a case: it is compared with eager, and timed, since it is the one that compiles and initialises."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.testing import assert_close

from convbench.core import metrics
from convbench.core.errors import CaseFailed
from convbench.core.record import Case, Reading
from convbench.core.traits import compiles
from convbench.models import subject, values
from convbench.models.subject import Subject
from convbench.models.training_step import Step

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Relative and absolute; outputs of an LSTM lie in [-1, 1]. Of gradients: of the norm."""
OUTLIER = 3
"""So many tolerances a single number may be off where the arithmetic is coarse: of 16,384 a few are."""
NEXT_TO_NOTHING = 1e-2


def open_case(case: Case, seed: int, *, checked: bool = False) -> tuple[Subject, list[Reading]]:
    """The case's subject, called once, and what that call cost. Raises CaseFailed where its output is not eager's.

    One that was ``checked`` before is not compared again, nor is its time to compile taken: that may have been kept.
    """
    if checked and case.variant:
        held = subject.transform(subject.assemble(case, seed))
        _, seconds = _timed(held)
        return held, [] if compiles(case) else [_cold(seconds)]
    if not case.variant:
        held = subject.assemble(case, seed)
        _, seconds = _timed(held)
        return held, [_cold(seconds)]
    expected, eager_seconds = _timed(subject.assemble(case.eager, seed))
    held = subject.transform(subject.assemble(case, seed))
    output, seconds = _timed(held)
    if isinstance(output, Step):
        _compare_steps(output, expected, tolerance(held))
    else:
        _compare(output, expected, tolerance(held))
    return held, [_cold(seconds), *_compile_time(case, seconds - eager_seconds)]


def tolerance(held: Subject) -> float:
    """How closely a variant must agree with eager: by the arithmetic's type, which on a GPU may be TF32 for float32.

    TF32 has the mantissa of float16, and its sums depend on the memory order of what is summed.
    """
    coarse = torch.device(held.device).type == "cuda" and (
        torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"
    )
    return TOLERANCE[torch.float16 if coarse and held.dtype == torch.float32 else held.dtype]


def _timed(held: Subject) -> tuple[Any, float]:
    start = time.perf_counter()
    output = held.run()
    if torch.device(held.device).type == "cuda":
        torch.cuda.synchronize(held.device)
    seconds = time.perf_counter() - start
    return output if isinstance(output, Step) else _copied(output), seconds


def _copied(output: Any) -> dict[str, Any]:
    """What a model returned, leaf by leaf; compiled models write their next output over it."""
    found = values.leaves(output)
    return {path: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for path, leaf in found}


def _cold(seconds: float) -> Reading:
    return Reading(metrics.COLD_CALL, (seconds,))


def _compile_time(case: Case, seconds: float) -> Iterator[Reading]:
    if compiles(case):
        yield Reading(metrics.COMPILE, (max(0.0, seconds),))


def _compare(output: dict[str, Any], expected: dict[str, Any], allowed: float) -> None:
    """Tensors and numbers by their values; of whatever else a model returns only that it is there."""
    if output.keys() != expected.keys():
        differ = ", ".join(sorted(output.keys() ^ expected.keys()))
        raise CaseFailed(
            "wrong output", f"returns not what eager returns: {differ or 'nothing'} is in one of them only"
        )
    for path, wanted in expected.items():
        if isinstance(wanted, (torch.Tensor, int, float, complex)):
            _compare_leaf(output[path], wanted, allowed)


def _compare_leaf(got: Any, wanted: Any, allowed: float) -> None:
    """Number by number; where the arithmetic is coarse, single ones may be further off if the norm is not."""
    coarse = isinstance(wanted, torch.Tensor) and wanted.is_floating_point() and allowed > TOLERANCE[torch.float32]
    each = OUTLIER * allowed if coarse else allowed
    try:
        assert_close(got, wanted, rtol=each, atol=each, check_dtype=False, check_stride=False)
    except (AssertionError, TypeError) as error:
        raise CaseFailed("wrong output", "not eager's output: " + " ".join(str(error).split())) from error
    if coarse and not (share := _share_off(got, wanted)) <= allowed:
        raise CaseFailed(
            "wrong output", f"not eager's output: {share:.2g} of its norm differs, {allowed:g} are allowed"
        )


def _share_off(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """The norm of the difference over that of what is wanted; of next to nothing, over that of ones."""
    difference = float((got.float() - wanted.float()).norm())
    return difference / max(float(wanted.float().norm()), NEXT_TO_NOTHING * math.sqrt(wanted.numel()) or 1.0)


def _compare_steps(step: Step, expected: Step, allowed: float) -> None:
    """The loss, and each gradient by the norm of what differs; one that is next to nothing by that of all gradients."""
    _compare({"": step.loss}, {"": expected.loss}, allowed)
    if step.gradients.keys() != expected.gradients.keys():
        missing = ", ".join(sorted(step.gradients.keys() ^ expected.gradients.keys()))
        raise CaseFailed("wrong output", f"not the same parameters have a gradient as in eager: {missing}")
    norms = {name: float(gradient.norm()) for name, gradient in expected.gradients.items()}
    floor = NEXT_TO_NOTHING * math.hypot(*norms.values())
    for name, gradient in expected.gradients.items():
        difference = float((step.gradients[name] - gradient).norm())
        if not difference <= allowed * max(norms[name], floor):
            share = difference / max(norms[name], floor)
            raise CaseFailed("wrong output", f"not eager's gradient of {name}: {share:.2g} of its norm differs")
