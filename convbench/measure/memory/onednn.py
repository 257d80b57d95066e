"""What torch's operators allocate on a CPU beside their outputs: oneDNN's copies, scratch and workspace, in B.

Pure functions of shapes, in one table; found with torch 2.13 by comparing with what the profiler sees, and after
oneDNN's own sizes (rnn_utils.hpp). An operator that is not in the table is taken to allocate its outputs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any, NamedTuple

import torch

from convbench.measure.memory.attention import (
    attention_bytes,
    encoder_layer_bytes,
    flash_backward_bytes,
    flash_bytes,
)
from convbench.models.weights import CHANNELS_LAST

Args = tuple[Any, ...]


def extra_bytes(func: Any, args: Args, result: Any) -> tuple[int, int]:
    """What an operator allocates beside its outputs: for its own duration, and kept until its backward pass."""
    if cost := EXTRA.get(func):
        return cost(args, result)
    return (_casts(args, result), 0) if torch.Tag.pointwise in func.tags and func not in CASTS else (0, 0)


def _casts(args: Args, result: Any) -> int:
    """Copies of what has to be of the type first that numbers of several types are computed in: bytes over 255.0."""
    tensors = [value for value in args if isinstance(value, torch.Tensor)]
    if not isinstance(result, torch.Tensor) or result.device.type != "cpu":
        return 0
    kinds = [tensor.dtype for tensor in tensors if tensor.dim()]
    kind = result.dtype if result.dtype != torch.bool else reduce(torch.promote_types, kinds, torch.bool)
    return sum(tensor.numel() * kind.itemsize for tensor in tensors if tensor.dim() and tensor.dtype != kind)


class Convolution(NamedTuple):
    """The arguments of ``aten.convolution``, in its order."""

    clip: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    @property
    def taps(self) -> int:
        """Places of the kernel."""
        return prod(self.weight.shape[2:])

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.weight.shape[:2] == (self.groups, 1)

    @property
    def is_in_fours(self) -> bool:
        """Whether each group of channels fills the smallest blocks: else oneDNN multiplies patches."""
        return self._is_in(4)

    @property
    def is_in_eights(self) -> bool:
        """The same of a backward pass, which has no smaller blocks."""
        return self._is_in(FEW_CHANNELS)

    def _is_in(self, block: int) -> bool:
        return self.weight.shape[0] // self.groups % block == 0 and self.weight.shape[1] % block == 0

    @property
    def is_pointwise(self) -> bool:
        return self.taps == 1 and not self.transposed

    def is_by_onednn(self, bias_shape: Sequence[int] | None) -> bool:
        """Whether torch gives it to oneDNN, which depends on its shapes and on the number of threads."""
        backend = torch._C._select_conv_backend(*self, bias_shape).name
        return "Mkldnn" in backend or (
            self.transposed and "Slow" not in backend
        )  # of its transposed one there is no name

    def patches(self, result: torch.Tensor) -> int:
        """Bytes of what the weights of a group meet at all places of an image; of 1 x 1 the input itself."""
        if self.taps == 1 and max(*self.strides, *self.dilation) == 1 and not any(self.padding):
            return 0
        places = self.clip if self.transposed else result
        return prod(self.weight.shape[1:]) * prod(places.shape[2:]) * self.clip.element_size()

    def by_torch(self, result: torch.Tensor) -> int:
        """Bytes of the patches of all images; of groups their inputs one after another, then all outputs once more."""
        patches = self.clip.shape[0] * self.patches(result)
        return patches if self.groups == 1 else max(self.clip.nbytes // self.groups + patches, result.nbytes)

    def copies(self) -> int:
        """Bytes of input and weights in blocks of channels; an input of less than a block is mostly read as it is."""
        inputs = self.weight.shape[1]
        is_copied = self.clip.shape[1] >= _block() or self.is_depthwise
        is_copied |= self.is_pointwise and (self.clip.dim() < 5 or max(self.strides) == 1)
        inputs = _padded(inputs) if is_copied and self.groups == 1 else inputs
        weights = _padded(self.weight.shape[0]) * inputs * self.taps * self.weight.element_size()
        return weights + (_blocked(self.clip) if is_copied else 0)

    def upwards(self, result: torch.Tensor) -> int:
        """Bytes of a transposed one: its copies and two of the output in blocks.

        With a stride there are two of the output as it is; or, where more, copies of the input and of an image a
        thread, of the output where windows overlap, and what oneDNN takes for itself.
        """
        if self.groups > 1:
            copies = 0 if max(self.strides) > 1 else self.clip.nbytes + self.weight.nbytes
            return copies + result.nbytes
        if max(self.strides) > 1:
            threads, sizes = torch.get_num_threads(), self.weight.shape[2:]
            images = self.clip.nbytes * threads // self.clip.shape[0]
            own = threads * TRANSPOSED_SCRATCH
            if any(size % stride for size, stride in zip(sizes, self.strides, strict=True)):
                own += result.nbytes + own
            return max(2 * result.nbytes, self.clip.nbytes + images + own)
        weights = _padded(self.weight.shape[0]) * _padded(self.weight.shape[1]) * self.taps * self.weight.element_size()
        return _blocked(self.clip) + weights + 2 * _blocked(result) - result.nbytes

    def in_products(self, gradient: torch.Tensor) -> int:
        """Bytes of a dilated one with a stride: a thread's patches, and four times the weight's gradient in float32."""
        weights = 4 * self.weight.numel() * torch.float32.itemsize
        return torch.get_num_threads() * (weights + self.patches(gradient)) + PRODUCTS_SCRATCH

    def sums(self, result: torch.Tensor) -> int:
        """Bytes of the sums of an image in float32, which products of fewer bits at each place are added up in."""
        if not self.is_pointwise or self.groups > 1 or self.clip.dtype == torch.float32:
            return 0
        return _padded(self.weight.shape[0]) * prod(result.shape[2:]) * torch.float32.itemsize


def _convolution(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """Copies of input and weights, then of the output, where none is channels_last already, or the patches of an image.

    The copies are there at once; then the output is copied back.
    """
    call = Convolution(*args)
    clip, weight, bias = call[:3]
    straight, output = _straight(clip), result.nbytes
    if _is_double(clip):
        return straight + call.by_torch(result), 0
    if not _is_blocked(clip):
        return 0, 0
    if not call.is_by_onednn(None if bias is None else bias.shape):
        return straight + call.by_torch(result), 0
    if call.transposed:
        return straight + call.upwards(result), 0
    if call.groups > 1 and not call.is_depthwise:
        copies = clip.nbytes + weight.nbytes if call.is_in_fours else call.patches(result)
        return straight + max(copies, output), 0
    return straight + max(call.copies() + call.sums(result) + _blocked(result) - output, _blocked(result)), 0


def _convolution_backward(args: Args, result: Any) -> tuple[int, int]:
    """Blocked copies for the gradient of the weights; before, for that of the input, which a stride copies twice.

    Groups of few channels have the patches of an image instead, transposed ones their copies as they are. What is not
    given to oneDNN takes the patches of all images.
    """
    gradient, clip, weight, bias_shape, *rest, _ = args
    call = Convolution(clip, weight, None, *rest)
    if _is_double(clip) or (_is_blocked(clip) and not call.is_by_onednn(bias_shape)):
        return clip.shape[0] * call.patches(gradient), 0
    if not _is_blocked(clip):
        return 0, 0
    strided = max(call.strides) > 1 and not call.transposed
    later = weight.nbytes + gradient.shape[1] * gradient.element_size()  # gradients that are made after the input's
    if strided and max(call.dilation) > 1 and clip.dim() == PLANE:
        of_input = 0 if result[0] is None else clip.nbytes - later
        return _straight(clip) + max(of_input, call.in_products(gradient)), 0
    if call.groups > 1 and not call.is_depthwise and (call.transposed or not call.is_in_eights):
        copied = 0 if call.transposed or result[0] is None else clip.nbytes
        return _straight(clip) + max(call.patches(gradient), copied), 0
    if call.transposed:
        return _straight(clip) + clip.nbytes + gradient.nbytes, 0
    few = max(clip.shape[1], gradient.shape[1]) <= FEW_CHANNELS and clip.shape[1] >= PLAIN_CHANNELS
    block = FEW_CHANNELS if few and not call.is_depthwise else None
    copies = _blocked(gradient, block) + (_blocked(clip, block) if clip.shape[1] >= PLAIN_CHANNELS else 0)
    of_weights = _straight(clip) + copies
    if result[0] is None:
        return of_weights, 0
    blocked = _blocked(gradient) + weight.nbytes + _blocked(clip) - clip.nbytes
    return max(2 * clip.nbytes - later if strided else blocked, of_weights), 0


def _is_blocked(clip: torch.Tensor) -> bool:
    """Whether oneDNN computes on blocked copies: on a CPU, unless the frames are in NHWC order."""
    if clip.device.type != "cpu" or clip.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    order = CHANNELS_LAST.get(clip.dim())
    return order is None or not clip.is_contiguous(memory_format=order) or clip.is_contiguous()


def _is_double(clip: torch.Tensor) -> bool:
    """Whether oneDNN does not know the numbers at all."""
    return clip.device.type == "cpu" and clip.dtype == torch.float64


def _straight(clip: torch.Tensor) -> int:
    """The copy that makes frames contiguous which are cut out of a clip."""
    return 0 if clip.is_contiguous() else clip.numel() * clip.element_size()


def _blocked(maps: torch.Tensor, block: int | None = None) -> int:
    """Maps with their channels filled up to whole blocks."""
    channels = maps.shape[1]
    return maps.numel() // max(1, channels) * _padded(channels, block) * maps.element_size()


def _padded(channels: int, block: int | None = None) -> int:
    block = block or _block()
    return -(-channels // block) * block


def _block() -> int:
    """As many channels as a vector register of this CPU holds."""
    return CHANNELS.get(torch.backends.cpu.get_cpu_capability(), FEW_CHANNELS)


def _softmax(args: Args, _result: Any) -> tuple[int, int]:
    """A contiguous copy of what is not."""
    return _straight(args[0]), 0


def _mean(args: Args, result: Any) -> tuple[int, int]:
    """Of numbers of fewer bits a copy in float32, which is added up, and its result."""
    maps = args[0]
    if maps.device.type != "cpu" or maps.dtype not in (torch.bfloat16, torch.float16):
        return 0, 0
    return (maps.numel() + result.numel()) * torch.float32.itemsize, 0


def _exponentials(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """The numbers less their maxima, raised, and the maxima."""
    return args[0].numel() * args[0].element_size() + result.nbytes, 0


def _batch_norm_backward(args: Args, result: Any) -> tuple[int, int]:
    """Of the input's gradient a second one, where both are in the same order."""
    gradient, maps = args[:2]
    if maps.device.type != "cpu" or result[0] is None:
        return 0, 0
    nhwc = CHANNELS_LAST.get(maps.dim())
    orders = [torch.contiguous_format, *([nhwc] if nhwc else [])]
    alike = any(all(tensor.is_contiguous(memory_format=order) for tensor in (gradient, maps)) for order in orders)
    return (maps.numel() * maps.element_size() if alike else 0), 0


def _folded(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """A copy of patches that are not contiguous; the images keep the room of their patches."""
    patches = args[0]
    if patches.device.type != "cpu":
        return 0, 0
    return _straight(patches), max(0, patches.numel() * patches.element_size() - result.nbytes)


def _patches(args: Args, _result: Any) -> tuple[int, int]:
    """A copy of the images that patches are cut out of."""
    return (args[0].nbytes if args[0].device.type == "cpu" else 0), 0


def _nearest(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """Of small outputs both images in NHWC order, in which torch computes these faster."""
    maps = args[0]
    is_small = maps.shape[1] >= COLOURS and sum(result.shape[2:]) <= SMALL_SIDES
    return (_in_nhwc(maps, result) if is_small else 0), 0


def _bilinear(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """The same, and of images in colour at any size."""
    maps = args[0]
    return (_in_nhwc(maps, result), 0) if maps.shape[1] == COLOURS else _nearest(args, result)


def _in_nhwc(maps: torch.Tensor, result: torch.Tensor) -> int:
    return maps.nbytes + result.nbytes if maps.device.type == "cpu" and maps.is_contiguous() else 0


def _rnn_layer(args: Args, _result: Any) -> tuple[int, int]:
    """oneDNN's LSTM layer: both weights packed anew at every call, scratch, and with gradients a workspace.

    It asks whether gradients are on, and not whether it trains: one in evaluation mode, or frozen, keeps as much.
    """
    layer = Layer.of(args[0], args[1], args[2])
    if not torch.is_grad_enabled():
        return layer.packed() + layer.scratch(), 0
    return layer.transposed() + layer.steps(4 * layer.hidden) + SCRATCH, layer.workspace()


def _rnn_layer_backward(args: Args, _result: Any) -> tuple[int, int]:
    """Weights and their gradients once more, in padded rows."""
    layer = Layer.of(args[0], args[1], args[2])
    return layer.transposed() + layer.padded() + layer.steps(4 * layer.hidden) + SCRATCH, 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A recurrent layer as oneDNN lays it out: T steps of B sequences, I inputs, H hidden, 4H gates, float size s.

    After rnn_utils.hpp of oneDNN 3: rows are padded to whole cache lines, buffers of the workspace to whole pages.
    """

    steps_batch: tuple[int, int]
    inputs: int
    hidden: int
    size: int

    @classmethod
    def of(cls, clip: torch.Tensor, weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> Layer:
        return cls((clip.shape[0], clip.shape[1]), weight_ih.shape[1], weight_hh.shape[1], clip.element_size())

    def row(self, length: int) -> int:
        """Elements of a padded row: whole cache lines, and none that all fall on the same cache sets."""
        line = CACHE_LINE // self.size
        padded = -(-length // line) * line
        return padded + line if padded % 256 == 0 else padded

    def packed(self) -> int:
        """Both weights in blocks of ``BLOCK`` hidden units."""
        return 4 * -(-self.hidden // BLOCK) * BLOCK * (self.inputs + self.hidden) * self.size

    def scratch(self) -> int:
        """Of inference: the states, and about so much of hidden states and gates (fitted to twelve shapes)."""
        steps, batch = self.steps_batch
        hidden = steps * self.hidden * self.size
        return self.states() + (22 * batch + 40) * hidden // 10 + 4 * PAGE

    def transposed(self) -> int:
        return (self.inputs + self.hidden) * self.row(4 * self.hidden) * self.size

    def padded(self) -> int:
        rows = sum(self.row(width) for width in (self.inputs, self.hidden) if self.row(width) != width)
        return 4 * self.hidden * rows * self.size

    def steps(self, width: int) -> int:
        """A vector of that width for each step of each sequence."""
        return prod(self.steps_batch) * width * self.size

    def states(self, width: int = 0) -> int:
        """States of the layer and of the one below it, one step more than the clip has."""
        steps, batch = self.steps_batch
        return _pages(2 * (steps + 1) * batch * self.row(width or max(self.inputs, self.hidden)) * self.size)

    def workspace(self) -> int:
        gates = _pages(self.steps(self.row(4 * self.hidden)))
        return 3 * self.states() + 2 * self.states(self.hidden) + gates + _pages(self.steps(self.hidden))


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


CACHE_LINE, PAGE, BLOCK = 64, 4096, 32
CHANNELS = {"AVX512": 16}
"""Channels of a block by torch's name for what the CPU can do; ``FEW_CHANNELS`` for others."""
FEW_CHANNELS = 8
PLAIN_CHANNELS = 4
"""Up to so many input channels oneDNN reads frames as they are."""
COLOURS, SMALL_SIDES = 3, 128
"""Channels of an image, and up to how many rows and columns together it is small."""
SCRATCH = 16952
"""Bytes of oneDNN's scratchpad that do not depend on the layer, as measured with torch 2.13."""
PRODUCTS_SCRATCH = 256
"""The same of a convolution whose gradients are products of patches."""
PLANE = 4
"""Axes of images."""
TRANSPOSED_SCRATCH = 28_000
"""The same of a transposed convolution with a stride, a thread; of 360 layers 80 % are predicted within a tenth."""
ATEN = torch.ops.aten
CASTS = {
    ATEN._to_copy.default, ATEN.copy_.default, ATEN.where.self, ATEN.masked_fill.Scalar, ATEN.masked_fill.Tensor,
    ATEN.masked_fill_.Scalar, ATEN.masked_fill_.Tensor,
}  # fmt: skip
"""They write the other type at once, or look at a mask as it is."""
EXTRA: dict[Any, Callable[[Args, Any], tuple[int, int]]] = {
    ATEN.convolution.default: _convolution,
    ATEN.convolution_backward.default: _convolution_backward,
    ATEN._softmax.default: _softmax,
    ATEN._log_softmax.default: _softmax,
    ATEN.native_batch_norm_backward.default: _batch_norm_backward,
    ATEN.im2col.default: _patches,
    ATEN.col2im.default: _folded,
    ATEN.upsample_nearest2d.default: _nearest,
    ATEN.upsample_bilinear2d.default: _bilinear,
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
