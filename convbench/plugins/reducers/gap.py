"""Global average pool: the mean of each channel."""

from __future__ import annotations

from torch import nn

from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import average_cells, in_sequence


@reducers.register("gap")
@declares(ReducerTraits(position="lost"))
def gap(features: Features, lstm_input: int | None) -> nn.Module:
    """Mean of each channel: D = C; translation-invariant, so positions are lost (Lin 2013)."""
    return in_sequence(average_cells(features, 1))
