"""A user's plug-ins: with an option without a default, an option of unknown type, and a factory of any option."""

from __future__ import annotations

from typing import Any

from torch import nn


def build(features: Any, lstm_input: int | None, *, size: int, act: bool = False) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(size))


def closed(in_channels: int, *, channels: int = 4) -> nn.Module:
    return nn.Conv2d(in_channels, channels, 3)


def anything(in_channels: int, **options: Any) -> nn.Module:
    return nn.Conv2d(in_channels, options.get("channels", 4), 3)


def model(size: int = 8, dropout: float = 0.0) -> nn.Module:
    return nn.Flatten(2)


def columns(features: Any, lstm_input: int | None, *, scale: float = 1.0) -> nn.Module:
    """Mean of each column: D = C*W."""
    return nn.Sequential(nn.AdaptiveAvgPool2d((1, features.width)), nn.Flatten())


def plain(features, lstm_input, k=3):
    """A reducer whose k a suite cannot reach."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(k), nn.Flatten())
