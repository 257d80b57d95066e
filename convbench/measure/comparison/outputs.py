"""Take the output of one call of a case's subject, and keep it for comparison."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from convbench.measure.comparison.parity import NUMBERS
from convbench.measure.timing import wait_for
from convbench.models import values
from convbench.models.subject import Subject
from convbench.models.training_step import StepResult


def time_call(subject: Subject) -> tuple[Any, float]:
    """Return the output of one call, and its seconds."""
    start = time.perf_counter()
    result = subject.timed_call()
    wait_for(torch.device(subject.device))
    seconds = time.perf_counter() - start
    output = subject.output(result)
    return output if isinstance(output, StepResult) else clone(output), seconds


def clone(output: Any) -> dict[str, Any]:
    """Copy a model's output leaf by leaf; compiled models write their next output over it."""
    return {path: _copy(leaf) for path, leaf in values.leaves(output)}


def _copy(leaf: Any) -> Any:
    """Copy a tensor, or turn an array into one, to compare it as such; return anything else unchanged."""
    if isinstance(leaf, torch.Tensor):
        return leaf.clone()
    if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind in "biufc":
        return torch.from_numpy(np.array(leaf))
    return leaf


def numbers(output: Any) -> dict[str, Any]:
    """The comparable numbers of an output by their paths; for a training step, its loss and gradients."""
    parts = {"": output.loss, **output.gradients} if isinstance(output, StepResult) else output
    return {path: values.densify(leaf) for path, leaf in parts.items() if isinstance(leaf, NUMBERS)}
