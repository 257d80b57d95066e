"""Eager: PyTorch as it comes."""

from __future__ import annotations

from convbench.core.registry import variants
from convbench.models.subject import Subject


@variants.register("eager")
def eager(subject: Subject) -> Subject:
    """PyTorch as it comes, nothing changed: what every other variant is compared with."""
    return subject
