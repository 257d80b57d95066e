"""Memory (B) that torch's operators allocate on a CPU beside their outputs: casts, oneDNN's LSTM layer, and rehearsals.

An LSTM layer has formulas, because its weights can be too large to run it. Other operators whose memory shapes do not
tell are rehearsed. The rest allocate only their outputs and, if they are pointwise, casts of their operands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import Any

import torch

from convbench.measure.memory.rehearsal import is_rehearsed, rehearse

Args = tuple[Any, ...]


def extra_bytes(func: Any, args: Args, result: Any, kwargs: dict[str, Any]) -> tuple[int, int]:
    """Return an operator's (scratch, reserved) bytes beside its outputs: freed at its end, kept for its backward pass.

    Raises CaseFailed if they are not known.
    """
    if cost := EXTRA.get(func):
        return cost(args, result)
    if is_rehearsed(func, args):
        return rehearse(func, args, kwargs, result)
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


def _choice(args: Args, result: Any) -> tuple[int, int]:
    """``where``: both alternatives are cast to their common type; the condition is read as it is."""
    return _casts(args[1:], result), 0


def _multinomial(args: Args, result: Any) -> tuple[int, int]:
    """Random numbers for all probabilities, and the sampled values if there are several.

    To draw several with replacement, torch searches the sums of one row's probabilities instead.
    """
    probabilities, samples, *replacement = args
    if samples > 1 and any(replacement[:1]):
        return probabilities.shape[-1] * probabilities.itemsize, 0
    return probabilities.nbytes + (result.numel() * probabilities.itemsize if samples > 1 else 0), 0


def _batch_norm(args: Args, _result: Any) -> tuple[int, int]:
    """The factor and the summand of each channel. An instance norm has a channel for each channel of each image."""
    return 2 * args[0].shape[1] * torch.float32.itemsize, 0


def _bag_backward(args: Args, result: Any) -> tuple[int, int]:
    """Maxima: the gradients of all bags and their places, and the bags that are not empty."""
    gradient, mode = args[0], args[8]
    if mode != MAX:
        return rehearse(ATEN._embedding_bag_backward.default, args, {}, result)
    places = gradient.numel() + gradient.shape[0]
    return gradient.nbytes + places * torch.int64.itemsize, 0


def _ctc_loss(_args: Args, _result: Any) -> tuple[int, int]:
    return 0, 0


def _ctc_loss_backward(args: Args, _result: Any) -> tuple[int, int]:
    """The log-probabilities of all suffixes, as many as those of prefixes."""
    return args[6].nbytes, 0


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
    """Copies of the weights and their gradients in padded rows; for short types all gradients in float32.

    The gradient of the output is copied if it comes batch first, or from one of two directions. An output or last state
    without a gradient gets zeros, as the outputs do if only the last state is used.
    """
    layer, copies = Layer.of(args[0], args[1], args[2]), SCRATCH
    for gradient, like in zip(args[10:13], (args[7], args[5], args[6]), strict=True):
        if gradient is None or not gradient.is_contiguous():
            copies += like.nbytes
    if layer.is_short:
        floats = layer.in_float32()
        return layer.backward_weights() + floats.transposed_weights() + floats.steps(layer.hidden_size) + copies, 0
    return layer.transposed_weights() + layer.padded_weights() + layer.steps(4 * layer.hidden_size) + copies, 0


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
        """Bytes of scratch in inference, exact to a few pages.

        They are the states, twice the outputs, and the gates of one time step, or of all steps of a single sequence.
        """
        steps, batch = self.steps_batch
        floats, hidden_states = self.in_float32(), batch * self.hidden_size * self.size
        gates = (steps if batch == 1 else batch) * floats.row(4 * self.hidden_size) * floats.size
        buffers = (gates, 2 * hidden_states, hidden_states, PAGE)
        return self.states() + 2 * steps * hidden_states + sum(map(_pages, buffers))

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
MAX = 2
"""The number of the mode of an embedding bag that takes maxima."""
SCRATCH = 16952
"""Bytes of oneDNN's scratchpad that do not depend on the layer, as measured with torch 2.13."""
ATEN = torch.ops.aten
CASTS = {
    ATEN._to_copy.default, ATEN.copy_.default, ATEN.masked_fill.Scalar, ATEN.masked_fill.Tensor,
    ATEN.masked_fill_.Scalar, ATEN.masked_fill_.Tensor,
}  # fmt: skip
"""Pointwise operators without cast copies: they write the other type directly, or read a mask as it is."""
EXTRA: dict[Any, Callable[[Args, Any], tuple[int, int]]] = {
    ATEN.where.self: _choice,
    ATEN.multinomial.default: _multinomial,
    ATEN.native_batch_norm.default: _batch_norm,
    ATEN._embedding_bag_backward.default: _bag_backward,
    ATEN._ctc_loss.default: _ctc_loss,
    ATEN._ctc_loss.Tensor: _ctc_loss,
    ATEN._ctc_loss_backward.default: _ctc_loss_backward,
    ATEN._ctc_loss_backward.Tensor: _ctc_loss_backward,
    ATEN.mkldnn_rnn_layer.default: _rnn_layer,
    ATEN.mkldnn_rnn_layer_backward.default: _rnn_layer_backward,
}
