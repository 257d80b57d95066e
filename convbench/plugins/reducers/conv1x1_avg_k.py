"""1x1 convolution to few channels, then average pool to k x k cells: coarse layout at a small D."""

from __future__ import annotations

from torch import nn

from convbench.core.errors import Impossible
from convbench.core.option_types import Positive
from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import average_cells, free_size, in_sequence


@reducers.register("conv1x1-avg-k")
@declares(ReducerTraits(position="kept"))
def conv1x1_avg_k(
    features: Features, lstm_input: int | None, *, k: Positive = 4, activation: bool = False
) -> nn.Module:
    """1x1 convolution to D/(k*k) channels, then the mean of each of k x k cells: D is any multiple of k*k."""
    size = free_size("conv1x1-avg-k", lstm_input)
    channels, remainder = divmod(size, k * k)
    if remainder or not channels:
        below, above = max(1, channels) * k * k, (channels + 1) * k * k
        raise Impossible(
            f"conv1x1-avg-k(k={k}) makes {k * k} values per channel: lstm_input {size} is not a multiple of {k * k}; "
            f"use {' or '.join(str(n) for n in sorted({below, above}))}"
        )
    convolution: list[nn.Module] = [nn.Conv2d(features.channels, channels, kernel_size=1)]
    return in_sequence([*convolution, *([nn.ReLU()] if activation else []), *average_cells(features, k)])
