"""Attention pool: content of learned places."""

from __future__ import annotations

import torch
from torch import nn

from convbench.core.option_types import Positive
from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits


class AttentionPool(nn.Module):
    """Mean of the cells for each head, weighted by the softmax of a 1x1 convolution: (N, C, H, W) -> (N, heads*C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, heads, kernel_size=1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.score(maps).flatten(2).softmax(dim=-1)
        return (weights.to(maps.dtype) @ maps.flatten(2).transpose(1, 2)).flatten(1)


@reducers.register("attention")
@declares(ReducerTraits(position="lost"))
def attention(features: Features, lstm_input: int | None, *, heads: Positive = 4) -> nn.Module:
    """One softmax-weighted mean of the cells per head: D = heads*C; content of learned places, without positions."""
    return AttentionPool(features.channels, heads)
