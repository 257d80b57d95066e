"""The first call of a case: compared with eager, and timed, because it is the call that compiles and initialises."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from convbench.core import metrics
from convbench.core.errors import CaseFailed
from convbench.core.findings import INPUTS_CHANGED, NOT_A_NUMBER, NOT_IN_INFERENCE_MODE
from convbench.core.record import Case, Finding, Reading
from convbench.core.traits import compiles
from convbench.measure.comparison.agreement import agreement
from convbench.measure.comparison.leeway import by_chance, by_rounding, explanation, refuse_other_weights
from convbench.measure.comparison.outputs import numbers, time_call
from convbench.measure.counts.counted import reason_of
from convbench.models.deployment import Deployment
from convbench.models.inputs import Inputs
from convbench.models.subject import Subject, assemble, retry_with_gradients, transform
from convbench.models.training_step import StepResult, TrainingStep

Opening = list[Reading | Finding]


@retry_with_gradients
def open_case(case: Case, seed: int, *, checked: bool = False) -> tuple[Subject, Opening]:
    """Return the case's subject, called once, and that call's cost. Raises CaseFailed if its output is not eager's.

    A case that was ``checked`` before is not compared again, and its compile time is not taken: the code may be cached.
    """
    if checked or not case.variant:
        subject = transform(assemble(case, seed))
        _, seconds, doubts = _first_call(subject)
        cold_readings = [] if compiles(case) else [_cold_call(seconds)]
        return subject, [*_costs(subject.deployment), *cold_readings, *doubts]
    eager = assemble(case.eager, seed)
    expected, eager_seconds = time_call(eager)
    subject = transform(assemble(case, seed))
    output, seconds, doubts = _first_call(subject)
    compile_time = [Reading(metrics.COMPILE, (max(0.0, seconds - eager_seconds),))] if compiles(case) else []
    costs: Opening = [*_costs(subject.deployment), _cold_call(seconds), *compile_time]
    costs += doubts
    try:
        return subject, [*costs, *agreement(subject, eager, output, expected)]
    except CaseFailed as error:
        if error.kind != "wrong output":
            raise
        refuse_other_weights(
            partial(assemble, case.eager, seed), None if isinstance(expected, StepResult) else eager.model
        )
        excuse = by_chance(subject, eager, output, expected) or by_rounding(subject, eager, output, expected)
        if excuse is None:
            if subject.deployment:
                raise explanation(error, assemble(case.eager, seed)) from error.__cause__
            raise
        return subject, [*costs, excuse]


def _first_call(subject: Subject) -> tuple[Any, float, list[Finding]]:
    """Return the output of a subject's first call, its seconds, and findings about either.

    Raises CaseFailed for a training that trains nothing: its time is that of a forward pass.
    """
    initial_versions = versions(subject.inputs)
    output, seconds = time_call(subject)
    if isinstance(subject.run, TrainingStep) and isinstance(output, StepResult) and not output.gradients:
        subject.run.refuse_untrained()
    return output, seconds, [*_mode_finding(subject), *faults(subject.inputs, initial_versions, output)]


def versions(inputs: Inputs) -> list[int]:
    """How often each tensor has been written into so far; 0 if torch does not count that."""
    return [0 if tensor.is_inference() else tensor._version for tensor in inputs.tensors]


def faults(inputs: Inputs, initial_versions: list[int], output: Any) -> Iterator[Finding]:
    """Yield findings on a call that has written into its inputs since ``initial_versions``, or that returned NaN."""
    if versions(inputs) != initial_versions:
        yield Finding(INPUTS_CHANGED)
    tensors = [leaf for leaf in numbers(output).values() if isinstance(leaf, torch.Tensor)]
    nan_count = sum(int(leaf.isnan().sum()) for leaf in tensors)
    if nan_count:
        part = "loss and gradients" if isinstance(output, StepResult) else "output"
        yield Finding(NOT_A_NUMBER, data={"share": nan_count / sum(leaf.numel() for leaf in tensors), "part": part})


def _mode_finding(subject: Subject) -> Iterator[Finding]:
    """Report that a model is not called in inference mode, and why."""
    call = subject.without_gradients
    if call.refusal:
        mode = "without gradients" if call.mode is torch.no_grad else "with gradients"
        yield Finding(NOT_IN_INFERENCE_MODE, "note", {"mode": mode, "reason": reason_of(call.refusal)})


def _costs(deployment: Deployment | None) -> Iterator[Reading]:
    if deployment is None:
        return
    if deployment.export_seconds is not None:
        yield Reading(metrics.EXPORT, (deployment.export_seconds,))
    yield Reading(metrics.LOAD, (deployment.load_seconds,))
    yield Reading(metrics.DISK, (deployment.bytes,))


def _cold_call(seconds: float) -> Reading:
    return Reading(metrics.COLD_CALL, (seconds,))
