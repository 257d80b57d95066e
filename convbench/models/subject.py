"""What a probe holds: a case's model, its inputs and ``run()``, the one call that is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from convbench.core.errors import ConvbenchError
from convbench.core.record import Case, Whole
from convbench.core.registry import import_path, scenarios, variants
from convbench.models import network


@dataclass(frozen=True)
class Inputs:
    """Arguments of one call of the model on a whole clip."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> list[torch.Tensor]:
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    def channels_last(self) -> Inputs:
        """The same frames in NHWC order, clips so that flatten(0, 1) of them is channels_last without a copy."""
        return Inputs(*pytree.tree_map_only(torch.Tensor, _frames_last, (self.args, self.kwargs)))


@dataclass(frozen=True)
class Subject:
    """A model ready to be measured. Variants replace ``forward`` (what is called) and the layout of model and inputs.

    ``dtype`` is the type the arithmetic is done in: it sets how closely a variant must agree with eager.
    ``optimizer(parameters, lr=...)`` makes the one that the scenario ``train`` steps.
    """

    case: Case
    seed: int
    device: str
    model: nn.Module
    inputs: Inputs
    forward: Callable[..., Any]
    dtype: torch.dtype = torch.float32
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam

    @cached_property
    def run(self) -> Callable[[], Any]:
        """One call as the case's scenario makes it; what it returns is the model's output."""
        run: Callable[[], Any] = scenarios.get(self.case.scenario).build(self)
        return run


def assemble(case: Case, seed: int, device: str | None = None) -> Subject:
    """The case in plain eager form on its own device, or on another such as ``meta``."""
    device = device or case.device
    model = network.build(case, seed, device)
    return Subject(case, seed, device, model, _inputs(case, seed, device), model)


def transform(subject: Subject) -> Subject:
    """``subject`` with the variants of its case applied in order."""
    for choice in subject.case.variant:
        subject = variants.get(choice.name).build(subject, **dict(choice.options))
    return subject


def _inputs(case: Case, seed: int, device: str) -> Inputs:
    """Seeded standard-normal clips (B, T, C, H, W), or what the user's input factory makes of the clip shape."""
    clip = case.clip
    if not isinstance(case.architecture, Whole) or case.architecture.inputs is None:
        with torch.device(device):
            network.seed_default_device(seed)
            return Inputs((torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width),))
    torch.manual_seed(seed)
    made = import_path(case.architecture.inputs)(clip)
    made = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), made)
    match made:
        case torch.Tensor():
            return Inputs((made,))
        case tuple() | list():
            return Inputs(tuple(made))
        case dict():
            return Inputs((), made)
    raise ConvbenchError(
        f"{case.architecture.inputs} returned {type(made).__name__}: return a tensor, a tuple of positional arguments "
        "or a dict of keyword arguments"
    )


def _frames_last(tensor: torch.Tensor) -> torch.Tensor:
    """Clips (B, T, C, H, W) stored as (B, T, H, W, C), so that flatten(0, 1) is channels_last without a copy."""
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 5:
        return tensor.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return tensor
