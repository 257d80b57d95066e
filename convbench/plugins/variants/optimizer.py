"""The optimizer of a training step, and torch's implementation of it that runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits

if TYPE_CHECKING:
    from convbench.models.subject import Subject

CLASSES = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
IMPLEMENTATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "for-loop": {"foreach": False},
}


@variants.register("optimizer")
@declares(VariantTraits(scenarios=("train",)))
def optimizer(
    subject: Subject,
    *,
    rule: Literal["adam", "adamw", "sgd"] = "adam",
    implementation: Literal["default", "fused", "foreach", "for-loop"] = "fused",
) -> Subject:
    """Training with another optimizer or implementation: fused (one kernel), foreach (batched) or a plain loop."""
    from torch import optim

    return replace(subject, optimizer=partial(getattr(optim, CLASSES[rule]), **IMPLEMENTATIONS[implementation]))
