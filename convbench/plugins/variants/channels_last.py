"""channels_last: the model and the clip in NHWC memory order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("channels_last")
@declares(VariantTraits(same_tensors=True, channels_last=True))
def channels_last(subject: Subject) -> Subject:
    """Convolution weights and frames in NHWC order; the clip is stored so once, outside what is timed."""
    import torch
    from torch.nn.parameter import is_lazy

    formats = {4: torch.channels_last, 5: torch.channels_last_3d}

    def stored(weight: torch.Tensor) -> torch.Tensor:  # what Module.to gives one format to, whatever its axes
        has_format = not is_lazy(weight) and weight.dim() in formats
        return weight.to(memory_format=formats[weight.dim()]) if has_format else weight

    model = subject.model._apply(stored)  # type: ignore[no-untyped-call]
    return replace(subject, model=model, inputs=subject.inputs.channels_last(subject.case.clip))
