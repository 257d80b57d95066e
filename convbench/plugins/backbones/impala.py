"""The IMPALA residual CNN of deep reinforcement learning."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from convbench.core.option_types import size_list
from convbench.core.registry import backbones


class PreActivationBlock(nn.Module):
    """A residual block of ReLU, convolution, ReLU and convolution: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.add(maps, self.body(maps))


@backbones.register("impala")
def impala(in_channels: int, *, widths: str = "16-32-32") -> nn.Module:
    """For each width a convolution, 3x3/2 max pool and two residual blocks (Espeholt 2018); 4x84x84 gives 32x11x11."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((in_channels, *size_list(widths))):
        layers += [
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            PreActivationBlock(outputs),
            PreActivationBlock(outputs),
        ]
    return nn.Sequential(*layers, nn.ReLU())
