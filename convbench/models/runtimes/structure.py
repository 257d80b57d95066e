"""Arguments and outputs of a model as a plain row of tensors and back, quickly enough to stand inside a timed call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from convbench.core.errors import CaseFailed
from convbench.models import values

Put = Callable[[Iterator[torch.Tensor]], Any]


def row(value: Any) -> list[torch.Tensor]:
    """Every tensor of a value, in order."""
    gathered: list[torch.Tensor] = []
    _gather(value, gathered)
    return gathered


def rebuild(example: Any, what: str) -> Put:
    """What makes a value like the example of as many tensors as it has.

    Raises CaseFailed where the example hides tensors where they cannot be put back; ``what`` it is, the message says.
    """
    put = _put(example)
    tensors = row(example)
    marks = [tensor.clone() for tensor in tensors]
    back = row(put(iter(marks)))
    if [id(tensor) for tensor in back] != [id(tensor) for tensor in marks]:
        raise CaseFailed(
            "error",
            f"{what} is {type(example).__name__}, whose tensors cannot be handed to another runtime: use tensors, "
            "tuples, lists, dicts or dataclasses of them",
        )
    return put


def shapes(tensors: list[torch.Tensor]) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors]


def arrays(tensors: Sequence[torch.Tensor]) -> list[Any]:
    """Tensors of a CPU as numpy arrays on the same memory, copied only where it is not contiguous."""
    return [tensor.contiguous().numpy() for tensor in tensors]


def from_arrays(arrays: Sequence[Any]) -> list[torch.Tensor]:
    """Numpy arrays as tensors on the same memory."""
    return [torch.from_numpy(array) for array in arrays]


def _gather(value: Any, gathered: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        gathered.append(value)
    elif type(value) in (tuple, list):
        for item in value:
            _gather(item, gathered)
    elif value is not None:
        gathered += values.tensors(value)


def _put(example: Any) -> Put:
    """Closures instead of a walk at every call: a streamed frame may take 100 microseconds in all."""
    if isinstance(example, torch.Tensor):
        return next
    if type(example) in (tuple, list):
        parts, kind = [_put(item) for item in example], type(example)
        return lambda tensors: kind(part(tensors) for part in parts)
    if type(example) is dict:
        items = [(key, _put(item)) for key, item in example.items()]
        return lambda tensors: {key: part(tensors) for key, part in items}
    if not values.tensors(example):
        return lambda _: example
    return lambda tensors: values.mapped(lambda _: next(tensors), example)
