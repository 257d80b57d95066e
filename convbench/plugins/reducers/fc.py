"""Flatten, then fully connected layers: a learned subspace."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from convbench.core.option_types import size_list
from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import free_size, in_sequence


@reducers.register("fc")
@declares(ReducerTraits(position="kept"))
def fc(features: Features, lstm_input: int | None, *, activation: bool = False, hidden: str | None = None) -> nn.Module:
    """Flatten, then a fully connected layer: D is free; ``hidden`` (1024-768) adds layers with ReLU before it."""
    hidden_sizes = size_list(hidden) if hidden else ()
    sizes = (prod(features), *hidden_sizes, free_size("fc", lstm_input))
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return in_sequence(layers if activation else layers[:-1])
