"""Weights of eight bits: by torch itself, or noted for the runtime that follows (``int8+onnxruntime``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from convbench.core.errors import CaseFailed, Impossible, Unavailable
from convbench.core.registry import declares, variants
from convbench.core.traits import VariantTraits, takes_quantisation

if TYPE_CHECKING:
    from convbench.models.inputs import Inputs
    from convbench.models.subject import Subject


@variants.register("int8")
@declares(
    VariantTraits(
        dtype="int8",
        scenarios=("inference", "streaming"),
        combines=("allocator", "compile"),
        packages=("torchao",),
        extra="int8",
    )
)
def int8(
    subject: Subject,
    *,
    method: Literal["dynamic", "static", "torchao"] = "dynamic",
    calibration: int = 8,
    clips: str | None = None,
) -> Subject:
    """Weights in int8: dynamic (LSTM, Linear), static (convolutions too, ranges from calibration clips), or torchao.

    ``calibration`` clips of the case's own kind, or of ``clips``, ``package.module:function`` of a shape and a number.
    """
    import torch

    from convbench.models.deployment import Quantisation
    from convbench.models.runtimes.int8 import calibration_clips, rows_of

    ranges = calibration_clips(subject, calibration, clips) if method == "static" else ()
    if takes_quantisation(subject.case):
        if method == "torchao":
            raise Impossible(
                "torchao quantises for torch alone: use int8 or int8(method=static) before another runtime"
            )
        return replace(subject, quantisation=Quantisation(method, rows_of(subject, ranges)), dtype=torch.int8)
    if torch.device(subject.device).type != "cpu" and method != "torchao":
        raise Unavailable(f"torch's {method} int8 runs on CPUs only: use int8(method=torchao) on a GPU")
    if method != "torchao" and set(torch.backends.quantized.supported_engines) <= {"none"}:
        raise Unavailable(
            f"torch's {method} int8 has no engine for this CPU (fbgemm and x86 need AVX2): use int8+onnxruntime"
        )
    _QUANTISE[method](subject, ranges)
    return replace(subject, dtype=torch.int8)


def _dynamic(subject: Subject, _: Sequence[Inputs]) -> None:
    """Exchange the recurrent and linear layers of the model where they stand; ranges are found at every call."""
    import torch
    from torch import nn
    from torch.ao import quantization

    from convbench.models.runtimes.quiet import quiet
    from convbench.models.weights import has_projection

    kinds = {nn.Linear, nn.LSTM, nn.GRU}
    if not any(type(module) in kinds for module in subject.model.modules()):
        raise CaseFailed("error", "has no LSTM, GRU or Linear layer that torch could quantise dynamically")
    if type(subject.model) in kinds:
        raise CaseFailed(
            "error", "is a layer itself, and torch exchanges those inside of a module only: put it into one"
        )
    if has_projection(subject.model):
        raise CaseFailed("error", "has an LSTM with projections (proj_size), which torch cannot quantise")
    with quiet():
        quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            subject.model, kinds, dtype=torch.qint8, inplace=True
        )


def _static(subject: Subject, clips: Sequence[Inputs]) -> None:
    """Convolutions and what follows them in the backbone and the reducer, ranges fixed; the rest dynamically."""
    from convbench.models.runtimes.int8 import quantise_with_ranges
    from convbench.models.runtimes.quiet import quiet

    with quiet():
        quantise_with_ranges(subject, clips)
    _dynamic(subject, ())


def _torchao(subject: Subject, _: Sequence[Inputs]) -> None:
    """Linear layers only: made to be compiled (``int8(method=torchao)+compile``)."""
    from torch import nn

    from convbench.models.runtimes.quiet import quiet
    from convbench.models.variants import need

    need("int8", ("torchao",))
    if not any(type(module) is nn.Linear for module in subject.model.modules()):
        raise CaseFailed("error", "has no Linear layer, and torchao quantises no other: use int8 instead")
    with quiet():
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(subject.model, Int8DynamicActivationInt8WeightConfig())


_QUANTISE: dict[str, Callable[[Subject, Sequence[Inputs]], None]] = {
    "dynamic": _dynamic, "static": _static, "torchao": _torchao,
}  # fmt: skip
