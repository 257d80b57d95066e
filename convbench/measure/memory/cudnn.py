"""What torch's operators allocate on a GPU beside their outputs: cuDNN's recurrent buffers, cuBLAS's workspaces, in B.

Pure functions of shapes, found with torch 2.11 and cuDNN 9 on a GPU of compute capability 9.0 by comparing with every
allocation of a call (``tests/gpu/proofs.py``). cuDNN's convolutions took no workspace there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

ATEN = torch.ops.aten
PRODUCTS = (ATEN.mm.default, ATEN.bmm.default, ATEN.addmm.default, ATEN.baddbmm.default)
"""What cuBLAS computes; whatever else multiplies matrices decomposes to these."""
MIB = 1 << 20
BIAS_WORKSPACE = MIB
HOPPER = (9, 0)
"""The one generation that torch gives cuBLAS more memory on, as of torch 2.13: those after it are back at less."""
SMALL_HIDDEN = 256
"""Below so many hidden units cuDNN keeps four times as much of every step."""
GATES = {0: 1, 1: 1, 2: 4, 3: 3}
"""By cuDNN's number of the mode: RNN with ReLU, RNN with tanh, LSTM, GRU."""


def cublas_bytes(func: Any, device: torch.device, capability: tuple[int, int]) -> dict[str, int]:
    """What cuBLAS keeps from its first product on, by what keeps it: each thread a workspace, the forward and the
    backward pass having one each, and one for products with a bias.
    """
    if device.type != "cuda" or func not in PRODUCTS:
        return {}
    thread = "backward" if torch._C._current_autograd_node() is not None else "forward"
    workspaces = {thread: _workspace(capability)}
    return workspaces | ({"bias": BIAS_WORKSPACE} if func == ATEN.addmm.default else {})


def _workspace(capability: tuple[int, int]) -> int:
    """As torch chooses it (CUDABlas.cpp): by the environment's word, else by the GPU's generation."""
    configuration = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    if configuration:
        sizes = [part for part in configuration.split(":") if part]
        return sum(int(size) * int(count) * 1024 for size, count in zip(sizes[::2], sizes[1::2], strict=False))
    return 32 * MIB if capability == HOPPER else 8 * MIB + 128 * 1024


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A recurrent operator as cuDNN is given it: T steps of B sequences, inputs of the lowest layer, float size s."""

    steps: int
    batch: int
    inputs: int
    hidden_size: int
    layers: int
    directions: int
    gates: int
    size: int

    @classmethod
    def of(cls, clip: torch.Tensor, args: tuple[Any, ...]) -> Recurrence:
        """From the operator's arguments from ``mode`` on (``_cudnn_rnn``)."""
        mode, hidden_size, _, layers, batch_first, _, _, bidirectional = args[:8]
        steps, batch = (clip.shape[1], clip.shape[0]) if batch_first else (clip.shape[0], clip.shape[1])
        directions = 2 if bidirectional else 1
        return cls(steps, batch, clip.shape[-1], hidden_size, layers, directions, GATES[mode], clip.element_size())

    def workspace(self, train: bool) -> int:
        """Scratch of a call: 8 MiB and the weights once more for each layer, and the gates of every step.

        Fitted to 250 shapes of LSTMs, of which it misses none by more than 1 %; GRU and RNN in training by up to 6 %.
        """
        cells, states = self.steps * self.batch, self.hidden_size * self.batch
        is_small = self.hidden_size < SMALL_HIDDEN
        of_step, of_layer = (5 * self.gates + 1 if is_small else 5), (8 if is_small else 10)
        if self.directions == 2:
            of_step, of_layer = round(of_step * 10 / 7), 18
        gates = states * (of_step * self.steps + of_layer * self.layers)
        if train:
            of_step, of_layer = (15, 12) if is_small else (3, 11)
            inputs = 2 * self.inputs
            if self.directions == 2:
                of_step, of_layer, inputs = 19, 10, 5 * self.inputs
            gates = max(gates, cells * inputs + states * (of_step * self.steps + of_layer))
        return self.layers * self.directions * 8 * MIB + self.size * (self._weights() + cells * self.inputs + gates)

    def _weights(self) -> int:
        width = self.directions * self.hidden_size
        inputs = self.inputs + (self.layers - 1) * width
        return self.directions * self.gates * self.hidden_size * (inputs + self.layers * self.hidden_size)

    def copy(self, batch_first: bool) -> int:
        """The inputs in the order of time, where they come in that of the batch."""
        return (
            self.size * self.steps * self.batch * self.inputs if batch_first and min(self.steps, self.batch) > 1 else 0
        )

    def reserve(self) -> int:
        """What training keeps for the backward pass: gates and cells of every step."""
        return (
            256
            + self.size * (self.gates + 1) * self.hidden_size * self.steps * self.batch * self.layers * self.directions
        )


def rnn(clip: torch.Tensor, weights: Any, stride: int, buffer: Any, hx: Any, cx: Any, *options: Any) -> Any:
    """``_cudnn_rnn`` of fake tensors, whose reserve has its true size and whose buffer of weights exists."""
    buffer = clip.new_empty(0) if buffer is None else buffer
    output, hy, cy, _, _ = ATEN._cudnn_rnn.default(clip, weights, stride, buffer, hx, cx, *options)
    reserve = Recurrence.of(clip, options).reserve() if options[6] else 0
    return output, hy, cy, clip.new_empty(reserve, dtype=torch.uint8), buffer


def rnn_backward(clip: torch.Tensor, weights: Any, _stride: int, _buffer: Any, hx: Any, cx: Any, *_: Any) -> Any:
    """``_cudnn_rnn_backward`` of fake tensors: torch has none."""
    cell = None if cx is None else torch.empty_like(cx)
    return torch.empty_like(clip), torch.empty_like(hx), cell, [torch.empty_like(weight) for weight in weights]


def lstm(clip: Any, states: Any, weights: Any, biases: bool, layers: int, dropout: float, *flags: bool) -> Any:
    """``lstm`` as the one operator that CUDA makes of it, of tensors that know no CUDA."""
    hx, cx = states
    train, bidirectional, batch_first = flags
    proj_size = hx.shape[2] if hx.shape[2] != cx.shape[2] else 0
    stride = (4 if biases else 2) + (1 if proj_size else 0)
    options: tuple[Any, ...] = (2, cx.shape[2], proj_size, layers, batch_first, dropout, train, bidirectional, [], None)
    return ATEN._cudnn_rnn.default(clip, weights, stride, None, hx, cx, *options)[:3]


def _composition(mode: int) -> Callable[..., Any]:
    def compose(clip: Any, hx: Any, weights: Any, biases: bool, layers: int, dropout: float, *flags: bool) -> Any:
        train, bidirectional, batch_first = flags
        options: tuple[Any, ...] = (mode, hx.shape[2], 0, layers, batch_first, dropout, train, bidirectional, [], None)
        return ATEN._cudnn_rnn.default(clip, weights, 4 if biases else 2, None, hx, None, *options)[:2]

    return compose


COMPOSED: dict[Any, Callable[..., Any]] = {
    ATEN.lstm.input: lstm,
    ATEN.gru.input: _composition(3),
    ATEN.rnn_tanh.input: _composition(1),
    ATEN.rnn_relu.input: _composition(0),
}
"""What CUDA makes of a recurrent operator; without one torch takes it to pieces."""
STANDINS: dict[Any, Callable[..., Any]] = {
    ATEN._cudnn_rnn.default: rnn,
    ATEN._cudnn_rnn_backward.default: rnn_backward,
}
"""What stands for an operator where torch's own shapes say too little."""


def scratch_bytes(func: Any, args: tuple[Any, ...]) -> int:
    """What an operator allocates for its own duration."""
    if func == ATEN._cudnn_rnn.default:
        options = args[6:]
    elif func == ATEN._cudnn_rnn_backward.default:
        options = args[10:]
    else:
        return 0
    layer = Recurrence.of(args[0], options)
    return layer.workspace(train=options[6]) + layer.copy(batch_first=options[4])
