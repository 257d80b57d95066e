"""Linear reducers: what a linear map before the LSTM is worth, which multiplies its input by a matrix anyway.

W_ih (W x + b) = (W_ih W) x + W_ih b: a reducer that ends in a linear layer is the same function without that layer and
with another W_ih. The article's hybrid is its GAP model in this way.
"""

from __future__ import annotations

from torch import nn

from convbench.core.record import Finding
from convbench.models.network import ConvReducerRNN

AFFINE = (nn.Linear, nn.Conv2d, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Flatten, nn.Identity)


def is_affine(reducer: nn.Module) -> bool:
    """Whether a reducer is surely affine: made only of torch's affine layers, or of modules that say ``affine = True``.

    Never wrong where it says yes; a module of unknown kind counts as no.
    """
    if isinstance(reducer, nn.Sequential):
        return all(is_affine(layer) for layer in reducer)
    return type(reducer) in AFFINE or getattr(type(reducer), "affine", False) is True


def folding(model: ConvReducerRNN, flattened: int) -> Finding | None:
    """What a linear reducer with weights amounts to; None for any other. ``flattened`` is C x H x W of the feature map.

    ``folds_into_lstm``: the same function exists with a smaller LSTM and fewer parameters. ``low_rank``: folding would
    make the LSTM larger, so the reducer is a factorisation of it of that rank.
    """
    last = _last_layer(model.reducer)
    if isinstance(last, nn.Linear):
        saved = _saved_params(last, model.lstm)
        if saved > 0:
            return Finding("folds_into_lstm", "note", {"lstm_input": last.in_features, "params_saved": saved})
        return Finding("low_rank", "note", {"rank": last.out_features, "lstm_input": last.in_features})
    if is_affine(model.reducer) and model.reducer.state_dict() and model.lstm.input_size < flattened:
        return Finding("low_rank", "note", {"rank": model.lstm.input_size, "lstm_input": flattened})
    return None


def _saved_params(last: nn.Linear, lstm: nn.RNNBase) -> int:
    """Parameters that folding the layer into the LSTM would save."""
    gates = sum(weight.shape[0] for name, weight in lstm.named_parameters() if name.startswith("weight_ih_l0"))
    return sum(p.numel() for p in last.parameters()) + gates * (last.out_features - last.in_features)


def _last_layer(module: nn.Module) -> nn.Module:
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module
