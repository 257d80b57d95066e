"""Find the LSTM input size at which the recurrent stage costs what the backbone does: below it, size is nearly free."""

from __future__ import annotations

from convbench.analysis.results import Result, typical
from convbench.core import metrics
from convbench.core.record import Parts, Recurrent

GATES = {"lstm": 4, "gru": 3}


def recurrent_macs(rnn: Recurrent) -> tuple[int, int]:
    """Return the MACs per frame of the recurrent stage as (per input feature, remaining), from its closed form.

    A layer of input I costs gates*H*(I + R) + P*H per direction, where R is proj_size P or hidden H.
    """
    directions, output = 1 + rnn.bidirectional, rnn.proj_size or rnn.hidden
    gates = GATES[rnn.cell] * rnn.hidden
    layer_macs = gates * output + rnn.proj_size * rnn.hidden
    deeper_macs = (rnn.layers - 1) * directions * (gates * directions * output + layer_macs)
    return directions * gates, directions * layer_macs + deeper_macs


def crossover(result: Result) -> float | None:
    """Return the LSTM input size at which backbone and recurrent stage take equal MACs.

    None if the model or its backbone MACs are not known, or if the recurrent stage costs more at any size. None for
    training too: its counted MACs include the backward pass, the closed form only the forward one.
    """
    architecture, backbone = result.case.architecture, typical(result.record, metrics.MACS.part("backbone"))
    if not isinstance(architecture, Parts) or not backbone or result.case.scenario == "train":
        return None
    slope, fixed_macs = recurrent_macs(architecture.rnn)
    size = (backbone / result.case.frames_per_call - fixed_macs) / slope
    return size if size > 0 else None
