"""Spatial softmax: the position of each channel's peak."""

from __future__ import annotations

import torch
from torch import nn

from convbench.core.option_types import Positive
from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits
from convbench.plugins.reducers import free_size, in_sequence


class SpatialSoftmax(nn.Module):
    """Expected (x, y) of a softmax over each channel's map, in [-1, 1]: (N, C, H, W) -> (N, 2C)."""

    grid: torch.Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        self.register_buffer("grid", torch.stack((x.flatten(), y.flatten()), dim=1))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return (maps.flatten(2).softmax(dim=-1) @ self.grid.to(maps.dtype)).flatten(1)


@reducers.register("spatial-softmax")
@declares(ReducerTraits(position="kept"))
def spatial_softmax(
    features: Features, lstm_input: int | None, *, keypoints: Positive | None = None, linear: bool = False
) -> nn.Module:
    """Expected position of each channel's peak: D = 2C, or 2*keypoints after a 1x1 convolution (Finn 2015).

    ``linear`` appends a fully connected layer with ``lstm_input`` outputs, as robomimic does.
    """
    softmax = SpatialSoftmax(features.height, features.width)
    channels = keypoints or features.channels
    convolution = [nn.Conv2d(features.channels, channels, kernel_size=1)] if keypoints else []
    linear_layers = [nn.Linear(2 * channels, free_size("spatial-softmax(linear=true)", lstm_input))] if linear else []
    return in_sequence([*convolution, softmax, *linear_layers])
