"""TensorRT through ONNX Runtime's execution provider: NVIDIA GPUs only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from convbench.core.errors import Unavailable
from convbench.core.registry import declares, variants
from convbench.core.traits import precision_option, runtime_traits, unsuited_to_onnx

if TYPE_CHECKING:
    from convbench.models.subject import Subject


@variants.register("tensorrt")
@declares(
    runtime_traits(
        "tensorrt",
        dtype=precision_option,
        packages=("onnxruntime-gpu", "tensorrt", "onnx", "onnxscript"),
        modules=("onnxruntime", "onnx", "onnxscript"),
        extra="onnxruntime",
        combines=("allocator",),
        unsuited=unsuited_to_onnx,
    )
)
def tensorrt(subject: Subject, *, precision: Literal["f32", "f16"] = "f32") -> Subject:
    """Exported to ONNX and built into a TensorRT engine by ONNX Runtime's provider; needs a CUDA device."""
    import torch

    from convbench.models.runtimes.deploy import deploy
    from convbench.models.runtimes.onnx_file import OPSET
    from convbench.models.runtimes.ort import OnnxRuntime
    from convbench.models.variants import need

    if not subject.on_gpu:
        raise Unavailable("TensorRT runs on NVIDIA GPUs only: run with --device cuda on a machine that has one")
    need("tensorrt")
    dtype = {"f32": torch.float32, "f16": torch.float16}[precision]
    options = (("trt_fp16_enable", precision == "f16"),)
    runtime = OnnxRuntime(subject.case, "dynamo", OPSET, "TensorrtExecutionProvider", name="tensorrt", options=options)
    return replace(deploy(subject, runtime), dtype=dtype)
