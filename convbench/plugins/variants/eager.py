"""Eager: PyTorch as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("eager")
@declares(VariantTraits(same_tensors=True))
def eager(subject: Subject) -> Subject:
    """PyTorch as it comes, unchanged: the baseline of every other variant."""
    return subject
