"""Find linear reducers: the LSTM multiplies its input by a matrix anyway, so they can be folded into it.

W_ih (W x + b) = (W_ih W) x + W_ih b: a reducer that ends in a linear layer is the same function without that layer and
with another W_ih. In this way the article's hybrid is its GAP model.
"""

from __future__ import annotations

from torch import nn

from convbench.core.findings import FOLDS_INTO_LSTM, LOW_RANK
from convbench.core.record import Finding
from convbench.models.network import ConvReducerRNN

AFFINE = (nn.Linear, nn.Conv2d, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Flatten, nn.Identity)


def is_affine(reducer: nn.Module) -> bool:
    """Whether a reducer is certainly affine: only torch's affine layers, or modules that declare ``affine = True``.

    A yes is never wrong; a module of unknown kind counts as no.
    """
    if type(reducer) is nn.Sequential:
        return all(is_affine(layer) for layer in reducer)
    return type(reducer) in AFFINE or getattr(type(reducer), "affine", False) is True


def folding_finding(model: ConvReducerRNN, map_size: int) -> Finding | None:
    """Return a finding on a reducer that is linear or ends in a linear layer; None for any other.

    ``map_size`` is C x H x W of the feature map. ``folds_into_lstm``: a smaller LSTM with fewer parameters is the same
    function. ``low_rank``: folding would make the LSTM larger, so the reducer, or its last layer, is a factorisation of
    that LSTM's input weights, of that rank. ``whole``: the whole reducer is linear.
    """
    is_whole, tail = is_affine(model.reducer), _last_layer(model.reducer)
    if type(tail) is nn.Linear:  # a subclass may compute something else
        saving = _saved_params(tail, model.lstm)
        if saving > 0:
            data = {"lstm_input": tail.in_features, "params_saved": saving, "whole": is_whole}
            return Finding(FOLDS_INTO_LSTM, "note", data)
        return Finding(LOW_RANK, "note", {"rank": tail.out_features, "lstm_input": tail.in_features, "whole": is_whole})
    if is_whole and model.reducer.state_dict() and model.lstm.input_size < map_size:
        return Finding(LOW_RANK, "note", {"rank": model.lstm.input_size, "lstm_input": map_size, "whole": True})
    return None


def _saved_params(layer: nn.Linear, lstm: nn.RNNBase) -> int:
    """Parameters that folding the layer into the LSTM would save."""
    gates = sum(weight.shape[0] for name, weight in lstm.named_parameters() if name.startswith("weight_ih_l0"))
    return sum(p.numel() for p in layer.parameters()) + gates * (layer.out_features - layer.in_features)


def _last_layer(module: nn.Module) -> nn.Module:
    while type(module) is nn.Sequential and len(module):
        module = module[-1]
    return module
