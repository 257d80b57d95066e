"""VGG-style blocks: 3x3 convolutions, then a 2x2 max pool."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from convbench.core.option_types import Positive, size_list
from convbench.core.registry import backbones


@backbones.register("vgg")
def vgg(in_channels: int, *, widths: str = "32-64-128", convs: Positive = 2) -> nn.Module:
    """Blocks of ``convs`` 3x3 convolutions with ReLU and a 2x2 max pool, one block per width (Simonyan 2014)."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((in_channels, *size_list(widths))):
        for channels in (inputs, *[outputs] * (convs - 1)):
            layers += [nn.Conv2d(channels, outputs, kernel_size=3, padding=1), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)
