"""GAP, then a fully connected layer: the article's combination."""

from __future__ import annotations

from torch import nn

from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import average_cells, free_size, in_sequence


@reducers.register("hybrid")
@declares(ReducerTraits(position="lost"))
def hybrid(features: Features, lstm_input: int | None, *, activation: bool = False) -> nn.Module:
    """GAP, then a fully connected layer: D is free; without the activation that layer folds into the LSTM."""
    linear = nn.Linear(features.channels, free_size("hybrid", lstm_input))
    return in_sequence([*average_cells(features, 1), linear, *([nn.ReLU()] if activation else [])])
