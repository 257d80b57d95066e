"""Parameters and MACs by formula, for comparison with counted ones. Independent of the package's own counting."""

from __future__ import annotations

from convbench.core.record import Recurrent

GATES = {"lstm": 4, "gru": 3}


def _layers(rnn: Recurrent, size: int):
    """Yield (directions, gate rows, input size, recurrent size) of every layer."""
    directions = 2 if rnn.bidirectional else 1
    recurrent = rnn.proj_size or rnn.hidden
    for layer in range(rnn.layers):
        yield directions, GATES[rnn.cell] * rnn.hidden, size if layer == 0 else directions * recurrent, recurrent


def rnn_params(rnn: Recurrent, size: int) -> int:
    projection = rnn.proj_size * rnn.hidden
    return sum(d * (gates * (i + r) + 2 * gates + projection) for d, gates, i, r in _layers(rnn, size))


def rnn_macs(rnn: Recurrent, size: int, frames: int, batch: int) -> int:
    projection = rnn.proj_size * rnn.hidden
    return frames * batch * sum(d * (gates * (i + r) + projection) for d, gates, i, r in _layers(rnn, size))


def conv_macs(frames: int, inputs: int, outputs: int, kernel: int, out_height: int, out_width: int) -> int:
    return frames * out_height * out_width * outputs * inputs * kernel * kernel
