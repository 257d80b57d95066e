"""What torch's operators allocate on a CPU beside their outputs: oneDNN's copies, scratch and workspace, in B.

Pure functions of shapes, in one table; found with torch 2.13 by comparing with what the profiler sees, and after
oneDNN's own sizes (rnn_utils.hpp). An operator that is not in the table is taken to allocate its outputs only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

Args = tuple[Any, ...]


def extra_bytes(func: Any, args: Args, result: Any) -> tuple[int, int]:
    """What an operator allocates beside its outputs: for its own duration, and kept until its backward pass."""
    cost = EXTRA.get(func)
    return cost(args, result) if cost else (0, 0)


def _convolution(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """oneDNN's blocked copies of input and weights, then of the output, where none is channels_last already."""
    clip, weight = args[:2]
    if not _is_blocked(clip):
        return 0, 0
    if prod(weight.shape[2:]) == 1 and clip.dim() == 4 and clip.dtype == torch.float32 and not args[6]:
        return _pointwise(args, result), 0
    return _straight(clip) + max(_copy(clip) + weight.nbytes, _blocked(result)), 0


def _pointwise(args: Args, result: torch.Tensor) -> int:
    """A convolution of 1 x 1: a plain product without a copy, but with a stride a copy of all, also of few channels."""
    clip, weight, _, strides = args[:4]
    if max(strides) == 1:
        return _straight(clip)
    copies: int = _blocked(clip) + weight.nbytes + _blocked(result)
    return _straight(clip) + max(copies - result.nbytes, _blocked(result))


def _convolution_backward(args: Args, result: Any) -> tuple[int, int]:
    """Blocked copies for the gradient of the weights; before, for that of the input, which a stride copies twice."""
    gradient, clip, weight, _, strides = args[:5]
    if not _is_blocked(clip):
        return 0, 0
    few = max(clip.shape[1], gradient.shape[1]) <= FEW_CHANNELS and clip.shape[1] >= PLAIN_CHANNELS
    block = FEW_CHANNELS if few else None
    copies = _blocked(gradient, block) + (_blocked(clip, block) if clip.shape[1] >= PLAIN_CHANNELS else 0)
    of_weights = _straight(clip) + copies
    if result[0] is None:
        return of_weights, 0
    blocked = _blocked(gradient) + weight.nbytes + _blocked(clip) - clip.nbytes
    return max(2 * clip.nbytes if max(strides) > 1 else blocked, of_weights), 0


def _is_blocked(clip: torch.Tensor) -> bool:
    """Whether oneDNN computes on blocked copies: on a CPU, unless the frames are in NHWC order."""
    if clip.device.type != "cpu" or clip.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    return clip.dim() != 4 or not clip.is_contiguous(memory_format=torch.channels_last) or clip.is_contiguous()


def _straight(clip: torch.Tensor) -> int:
    """The copy that makes frames contiguous which are cut out of a clip."""
    return 0 if clip.is_contiguous() else clip.numel() * clip.element_size()


def _copy(clip: torch.Tensor) -> int:
    return _blocked(clip) if clip.shape[1] > PLAIN_CHANNELS else 0


def _blocked(maps: torch.Tensor, block: int | None = None) -> int:
    """Maps with their channels filled up to whole blocks, of as many as a vector register of this CPU holds."""
    channels = maps.shape[1]
    block = block or CHANNELS.get(torch.backends.cpu.get_cpu_capability(), FEW_CHANNELS)
    return maps.numel() // max(1, channels) * -(-channels // block) * block * maps.element_size()


def _rnn_layer(args: Args, _result: Any) -> tuple[int, int]:
    """oneDNN's LSTM layer: both weights packed anew at every call, scratch, and in training a workspace."""
    layer, train = Layer.of(args[0], args[1], args[2]), args[15]
    if not train:
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
SCRATCH = 16952
"""Bytes of oneDNN's scratchpad that do not depend on the layer, as measured with torch 2.13."""
ATEN = torch.ops.aten
EXTRA: dict[Any, Callable[[Args, Any], tuple[int, int]]] = {
    ATEN.convolution.default: _convolution,
    ATEN.convolution_backward.default: _convolution_backward,
    ATEN.mkldnn_rnn_layer.default: _rnn_layer,
    ATEN.mkldnn_rnn_layer_backward.default: _rnn_layer_backward,
}
