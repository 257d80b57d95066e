"""The Nature CNN of deep reinforcement learning."""

from __future__ import annotations

from torch import nn

from convbench.core.registry import backbones


@backbones.register("nature")
def nature(in_channels: int) -> nn.Module:
    """Convolutions with ReLU, channels x kernel/stride 32x8/4, 64x4/2, 64x3/1 (Mnih 2015); 4x84x84 gives 64x7x7."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, kernel_size=8, stride=4),
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=4, stride=2),
        nn.ReLU(),
        nn.Conv2d(64, 64, kernel_size=3),
        nn.ReLU(),
    )
