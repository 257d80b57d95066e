"""Automatic mixed precision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits, dtype_option

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("autocast")
@declares(VariantTraits(dtype=dtype_option))
def autocast(subject: Subject, *, dtype: Literal["bf16", "fp16"] = "bf16") -> Subject:
    """torch.autocast to bfloat16 or float16; weights stay in float32."""
    import torch

    lower_type = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    device_type, forward = torch.device(subject.device).type, subject.forward

    def autocast_forward(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device_type, dtype=lower_type):
            return forward(*args, **kwargs)

    return replace(subject, forward=autocast_forward, dtype=lower_type)
