"""A live module is called and is afterwards what it was before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

CONTAINERS = (dict, list, set, deque)


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """While it lasts the model may be called. What it has set or put into its attributes is undone then.

    What a call writes into tensors that are no parameters goes into clones of them. A copy of the model would be no
    help: functions are copied by reference, so that those a model keeps would go on calling the original's layers.
    """
    before = [(container, _content(container)) for module in model.modules() for container in _containers(module)]
    _clone_tensors([container for container, _ in before if isinstance(container, dict)])
    try:
        yield
    finally:
        for container, content in before:
            container.clear()
            (container.extend if isinstance(container, (list, deque)) else container.update)(content)


def changes_for_good(module: nn.Module) -> bool:
    """Whether a call may change a module beyond what can be restored: lazy layers, and what a scripted one keeps."""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    tensors = (*module._parameters.values(), *module._buffers.values())
    return any(is_lazy(tensor) for tensor in tensors if tensor is not None)


def _containers(module: nn.Module) -> list[Any]:
    """A module's attributes, buffers and hooks among them, and the containers that it keeps."""
    attributes = vars(module)
    return [attributes, *(value for value in attributes.values() if isinstance(value, CONTAINERS))]


def _content(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)


def _clone_tensors(containers: list[dict[Any, Any]]) -> None:
    """Put clones in the place of tensors that are no parameters; the same one wherever the same tensor was."""
    clones: dict[int, torch.Tensor] = {}
    for container in containers:
        for name, value in list(container.items()):
            if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter) and not is_lazy(value):
                if id(value) not in clones:
                    clones[id(value)] = value.detach().clone()
                container[name] = clones[id(value)]
