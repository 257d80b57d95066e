"""Make the arguments of a model: seeded clips, or the result of the user's input factory for a clip's shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from convbench.core.errors import ConvbenchError
from convbench.core.imports import import_path
from convbench.core.record import Case, Clip, Whole
from convbench.models import network, values
from convbench.models.stages import WRAPPERS


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

    def map_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Inputs:
        """The same arguments with their tensors changed."""
        return Inputs(*values.map_leaves(change, (self.args, self.kwargs)))

    def with_types_of(self, other: Inputs) -> Inputs:
        """The same arguments, each tensor in the number type that it has in ``other``."""
        types: list[torch.dtype] = []

        def note_type(tensor: torch.Tensor) -> torch.Tensor:
            types.append(tensor.dtype)
            return tensor

        other.map_tensors(note_type)  # not ``tensors``, which also has the lengths in a packed sequence
        type_iterator = iter(types)
        return self.map_tensors(lambda tensor: tensor.to(next(type_iterator)))

    def channels_last(self, clip: Clip) -> Inputs:
        """The same arguments in NHWC order. Clips are stored so that flatten(0, 1) is channels_last without a copy.

        A clip whose channels come before its frames, as for convolutions over time, becomes channels_last_3d. ``clip``
        tells the number of channels.
        """
        return self.map_tensors(partial(_channels_last, clip))


def inputs(case: Case, seed: int, device: str, model: nn.Module) -> Inputs:
    """Return seeded standard-normal clips (B, T, C, H, W), or what the user's input factory returns for a clip's shape.

    If the factory returns a list or tuple, it holds the model's positional arguments. If the model does not take that
    many but takes one argument, the list or tuple is that argument. A mapping holds the model's keyword arguments, or
    is its one argument by the same rule, and so is an object that holds tensors. Raises ConvbenchError if the factory
    returns anything else than these, a tensor, a packed sequence or a dataclass.
    """
    clip = case.clip
    if not isinstance(case.architecture, Whole) or case.architecture.inputs is None:
        with torch.device(device):
            network.seed_default_device(seed)
            return Inputs((torch.randn(clip.batch, clip.frames, clip.channels, clip.height, clip.width),))
    network.seed_all(seed)
    factory = import_path(case.architecture.inputs)
    if not _binds(partial(inspect.signature, factory), (clip,)):
        raise ConvbenchError(f"{case.architecture.inputs} must take one argument, the clip, whose shape it reads")
    batch = factory(clip)
    batch = values.map_leaves(lambda tensor: tensor.to(device), batch)
    match batch:
        case torch.Tensor() | PackedSequence():
            return Inputs((batch,))
        case tuple() | list() if not takes(model, batch) and takes(model, (batch,)):
            return Inputs((batch,))
        case tuple() | list():
            return Inputs(tuple(batch))
        case Mapping() if not takes(model, (), batch) and takes(model, (batch,)):
            return Inputs((batch,))
        case Mapping():
            return Inputs((), dict(batch))
    if is_dataclass(batch) or values.tensors(batch):
        return Inputs((batch,))
    raise ConvbenchError(
        f"{case.architecture.inputs} returned {type(batch).__name__}: return a tensor, a tuple of positional arguments "
        "or a dict of keyword arguments"
    )


def takes(model: nn.Module, args: Sequence[Any], kwargs: Mapping[Any, Any] | None = None) -> bool:
    """Whether a model's signature accepts these arguments. True if it has no signature."""
    return _binds(partial(_signature, model), args, kwargs)


def _binds(
    signature: Callable[[], inspect.Signature], args: Sequence[Any], kwargs: Mapping[Any, Any] | None = None
) -> bool:
    try:
        signature().bind(*args, **({} if kwargs is None else kwargs))  # a TensorDict has no truth value
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _signature(model: nn.Module) -> inspect.Signature:
    """Return the signature of a model's forward, or of the model inside one of torch's wrappers, which take anything.

    Raises ValueError if there is none.
    """
    if isinstance(model.forward, torch.ScriptMethod):
        return _schema_signature(model.forward.schema)
    signature = inspect.signature(model.forward)
    takes_anything = all(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values())
    if takes_anything and type(model).__module__.startswith("torch."):
        children = dict(model.named_children())
        for name in WRAPPERS:
            if name in children:
                return _signature(children[name])
    return signature


def _schema_signature(schema: Any) -> inspect.Signature:
    """Return the signature of a scripted method, without its first argument, the module."""
    return inspect.Signature(
        [
            inspect.Parameter(
                argument.name,
                inspect.Parameter.KEYWORD_ONLY if argument.kwarg_only else inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=argument.default_value if argument.has_default_value() else inspect.Parameter.empty,
            )
            for argument in schema.arguments[1:]
        ]
    )


def _channels_last(clip: Clip, tensor: torch.Tensor) -> torch.Tensor:
    """Return frames in channels_last order, and clips (B, T, C, H, W) or (B, C, T, H, W) stored as (B, T, H, W, C)."""
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 5:
        if tensor.shape[1] == clip.channels != tensor.shape[2]:
            return tensor.contiguous(memory_format=torch.channels_last_3d)
        return tensor.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return tensor
