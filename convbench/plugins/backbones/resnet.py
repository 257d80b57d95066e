"""ResNet-style basic blocks."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from convbench.core.option_types import Positive, size_list
from convbench.core.registry import backbones


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, itself a 1x1 convolution if the shape changes (He 2015)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        changes_shape = stride != 1 or inputs != outputs
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
            if changes_shape
            else nn.Identity()
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(maps) + self.shortcut(maps))


@backbones.register("resnet")
def resnet(
    in_channels: int, *, widths: str = "32-64-128", blocks: Positive = 2, stem: Positive = 3, pool: bool = False
) -> nn.Module:
    """A strided stem, then ``blocks`` basic blocks per width; each width after the first halves the map (He 2015).

    ``stem`` is the stem's kernel size; ``pool`` adds a 3x3/2 max pool after it. The trunk of ResNet-18 is
    widths=64-128-256-512, stem=7, pool=true.
    """
    sizes = size_list(widths)
    stem_layers: list[nn.Module] = [
        nn.Conv2d(in_channels, sizes[0], kernel_size=stem, stride=2, padding=stem // 2, bias=False),
        nn.BatchNorm2d(sizes[0]),
        nn.ReLU(),
    ]
    if pool:
        stem_layers.append(nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    stages = [_stage(inputs, outputs, blocks, stride=2) for inputs, outputs in pairwise(sizes)]
    return nn.Sequential(nn.Sequential(*stem_layers), _stage(sizes[0], sizes[0], blocks, stride=1), *stages)


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Module:
    next_blocks = [BasicBlock(outputs, outputs, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *next_blocks)
