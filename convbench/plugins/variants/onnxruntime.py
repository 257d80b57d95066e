"""ONNX Runtime: the model is exported to ONNX and runs in a session, on a CPU or by the CUDA provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.core.errors import Impossible
from convbench.core.option_types import Exporter, Positive
from convbench.core.registry import declares, variants
from convbench.core.traits import dtype, runtime_traits, unsuited_to_onnx

if TYPE_CHECKING:
    from convbench.core.record import Case
    from convbench.models.subject import Subject

NO_BFLOAT16 = "ONNX Runtime has no bfloat16 for this model's layers: use half(dtype=fp16)+onnxruntime"


def _unsuited(case: Case, *, exporter: Exporter, any_batch: bool, **_: object) -> str:
    if any_batch and exporter == "torchscript":
        return "torchscript fixes the batch of recurrent layers: any_batch needs exporter=dynamo"
    return NO_BFLOAT16 if dtype(case) == "bf16" else unsuited_to_onnx(case)


@variants.register("onnxruntime")
@declares(
    runtime_traits(
        "onnxruntime",
        packages=("onnxruntime", "onnx", "onnxscript"),
        modules=("onnxruntime", "onnx", "onnxscript"),
        extra="onnxruntime",
        combines=("half", "int8", "allocator"),
        takes_quantisation=True,
        unsuited=_unsuited,
    )
)
def onnxruntime(
    subject: Subject, *, exporter: Exporter = "dynamo", opset: Positive = 20, any_batch: bool = False
) -> Subject:
    """Exported to ONNX and run by ONNX Runtime; the state is an input and an output; threads are intra-op threads.

    The exported file has the shapes of the case; ``any_batch`` leaves its batch free.
    """
    import torch

    from convbench.models.runtimes.deploy import deploy
    from convbench.models.runtimes.ort import OnnxRuntime
    from convbench.models.variants import need

    need("onnxruntime")
    if subject.dtype == torch.bfloat16:
        raise Impossible(NO_BFLOAT16)
    provider = "CUDAExecutionProvider" if subject.on_gpu else "CPUExecutionProvider"
    runtime = OnnxRuntime(subject.case, exporter, opset, provider, subject.quantisation)
    return deploy(subject, runtime, any_batch=any_batch)
