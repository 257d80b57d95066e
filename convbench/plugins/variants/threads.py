"""Number of intra-op threads on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("threads")
@declares(VariantTraits(own_process=True, same_tensors=True))
def threads(subject: Subject, *, n: int = 1) -> Subject:
    """torch.set_num_threads(n) in the case's process; other cases keep the user's setting."""
    import torch

    torch.set_num_threads(n)
    return subject
