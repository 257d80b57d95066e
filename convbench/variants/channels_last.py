"""channels_last: the model and the clip in NHWC memory order."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils import _pytree as pytree

from convbench.registry import variants
from convbench.subject import Inputs, Subject


@variants.register("channels_last")
def channels_last(subject: Subject) -> Subject:
    """Convolution weights and frames in NHWC order; the clip is stored so once, outside what is timed."""
    args, kwargs = pytree.tree_map_only(torch.Tensor, frames_last, (subject.inputs.args, subject.inputs.kwargs))
    model = subject.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replace(subject, model=model, inputs=Inputs(args, kwargs))


def frames_last(tensor: torch.Tensor) -> torch.Tensor:
    """Clips (B, T, C, H, W) stored as (B, T, H, W, C), so that flatten(0, 1) is channels_last without a copy."""
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 5:
        return tensor.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return tensor
