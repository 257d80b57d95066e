"""Memory (B) of operators that shapes do not tell: each runs alone, on zeros, and its allocations are recorded.

oneDNN, LAPACK and torch's kernels choose copies and scratch by shape, number type, threads and CPU. A large operator
runs on a few images instead, twice, and each of its allocations is extended along the line through both.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch._C import DispatchKey
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from convbench.core.errors import CaseFailed
from convbench.measure.memory.allocations import sizes_of

REHEARSED = re.compile(
    "convolution|upsample|softmax|_loss|cross_entropy|attention|encoder_layer|im2col|col2im|layer_norm|dist$|logsumexp|_fft"
    "|linalg(?!_check)|cholesky|ormqr|geqrf|trilinear|kthvalue|median|histogram|histc|renorm|scatter|masked_index"
    "|index_(reduce|add)|isin$|count_nonzero|^(mean|sum|prod|cumsum|cumprod|sort|roll|isinf|ldexp|mvlgamma)$|shuffle"
    "|(?<!rnn_layer)(?<!group_norm)_backward"
)
"""Operators that can allocate more than their outputs, by a part of their name."""
POINTWISE = {"isinf", "ldexp", "mvlgamma", "gelu_backward"}
"""Pointwise operators that are made of others, or that copy an expanded gradient.

The rest allocate only their outputs and casts of their operands."""
SEARCHES = {"isin"}
"""Operators that drop equal values first. They run on different ones."""
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv"}
"""Matrix products. They allocate more than their outputs for some types, and for operands that BLAS does not read."""
WEIGHTS = {"convolution": 1, "convolution_backward": 2, "mm": 1, "addmm": 2, "_trilinear": 1}
"""Positions of weights. They are never shortened, although they may have as many rows as there are images."""
SMALL, LARGE = 1 << 20, 1 << 31
"""Bytes of operands up to which an operator runs on all its images, and up to which it runs at all."""
ENCODER_LAYER = torch.ops.aten._transformer_encoder_layer_fwd.default
"""The operator with which an encoder computes a layer outside of training; its sequences may be packed."""
IMAGES, ROWS = 16, 512
"""The fewest images, and rows of a matrix, of a shortened run: kernels for fewer take other paths or smaller blocks.

Of images so large that these exceed ``LARGE``, fewer must do.
"""


class Layout(NamedTuple):
    """What a run needs to know of a tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    is_conjugate: bool

    @classmethod
    def of(cls, value: Any) -> Any:
        """The layout of a tensor; other values stay as they are."""
        if not isinstance(value, torch.Tensor):
            return value
        return cls(tuple(value.shape), value.stride(), value.dtype, value.is_conj())

    def tensor(self) -> torch.Tensor:
        """Zeros, with ones where LAPACK needs them: on the diagonals of matrices, and as pivots, which are int32."""
        length = 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))
        numbers = torch.zeros(0 if 0 in self.shape else length, dtype=self.dtype)
        tensor = numbers.as_strided(self.shape, self.strides)
        if self.dtype == torch.int32:
            numbers.fill_(1)
        elif tensor.dim() > 1 and (self.dtype.is_floating_point or self.dtype.is_complex) and 0 not in self.strides:
            tensor.diagonal(dim1=-2, dim2=-1).fill_(1)
        return tensor.conj() if self.is_conjugate else tensor


def is_rehearsed(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the memory of an operator is found by running it alone, on a CPU."""
    tensors, name = _tensors(args), _name(func)
    is_strided = all(tensor.layout is torch.strided and tensor.device.type == "cpu" for tensor in tensors)
    if not tensors or not is_strided or func.is_view:
        return False
    if any(tensor.is_conj() for tensor in tensors):  # most operators copy conjugated operands first
        return True
    if torch.Tag.pointwise in func.tags and name not in POINTWISE:
        return False
    if name in PRODUCTS:
        doubles = (torch.float32, torch.float64)
        return any(tensor.dtype not in doubles or 0 in tensor.stride() for tensor in tensors)
    return bool(REHEARSED.search(name))


def packed_layer(sequences: torch.Tensor, *args: Any) -> torch.Tensor:
    """Compute a layer as an encoder does that packs its sequences, all of them at full length, and pad the result."""
    *parameters, _mask, _mask_type = args
    lengths = sequences.new_ones(sequences.shape[:2], dtype=torch.bool)
    nested = torch._nested_tensor_from_mask(sequences, lengths)
    result: torch.Tensor = ENCODER_LAYER(nested, *parameters).to_padded_tensor(0.0)
    return result


def rehearse(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> tuple[int, int]:
    """Return an operator's (scratch, reserved) bytes beside its outputs: freed at its end, kept with its outputs.

    Raises CaseFailed if it is too large to run, or does not run on zeros or on fewer images.
    """
    sizes = _extended_sizes(func, args, kwargs)
    storages = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
    births = {id(storage): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in _tensors(result))}
    reserve = sum(sizes) - sum(size for storage, size in births.items() if storage not in storages)
    return max(accumulate(sizes), default=0) - sum(sizes), max(0, reserve)


def _extended_sizes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
    """Return the bytes of an operator's allocations (> 0) and releases (< 0) in order, extended from fewer images.

    If both runs take other paths, such as threads that share images only if there are many, both are made longer.
    """
    first, size = _first(args), _bytes(args)
    images = first.shape[0] if first.dim() else 1
    fewest = max(ROWS if first.dim() <= 2 else IMAGES, torch.get_num_threads())
    count = min(fewest, max(2, LARGE * images * 2 // (3 * size))) if size else fewest
    while True:
        is_shortened = size > SMALL and images > count * 3 // 2
        counts = (count, count * 3 // 2) if is_shortened else (images, images)
        short, long = (_run(func, args, kwargs, number if is_shortened else None) for number in counts)
        if len(short) == len(long):
            share = (images - counts[0]) / max(1, counts[1] - counts[0])
            return [round(small + (large - small) * share) for small, large in zip(short, long, strict=True)]
        count *= 2


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], count: int | None) -> tuple[int, ...]:
    """Run an operator on ``count`` images, or on all. Return the bytes of its allocations and releases in order."""
    operands, options = (args, kwargs) if count is None else _shorten(_name(func), args, kwargs, count)
    if _bytes(operands) > (SMALL if "linalg" in _name(func) else LARGE):
        raise _unknown(func)
    leaves, spec = pytree.tree_flatten((operands, options))
    return _sizes(func, spec, tuple(map(Layout.of, leaves)), (torch.get_num_threads(), torch.is_grad_enabled()))


@lru_cache(maxsize=4096)
def _sizes(func: Any, spec: Any, leaves: tuple[Any, ...], _mode: tuple[int, bool]) -> tuple[int, ...]:
    """Run an operator on zeros, and return the bytes of its allocations and releases in order."""
    copies_conjugates = torch._C._SetExcludeDispatchKeyGuard(DispatchKey.Conjugate, False)
    with _disable_current_modes(), copies_conjugates:  # inside a mode, torch reads them without a copy
        try:
            values = [leaf.tensor() if isinstance(leaf, Layout) else leaf for leaf in leaves]
            if _name(func) in SEARCHES:
                for tensor in _tensors(values):
                    tensor.copy_(torch.arange(tensor.numel()).view_as(tensor))
            args, kwargs = pytree.tree_unflatten(values, spec)
            return tuple(sizes_of(lambda: func(*args, **kwargs)))
        except Exception as error:
            raise _unknown(func) from error


def _shorten(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], count: int) -> tuple[Any, dict[str, Any]]:
    """Take ``count`` images of all arguments that have as many images as the first, and in lists of lengths."""
    first = _first(args)
    images, axes = first.shape[0], first.dim()

    def shorten(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == images:
            has_images = value.dim() == axes or value.dim() > 2 or not value.dtype.is_floating_point
            return value[:count] if has_images else value
        is_shape = isinstance(value, (list, tuple)) and len(value) == axes > 2 and value[0] == images
        return [count, *value[1:]] if is_shape else value

    shortened = (value if place == WEIGHTS.get(name) else shorten(value) for place, value in enumerate(args))
    return tuple(shortened), {option: shorten(value) for option, value in kwargs.items()}


def _first(args: tuple[Any, ...]) -> torch.Tensor:
    """The first of the tensors with the most axes: the images, before weights and biases."""
    return max(_tensors(args), key=torch.Tensor.dim)


def _bytes(args: tuple[Any, ...]) -> int:
    return sum(tensor.nbytes for tensor in _tensors(args))


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _name(func: Any) -> str:
    return str(getattr(func, "overloadpacket", func).__name__)


def _unknown(func: Any) -> CaseFailed:
    message = f"not predicted: shapes do not tell the memory that {_name(func)} takes beside its outputs"
    return CaseFailed("error", message)
