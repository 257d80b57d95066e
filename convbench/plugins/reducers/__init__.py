"""Reducers, one per file: each is a factory (feature shape, LSTM input size) -> module, (N, C, H, W) -> (N, D).

If D is free, the module is built for ``lstm_input``; if D follows from the feature map, ``lstm_input`` is ignored.
Keyword-only parameters are options; an impossible combination raises Impossible with the reason. If a reducer equals
another one (averaging to as many cells as the map has is flatten), it builds that reducer's layers: convbench
recognises equal configurations by their layers. A linear module of your own may declare itself with a class attribute
``affine = True``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from convbench.core.errors import Impossible
from convbench.core.record import Features


def free_size(reducer: str, lstm_input: int | None) -> int:
    """Return ``lstm_input``. Raises Impossible if it is None: a reducer with a free output size needs it."""
    if lstm_input is None:
        raise Impossible(f"{reducer} has a free output size: give it an lstm_input")
    return lstm_input


def average_cells(features: Features, k: int) -> list[nn.Module]:
    """Return layers that average a map to k x k cells and flatten them: k=1 is gap, k = the map's side is flatten.

    Raises Impossible if the map is smaller than k x k.
    """
    if not 1 <= k <= min(features.height, features.width):
        raise Impossible(
            f"k={k} does not fit the {features.height}x{features.width} feature map (pooling would upsample): "
            f"use k from 1 to {min(features.height, features.width)}"
        )
    if k == features.height == features.width:
        return [nn.Flatten()]
    return [nn.AdaptiveAvgPool2d(k), nn.Flatten()]


def in_sequence(layers: Sequence[nn.Module]) -> nn.Module:
    """Return ``layers`` as one module that calls them in order."""
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
