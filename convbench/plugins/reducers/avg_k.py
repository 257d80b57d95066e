"""Adaptive average pool to k x k cells: keeps a coarse layout; k sets how coarse."""

from __future__ import annotations

from torch import nn

from convbench.core.option_types import Positive
from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import average_cells, in_sequence


@reducers.register("avg-k")
@declares(ReducerTraits(position="kept"))
def avg_k(features: Features, lstm_input: int | None, *, k: Positive = 4) -> nn.Module:
    """Mean of each of k x k cells: D = C*k*k; k=1 is gap, k = the map's side is flatten."""
    return in_sequence(average_cells(features, k))
