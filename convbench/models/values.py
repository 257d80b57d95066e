"""What models return and take, whatever its kind: the tensors in it, every leaf by its path, the same with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

ATOMS = (torch.Tensor, nn.Module, type, str, bytes, int, float, complex, bool, type(None))


def leaves(value: Any) -> list[tuple[str, Any]]:
    """Every leaf with its path (``[0].state['h']``): of tuples, mappings, dataclasses, packed sequences, any object."""
    return list(_leaves(value, "", frozenset()))


def tensors(value: Any) -> list[torch.Tensor]:
    """Every tensor in a value, in the order in which ``leaves`` finds them."""
    return [leaf for _, leaf in leaves(value) if isinstance(leaf, torch.Tensor)]


def mapped(change: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """The value with its tensors changed; the lengths in a packed sequence stay where they are, on the CPU."""
    match value:
        case torch.Tensor():
            return change(value)
        case PackedSequence():
            return value._replace(data=change(value.data))
        case Mapping():
            return type(value)({key: mapped(change, item) for key, item in value.items()})  # type: ignore[call-arg]
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(mapped(change, item) for item in value))
        case tuple() | list():
            return type(value)(mapped(change, item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: mapped(change, getattr(value, name)) for name in names})
    return value


def _leaves(value: Any, path: str, around: frozenset[int]) -> Iterator[tuple[str, Any]]:
    parts = None if isinstance(value, ATOMS) or id(value) in around else _parts(value)
    if parts is None:
        yield path, value
        return
    for name, part in parts:
        yield from _leaves(part, path + name, around | {id(value)})


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """The parts of a value with their names; None where it is one itself."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{name}", part) for name, part in zip(value._fields, value, strict=True)]
    if isinstance(value, (tuple, list)):
        return [(f"[{i}]", part) for i, part in enumerate(value)]
    if dataclasses.is_dataclass(value):
        return [(f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    state = getattr(value, "__dict__", None)
    if callable(value) or not state:
        return None
    return [(f".{name}", part) for name, part in state.items()]
