"""Sizes (B) of tensors in oneDNN's layout on a CPU, with channels in blocks, and of contiguous copies."""

from __future__ import annotations

import torch
from torch._prims_common import suggest_memory_format


def copy_bytes(clip: torch.Tensor, order: torch.memory_format = torch.contiguous_format) -> int:
    """Bytes of a copy in a memory order, such as of frames cut out of a clip; 0 if the tensor is in it already."""
    return 0 if clip.is_contiguous(memory_format=order) else clip.numel() * clip.element_size()


def common_order(*tensors: torch.Tensor) -> torch.memory_format:
    """The memory order in which torch computes a convolution: NHWC if the frames or the weights are stored so.

    After ``_conv_use_channels_last_impl`` in torch's ConvUtils.h.
    """
    orders = [suggest_memory_format(tensor) for tensor in tensors]
    return next((order for order in orders if order != torch.contiguous_format), torch.contiguous_format)


def blocked_bytes(maps: torch.Tensor, channels_of_block: int | None = None) -> int:
    """Bytes of maps whose channels are padded to whole blocks."""
    channels = maps.shape[1]
    return maps.numel() // max(1, channels) * pad(channels, channels_of_block) * maps.element_size()


def pad(channels: int, channels_of_block: int | None = None) -> int:
    size = channels_of_block or block()
    return -(-channels // size) * size


def block() -> int:
    """Channels per block: as many as a vector register of this CPU holds."""
    return CHANNELS.get(torch.backends.cpu.get_cpu_capability(), FEW_CHANNELS)


CHANNELS = {"AVX512": 16}
"""Channels per block by torch's name for the CPU's capability; other CPUs have ``FEW_CHANNELS``."""
FEW_CHANNELS = 8
