"""What a model is exported with: the arguments of a call as the case's scenario makes it, and the model as tensors.

In a scenario that carries state from call to call, the arguments are those of the second call, whose state is real; the
first call's None becomes zeros, if that is what None means to the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.testing import assert_close

from convbench.core.errors import CaseFailed
from convbench.models import values
from convbench.models.deployment import Call, Example
from convbench.models.runtimes import structure
from convbench.models.subject import Subject


class Flat(nn.Module):
    """A model with tensors in and tensors out. ``forward(*tensors)`` returns a tuple of them."""

    def __init__(self, subject: Subject, example: Example) -> None:
        super().__init__()
        self.model = subject.model
        self._calls = (subject.forward,)  # in a tuple: a module that is an attribute would be registered twice
        self._put = structure.rebuild(example.call, "what the model is given")

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        args, kwargs = self._put(iter(tensors))
        return tuple(structure.row(self._calls[0](*args, **kwargs)))


def example(subject: Subject) -> Example:
    """The call that the scenario makes of a subject. Raises CaseFailed where it cannot be handed to a runtime."""
    calls: list[tuple[Call, Any]] = []

    def recording(*args: Any, **kwargs: Any) -> Any:
        output = subject.forward(*args, **kwargs)
        calls.append(((args, kwargs), output))
        return output

    run = replace(subject, forward=recording).run
    run(), run()
    (first, first_output), (second, output) = calls[0], calls[-1]
    call, output = _ordinary(second), _ordinary(output)
    state = _first(subject, first, call, first_output)
    carries = state is not None
    outputs = structure.row(output)
    structure.rebuild(output, "what the model returns")
    return Example(call, output, state, _names(call, carries), _output_names(output, len(outputs), carries))


def _first(subject: Subject, first: Call, second: Call, expected: Any) -> tuple[Any, ...] | None:
    """The arguments of a first call with zeros where it had None and the next one state."""
    had, has = len(structure.row(first)), len(structure.row(second))
    if had == has:
        return None
    zeroed = tuple(
        values.mapped(torch.zeros_like, later) if earlier is None else earlier
        for earlier, later in zip(first[0], second[0], strict=True)
    )
    output = subject.without_gradients(*zeroed, **first[1])
    try:
        assert_close(structure.row(output), structure.row(expected), rtol=1e-4, atol=1e-5, check_stride=False)
    except AssertionError as error:
        raise CaseFailed(
            "error",
            "the state of the first frame is not zeros: a runtime is given tensors at every call, never None; let the "
            "model begin with zeros",
        ) from error
    return zeroed


def _names(call: Call, carries: bool) -> tuple[str, ...]:
    """``input`` and ``state_0``, ``state_1``; several inputs are numbered too."""
    args, _ = call
    state = len(structure.row(args[-1])) if carries else 0
    inputs = len(structure.row(call)) - state
    return (*_numbered_names("input", inputs), *(f"state_{number}" for number in range(state)))


def _output_names(output: Any, count: int, carries: bool) -> tuple[str, ...]:
    first = len(structure.row(output[0])) if carries else count
    if not carries and isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], torch.Tensor):
        first = 1  # as torch's own recurrent layers return it
    following = (f"next_state_{number}" for number in range(count - first))
    return (*_numbered_names("output", first), *following)


def _numbered_names(name: str, count: int) -> tuple[str, ...]:
    return (name,) if count == 1 else tuple(f"{name}_{number}" for number in range(count))


def _ordinary(value: Any) -> Any:
    """The value with tensors that autograd may see: exporters trace outside of inference mode."""
    with torch.no_grad():
        return values.mapped(torch.clone, value)


def at_first(example: Example) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What puts the first state where a call has None."""
    first = example.first
    if first is None:
        return lambda args: args
    begin = first[-1]
    return lambda args: (*args[:-1], begin) if args[-1] is None else args


def cycle_of(subject: Subject, example: Example) -> list[list[torch.Tensor]]:
    """The tensors of the calls that the scenario makes until it begins again with the same ones; at most a clip's.

    The model is not run: whatever a call is given, it returns the example's output.
    """
    rows: list[list[torch.Tensor]] = []
    begin, inputs = at_first(example), len(example.names) - example.carried

    def recording(*args: Any, **kwargs: Any) -> Any:
        rows.append(structure.row((begin(args), kwargs)))
        return example.output

    run = replace(subject, forward=recording).run
    run()
    while len(rows) <= subject.case.clip.frames:
        run()
        if all(now is first for now, first in zip(rows[-1][:inputs], rows[0][:inputs], strict=True)):
            break
    return rows[:-1]


def recorded(subject: Subject, calls: int) -> list[list[torch.Tensor]]:
    """The tensors of so many calls as the scenario makes them, for ranges; first states are zeros, as when deployed."""
    rows: list[list[torch.Tensor]] = []

    def recording(*args: Any, **kwargs: Any) -> Any:
        rows.append([tensor.clone() for tensor in structure.row((args, kwargs))])
        return subject.forward(*args, **kwargs)

    run = replace(subject, forward=recording).run
    for _ in range(calls):
        run()
    complete = max(map(len, rows))
    return [row for row in rows if len(row) == complete]
