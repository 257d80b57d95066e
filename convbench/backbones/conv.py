"""The article's backbone: one convolution."""

from __future__ import annotations

from torch import nn

from convbench.option_types import Count
from convbench.registry import backbones


@backbones.register("conv")
def conv(in_channels: int, *, channels: Count = 32) -> nn.Module:
    """One 3x3 convolution and ReLU, the map as large as the frame: the article's backbone."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size=3, padding=1), nn.ReLU())
