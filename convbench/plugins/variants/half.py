"""Weights and arithmetic in half as many bits, where autocast leaves the weights as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits

if TYPE_CHECKING:
    from convbench.models.subject import Subject


def number_type(*, dtype: str) -> str:
    """The arithmetic is done in what the option asks for."""
    return dtype


@variants.register("half")
@declares(
    VariantTraits(
        dtype=number_type,
        scenarios=("inference", "streaming"),
        combines=("allocator", "channels_last", "compile", "aot-inductor", "onnxruntime"),
    )
)
def half(subject: Subject, *, dtype: Literal["fp16", "bf16"] = "fp16") -> Subject:
    """Weights, clip and state in float16 or bfloat16: half the bytes to read at every call."""
    import torch

    from convbench.models.subject import Inputs
    from convbench.models.values import mapped

    lower = {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    change: Callable[[Any], Any] = lambda tensor: tensor.to(lower) if tensor.is_floating_point() else tensor  # noqa: E731
    inputs = Inputs(*mapped(change, (subject.inputs.args, subject.inputs.kwargs)))
    return replace(subject, model=subject.model.to(lower), inputs=inputs, dtype=lower)
