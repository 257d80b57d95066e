"""Prepare the export of a model: record a call as the case's scenario makes it, and wrap the model to take tensors.

If the scenario carries state from call to call, the second call is recorded, because its state is real. The None of the
first call becomes zeros, or what None means to the model (``first_state``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.testing import assert_close

from convbench.core.errors import CaseFailed
from convbench.core.record import Parts
from convbench.models import values
from convbench.models.deployment import Arguments, Example
from convbench.models.inputs import inputs
from convbench.models.runtimes import structure
from convbench.models.runtimes.first_state import first_state
from convbench.models.subject import Subject


class FlatModel(nn.Module):
    """A model with tensors as inputs and outputs. ``forward(*tensors)`` returns a tuple of tensors."""

    def __init__(self, subject: Subject, example: Example) -> None:
        super().__init__()
        self.model = subject.model
        self._calls = (subject.forward,)  # in a tuple, because a module as an attribute would be registered twice
        self._rebuild = structure.rebuild(example.call, "the model's input")

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = self._rebuild(iter(tensors))
        return tuple(structure.row(self._calls[0](*args, **kwargs)))


def example(subject: Subject) -> Example:
    """Return the call that the scenario makes of a subject. Raises CaseFailed if a runtime cannot take its values."""
    calls: list[tuple[Arguments, Any]] = []

    def record_call(*args: Any, **kwargs: Any) -> Any:
        arguments = values.map_leaves(torch.clone, (args, kwargs))  # a model may write into its state
        output = subject.forward(*args, **kwargs)
        calls.append((arguments, values.map_leaves(torch.clone, output)))
        return output

    run = _on_copies(subject, record_call)
    run(), run()
    (first_call, first_output), (second_call, output) = calls[0], calls[-1]
    call, output = _clone(second_call), _clone(output)
    structure.rebuild(call, "the model's input")
    first_args = _first_args(subject, first_call, call, (first_output, output))
    carries_state = first_args is not None
    has_state = carries_state or isinstance(subject.case.architecture, Parts)  # a user's second output may be anything
    structure.rebuild(output, "the model's output")
    if not structure.row(output):
        kind = type(output).__name__
        raise CaseFailed("error", f"returns a {kind} without tensors, so an exported model would compute nothing")
    return Example(call, output, first_args, _names(call, carries_state), _output_names(output, has_state))


def _on_copies(subject: Subject, forward: Callable[..., Any]) -> Callable[[], Any]:
    """Return the scenario's call of ``forward`` on copies of the inputs: a model may write into them."""
    return replace(subject, forward=forward, inputs=subject.inputs.map_tensors(torch.clone)).run


def _first_args(
    subject: Subject, first: Arguments, second: Arguments, outputs: tuple[Any, Any]
) -> tuple[Any, ...] | None:
    """Return the arguments of the first call, with tensors for the None where the second call has state.

    Returns None if calls carry no state. Raises CaseFailed if the initial state is not found.
    """
    first_count, second_count = len(structure.row(first)), len(structure.row(second))
    if first_count == second_count:
        return None
    _refuse_change(second[0][-1], outputs[1][1])
    zero_args = tuple(
        values.map_leaves(torch.zeros_like, later) if earlier is None else earlier
        for earlier, later in zip(first[0], second[0], strict=True)
    )
    if _returns(subject, (zero_args, first[1]), outputs[0]):
        return zero_args
    state = _clone(first_state(subject, first, second))
    args = (*first[0][:-1], state)
    if state is not None and _returns(subject, (args, first[1]), outputs[0]):
        return args
    raise CaseFailed(
        "error",
        "the state of the first frame is not zeros, and cannot be found because no module of the model takes it "
        "unchanged as an argument; a runtime takes tensors at every call, never None: let the model start with a state "
        "of zeros and add its initial values to it",
    )


def _returns(subject: Subject, call: Arguments, expected: Any) -> bool:
    args, kwargs = values.map_leaves(torch.clone, call)
    try:
        output = structure.row(subject.without_gradients(*args, **kwargs))
        assert_close(output, structure.row(expected), rtol=1e-4, atol=1e-5, check_stride=False)
    except AssertionError:
        return False
    return True


def _refuse_change(state: Any, next_state: Any) -> None:
    """Raise CaseFailed if the leaves of the state, their shapes or its numbers change in a call."""
    before, after = dict(values.leaves(state)), dict(values.leaves(next_state))
    if before.keys() != after.keys():
        raise CaseFailed(
            "error",
            f"the state holds other values after a call than before it ({len(before)} before, {len(after)} after), but "
            "an exported model has fixed inputs and outputs: let it hold the same values from the first frame on",
        )
    for path, old in before.items():
        new = after[path]
        if not (isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor)):
            if isinstance(old, int | float) and isinstance(new, int | float) and old != new:
                raise CaseFailed(
                    "error",
                    f"the state holds a number that changes, state{path} from {old} to {new}, but an exported model "
                    "takes it for a constant: make it a tensor",
                )
        elif old.shape != new.shape:
            sizes = " to ".join("x".join(map(str, tensor.shape)) for tensor in (old, new))
            raise CaseFailed(
                "error",
                f"the state changes its shape, state{path} from {sizes}, but shapes are fixed when a model is "
                "exported: give it the same shape from the first frame on",
            )


def any_batch_example(subject: Subject, call: Example) -> Example:
    """Return the call with one more clip in its batch, and its batch axes: those that grow with the batch.

    A model for any batch is exported with this call, because exporters take a batch of one for a constant. Raises
    CaseFailed if no axis grows.
    """
    case = subject.case
    wider_case = replace(case, clip=replace(case.clip, batch=case.clip.batch + 1))
    wider_inputs = inputs(wider_case, subject.seed, subject.device, subject.model).with_types_of(subject.inputs)
    wider_call = example(replace(subject, case=wider_case, inputs=wider_inputs))
    pairs = zip(structure.shapes(call.tensors), structure.shapes(wider_call.tensors), strict=True)
    axes = tuple(_batch_axis(before, after) for before, after in pairs)
    if all(axis is None for axis in axes):
        raise CaseFailed("error", "cannot be exported for any batch: none of its inputs grows with the batch")
    return replace(wider_call, batch_axes=axes)


def _batch_axis(before: torch.Size, after: torch.Size) -> int | None:
    """Return the first axis that is longer after than before, or None."""
    return next((axis for axis, sizes in enumerate(zip(before, after, strict=True)) if sizes[1] > sizes[0]), None)


def _names(call: Arguments, carries_state: bool) -> tuple[str, ...]:
    """Return the names of the inputs, followed by ``state_0``, ``state_1`` and so on."""
    args, kwargs = call
    state_count = len(structure.row(args[-1])) if carries_state else 0
    args = args[:-1] if carries_state else args
    arguments = kwargs or (args[0] if len(args) == 1 else args)
    return (*_tensor_names("input", arguments), *(f"state_{number}" for number in range(state_count)))


def _output_names(output: Any, has_state: bool) -> tuple[str, ...]:
    """Return the names of the outputs, followed by ``next_state_0`` and so on if the second output is the state."""
    next_state = structure.row(output[1]) if has_state else []
    names = _tensor_names("output", output[0] if has_state else output)
    return (*names, *(f"next_state_{number}" for number in range(len(next_state))))


def _tensor_names(kind: str, value: Any) -> tuple[str, ...]:
    """Return ``kind`` for one tensor. For several, add each one's path to it: ``input_mask``, ``output_1_0``."""
    paths = [path for path, leaf in values.leaves(value) if isinstance(leaf, torch.Tensor)]
    if len(paths) == 1:
        return (kind,)
    names = [re.sub(r"\W+", "_", f"{kind}{path}").rstrip("_") for path in paths]
    return tuple(names) if len(set(names)) == len(names) else tuple(f"{kind}_{n}" for n in range(len(names)))


def _clone(value: Any) -> Any:
    """Return the value with copies that are no inference tensors, because exporters trace outside of inference mode."""
    with torch.no_grad():
        return values.map_leaves(torch.clone, value)


def state_filler(example: Example) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return a function that replaces the None of a call's arguments by the initial state."""
    first = example.first
    if first is None:
        return lambda args: args
    state = first[-1]
    return lambda args: (*args[:-1], state) if args[-1] is None else args


def call_cycle(subject: Subject, example: Example) -> list[list[torch.Tensor]]:
    """Return the tensors of the scenario's calls until their inputs repeat, at most as many calls as a clip has frames.

    The model is not run: every call returns the example's output.
    """
    rows: list[list[torch.Tensor]] = []
    fill_state, input_count = state_filler(example), len(example.names) - example.carried

    def record_call(*args: Any, **kwargs: Any) -> Any:
        rows.append(structure.row((fill_state(args), kwargs)))
        return example.output

    run = replace(subject, forward=record_call).run
    run()
    while len(rows) <= subject.case.clip.frames:
        run()
        if all(tensor is first for tensor, first in zip(rows[-1][:input_count], rows[0][:input_count], strict=True)):
            break
    return rows[:-1]


def record_calls(subject: Subject, calls: int) -> list[list[torch.Tensor]]:
    """Return the tensors of the scenario's first ``calls`` calls, from which ranges are found.

    Calls without state are left out if others have one.
    """
    rows: list[list[torch.Tensor]] = []

    def record_call(*args: Any, **kwargs: Any) -> Any:
        rows.append([tensor.clone() for tensor in structure.row((args, kwargs))])
        return subject.forward(*args, **kwargs)

    run = _on_copies(subject, record_call)
    for _ in range(calls):
        run()
    full_length = max(map(len, rows))
    return [row for row in rows if len(row) == full_length]
