"""Find the initial state that a model uses for None, such as a learned state, by watching what its modules receive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from convbench.models import values
from convbench.models.deployment import Arguments
from convbench.models.runtimes import structure
from convbench.models.subject import Subject

ModuleInputs = dict[tuple[str, int, str], torch.Tensor]
"""Tensors by the name of a module, the number of its call, and the path in the arguments."""


def first_state(subject: Subject, first_call: Arguments, second_call: Arguments) -> Any:
    """Return what the first call has in place of the second call's state, or None if not all of it reaches modules."""
    first_inputs, second_inputs = _module_inputs(subject, first_call), _module_inputs(subject, second_call)
    state = second_call[0][-1]
    tensors = [_counterpart(tensor, first_inputs, second_inputs) for tensor in structure.row(state)]
    if any(tensor is None for tensor in tensors):
        return None
    return structure.rebuild(state, "the state")(tensor for tensor in tensors if tensor is not None)


def _counterpart(state: torch.Tensor, inputs: ModuleInputs, later_inputs: ModuleInputs) -> torch.Tensor | None:
    """Return the first call's tensor at a place where the second call has this tensor of its state."""
    places = (
        place for place, tensor in later_inputs.items() if tensor.shape == state.shape and torch.equal(tensor, state)
    )
    return next((inputs[place] for place in places if place in inputs and inputs[place].shape == state.shape), None)


def _module_inputs(subject: Subject, call: Arguments) -> ModuleInputs:
    """Return every tensor that modules receive in a call, by its place."""
    args, kwargs = values.map_leaves(torch.clone, call)
    with _watch_modules(subject.model) as inputs:
        subject.without_gradients(*args, **kwargs)
    return inputs


@contextmanager
def _watch_modules(model: nn.Module) -> Iterator[ModuleInputs]:
    inputs: ModuleInputs = {}
    calls = Counter[str]()

    def keep_inputs(name: str, _module: nn.Module, args: Any, kwargs: Any) -> None:
        for path, leaf in values.leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                inputs[name, calls[name], path] = leaf.clone()
        calls[name] += 1

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                handle = module.register_forward_pre_hook(partial(keep_inputs, name), with_kwargs=True)
                hooks.callback(handle.remove)
        yield inputs
