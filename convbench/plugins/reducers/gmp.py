"""Global max pool: is the pattern present anywhere?"""

from __future__ import annotations

from torch import nn

from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits


@reducers.register("gmp")
@declares(ReducerTraits(position="lost"))
def gmp(features: Features, lstm_input: int | None) -> nn.Module:
    """Maximum of each channel: D = C; tells whether a pattern is there, not where."""
    if (features.height, features.width) == (1, 1):
        return nn.Flatten()
    return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
