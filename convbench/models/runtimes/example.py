"""What a model is exported with: the arguments of a call as the case's scenario makes it, and the model as tensors.

In a scenario that carries state from call to call, the arguments are those of the second call, whose state is real; the
first call's None becomes zeros, or what None means to the model (``first_state``).
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
from convbench.models.deployment import Call, Example
from convbench.models.inputs import inputs
from convbench.models.runtimes import structure
from convbench.models.runtimes.first_state import first_state
from convbench.models.subject import Subject


class FlatModel(nn.Module):
    """A model with tensors in and tensors out. ``forward(*tensors)`` returns a tuple of them."""

    def __init__(self, subject: Subject, example: Example) -> None:
        super().__init__()
        self.model = subject.model
        self._calls = (subject.forward,)  # in a tuple: a module that is an attribute would be registered twice
        self._rebuild = structure.rebuild(example.call, "what the model is given")

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = self._rebuild(iter(tensors))
        return tuple(structure.row(self._calls[0](*args, **kwargs)))


def example(subject: Subject) -> Example:
    """The call that the scenario makes of a subject. Raises CaseFailed where it cannot be handed to a runtime."""
    calls: list[tuple[Call, Any]] = []

    def record_call(*args: Any, **kwargs: Any) -> Any:
        arguments = values.map_leaves(torch.clone, (args, kwargs))  # a model may write into the state that it is given
        output = subject.forward(*args, **kwargs)
        calls.append((arguments, values.map_leaves(torch.clone, output)))
        return output

    run = replace(subject, forward=record_call).run
    run(), run()
    (first_call, first_output), (second_call, output) = calls[0], calls[-1]
    call, output = _clone(second_call), _clone(output)
    first_args = _first_args(subject, first_call, call, (first_output, output))
    carries_state = first_args is not None
    has_state = carries_state or isinstance(subject.case.architecture, Parts)  # another's second output may be anything
    structure.rebuild(output, "what the model returns")
    return Example(call, output, first_args, _names(call, carries_state), _output_names(output, has_state))


def _first_args(subject: Subject, first: Call, second: Call, outputs: tuple[Any, Any]) -> tuple[Any, ...] | None:
    """The arguments of a first call with tensors where it had None and the next one state."""
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
        "the state of the first frame is not zeros, and no module of the model is given it as it is, from which it "
        "would be known; a runtime is given tensors at every call, never None: let the model add what it begins with "
        "to a state that begins with zeros",
    )


def _returns(subject: Subject, call: Call, expected: Any) -> bool:
    """Whether a call returns what is expected."""
    args, kwargs = values.map_leaves(torch.clone, call)
    try:
        output = structure.row(subject.without_gradients(*args, **kwargs))
        assert_close(output, structure.row(expected), rtol=1e-4, atol=1e-5, check_stride=False)
    except AssertionError:
        return False
    return True


def _refuse_change(state: Any, next_state: Any) -> None:
    """Raises CaseFailed for a state that holds other values, shapes or numbers after a call than before it."""
    before, after = dict(values.leaves(state)), dict(values.leaves(next_state))
    if before.keys() != after.keys():
        raise CaseFailed(
            "error",
            f"the state holds other values after a call than before it ({len(before)} before, {len(after)} after), and "
            "what goes in and out is fixed when a model is exported: let it hold the same from the first frame on",
        )
    for path, old in before.items():
        new = after[path]
        if not (isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor)):
            if isinstance(old, int | float) and isinstance(new, int | float) and old != new:
                raise CaseFailed(
                    "error",
                    f"the state holds a number that changes, state{path} from {old} to {new}, and an exported model "
                    "takes it for a constant: let it be a tensor",
                )
        elif old.shape != new.shape:
            sizes = " to ".join("x".join(map(str, tensor.shape)) for tensor in (old, new))
            raise CaseFailed(
                "error",
                f"the state changes its shape, state{path} from {sizes}, and shapes are fixed when a model is "
                "exported: let it be of one length from the first frame on",
            )


def any_batch_example(subject: Subject, call: Example) -> Example:
    """The call with a clip more, and which axes of its tensors have grown by it. Raises CaseFailed where none has.

    It is what a model for any batch is exported with, whatever its own: exporters take a batch of one for a constant.
    """
    case = subject.case
    wider_case = replace(case, clip=replace(case.clip, batch=case.clip.batch + 1))
    wider_inputs = inputs(wider_case, subject.seed, subject.device, subject.model).typed_as(subject.inputs)
    wider_call = example(replace(subject, case=wider_case, inputs=wider_inputs))
    pairs = zip(structure.shapes(call.tensors), structure.shapes(wider_call.tensors), strict=True)
    axes = tuple(_batch_axis(before, after) for before, after in pairs)
    if all(axis is None for axis in axes):
        raise CaseFailed("error", "cannot be exported for any batch: none of its inputs has more clips in a larger one")
    return replace(wider_call, batch_axes=axes)


def _batch_axis(before: torch.Size, after: torch.Size) -> int | None:
    """The first axis that is longer."""
    return next((axis for axis, sizes in enumerate(zip(before, after, strict=True)) if sizes[1] > sizes[0]), None)


def _names(call: Call, carries_state: bool) -> tuple[str, ...]:
    """Those of the inputs, and ``state_0``, ``state_1`` behind them."""
    args, kwargs = call
    state_count = len(structure.row(args[-1])) if carries_state else 0
    args = args[:-1] if carries_state else args
    arguments = kwargs or (args[0] if len(args) == 1 else args)
    return (*_tensor_names("input", arguments), *(f"state_{number}" for number in range(state_count)))


def _output_names(output: Any, has_state: bool) -> tuple[str, ...]:
    """Those of the outputs, and ``next_state_0`` behind them where the second of two is the state."""
    next_state = structure.row(output[1]) if has_state else []
    names = _tensor_names("output", output[0] if has_state else output)
    return (*names, *(f"next_state_{number}" for number in range(len(next_state))))


def _tensor_names(kind: str, value: Any) -> tuple[str, ...]:
    """``input``; of several tensors each by its keywords, keys, fields and numbers: ``input_mask``, ``output_1_0``."""
    paths = [path for path, leaf in values.leaves(value) if isinstance(leaf, torch.Tensor)]
    if len(paths) == 1:
        return (kind,)
    names = [re.sub(r"\W+", "_", f"{kind}{path}").rstrip("_") for path in paths]
    return tuple(names) if len(set(names)) == len(names) else tuple(f"{kind}_{n}" for n in range(len(names)))


def _clone(value: Any) -> Any:
    """The value with tensors that autograd may see: exporters trace outside of inference mode."""
    with torch.no_grad():
        return values.map_leaves(torch.clone, value)


def state_filler(example: Example) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What puts the first state where a call has None."""
    first = example.first
    if first is None:
        return lambda args: args
    state = first[-1]
    return lambda args: (*args[:-1], state) if args[-1] is None else args


def call_cycle(subject: Subject, example: Example) -> list[list[torch.Tensor]]:
    """The tensors of the calls that the scenario makes until it begins again with the same ones; at most a clip's.

    The model is not run: whatever a call is given, it returns the example's output.
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
    """The tensors of so many calls as the scenario makes them, for ranges; calls without a state are left out."""
    rows: list[list[torch.Tensor]] = []

    def record_call(*args: Any, **kwargs: Any) -> Any:
        rows.append([tensor.clone() for tensor in structure.row((args, kwargs))])
        return subject.forward(*args, **kwargs)

    run = replace(subject, forward=record_call).run
    for _ in range(calls):
        run()
    full_length = max(map(len, rows))
    return [row for row in rows if len(row) == full_length]
