"""Flatten: every value of the feature map is an LSTM input."""

from __future__ import annotations

from torch import nn

from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits


@reducers.register("flatten")
@declares(ReducerTraits(position="kept"))
def flatten(features: Features, lstm_input: int | None) -> nn.Module:
    """Every value of the feature map: D = C*H*W; nothing is lost, and every position has its own LSTM weights."""
    return nn.Flatten()
