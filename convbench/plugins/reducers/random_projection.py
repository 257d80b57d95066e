"""Frozen random projection: the control that separates the effect of the size D from learning."""

from __future__ import annotations

from math import prod

import torch
from torch import nn
from torch.nn import functional as F

from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import free_size


class RandomProjection(nn.Module):
    """R vec(x) / sqrt(D) with a fixed Gaussian R (Johnson-Lindenstrauss): (N, C, H, W) -> (N, D)."""

    affine = True
    matrix: torch.Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(outputs, inputs) / outputs**0.5)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return F.linear(maps.flatten(1), self.matrix)


@reducers.register("random-projection")
@declares(ReducerTraits(control=True))
def random_projection(features: Features, lstm_input: int | None) -> nn.Module:
    """A frozen Gaussian matrix: D is free and nothing is learned; the control for every learned reducer."""
    return RandomProjection(prod(features), free_size("random-projection", lstm_input))
