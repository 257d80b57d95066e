"""Global depthwise convolution: GAP with learned weights over space."""

from __future__ import annotations

from torch import nn

from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import in_sequence


@reducers.register("gdconv")
@declares(ReducerTraits(position="kept"))
def gdconv(features: Features, lstm_input: int | None, *, activation: bool = False) -> nn.Module:
    """Sum of each channel over its positions, with learned weights: D = C (MobileFaceNet 2018)."""
    channels, height, width = features
    convolution = nn.Conv2d(channels, channels, kernel_size=(height, width), groups=channels)
    return in_sequence([convolution, nn.Flatten(), *([nn.ReLU()] if activation else [])])
