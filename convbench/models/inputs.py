"""What a model is called with: seeded clips, or what the user's input factory makes of a clip's shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from convbench.core.errors import ConvbenchError
from convbench.core.imports import import_path
from convbench.core.record import Case, Whole
from convbench.models import network, values


@dataclass(frozen=True)
class Inputs:
    """Arguments of one call of the model on a whole clip."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def tensors(self) -> list[torch.Tensor]:
        return values.tensors((self.args, self.kwargs))

    @property
    def bytes(self) -> int:
        return values.held_bytes(self.tensors)

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """The same arguments with their tensors changed."""
        return Inputs(*values.mapped(change, (self.args, self.kwargs)))

    def typed_as(self, other: Inputs) -> Inputs:
        """The same arguments, each tensor in the number type that it has in ``other``."""
        types: list[torch.dtype] = []

        def seen(tensor: torch.Tensor) -> torch.Tensor:
            types.append(tensor.dtype)
            return tensor

        other.changed(seen)  # as ``tensors`` has more of them: the lengths in a packed sequence
        following = iter(types)
        return self.changed(lambda tensor: tensor.to(next(following)))

    def channels_last(self) -> Inputs:
        """The same frames in NHWC order, clips so that flatten(0, 1) of them is channels_last without a copy."""
        return self.changed(_frames_last)


def inputs(case: Case, seed: int, device: str, model: nn.Module) -> Inputs:
    """Seeded standard-normal clips (B, T, C, H, W), or what the user's input factory makes of the clip shape.

    A list or named tuple of a factory's is the model's arguments, or its one argument where the model does not take so
    many; a dictionary, or any other mapping, is its keywords, or its one argument where the model takes that and not
    these keywords.
    """
    clip = case.clip
    if not isinstance(case.architecture, Whole) or case.architecture.inputs is None:
        with torch.device(device):
            network.seed_default_device(seed)
            return Inputs((torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width),))
    network.seed_all(seed)
    batch = import_path(case.architecture.inputs)(clip)
    batch = values.mapped(lambda tensor: tensor.to(device), batch)
    match batch:
        case torch.Tensor() | PackedSequence():
            return Inputs((batch,))
        case list() if not _takes(model, batch):
            return Inputs((batch,))
        case tuple() if hasattr(batch, "_fields") and not _takes(model, batch):
            return Inputs((batch,))
        case tuple() | list():
            return Inputs(tuple(batch))
        case Mapping() if not _takes(model, (), batch) and _takes(model, (batch,)):
            return Inputs((batch,))
        case Mapping():
            return Inputs((), dict(batch))
    if is_dataclass(batch):
        return Inputs((batch,))
    raise ConvbenchError(
        f"{case.architecture.inputs} returned {type(batch).__name__}: return a tensor, a tuple of positional arguments "
        "or a dict of keyword arguments"
    )


def _takes(model: nn.Module, args: Sequence[Any], kwargs: Mapping[Any, Any] | None = None) -> bool:
    """Whether a model's signature, where it has one, takes these arguments."""
    try:
        inspect.signature(model.forward).bind(*args, **(kwargs or {}))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _frames_last(tensor: torch.Tensor) -> torch.Tensor:
    """Clips (B, T, C, H, W) stored as (B, T, H, W, C), so that flatten(0, 1) is channels_last without a copy."""
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 5:
        return tensor.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return tensor
