"""Automatic mixed precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch

from convbench.core.registry import variants
from convbench.models.subject import Subject

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@variants.register("autocast")
def autocast(subject: Subject, *, dtype: Literal["bf16", "fp16"] = "bf16") -> Subject:
    """torch.autocast to bfloat16 or float16; weights stay in float32."""
    device_type, forward = torch.device(subject.device).type, subject.forward

    def lowered(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device_type, dtype=DTYPES[dtype]):
            return forward(*args, **kwargs)

    return replace(subject, forward=lowered, dtype=DTYPES[dtype])
