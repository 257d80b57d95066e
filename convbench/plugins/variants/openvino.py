"""OpenVINO: the model is exported to ONNX, then compiled by OpenVINO with a hint of its precision."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from convbench.core.errors import Unavailable
from convbench.core.option_types import Exporter
from convbench.core.registry import declares, variants
from convbench.core.traits import precision_option, runtime_traits, unsuited_to_onnx

if TYPE_CHECKING:
    from convbench.core.record import Case
    from convbench.models.subject import Subject


def _unsuited(case: Case, **_: object) -> str:
    if any(choice.name == "int8" and dict(choice.options).get("method") != "static" for choice in case.variant):
        return "OpenVINO cannot run a dynamically quantised model: use int8(method=static)+openvino"
    return unsuited_to_onnx(case)


@variants.register("openvino")
@declares(
    runtime_traits(
        "openvino",
        dtype=precision_option,
        packages=("openvino", "onnx", "onnxscript"),
        modules=("openvino", "onnx", "onnxscript"),
        extra="openvino",
        combines=("int8", "allocator"),
        takes_quantisation=True,
        unsuited=_unsuited,
    )
)
def openvino(
    subject: Subject, *, precision: Literal["f32", "bf16", "f16"] = "f32", exporter: Exporter = "dynamo"
) -> Subject:
    """Exported to ONNX and run by OpenVINO on the CPU, in float32 or, if the CPU supports it, in bf16 or f16."""
    import torch

    from convbench.models.runtimes.deploy import deploy
    from convbench.models.runtimes.ov import OpenVino
    from convbench.models.variants import need

    if torch.device(subject.device).type != "cpu":
        raise Unavailable("OpenVINO runs on CPUs only: it cannot use a CUDA device")
    need("openvino")
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[precision]
    deployed_subject = deploy(subject, OpenVino(subject.case, exporter, precision, subject.quantisation))
    return deployed_subject if subject.quantisation else replace(deployed_subject, dtype=dtype)
