"""Number of intra-op threads on a CPU."""

from __future__ import annotations

import torch

from convbench.core.registry import variants
from convbench.models.subject import Subject


@variants.register("threads")
def threads(subject: Subject, *, n: int = 1) -> Subject:
    """torch.set_num_threads(n) in the case's process; other cases keep the user's setting."""
    torch.set_num_threads(n)
    return subject
