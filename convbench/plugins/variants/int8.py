"""Weights in int8, quantised by torch itself or by the runtime that follows (``int8+onnxruntime``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from convbench.core.errors import Impossible, Unavailable
from convbench.core.option_types import Positive
from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits, projects, takes_quantisation

if TYPE_CHECKING:
    from torch import nn

    from convbench.core.record import Case
    from convbench.models.inputs import Inputs
    from convbench.models.subject import Subject


CLIPS = 8
"""The default number of calibration clips."""
PROJECTED = "the LSTM has projections (proj_size), which torch cannot quantise"
WITHOUT_BIAS = "the model has a recurrent layer without biases, which torch cannot quantise: use int8+onnxruntime"


def _unsuited(case: Case, *, method: str, calibration: int, clips: str | None) -> str:
    if method != "static" and (calibration != CLIPS or clips is not None):
        return f"calibration and clips are for int8(method=static): {method} has no ranges to find from clips"
    if takes_quantisation(case):
        remedy = "use int8 or int8(method=static) before another runtime"
        return f"torchao quantises for torch only: {remedy}" if method == "torchao" else ""
    return PROJECTED if projects(case) and method != "torchao" else ""


@variants.register("int8")
@declares(
    VariantTraits(
        dtype="int8",
        scenarios=("inference", "streaming"),
        combines=("allocator", "compile"),
        packages=("torchao",),
        extra="int8",
        unsuited=_unsuited,
    )
)
def int8(
    subject: Subject,
    *,
    method: Literal["dynamic", "static", "torchao"] = "dynamic",
    calibration: Positive = CLIPS,
    clips: str | None = None,
) -> Subject:
    """Weights in int8: dynamic (LSTM, Linear), static (convolutions too, ranges from calibration clips), or torchao.

    ``calibration`` is the number of calibration clips for ``static``. They are like the case's own, or made by
    ``clips``: ``package.module:function``, called with the clip's shape and that number.
    """
    import torch

    from convbench.models.deployment import Quantisation
    from convbench.models.runtimes.int8 import calibration_clips, rows_of
    from convbench.models.weights import fix_weights

    if method != "torchao" and (name := _other_type(subject.model)):
        raise Impossible(f"int8 is made from float32 weights, and the model has layers in {name}")
    ranges = calibration_clips(subject, calibration, clips) if method == "static" else ()
    if takes_quantisation(subject.case):
        return replace(subject, quantisation=Quantisation(method, rows_of(subject, ranges)), dtype=torch.int8)
    if torch.device(subject.device).type != "cpu" and method != "torchao":
        raise Unavailable(f"torch's {method} int8 runs on CPUs only: use int8(method=torchao) on a GPU")
    if method != "torchao" and set(torch.backends.quantized.supported_engines) <= {"none"}:
        raise Unavailable(
            f"torch's {method} int8 has no engine for this CPU (fbgemm and x86 need AVX2): use int8+onnxruntime"
        )
    fix_weights(subject.model)
    _QUANTISE[method](subject, ranges)
    return replace(subject, dtype=torch.int8)


def _other_type(model: nn.Module) -> str:
    """Return the number type of the first layer to quantise that is not in float32; empty if all are."""
    import torch
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    layers = (module for module in model.modules() if isinstance(module, (nn.Linear, nn.RNNBase, _ConvNd)))
    types = (parameter.dtype for layer in layers for parameter in layer.parameters(recurse=False))
    return next((str(kind).removeprefix("torch.") for kind in types if kind is not torch.float32), "")


def _dynamic(subject: Subject, _: Sequence[Inputs]) -> None:
    """Replace recurrent and linear layers in place by quantised layers, which find their ranges in every call."""
    if not _quantise_layers(subject.model):
        raise Impossible("the model has no LSTM, GRU or Linear layer that torch could quantise dynamically")


def _quantise_layers(model: nn.Module) -> bool:
    """Quantise recurrent and linear layers in place, and return whether there are any."""
    import torch
    from torch import nn
    from torch.ao import quantization
    from torch.ao.nn.quantized import dynamic as quantized

    from convbench.models.runtimes.quiet import quiet
    from convbench.models.weights import has_projection

    kinds = {nn.Linear, nn.LSTM, nn.GRU}
    if not any(type(module) in kinds for module in model.modules()):
        return False
    if type(model) in kinds:
        raise Impossible(
            "the model is a layer itself, but torch quantises only layers inside a module: put it into a module"
        )
    if has_projection(model):
        raise Impossible(PROJECTED)
    if any(type(module) in kinds and not module.bias for module in model.modules() if isinstance(module, nn.RNNBase)):
        raise Impossible(WITHOUT_BIAS)
    with quiet():
        quantization.quantize_dynamic(model, kinds, dtype=torch.qint8, inplace=True)  # type: ignore[no-untyped-call]
    for module in model.modules():
        if isinstance(module, (quantized.LSTM, quantized.GRU)):
            vars(module)["flatten_parameters"] = _nothing
    return True


def _nothing() -> None:
    """Take the place of ``flatten_parameters``, which many models call in forward, and which is for GPUs only."""


def _static(subject: Subject, clips: Sequence[Inputs]) -> None:
    """Quantise backbone and reducer, convolutions too, with fixed ranges, and the other layers dynamically."""
    from convbench.models.runtimes.int8 import quantise_with_ranges
    from convbench.models.runtimes.quiet import quiet

    with quiet():
        quantise_with_ranges(subject, clips)
    _quantise_layers(subject.model)


def _torchao(subject: Subject, _: Sequence[Inputs]) -> None:
    """Quantise linear layers only; torchao is made to be compiled (``int8(method=torchao)+compile``)."""
    from torch import nn

    from convbench.models.runtimes.quiet import quiet
    from convbench.models.variants import need

    need("int8", ("torchao",))
    if not any(type(module) is nn.Linear for module in subject.model.modules()):
        raise Impossible("the model has no Linear layer, and torchao quantises no other kind: use int8 instead")
    with quiet():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(subject.model, Int8DynamicActivationInt8WeightConfig())


_QUANTISE: dict[str, Callable[[Subject, Sequence[Inputs]], None]] = {
    "dynamic": _dynamic, "static": _static, "torchao": _torchao,
}  # fmt: skip
