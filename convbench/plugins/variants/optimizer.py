"""The optimizer of a training step, and which of torch's implementations of it runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch

from convbench.core.registry import variants
from convbench.models.subject import Subject
from convbench.models.variants import only_in

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
IMPLEMENTATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "for-loop": {"foreach": False},
}


@variants.register("optimizer")
@only_in("train")
def optimizer(
    subject: Subject,
    *,
    rule: Literal["adam", "adamw", "sgd"] = "adam",
    implementation: Literal["default", "fused", "foreach", "for-loop"] = "fused",
) -> Subject:
    """Training with another optimizer or implementation: fused (one kernel), foreach (batched) or a plain loop."""
    return replace(subject, optimizer=partial(OPTIMIZERS[rule], **IMPLEMENTATIONS[implementation]))
