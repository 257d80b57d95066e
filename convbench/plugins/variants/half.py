"""Weights and arithmetic in half as many bits; autocast, in contrast, leaves the weights as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits, dtype_option

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("half")
@declares(
    VariantTraits(
        dtype=dtype_option, scenarios=("inference", "streaming"), combines=("allocator", "channels_last", "compile")
    )
)
def half(subject: Subject, *, dtype: Literal["fp16", "bf16"] = "fp16") -> Subject:
    """Weights, clip and state in float16 or bfloat16: half the bytes to read in every call."""
    import torch

    lower_type = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    inputs = subject.inputs.map_tensors(lambda tensor: tensor.to(lower_type) if tensor.is_floating_point() else tensor)
    return replace(subject, model=subject.model.to(lower_type), inputs=inputs, dtype=lower_type)
