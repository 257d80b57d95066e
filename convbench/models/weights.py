"""Find, reorder and fix the weights of a model, and find the tensors that its modules keep beside them.

Some weights torch does not list, because quantised layers keep them packed.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from convbench.models.values import held_bytes, storage_tensors, stored_bytes, tensors, values_inside

IN_OWN_LAYOUT = "prim::ConstantMKLDNNTensor"
"""The kind of a graph node that holds a constant in oneDNN's layout, made by ``torch.jit.optimize_for_inference``."""
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""The memory format with the channels last, by a tensor's number of axes."""


def has_projection(model: nn.Module) -> bool:
    """Whether a model has an LSTM with projections, which few kernels besides torch's own can compute."""
    return any(isinstance(module, nn.LSTM) and module.proj_size for module in model.modules())


def channels_last(model: nn.Module) -> nn.Module:
    """Store every weight of four or five axes with its channels last, and return the model.

    ``Module.to`` cannot do this, because it gives all weights one format.
    """

    def reorder(weight: torch.Tensor) -> torch.Tensor:
        has_format = not is_lazy(weight) and weight.dim() in CHANNELS_LAST
        return weight.to(memory_format=CHANNELS_LAST[weight.dim()]) if has_format else weight

    result: nn.Module = model._apply(reorder)  # type: ignore[no-untyped-call]
    return result


def fix_weights(model: nn.Module) -> None:
    """Replace weights that are computed at every call by their values, in place, as before a deployment.

    These are parametrizations, and the older hooks of weight norm, spectral norm and pruning.
    """
    for module in [*model.modules()]:
        for name in [*getattr(module, "parametrizations", ())] if is_parametrized(module) else ():
            remove_parametrizations(module, name)
        for number, hook in [*module._forward_pre_hooks.items()]:
            if type(hook).__module__.startswith("torch.nn.utils.") and hasattr(hook, "remove"):
                hook.remove(module)
                del module._forward_pre_hooks[number]


def watch_attributes(model: nn.Module) -> Callable[[], list[torch.Tensor]]:
    """Return a function that returns the tensors that modules keep as plain attributes, now and when it is called.

    Such are constants and caches, also those in containers and in objects of the user's, and weights of which torch
    does not know. Torch's weights are not among them, nor a state that was replaced in between.
    """
    weights = {part.untyped_storage()._cdata for part in _parts((*_all_parameters(model), *model.buffers()))}
    parts = _parts(_attribute_tensors(model))
    references = [weakref.ref(part) for part in parts if part.untyped_storage()._cdata not in weights]
    return lambda: [tensor for reference in references if (tensor := reference()) is not None]


def _attribute_tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    stack: list[Any] = [vars(module) for module in model.modules()]
    visited: dict[int, Any] = {}  # a list may hold itself; holding the values keeps their numbers from being reused
    while stack:
        value = stack.pop()
        if id(value) in visited:
            continue
        visited[id(value)] = value
        if isinstance(value, torch.Tensor):
            yield value
        else:
            stack.extend(values_inside(value))


def _parts(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    return (part for tensor in shaped_tensors(tensors) for part in storage_tensors(tensor))


def weights_bytes(model: nn.Module) -> int:
    """Return the bytes of parameters, buffers, and quantised weights, which are neither."""
    weights = (*_all_parameters(model), *model.buffers())
    return held_bytes(shaped_tensors(weights))


def shaped_tensors(weights: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return the parameters and buffers that have a shape. A lazy layer's have none until it is called."""
    return [tensor for tensor in weights if not is_lazy(tensor)]


def number_type(model: nn.Module) -> torch.dtype:
    """Return the floating-point type of most bytes of the weights, or float32 if there are none."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in shaped_tensors(_all_parameters(model)):
        if tensor.is_floating_point():
            sizes[tensor.dtype] += stored_bytes(tensor)
    return max(sizes, key=sizes.__getitem__, default=torch.float32)


def _all_parameters(model: nn.Module) -> list[torch.Tensor]:
    """Return the parameters of a model and the weights of quantised layers, which are not parameters to torch."""
    return [*model.parameters(), *(weight for module in model.modules() for weight in quantised_weights(module))]


def quantised_weights(module: nn.Module) -> list[torch.Tensor]:
    """Return the weights and biases that one of torch's quantised layers keeps packed instead of as parameters.

    For a frozen script, returns the constants of its graph.
    """
    if isinstance(module, torch.jit.ScriptModule) and not module._c.hasattr("training"):
        return list(_constants(module.graph))
    if not any(kind.__module__.startswith("torch.ao.") for kind in type(module).__mro__):
        return []
    if type(module).__name__.endswith("PackedParams"):  # the layer around it returns the same weights
        return []
    layer: Any = module
    if hasattr(layer, "get_weight") and hasattr(layer, "get_bias"):
        return [*layer.get_weight().values(), *layer.get_bias().values()]
    if hasattr(layer, "_weight_bias"):
        weights = layer._weight_bias()
    else:  # an embedding has no bias, and its method ``weight`` unpacks its weight
        weights = (layer.weight(),) if callable(getattr(layer, "weight", None)) else ()
    return [tensor for tensor in weights if isinstance(tensor, torch.Tensor)]


def _constants(block: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors that a script's graph has as constants and uses, including those in lists and inner blocks."""
    for node in nodes(block):
        if node.kind() == IN_OWN_LAYOUT:
            yield node.t("value")
        elif node.kind() == "prim::Constant" and node.output().uses():
            yield from tensors(node.output().toIValue())


def nodes(block: Any) -> Iterator[Any]:
    """Yield the nodes of a script's graph, including those of inner blocks."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes(inner)
