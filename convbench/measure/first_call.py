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
        _compare_steps(output, expected, held.dtype)
    else:
        _compare(output, expected, held.dtype)
    return held, [_cold(seconds), *_compile_time(case, seconds - eager_seconds)]


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


def _compare(output: dict[str, Any], expected: dict[str, Any], dtype: torch.dtype) -> None:
    """Tensors and numbers by their values; of whatever else a model returns only that it is there."""
    if output.keys() != expected.keys():
        differ = ", ".join(sorted(output.keys() ^ expected.keys()))
        raise CaseFailed(
            "wrong output", f"returns not what eager returns: {differ or 'nothing'} is in one of them only"
        )
    for path, wanted in expected.items():
        if isinstance(wanted, (torch.Tensor, int, float, complex)):
            _compare_leaf(output[path], wanted, TOLERANCE[dtype])


def _compare_leaf(got: Any, wanted: Any, tolerance: float) -> None:
    try:
        assert_close(got, wanted, rtol=tolerance, atol=tolerance, check_dtype=False, check_stride=False)
    except (AssertionError, TypeError) as error:
        raise CaseFailed("wrong output", "not eager's output: " + " ".join(str(error).split())) from error


def _compare_steps(step: Step, expected: Step, dtype: torch.dtype) -> None:
    """The loss, and each gradient by the norm of what differs; one that is next to nothing by that of all gradients."""
    tolerance = TOLERANCE[dtype]
    _compare({"": step.loss}, {"": expected.loss}, dtype)
    if step.gradients.keys() != expected.gradients.keys():
        missing = ", ".join(sorted(step.gradients.keys() ^ expected.gradients.keys()))
        raise CaseFailed("wrong output", f"not the same parameters have a gradient as in eager: {missing}")
    norms = {name: float(gradient.norm()) for name, gradient in expected.gradients.items()}
    floor = NEXT_TO_NOTHING * math.hypot(*norms.values())
    for name, gradient in expected.gradients.items():
        difference = float((step.gradients[name] - gradient).norm())
        if not difference <= tolerance * max(norms[name], floor):
            share = difference / max(norms[name], floor)
            raise CaseFailed("wrong output", f"not eager's gradient of {name}: {share:.2g} of its norm differs")
