"""OpenVINO as a runtime: compile the model, set its threads, read its profile by node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from convbench.core.errors import CaseFailed, Impossible, Unavailable
from convbench.core.option_types import Exporter
from convbench.core.record import Case
from convbench.core.system.affinity import allowed_cores
from convbench.models.deployment import BeforeCall, Example, LoadedModel, Quantisation, Times
from convbench.models.runtimes import int8_onnx, onnx_file, structure
from convbench.models.runtimes.export_error import reason
from convbench.models.runtimes.onnx_file import FILE, OPSET

Precision = Literal["f32", "bf16", "f16"]
CAPABILITY = {"bf16": "BF16", "f16": "FP16"}


@dataclass(frozen=True)
class OpenVino:
    """A model that OpenVINO reads from ONNX and compiles for the CPU, with a single stream of calls."""

    case: Case
    exporter: Exporter
    precision: Precision
    quantisation: Quantisation | None = None
    name: str = "openvino"

    def export(self, flat_model: nn.Module, example: Example, folder: Path) -> None:
        if any(tensor.dtype == torch.bfloat16 for tensor in (*example.tensors, *structure.row(example.output))):
            raise Impossible(
                "OpenVINO takes and returns numpy's arrays, which have no bfloat16: let the model take and return "
                "float32, or measure a float32 model with openvino(precision=bf16)"
            )
        if any(tensor.numel() == 0 for tensor in structure.row(example.output)):
            raise Impossible("OpenVINO loses the shape of an output without numbers: let the model leave it out")
        path = onnx_file.write(flat_model, example, folder, self.exporter, OPSET)
        if self.quantisation:
            int8_onnx.quantise(path, self.quantisation, example.names)

    def load(self, folder: Path, example: Example, threads: int) -> LoadedModel:
        request = self._compile(folder, threads).create_infer_request()

        def run(arrays: list[Any]) -> Sequence[Any]:
            return list(request.infer(arrays, share_inputs=True).values())

        return LoadedModel(structure.arrays, run, structure.from_arrays)

    def profile(
        self, folder: Path, example: Example, threads: int, calls: int, before_call: BeforeCall
    ) -> list[Times] | None:
        stages = onnx_file.stage_of_nodes(folder, self.case)
        request = self._compile(folder, threads, profile=True).create_infer_request()
        arrays = structure.arrays(example.tensors)
        request.infer(arrays)
        times: list[Times] = []
        for _ in range(calls):
            before_call()
            request.infer(arrays)
            nodes = [
                (node.node_name, node.node_type, node.real_time.total_seconds())
                for node in request.get_profiling_info()
                if node.real_time.total_seconds() > 0
            ]
            times.append(onnx_file.by_stage(nodes, stages, self.case))
        return times

    def _compile(self, folder: Path, threads: int, *, profile: bool = False) -> Any:
        import openvino

        core = openvino.Core()
        self._refuse_missing(core)
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # whoever measures the process decides about pinning
            "ENABLE_HYPER_THREADING": True,  # otherwise it takes one thread per physical core at most
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERF_COUNT": profile,
        }
        try:
            model = core.compile_model(core.read_model(str(folder / FILE)), "CPU", settings)
        except RuntimeError as error:
            raise CaseFailed("error", f"OpenVINO cannot load the exported model: {reason(error)}") from error
        cores = len(allowed_cores()) or threads
        count = model.get_property("INFERENCE_NUM_THREADS")
        if count < min(threads, cores):  # a process without timing may be pinned to fewer cores than threads
            raise Unavailable(
                f"OpenVINO uses only {count} of the {threads} threads of this case, as on a CPU of several sockets or "
                f"kinds of cores: ask for threads: {count}"
            )
        return model

    def _refuse_missing(self, core: Any) -> None:
        """Raise Unavailable if the CPU has no instructions for ``precision``.

        It would silently compute in float32 or be many times slower.
        """
        capability = CAPABILITY.get(self.precision)
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if capability and capability not in capabilities:
            raise Unavailable(
                f"this CPU has no instructions for {self.precision} (OpenVINO lists {', '.join(capabilities)}): use "
                "openvino without a precision"
            )
