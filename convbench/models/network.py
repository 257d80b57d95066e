"""Build the model of a case on any device, including ``meta``, where the shapes of its parts are found."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from convbench.core.code import located
from convbench.core.errors import ConvbenchError, Impossible, line_of
from convbench.core.imports import import_path
from convbench.core.option_types import settings
from convbench.core.record import Case, Choice, Clip, Features, Parts, Recurrent, Whole
from convbench.core.registry import backbones, reducers
from convbench.models.without_values import without_addresses

FOLLOW = "shapes are found on torch's meta device: move a tensor that the code keeps to its input's, .to(frame.device)"


class ConvReducerRNN(nn.Module):
    """A model that turns each frame into a feature map, each map into a vector, and the vectors into outputs.

    ``forward(clip, state=None)`` takes a clip (B, T, C, H, W) and returns the output (B, T, D_out) and the recurrent
    state, in the form of torch.nn.LSTM. The stages are the submodules ``backbone``, ``reducer``, ``lstm`` and ``head``.
    """

    def __init__(self, backbone: nn.Module, reducer: nn.Module, lstm: nn.RNNBase, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.reducer = reducer
        self.lstm = lstm
        self.head = head

    def forward(self, clip: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        batch, frames = clip.shape[:2]
        vectors = self.reducer(self.backbone(clip.flatten(0, 1)))
        outputs, state = self.lstm(vectors.unflatten(0, (batch, frames)), state)
        return self.head(outputs), state


def build(case: Case, seed: int, device: str) -> nn.Module:
    """Return the case's model in eval mode on ``device``. Each stage has its own seed, so no stage depends on another.

    Raises Impossible if the parts do not fit together, ConvbenchError if a plug-in cannot be found or called.
    """
    with torch.device(device):
        match case.architecture:
            case Parts() as parts:
                model: nn.Module = _assemble(parts, case.clip, seed)
            case Whole() as whole:
                seed_all(seed)
                name = whole.model.name
                factory = _factory(name, import_path(name))
                module = factory(**settings(factory, whole.model.options))
                model = _to_device(device, _new_module(name, module))
    return in_mode(model, training=False)


def in_mode(model: nn.Module, training: bool) -> nn.Module:
    """Put the model in training or evaluation mode and return it, even if its own ``train`` returns something else.

    A module made by ``torch.export`` has no modes and stays as it was exported. All others of a model that has one as
    a part get the mode: torch stops at the first that has none.
    """
    try:
        model.train() if training else model.eval()
    except NotImplementedError:
        model.training = training
        for part in model.children():
            in_mode(part, training)
    return model


def seed_all(seed: int) -> None:
    """Seed every generator that a user's code may draw from: those of Python, numpy and torch."""
    _seed_python(seed)
    torch.manual_seed(seed)


def seed_default_device(seed: int) -> None:
    """Seed Python, numpy and torch's default device, without the three stack traces that torch.manual_seed formats.

    On ``meta``, Python and numpy are seeded too, so that a model decides the same there by what it draws from them.
    """
    _seed_python(seed)
    device = torch.get_default_device()
    if device.type != "meta":
        torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _seed_python(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Save the random states of Python and numpy, and restore them at the end of the block."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


@lru_cache(maxsize=1024)
def feature_shape(backbone: Choice, in_channels: int, height: int, width: int) -> Features:
    """Return the shape of a backbone's feature map for one frame, found on ``meta``.

    Raises Impossible if the backbone does not take the frame or does not return maps.
    """
    try:
        with torch.device("meta"), torch.no_grad(), without_addresses():
            trunk = in_mode(_backbone(backbone, in_channels), training=False)
            maps = trunk(torch.empty(1, in_channels, height, width))
    except RuntimeError as error:
        frame = f"{in_channels}x{height}x{width}"
        raise _refusal(error, f"backbone {backbone} does not take a {frame} frame") from error
    if not isinstance(maps, torch.Tensor) or maps.dim() != 4:
        shape = tuple(maps.shape) if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise Impossible(f"backbone {backbone} returns {shape} for one frame: it must return maps (N, C, H, W)")
    return Features(*maps.shape[1:])


def map_shape(parts: Parts, clip: Clip) -> Features:
    """Return the shape of the feature map of a clip's frame, as ``feature_shape`` finds it."""
    return feature_shape(parts.backbone, clip.channels, clip.height, clip.width)


@lru_cache(maxsize=4096)
def vector_size(reducer: Choice, features: Features, lstm_input: int | None) -> int:
    """Return the LSTM input size D: the vector length of a reducer built for ``lstm_input``, found on ``meta``.

    Raises Impossible if the reducer does not take the feature map or does not return vectors.
    """
    try:
        with torch.device("meta"), torch.no_grad(), without_addresses():
            module = in_mode(build_reducer(reducer, features, lstm_input), training=False)
            vectors = module(torch.empty(2, *features))
    except RuntimeError as error:
        raise _refusal(error, f"reducer {reducer} does not take a {features} feature map") from error
    if not isinstance(vectors, torch.Tensor) or vectors.dim() != 2 or vectors.shape[0] != 2:
        shape = tuple(vectors.shape) if isinstance(vectors, torch.Tensor) else type(vectors).__name__
        raise Impossible(f"reducer {reducer} returns {shape} for 2 maps of {features}: it must return vectors (N, D)")
    return int(vectors.shape[1])


def _refusal(error: RuntimeError, fact: str) -> Impossible:
    remedy = f"; {FOLLOW}" if "not on the expected device meta" in str(error) else ""
    return Impossible(f"{located(error, f'{fact}: {line_of(error)}')}{remedy}")


def forget_shapes() -> None:
    """Clear the cached shapes before a new plan: code may change under its name, such as an edited notebook cell."""
    feature_shape.cache_clear()
    vector_size.cache_clear()


_MODULE_BY_ID: WeakValueDictionary[int, nn.Module] = WeakValueDictionary()
"""Modules that factories have returned, by their ``id``, because not all modules can be compared."""


def _new_module(name: str, module: Any) -> nn.Module:
    """Return the ``module`` that the factory ``name`` made, after a check that it is a new one.

    Nothing else may hold it, because moving it to a device and applying variants change it. Raises ConvbenchError if
    it is no module, or if a factory has returned it before. Modules without parameters and buffers may be returned
    again: nothing in them changes.
    """
    if not isinstance(module, nn.Module):
        remedy = "return its .module()" if isinstance(module, ExportedProgram) else "it must return a torch.nn.Module"
        raise ConvbenchError(f"{name} returned {type(module).__name__}: {remedy}")
    if not any(True for _ in _tensors(module)):
        return module
    if _MODULE_BY_ID.get(id(module)) is module:
        raise ConvbenchError(
            f"{name} returned the same module twice: make a new one at each call (no functools.lru_cache, no "
            "module-level model)"
        )
    _MODULE_BY_ID[id(module)] = module
    return module


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    return chain(module.parameters(), module.buffers())


def _to_device(device: str, model: nn.Module) -> nn.Module:
    """Return the model on the device. A model that is there already is not moved: fake tensors would not allow that.

    Tensors on ``meta`` stay there: they are a skeleton for ``functional_call`` and have no values to move.
    """
    kind = torch.device(device).type
    if all(tensor.device.type in (kind, "meta") for tensor in _tensors(model)):
        return model
    moved_model: nn.Module = model._apply(  # type: ignore[no-untyped-call]
        lambda tensor: tensor if tensor.is_meta else tensor.to(device)
    )
    return moved_model


def _factory(name: str, build: Any) -> Any:
    """Return ``build``, which a suite names as a factory. Raises ConvbenchError if it is a module instead."""
    if isinstance(build, nn.Module):
        raise ConvbenchError(f"{name} is a module: name a function or class that makes a new one at each call")
    return build


def _assemble(parts: Parts, clip: Clip, seed: int) -> ConvReducerRNN:
    features = map_shape(parts, clip)
    seed_default_device(seed)
    backbone = _backbone(parts.backbone, clip.channels)
    seed_default_device(seed + 1)
    reducer = build_reducer(parts.reducer, features, parts.lstm_input)
    size = vector_size(parts.reducer, features, parts.lstm_input)
    if parts.layer_norm:
        reducer = nn.Sequential(reducer, nn.LayerNorm(size))
    seed_default_device(seed + 2)
    lstm = _recurrent(parts.rnn, size)
    seed_default_device(seed + 3)
    width = (parts.rnn.proj_size or parts.rnn.hidden) * (2 if parts.rnn.bidirectional else 1)
    head = nn.Linear(width, parts.head) if parts.head else nn.Identity()
    return ConvReducerRNN(backbone, reducer, lstm, head)


def _backbone(choice: Choice, in_channels: int) -> nn.Module:
    factory = _factory(choice.name, backbones.get(choice.name).build)
    options = settings(factory, choice.options)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(p.kind in positional for p in inspect.signature(factory).parameters.values()):
        trunk = _new_module(choice.name, factory(in_channels, **options))
    else:
        trunk = convolutional_trunk(_new_module(choice.name, factory(**options)))
    return _to_device(str(torch.get_default_device()), trunk)


def build_reducer(choice: Choice, features: Features, lstm_input: int | None) -> nn.Module:
    """Return a reducer for a feature map on the default device. Only reducers of free size use ``lstm_input``."""
    factory = _factory(choice.name, reducers.get(choice.name).build)
    module = factory(features, lstm_input, **settings(factory, choice.options))
    return _to_device(str(torch.get_default_device()), _new_module(choice.name, module))


def convolutional_trunk(classifier: nn.Module) -> nn.Module:
    """Return the part of a classifier before its global pool, for factories such as ``torchvision.models:resnet18``.

    It has the classifier's children in order, up to the first that begins with a pool to a fixed size, a Flatten, a
    Linear or a Dropout layer. Raises ConvbenchError if no child comes before that.
    """
    end_kinds = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Linear, nn.Dropout)
    layers: list[nn.Module] = []
    for child in classifier.children():
        first_layer = next((m for m in child.modules() if not list(m.children())), child)
        if isinstance(first_layer, end_kinds):
            break
        layers.append(child)
    if not layers:
        raise ConvbenchError(f"{type(classifier).__name__} has no convolutional part to use as a backbone")
    return nn.Sequential(*layers)


def _recurrent(rnn: Recurrent, size: int) -> nn.RNNBase:
    options: dict[str, Any] = {"num_layers": rnn.layers, "bidirectional": rnn.bidirectional, "batch_first": True}
    if rnn.cell == "gru":
        return nn.GRU(size, rnn.hidden, **options)
    return nn.LSTM(size, rnn.hidden, proj_size=rnn.proj_size, **options)
