"""Convert arguments and outputs of a model to a row of tensors and back, fast enough to run inside a timed call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from convbench.core.errors import CaseFailed
from convbench.models import values

Rebuild = Callable[[Iterator[torch.Tensor]], Any]


def row(value: Any) -> list[torch.Tensor]:
    """Return every tensor of a value, in order."""
    tensors: list[torch.Tensor] = []
    _gather(value, tensors)
    return tensors


def rebuild(example: Any, label: str) -> Rebuild:
    """Return a function that makes a value like the example from as many tensors as it has.

    Raises CaseFailed if the example hides tensors where they cannot be put back. ``label`` names it in the message.
    """
    rebuilder = _rebuilder(example)
    if not _restores(rebuilder, example):
        raise CaseFailed(
            "error",
            f"{label} has a {type(_opaque_part(example)).__name__}, whose tensors cannot be handed to another runtime: "
            "use tensors, tuples, lists, dicts or dataclasses of them",
        )
    return rebuilder


def shapes(tensors: list[torch.Tensor]) -> list[torch.Size]:
    return [tensor.shape for tensor in tensors]


def arrays(tensors: Sequence[torch.Tensor]) -> list[Any]:
    """Return CPU tensors as numpy arrays on the same memory. Tensors that are not contiguous are copied."""
    return [tensor.contiguous().numpy() for tensor in tensors]


def from_arrays(arrays: Sequence[Any]) -> list[torch.Tensor]:
    """Return numpy arrays as tensors on the same memory."""
    return [torch.from_numpy(array) for array in arrays]


def _gather(value: Any, tensors: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        tensors.append(value)
    elif type(value) in (tuple, list):
        for item in value:
            _gather(item, tensors)
    elif value is not None:
        tensors += values.tensors(value)


def _restores(rebuilder: Rebuild, example: Any) -> bool:
    """Whether a rebuilder puts every tensor back in its place."""
    marks = [tensor.clone() for tensor in row(example)]
    result = row(rebuilder(iter(marks)))
    return [id(tensor) for tensor in result] == [id(tensor) for tensor in marks]


def _opaque_part(value: Any) -> Any:
    """Return the innermost part of a value that cannot be rebuilt."""
    parts = value if type(value) in (tuple, list) else value.values() if type(value) is dict else ()
    return next((_opaque_part(part) for part in parts if not _restores(_rebuilder(part), part)), value)


def _rebuilder(example: Any) -> Rebuild:
    """Return nested closures. They save a walk at every call, which may take only 100 microseconds for a frame."""
    if isinstance(example, torch.Tensor):
        return next
    if type(example) in (tuple, list):
        parts, kind = [_rebuilder(item) for item in example], type(example)
        return lambda tensors: kind(part(tensors) for part in parts)
    if type(example) is dict:
        items = [(key, _rebuilder(item)) for key, item in example.items()]
        return lambda tensors: {key: part(tensors) for key, part in items}
    if not values.tensors(example):
        return lambda _: example
    return lambda tensors: values.map_leaves(lambda _: next(tensors), example)
