"""Call a live module and leave it as it was before."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

CONTAINERS = (dict, list, set, deque)


@contextmanager
def restore(model: nn.Module) -> Iterator[None]:
    """While entered, the model may be called; afterwards all changes of its attributes and their contents are undone.

    Calls write into clones of its tensors, except for parameters with gradients: they are most of a model, and few
    calls write there. A copy of the model would not help: functions are copied by reference, so functions that a model
    keeps would go on calling the original's layers.
    """
    contents = [(container, _content(container)) for container in _containers(model)]
    try:
        _clone_tensors([container for container, _ in contents])
        yield
    finally:
        for container, content in contents:
            if not _is_same(container, content):  # a read-only dict refuses even its own items
                _refill(container, content)


def changes_for_good(module: nn.Module) -> bool:
    """Whether a call may change a module beyond repair: a lazy layer, or the state of a scripted module."""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    tensors = (*module._parameters.values(), *module._buffers.values())
    return any(is_lazy(tensor) for tensor in tensors if tensor is not None)


def is_frozen(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a plain parameter without a gradient; one of a subclass may be more than its numbers."""
    return type(tensor) is nn.Parameter and not tensor.requires_grad


def _containers(model: nn.Module) -> list[Any]:
    """The attributes of a model's modules, including buffers and hooks, and the containers inside them."""
    pending: list[Any] = [vars(module) for module in model.modules()]
    containers: dict[int, Any] = {}
    while pending:
        container = pending.pop()
        if id(container) not in containers:
            containers[id(container)] = container
            pending += [value for value in _values(container) if isinstance(value, CONTAINERS)]
    return list(containers.values())


def _values(container: Any) -> Iterator[Any]:
    """Yield the values of a container, and the items of tuples in their place."""
    for value in container.values() if isinstance(container, dict) else container:
        if isinstance(value, tuple):
            yield from _values(value)
        else:
            yield value


def _content(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _is_same(container: Any, content: Any) -> bool:
    """Whether a container still holds the very same objects."""
    if isinstance(container, dict):
        return _is_same(list(container), list(content)) and _is_same(list(container.values()), list(content.values()))
    return list(map(id, container)) == list(map(id, content))


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, dict):
        for key, value in content.items():  # some classes of dict refuse update()
            container[key] = value
    else:
        (container.update if isinstance(container, set) else container.extend)(content)


def _clone_tensors(containers: list[Any]) -> None:
    """Replace tensors by clones, also inside tuples; the same tensor gets the same clone everywhere."""
    clones: dict[int, torch.Tensor] = {}

    def substitute(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and _is_cloned(value):
            if id(value) not in clones:
                clone = _clone(value.detach())
                clones[id(value)] = nn.Parameter(clone, requires_grad=False) if is_frozen(value) else clone
            return clones[id(value)]
        is_named = isinstance(value, tuple) and hasattr(value, "_fields")
        if type(value) is tuple or is_named:  # other classes of tuple may take other arguments
            items = tuple(map(substitute, value))
            if any(item is not original for item, original in zip(items, value, strict=True)):
                return type(value)(*items) if is_named else items
        return value

    for container in containers:
        if isinstance(container, set):
            continue
        for place, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if (clone := substitute(value)) is not value:
                container[place] = clone


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    """A clone that stores no more than the tensor: an expanded tensor shows its few numbers many times."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.nbytes <= tensor.untyped_storage().nbytes():
        return tensor.clone()
    return copy.deepcopy(tensor)


def _is_cloned(tensor: torch.Tensor) -> bool:
    return is_frozen(tensor) or not (isinstance(tensor, nn.Parameter) or is_lazy(tensor))
