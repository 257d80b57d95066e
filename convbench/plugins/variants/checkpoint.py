"""Activation checkpointing: feature maps are recomputed in the backward pass instead of kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convbench.core.errors import CaseFailed
from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits, compiles

if TYPE_CHECKING:
    from torch import nn

    from convbench.models.subject import Subject


@variants.register("checkpoint")
@declares(VariantTraits(scenarios=("train",)))
def checkpoint_stage(subject: Subject, *, stage: str = "backbone") -> Subject:
    """Training with a stage recomputed by torch.utils.checkpoint: less memory for one more forward pass of it."""
    from convbench.models.stages import called_parts, stage_roots

    modules = stage_roots(subject.case, subject.model).get(stage, ())
    if not modules:
        raise CaseFailed("error", f"has no stage {stage!r} to checkpoint: name its submodule under stages")
    called_stages: set[str] = set()
    for module in called_parts(modules):
        _checkpoint(module, stage, called_stages)
    return subject if compiles(subject.case) else _refuse_uncalled(subject, stage, called_stages)


def _checkpoint(module: nn.Module, stage: str, called_stages: set[str]) -> None:
    """Wrap a module's forward in place, so that its name, parameters and hooks stay the same."""
    from torch.utils.checkpoint import checkpoint

    forward = module.forward

    def checkpoint_forward(*args: object, **kwargs: Any) -> object:
        called_stages.add(stage)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    module.forward = checkpoint_forward


def _refuse_uncalled(subject: Subject, stage: str, called_stages: set[str]) -> Subject:
    """Make a forward pass raise CaseFailed if it calls no checkpointed module: its numbers would be eager's."""

    def forward(*args: object, **kwargs: Any) -> object:
        output = subject.forward(*args, **kwargs)
        if stage not in called_stages:
            raise CaseFailed(
                "error",
                f"the modules of stage {stage!r} are used but never called, so nothing is checkpointed: name "
                "under stages the modules that are called",
            )
        return output

    return replace(subject, forward=forward)
