"""The article's backbone: one convolution."""

from __future__ import annotations

from torch import nn

from convbench.core.option_types import PaddingMode, Positive
from convbench.core.registry import backbones


@backbones.register("conv")
def conv(in_channels: int, *, channels: Positive = 32, padding_mode: PaddingMode = "zeros") -> nn.Module:
    """One 3x3 convolution with ReLU, which keeps the frame's size: the article's backbone.

    With ``padding_mode=circular`` it commutes exactly with whole-pixel shifts of a frame that wraps around.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size=3, padding=1, padding_mode=padding_mode), nn.ReLU()
    )
