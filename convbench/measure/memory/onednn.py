"""Memory (B) that torch's operators allocate on a CPU beside their outputs: oneDNN's copies, scratch and workspace.

Pure functions of shapes, in one table. They follow oneDNN's own sizes (rnn_utils.hpp) and were found with torch 2.13 by
comparison with the profiler's allocations. An operator that is not in the table counts as allocating only its outputs
and, if it is pointwise, casts of its operands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import Any

import torch

from convbench.measure.memory.attention import (
    attention_bytes,
    encoder_layer_bytes,
    flash_backward_bytes,
    flash_bytes,
)
from convbench.measure.memory.blocks import copy_bytes
from convbench.measure.memory.convolution_gradients import convolution_backward_bytes
from convbench.measure.memory.convolutions import Args, convolution_bytes
from convbench.models.weights import CHANNELS_LAST


def extra_bytes(func: Any, args: Args, result: Any) -> tuple[int, int]:
    """Return an operator's (scratch, kept) bytes beside its outputs: freed at its end, kept for its backward pass."""
    if cost := EXTRA.get(func):
        return cost(args, result)
    return (_casts(args, result), 0) if torch.Tag.pointwise in func.tags and func not in CASTS else (0, 0)


def _casts(args: Args, result: Any) -> int:
    """Bytes of the copies of operands that are cast to their common type first, as in uint8 / 255.0.

    A real result of complex operands, such as absolute values, is computed in complex numbers first.
    """
    tensors = [value for value in args if isinstance(value, torch.Tensor)]
    if not isinstance(result, torch.Tensor) or result.device.type != "cpu":
        return 0
    kinds = [tensor.dtype for tensor in tensors if tensor.dim()]
    if any(tensor.is_complex() for tensor in tensors) and result.is_floating_point():
        return result.numel() * 2 * result.itemsize
    kind = result.dtype if result.dtype != torch.bool else reduce(torch.promote_types, kinds, torch.bool)
    return sum(tensor.numel() * kind.itemsize for tensor in tensors if tensor.dim() and tensor.dtype != kind)


def _softmax(args: Args, _result: Any) -> tuple[int, int]:
    """A contiguous copy of an input that is not contiguous."""
    return copy_bytes(args[0]), 0


def _mean(args: Args, result: Any) -> tuple[int, int]:
    """For types shorter than float32: a float32 copy, which is summed, and its result."""
    maps = args[0]
    if maps.device.type != "cpu" or maps.dtype not in (torch.bfloat16, torch.float16):
        return 0, 0
    return (maps.numel() + result.numel()) * torch.float32.itemsize, 0


def _loss(args: Args, result: Any) -> tuple[int, int]:
    """A reduced loss computes the losses of all numbers twice, and its result keeps the memory of one of them."""
    size = args[0].nbytes if args[0].device.type == "cpu" and not result.dim() else 0
    return size, size


def _entropy(args: Args, result: Any) -> tuple[int, int]:
    """The losses of all numbers, if they are reduced."""
    return (args[0].nbytes if args[0].device.type == "cpu" and not result.dim() else 0), 0


def _entropy_of_logits(args: Args, result: Any) -> tuple[int, int]:
    """The losses of all numbers, if they are reduced, and an intermediate of their size."""
    scratch, _ = _entropy(args, result)
    return (scratch + args[0].nbytes if args[0].device.type == "cpu" else 0), 0


def _pool_backward(args: Args, result: Any) -> tuple[int, int]:
    """Copies of tensors that are not in the memory order of the output's gradient: input gradient and maxima."""
    gradient = args[0]
    if gradient.device.type != "cpu":
        return 0, 0
    orders = (torch.contiguous_format, CHANNELS_LAST.get(gradient.dim(), torch.contiguous_format))
    order = next((order for order in orders if gradient.is_contiguous(memory_format=order)), orders[0])
    tensors = (value for value in (gradient, *args[2:], result) if isinstance(value, torch.Tensor))
    copies = (tensor for tensor in tensors if not tensor.is_contiguous(memory_format=order))
    return sum(tensor.numel() * tensor.itemsize for tensor in copies), 0


def _exponentials(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """The exponentials of the numbers less their maxima, and the maxima."""
    return args[0].numel() * args[0].element_size() + result.nbytes, 0


def _batch_norm_backward(args: Args, result: Any) -> tuple[int, int]:
    """A second gradient of the input, if the input and the output's gradient are in the same memory order."""
    gradient, maps = args[:2]
    if maps.device.type != "cpu" or result[0] is None:
        return 0, 0
    nhwc = CHANNELS_LAST.get(maps.dim())
    orders = [torch.contiguous_format, *([nhwc] if nhwc else [])]
    same_order = any(all(tensor.is_contiguous(memory_format=order) for tensor in (gradient, maps)) for order in orders)
    return (maps.numel() * maps.element_size() if same_order else 0), 0


def _fold(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """A copy of patches that are not contiguous; the images keep the memory of their patches."""
    patches = args[0]
    if patches.device.type != "cpu":
        return 0, 0
    return copy_bytes(patches), max(0, patches.numel() * patches.element_size() - result.nbytes)


def _patches(args: Args, _result: Any) -> tuple[int, int]:
    """A copy of the images from which patches are cut."""
    return (args[0].nbytes if args[0].device.type == "cpu" else 0), 0


def _nearest(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """For small outputs: input and output in NHWC order, in which torch resizes them faster."""
    maps = args[0]
    is_small = maps.shape[1] >= COLOURS and sum(result.shape[2:]) <= SMALL_SIDES
    return (_nhwc_bytes(maps, result) if is_small else 0), 0


def _bilinear(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """As ``_nearest``, and for colour images of any size."""
    maps = args[0]
    return (_nhwc_bytes(maps, result), 0) if maps.shape[1] == COLOURS else _nearest(args, result)


def _antialias(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """The intermediate images, whose columns are resized and whose rows are not yet."""
    maps = args[0]
    if maps.device.type != "cpu" or maps.shape[2] == result.shape[2] or maps.shape[3] == result.shape[3]:
        return 0, 0
    return result.nbytes // max(1, result.shape[2]) * maps.shape[2], 0


def _distances(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """If torch computes distances by a product: both operands with two extra columns, or the first one twice."""
    first, second = args
    if first.device.type != "cpu":
        return 0, 0
    rows = [vectors.numel() // max(1, vectors.shape[-1]) for vectors in (first, second)]
    wide_bytes = [(vectors.numel() + 2 * count) * first.itemsize for vectors, count in zip(args, rows, strict=True)]
    scaled_bytes = first.numel() * first.itemsize + wide_bytes[0] + 2 * sum(rows) * first.itemsize
    return max(sum(wide_bytes), scaled_bytes - result.nbytes), 0


def _nhwc_bytes(maps: torch.Tensor, result: torch.Tensor) -> int:
    return maps.nbytes + result.nbytes if maps.device.type == "cpu" and maps.is_contiguous() else 0


def _rnn_layer(args: Args, _result: Any) -> tuple[int, int]:
    """oneDNN's LSTM layer: both weights, packed at every call, scratch, and a workspace if gradients are enabled.

    Only the gradient mode matters: a layer in evaluation mode, or a frozen one, keeps as much.
    """
    layer = Layer.of(args[0], args[1], args[2])
    if not torch.is_grad_enabled():
        return layer.packed_weights() + layer.scratch(), 0
    weights = layer.packed_weights() if layer.is_short else layer.transposed_weights()
    return weights + layer.steps(4 * layer.hidden_size) + SCRATCH, layer.workspace()


def _rnn_layer_backward(args: Args, _result: Any) -> tuple[int, int]:
    """Copies of the weights and their gradients in padded rows; for short types all gradients in float32."""
    layer = Layer.of(args[0], args[1], args[2])
    if layer.is_short:
        floats = layer.in_float32()
        return layer.backward_weights() + floats.transposed_weights() + floats.steps(layer.hidden_size) + SCRATCH, 0
    return layer.transposed_weights() + layer.padded_weights() + layer.steps(4 * layer.hidden_size) + SCRATCH, 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A recurrent layer in oneDNN's layout; gates are 4 hidden sizes wide, ``size`` is a float's bytes.

    After rnn_utils.hpp of oneDNN 3: rows are padded to whole cache lines, buffers of the workspace to whole pages.
    """

    steps_batch: tuple[int, int]
    inputs: int
    hidden_size: int
    size: int

    @classmethod
    def of(cls, clip: torch.Tensor, weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> Layer:
        return cls((clip.shape[0], clip.shape[1]), weight_ih.shape[1], weight_hh.shape[1], clip.element_size())

    @property
    def is_short(self) -> bool:
        return self.size < torch.float32.itemsize

    def in_float32(self) -> Layer:
        return replace(self, size=torch.float32.itemsize)

    def row(self, length: int) -> int:
        """Elements of a padded row: whole cache lines, and one more if all rows would fall on the same cache sets."""
        line = CACHE_LINE // self.size
        elements = -(-length // line) * line
        return elements + line if elements % 256 == 0 else elements

    def packed_weights(self) -> int:
        """Bytes of both weights in blocks of ``BLOCK`` hidden units."""
        return 4 * _blocks(self.hidden_size) * (self.inputs + self.hidden_size) * self.size

    def backward_weights(self) -> int:
        """Bytes of both weights in blocks of inputs and of hidden units, for types shorter than float32."""
        return 4 * self.hidden_size * (_blocks(self.inputs) + _blocks(self.hidden_size)) * self.size

    def scratch(self) -> int:
        """Bytes of scratch in inference: the states, and hidden states and gates by a fit to twelve shapes."""
        steps, batch = self.steps_batch
        hidden_states = steps * self.hidden_size * self.size
        return self.states() + (22 * batch + 40) * hidden_states // 10 + 4 * PAGE

    def transposed_weights(self) -> int:
        return (self.inputs + self.hidden_size) * self.row(4 * self.hidden_size) * self.size

    def padded_weights(self) -> int:
        rows = sum(self.row(width) for width in (self.inputs, self.hidden_size) if self.row(width) != width)
        return 4 * self.hidden_size * rows * self.size

    def steps(self, width: int) -> int:
        """Bytes of a vector of ``width`` for each step of each sequence."""
        return prod(self.steps_batch) * width * self.size

    def states(self, width: int = 0) -> int:
        """Bytes of the states of this layer and the layer below, for one step more than the clip has."""
        steps, batch = self.steps_batch
        return _pages(2 * (steps + 1) * batch * self.row(width or max(self.inputs, self.hidden_size)) * self.size)

    def workspace(self) -> int:
        """Bytes of states, their gradients, gates and outputs; for short types, gradients and gates are in float32."""
        floats = self.in_float32()
        gates = _pages(floats.steps(floats.row(4 * self.hidden_size)))
        hidden_states = (1 if self.is_short else 2) * self.states(self.hidden_size)
        return self.states() + 2 * floats.states() + hidden_states + gates + _pages(self.steps(self.hidden_size))


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _blocks(width: int) -> int:
    return -(-width // BLOCK) * BLOCK


CACHE_LINE, PAGE, BLOCK = 64, 4096, 32
COLOURS, SMALL_SIDES = 3, 128
"""Channels of a colour image, and the largest sum of rows and columns of a small image."""
SCRATCH = 16952
"""Bytes of oneDNN's scratchpad that do not depend on the layer, as measured with torch 2.13."""
ATEN = torch.ops.aten
CASTS = {
    ATEN._to_copy.default, ATEN.copy_.default, ATEN.where.self, ATEN.masked_fill.Scalar, ATEN.masked_fill.Tensor,
    ATEN.masked_fill_.Scalar, ATEN.masked_fill_.Tensor,
}  # fmt: skip
"""Pointwise operators without cast copies: they write the other type directly, or read a mask as it is."""
EXTRA: dict[Any, Callable[[Args, Any], tuple[int, int]]] = {
    ATEN.convolution.default: convolution_bytes,
    ATEN.convolution_backward.default: convolution_backward_bytes,
    ATEN._softmax.default: _softmax,
    ATEN._log_softmax.default: _softmax,
    **dict.fromkeys((ATEN.mse_loss.default, ATEN.smooth_l1_loss.default), _loss),
    **dict.fromkeys((ATEN.binary_cross_entropy.default, ATEN.huber_loss.default), _entropy),
    ATEN.binary_cross_entropy_with_logits.default: _entropy_of_logits,
    **dict.fromkeys(
        (
            ATEN.max_pool2d_with_indices_backward.default,
            ATEN.avg_pool2d_backward.default,
            ATEN._adaptive_avg_pool2d_backward.default,
        ),
        _pool_backward,
    ),
    ATEN.native_batch_norm_backward.default: _batch_norm_backward,
    ATEN.im2col.default: _patches,
    ATEN.col2im.default: _fold,
    ATEN.upsample_nearest2d.default: _nearest,
    ATEN.upsample_bilinear2d.default: _bilinear,
    ATEN._upsample_bilinear2d_aa.default: _antialias,
    ATEN._upsample_bicubic2d_aa.default: _antialias,
    ATEN._euclidean_dist.default: _distances,
    ATEN._native_multi_head_attention.default: attention_bytes,
    ATEN._transformer_encoder_layer_fwd.default: encoder_layer_bytes,
    ATEN._scaled_dot_product_flash_attention_for_cpu.default: flash_bytes,
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default: flash_backward_bytes,
    ATEN.logsumexp.default: _exponentials,
    ATEN.mean.dim: _mean,
    ATEN.mean.default: _mean,
    ATEN.mkldnn_rnn_layer.default: _rnn_layer,
    ATEN.mkldnn_rnn_layer_backward.default: _rnn_layer_backward,
}
