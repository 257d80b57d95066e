"""A small strided CNN."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from convbench.core.errors import ConvbenchError
from convbench.core.option_types import NonNegative, size_list
from convbench.core.registry import backbones


@backbones.register("strided")
def strided(
    in_channels: int,
    *,
    widths: str = "16-32-64",
    kernels: str = "3",
    padding: NonNegative = 1,
    batch_norm: bool = False,
) -> nn.Module:
    """Stride-2 convolutions with ReLU, one per width; ``kernels`` is one size for all or one per width.

    With ``batch_norm`` each convolution has no bias and is followed by a BatchNorm2d.
    """
    sizes = size_list(widths)
    kernel_sizes = size_list(kernels) if "-" in kernels else size_list(kernels) * len(sizes)
    if len(kernel_sizes) != len(sizes):
        raise ConvbenchError(f"{len(kernel_sizes)} kernels for {len(sizes)} widths: give one for all or one per width")
    layers: list[nn.Module] = []
    for (inputs, outputs), size in zip(pairwise((in_channels, *sizes)), kernel_sizes, strict=True):
        layers.append(nn.Conv2d(inputs, outputs, size, stride=2, padding=padding, bias=not batch_norm))
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]
    return nn.Sequential(*layers)
