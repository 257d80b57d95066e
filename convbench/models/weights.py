"""The weights of a model, those too that torch does not list: what quantised layers keep packed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from convbench.models.values import held_bytes, stored_bytes, tensors

IN_OWN_LAYOUT = "prim::ConstantMKLDNNTensor"
"""A constant in the layout of oneDNN, as ``torch.jit.optimize_for_inference`` makes it."""


CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By its number of axes, how a tensor is stored with its channels last."""


def has_projection(model: nn.Module) -> bool:
    """Whether there is an LSTM with projections in a model, which few others than torch's own kernels can compute."""
    return any(isinstance(module, nn.LSTM) and module.proj_size for module in model.modules())


def channels_last(model: nn.Module) -> nn.Module:
    """The model with every weight of four or five axes stored so; ``Module.to`` gives all of them one format."""

    def reorder(weight: torch.Tensor) -> torch.Tensor:
        has_format = not is_lazy(weight) and weight.dim() in CHANNELS_LAST
        return weight.to(memory_format=CHANNELS_LAST[weight.dim()]) if has_format else weight

    result: nn.Module = model._apply(reorder)  # type: ignore[no-untyped-call]
    return result


def weights_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers, and of quantised weights, which are neither."""
    weights = (*_all_parameters(model), *model.buffers())
    return held_bytes(materialized(weights))


def materialized(weights: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Those parameters and buffers that have a shape; those of a lazy layer that no call has reached have none."""
    return [tensor for tensor in weights if not is_lazy(tensor)]


def number_type(model: nn.Module) -> torch.dtype:
    """The floating-point type that most bytes of the weights are of; float32 where there are none."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in materialized(_all_parameters(model)):
        if tensor.is_floating_point():
            sizes[tensor.dtype] += stored_bytes(tensor)
    return max(sizes, key=sizes.__getitem__, default=torch.float32)


def _all_parameters(model: nn.Module) -> list[torch.Tensor]:
    """The parameters of a model, and the weights of quantised layers, which are none to torch."""
    return [*model.parameters(), *(weight for module in model.modules() for weight in quantised_weights(module))]


def quantised_weights(module: nn.Module) -> list[torch.Tensor]:
    """The weights and biases that a quantised layer of torch keeps packed, out of its parameters' sight.

    Those of a frozen script too, which are constants of its graph.
    """
    if isinstance(module, torch.jit.ScriptModule) and not module._c.hasattr("training"):
        return list(_constants(module.graph))
    if not any(kind.__module__.startswith("torch.ao.") for kind in type(module).__mro__):
        return []
    if type(module).__name__.endswith("PackedParams"):  # the layer around it has told of the same weights
        return []
    layer: Any = module
    if hasattr(layer, "get_weight") and hasattr(layer, "get_bias"):
        return [*layer.get_weight().values(), *layer.get_bias().values()]
    if hasattr(layer, "_weight_bias"):
        weights = layer._weight_bias()
    else:  # an embedding has no bias, and a method that unpacks its weight
        weights = (layer.weight(),) if callable(getattr(layer, "weight", None)) else ()
    return [tensor for tensor in weights if isinstance(tensor, torch.Tensor)]


def _constants(block: Any) -> Iterator[torch.Tensor]:
    """The tensors that a script's graph has as constants and uses, those in lists and in inner blocks too."""
    for node in nodes(block):
        if node.kind() == IN_OWN_LAYOUT:
            yield node.t("value")
        elif node.kind() == "prim::Constant" and node.output().uses():
            yield from tensors(node.output().toIValue())


def nodes(block: Any) -> Iterator[Any]:
    """The nodes of a script's graph, those of inner blocks too."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from nodes(inner)
