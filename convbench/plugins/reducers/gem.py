"""Generalised mean pool: a learned point between GAP and GMP."""

from __future__ import annotations

import torch
from torch import nn

from convbench.core.option_types import Exponent
from convbench.core.record import Features
from convbench.core.registry import declares, reducers
from convbench.core.traits import ReducerTraits


class GeM(nn.Module):
    """(mean x^p)^(1/p) of each channel, with p learned and x clamped, computed in fp32: (N, C, H, W) -> (N, C)."""

    def __init__(self, p: float, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        powers = maps.float().clamp(min=self.eps).pow(self.p)
        return powers.mean(dim=(2, 3)).pow(1.0 / self.p).to(maps.dtype)


@reducers.register("gem")
@declares(ReducerTraits(position="lost"))
def gem(features: Features, lstm_input: int | None, *, p: Exponent = 3.0) -> nn.Module:
    """Generalised mean of each channel with a learned exponent: D = C; between GAP (p=1) and GMP (Radenovic 2017)."""
    return GeM(p)
