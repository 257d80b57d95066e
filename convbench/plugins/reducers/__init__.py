"""The shelf of reducers: (feature shape, LSTM input size) -> module, (N, C, H, W) -> (N, D). One file per reducer.

A reducer whose D is free builds for ``lstm_input``; one whose D follows from the feature map ignores it. Keyword-only
parameters are options; a combination that cannot exist raises Impossible with the reason. A reducer that is exactly
another in disguise (a pool to as many cells as the map has is flatten) builds the other's layers: that is how equal
configurations are recognised. A linear module of one's own may say so with a class attribute ``affine = True``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from convbench.core.errors import Impossible
from convbench.core.record import Features


def free_size(reducer: str, lstm_input: int | None) -> int:
    """The LSTM input size that a reducer with a free output must be given."""
    if lstm_input is None:
        raise Impossible(f"{reducer} has a free output size: give it an lstm_input")
    return lstm_input


def average_cells(features: Features, k: int) -> list[nn.Module]:
    """Layers that average a map to k x k cells and flatten them, gap for k=1 and flatten for k = the map's side.

    Raises Impossible for k larger than the map.
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
    """``layers`` one after another; a single layer as it is."""
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
