"""Tensors as oneDNN lays them out on a CPU: channels in blocks, and copies of what is not in one piece; bytes, in B."""

from __future__ import annotations

import torch


def copy_bytes(clip: torch.Tensor) -> int:
    """The copy that makes frames contiguous which are cut out of a clip."""
    return 0 if clip.is_contiguous() else clip.numel() * clip.element_size()


def blocked_bytes(maps: torch.Tensor, channels_of_block: int | None = None) -> int:
    """Maps with their channels filled up to whole blocks."""
    channels = maps.shape[1]
    return maps.numel() // max(1, channels) * pad(channels, channels_of_block) * maps.element_size()


def pad(channels: int, channels_of_block: int | None = None) -> int:
    size = channels_of_block or block()
    return -(-channels // size) * size


def block() -> int:
    """As many channels as a vector register of this CPU holds."""
    return CHANNELS.get(torch.backends.cpu.get_cpu_capability(), FEW_CHANNELS)


CHANNELS = {"AVX512": 16}
"""Channels of a block by torch's name for what the CPU can do; ``FEW_CHANNELS`` for others."""
FEW_CHANNELS = 8
