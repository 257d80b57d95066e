"""What models return and take, whatever its kind: the tensors in it, every leaf by its path, the same with others."""

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
"""Which indices a tensor of a compressed sparse layout keeps beside its values."""
PENDING = (Iterator, Coroutine, concurrent.futures.Future, torch.futures.Future)
"""What is computed as it is read, or by others."""
ATOMS = (torch.Tensor, nn.Module, type, ModuleType, str, bytes, int, float, complex, bool, type(None), *PENDING)


def leaves(value: Any) -> list[tuple[str, Any]]:
    """Every leaf with its path (``[0].state['h']``): of tuples, mappings, dataclasses, packed sequences, any object."""
    return list(_leaves(value, "", frozenset()))


def tensors(value: Any) -> list[torch.Tensor]:
    """Every tensor in a value, in the order in which ``leaves`` finds them."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [leaf for _, leaf in leaves(value) if isinstance(leaf, torch.Tensor)]


def settle(output: Any) -> Any:
    """What a model returns, worked out; the same object where there is nothing ``PENDING`` in it.

    Iterators and generators become tuples; futures are asked for their result, coroutines run.
    """
    if any(isinstance(leaf, PENDING) for _, leaf in leaves(output)):
        return map_leaves(_result, output, PENDING)
    return output


def stored(tensor: Any) -> Iterator[torch.Tensor]:
    """The tensors with storages that a tensor is made of: a sparse one's indices and values, a wrapper's parts.

    None of an opaque one, whose storage torch does not show.
    """
    if is_functorch_wrapped_tensor(tensor):  # inside of vmap, grad or jvp
        yield from stored(get_unwrapped(tensor))
    elif is_traceable_wrapper_subclass(tensor):
        for name in tensor.__tensor_flatten__()[0]:
            yield from stored(getattr(tensor, name))
    elif tensor.layout is torch.strided:
        yield tensor
    elif tensor.layout is torch.sparse_coo:
        yield from (tensor._indices(), tensor._values())
    elif tensor.layout in INDICES:
        yield from (getattr(tensor, name)() for name in (*INDICES[tensor.layout], "values"))


def stored_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's elements; of a sparse one of those that are stored, with their indices."""
    return tensor.nbytes if tensor.is_mkldnn else sum(part.nbytes for part in stored(tensor))


def is_sparse(value: Any) -> bool:
    """Whether a tensor keeps indices beside some of its elements."""
    return isinstance(value, torch.Tensor) and value.layout in (torch.sparse_coo, *INDICES)


def stored_numbers(tensor: torch.Tensor) -> int:
    """How many elements a sparse tensor keeps."""
    return (tensor._values() if tensor.layout is torch.sparse_coo else tensor.values()).numel()


def held_bytes(views: Iterable[torch.Tensor]) -> int:
    """Bytes of what tensors are views of, each once: of one that is expanded, or given twice, those that there are."""
    tensors, sizes = list(views), dict[int, int]()
    for tensor in tensors:
        if tensor.is_mkldnn:
            sizes[id(tensor)] = tensor.nbytes
        for part in stored(tensor):
            storage = part.untyped_storage()
            sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def dense(value: Any) -> Any:
    """A tensor with all its elements in place: a sparse one filled up with zeros, and a nested one's rows.

    A quantised one as the numbers that it stands for, as torch compares no others.
    """
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_quantized:
        return value.dequantize()
    if value.is_nested:
        return torch.nested.to_padded_tensor(value, 0.0)
    return value if value.layout is torch.strided else value.to_dense()


def map_leaves(change: Callable[[Any], Any], value: Any, kinds: type | tuple[type, ...] = torch.Tensor) -> Any:
    """The value with what is of these ``kinds`` changed: its tensors.

    The lengths in a packed sequence stay where they are, on the CPU.
    """
    if isinstance(value, kinds):
        return change(value)
    recurse = partial(map_leaves, change, kinds=kinds)
    match value:
        case PackedSequence():
            fields = {name: recurse(getattr(value, name)) for name in ("data", "sorted_indices", "unsorted_indices")}
            return value._replace(**fields)
        case MutableMapping():  # copied, as some are not made of their items alone
            result = copy.copy(value)
            for key, item in value.items():  # transformers' and diffusers' outputs refuse update()
                result[key] = recurse(item)
            return result
        case Mapping():
            return type(value)({key: recurse(item) for key, item in value.items()})  # type: ignore[call-arg]
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(recurse, value))
        case tuple() | list() | deque():
            return type(value)(map(recurse, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: recurse(getattr(value, name)) for name in names})
    return value


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
    """What a coroutine returns; in this thread, whose gradient mode it needs, even where a notebook's loop runs."""
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
    """The parts of a value with their names; None where it is one itself."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", part) for key, part in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{name}", part) for name, part in zip(value._fields, value, strict=True)]
    if isinstance(value, (tuple, list, deque)):
        return [(f"[{i}]", part) for i, part in enumerate(value)]
    if dataclasses.is_dataclass(value):
        return [(f".{field.name}", getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    state = {} if callable(value) else _state(value)
    return [(f".{name}", part) for name, part in state.items()] or None


def _state(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots too, without a word of its own code."""
    state = object.__getstate__(value)
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    return {**(attributes or {}), **(slots or {})}
