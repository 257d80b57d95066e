"""Walk the arguments and outputs of models, of any type: find their tensors, list their leaves by path, change them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import dataclasses
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_ROWS, _COLUMNS = ("crow_indices", "col_indices"), ("ccol_indices", "row_indices")
INDICES = {
    torch.sparse_csr: _ROWS, torch.sparse_bsr: _ROWS, torch.sparse_csc: _COLUMNS, torch.sparse_bsc: _COLUMNS,
}  # fmt: skip
"""The index tensors that each compressed sparse layout keeps beside its values."""
PENDING = (Iterator, Coroutine, concurrent.futures.Future, torch.futures.Future)
"""Pending values: they are computed when they are read, or in another thread or process."""
ATOMS = (torch.Tensor, nn.Module, type, ModuleType, str, bytes, int, float, complex, bool, type(None), *PENDING)


def leaves(value: Any) -> list[tuple[str, Any]]:
    """Return every leaf of a value with its path, such as ``[0].state['h']``.

    Goes into tuples, lists, mappings, dataclasses, packed sequences and the attributes of other objects.
    """
    return list(_leaves(value, "", frozenset()))


def tensors(value: Any) -> list[torch.Tensor]:
    """Return every tensor in a value, in the order in which ``leaves`` finds them."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for _, leaf in leaves(value) if isinstance(leaf, torch.Tensor)]


def values_inside(value: Any) -> list[Any]:
    """Return the values that a dict, list, tuple or deque holds, or the attributes of a plain object.

    A layer, another callable or a module of Python counts as holding nothing: they lead to all there is.
    """
    if isinstance(value, dict):
        return [*value.values()]
    if isinstance(value, (tuple, list, deque)):
        return [*value]
    return [] if isinstance(value, ATOMS) else [*_attributes(value).values()]


def settle(output: Any) -> Any:
    """Return a model's output with its ``PENDING`` values computed, or the same object if there are none.

    Iterators and generators become tuples, futures their results. Coroutines are run.
    """
    if any(isinstance(leaf, PENDING) for _, leaf in leaves(output)):
        return map_leaves(_result, output, PENDING)
    return output


def storage_tensors(tensor: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors with storages that make up a tensor: indices and values if it is sparse, parts if a wrapper.

    Yields nothing for an opaque tensor, whose storage torch does not show.
    """
    if is_functorch_wrapped_tensor(tensor):  # inside vmap, grad or jvp
        yield from storage_tensors(get_unwrapped(tensor))
    elif is_traceable_wrapper_subclass(tensor):
        parts = (getattr(tensor, name) for name in tensor.__tensor_flatten__()[0])
        for part in parts:
            if isinstance(part, torch.Tensor):  # a DTensor also has its mesh of devices
                yield from storage_tensors(part)
    elif tensor.layout is torch.strided:
        yield tensor
    elif tensor.layout is torch.sparse_coo:
        yield from (tensor._indices(), tensor._values())
    elif tensor.layout in INDICES:
        yield from (getattr(tensor, name)() for name in (*INDICES[tensor.layout], "values"))


def stored_bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor's elements; if it is sparse, of the stored elements and their indices."""
    return tensor.nbytes if tensor.is_mkldnn else sum(part.nbytes for part in storage_tensors(tensor))


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse tensor, which stores only some elements and their indices."""
    return isinstance(value, torch.Tensor) and value.layout in (torch.sparse_coo, *INDICES)


def stored_numbers(tensor: torch.Tensor) -> int:
    """Return the number of elements that a sparse tensor stores."""
    return (tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()).numel()


def held_bytes(views: Iterable[torch.Tensor]) -> int:
    """Return the bytes of the storages behind tensors, each storage once, even if tensors share it or are expanded."""
    tensors, sizes = list(views), dict[int, int]()
    for tensor in tensors:
        if tensor.is_mkldnn:
            sizes[id(tensor)] = tensor.nbytes
        for part in storage_tensors(tensor):
            storage = part.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def densify(value: Any) -> Any:
    """Return a tensor in dense form: sparse tensors and the rows of nested ones are filled up with zeros.

    Quantised tensors are dequantised and types of eight bits become float32, because torch compares neither within a
    tolerance. Other values stay as they are.
    """
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_floating_point() and value.itemsize == 1:
        return value.float()
    if value.is_quantized:
        return value.dequantize()
    if value.is_nested:
        return torch.nested.to_padded_tensor(value, 0.0)
    return value if value.layout is torch.strided else value.to_dense()


def map_leaves(
    change: Callable[[Any], Any],
    value: Any,
    kinds: type | tuple[type, ...] = torch.Tensor,
    ancestors: frozenset[int] = frozenset(),
) -> Any:
    """Return the value with ``change`` applied to its leaves of these ``kinds``, by default tensors.

    Goes into the same values as ``leaves``, in the same order, and copies objects that hold such leaves. The lengths
    in a packed sequence are not changed: they stay on the CPU. ``ancestors`` are the ids of the values around this one.
    """
    if isinstance(value, kinds):
        return change(value)
    if isinstance(value, ATOMS) or id(value) in ancestors:
        return value
    recurse = partial(map_leaves, change, kinds=kinds, ancestors=ancestors | {id(value)})
    match value:
        case PackedSequence():
            fields = {name: recurse(getattr(value, name)) for name in ("data", "sorted_indices", "unsorted_indices")}
            return value._replace(**fields)
        case MutableMapping():
            return _with_items(value, {key: recurse(item) for key, item in value.items()})
        case Mapping():
            return type(value)({key: recurse(item) for key, item in value.items()})  # type: ignore[call-arg]
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(recurse, value))
        case tuple():
            return type(value)(map(recurse, value))
        case list() | deque():
            return _with_parts(value, [*map(recurse, value)])
    attributes = _attributes(value)
    if not any(isinstance(leaf, kinds) for _, leaf in leaves(list(attributes.values()))):
        return value
    result = copy.copy(value)  # not dataclasses.replace, which makes attributes of __post_init__ anew
    for name, part in attributes.items():
        object.__setattr__(result, name, recurse(part))
    return result


def _with_items(mapping: MutableMapping[Any, Any], items: dict[Any, Any]) -> MutableMapping[Any, Any]:
    """Return a copy of a mapping with other values under its keys; some mappings hold more than their items."""
    try:
        result = copy.copy(mapping)
        for key, item in items.items():  # transformers' and diffusers' outputs refuse update()
            result[key] = item
    except Exception:  # the brackets of torch_ac's DictList index the values
        return type(mapping)(items)  # type: ignore[call-arg]
    return result


def _with_parts(sequence: Any, parts: list[Any]) -> Any:
    """Return a copy of a list or deque with other parts; it may have a longest length or take other arguments."""
    result = copy.copy(sequence)
    result.clear()
    result.extend(parts)
    return result


def _result(leaf: Any) -> Any:
    match leaf:
        case concurrent.futures.Future():
            return settle(leaf.result())
        case torch.futures.Future():
            return settle(leaf.wait())
        case Coroutine():
            return settle(_run(leaf))
    return tuple(map(settle, leaf))


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine, run in this thread for its gradient mode, even inside a notebook's loop."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return asyncio.run(coroutine)
    finally:
        asyncio._set_running_loop(loop)


def _leaves(value: Any, path: str, ancestors: frozenset[int]) -> Iterator[tuple[str, Any]]:
    parts = None if isinstance(value, ATOMS) or id(value) in ancestors else _parts(value)
    if parts is None:
        yield path, value
        return
    for name, part in parts:
        yield from _leaves(part, path + name, ancestors | {id(value)})


def _parts(value: Any) -> list[tuple[str, Any]] | None:
    """Return the parts of a value with their names, or None if it is a leaf."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{name}", part) for name, part in zip(value._fields, value, strict=True)]
    if isinstance(value, (tuple, list, deque)):
        return [(f"[{i}]", part) for i, part in enumerate(value)]
    return [(f".{name}", part) for name, part in _attributes(value).items()] or None


def _attributes(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, or the attributes of an object, including slots, without running its code."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    state = None if callable(value) else object.__getstate__(value)
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    return {**(attributes or {}), **(slots or {})}
