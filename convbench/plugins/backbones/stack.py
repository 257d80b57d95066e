"""A plain stack of convolutions and max pools, spelled out layer by layer."""

from __future__ import annotations

import re

from torch import nn

from convbench.core.errors import ConvbenchError
from convbench.core.registry import backbones

_LAYER = re.compile(
    r"(?:c(?P<channels>\d+))?(?:k(?P<k>\d+(?:x\d+)?))?(?:s(?P<s>\d+(?:x\d+)?))?(?:p(?P<p>\d+(?:x\d+)?))?"
)


@backbones.register("stack")
def stack(in_channels: int, *, layers: str = "c32k3p1-k2-c64k3p1-k2") -> nn.Module:
    """Layers joined by ``-``: c32k5s2p1 is a convolution (channels, kernel, stride, padding) and ReLU, k2x1 a max pool.

    A kernel, stride or padding is one number or height x width. A convolution defaults to k3, s1 and p0; a pool's
    stride defaults to its kernel.
    """
    modules: list[nn.Module] = []
    for text in layers.split("-"):
        match = _LAYER.fullmatch(text)
        if not match or not (match["channels"] or match["k"]):
            raise ConvbenchError(
                f"{text!r} in {layers!r} is not a layer: write c32k3s2p1 for a convolution, k2 for a pool"
            )
        kernel, padding = _pair(match["k"] or "3"), _pair(match["p"] or "0")
        if match["channels"] is None:
            modules.append(nn.MaxPool2d(kernel, _pair(match["s"]) if match["s"] else kernel, padding))
            continue
        channels = int(match["channels"])
        modules += [nn.Conv2d(in_channels, channels, kernel, _pair(match["s"] or "1"), padding), nn.ReLU()]
        in_channels = channels
    return nn.Sequential(*modules)


def _pair(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)
