"""ONNX Runtime as a runtime: make its session, set its threads, read its profile by node."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convbench.core.errors import CaseFailed, Unavailable
from convbench.core.option_types import Exporter
from convbench.core.record import Case
from convbench.models.deployment import BeforeCall, Example, LoadedModel, Quantisation, Times
from convbench.models.runtimes import int8_onnx, onnx_file, structure
from convbench.models.runtimes.export_error import reason
from convbench.models.runtimes.onnx_file import FILE

KERNEL = "_kernel_time"


@dataclass(frozen=True)
class OnnxRuntime:
    """A model that ONNX Runtime runs on one of its providers, with that provider's ``options``."""

    case: Case
    exporter: Exporter
    opset: int
    provider: str
    quantisation: Quantisation | None = None
    name: str = "onnxruntime"
    options: tuple[tuple[str, Any], ...] = ()

    def export(self, flat_model: nn.Module, example: Example, folder: Path) -> None:
        path = onnx_file.write(flat_model, example, folder, self.exporter, self.opset)
        if self.quantisation:
            int8_onnx.quantise(path, self.quantisation, example.names)

    def load(self, folder: Path, example: Example, threads: int) -> LoadedModel:
        session = self._session(folder, threads)
        if torch.device(self.case.device).type == "cuda":
            return device_model(session, example)
        return LoadedModel(structure.arrays, _runner(session, example), structure.from_arrays)

    def profile(
        self, folder: Path, example: Example, threads: int, calls: int, before_call: BeforeCall
    ) -> list[Times] | None:
        if torch.device(self.case.device).type == "cuda":  # its nodes' times are those of launches
            return None
        stages = onnx_file.stage_of_nodes(folder, self.case)
        with tempfile.TemporaryDirectory() as logs:
            session = self._session(folder, threads, profile=f"{logs}/profile")
            run, arrays = _runner(session, example), structure.arrays(example.tensors)
            run(arrays)
            for _ in range(calls):
                before_call()
                run(arrays)
            events = json.loads(Path(session.end_profiling()).read_bytes())
        return [onnx_file.by_stage(nodes, stages, self.case) for nodes in _calls(events)[1:]]

    def _session(self, folder: Path, threads: int, profile: str = "") -> Any:
        import onnxruntime

        if self.provider not in onnxruntime.get_available_providers():
            raise Unavailable(
                f"this ONNX Runtime has no {self.provider}: install its build for the device (onnxruntime-gpu "
                "instead of onnxruntime)"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        try:
            session = onnxruntime.InferenceSession(
                str(folder / FILE), options, providers=[(self.provider, self._provider_options())]
            )
        except Exception as error:
            raise CaseFailed("error", f"ONNX Runtime cannot load the exported model: {reason(error)}") from error
        if session.get_providers()[0] != self.provider:
            raise Unavailable(f"ONNX Runtime could not start its {self.provider} and would run on another provider")
        return session

    def _provider_options(self) -> dict[str, Any]:
        """Return the provider's options and the number of the case's GPU. By default, it takes the first GPU."""
        number = torch.device(self.case.device).index
        return dict(self.options) | ({} if number is None else {"device_id": number})


def _runner(session: Any, example: Example) -> Callable[[list[Any]], Sequence[Any]]:
    """Return a function that calls ``session.run`` with numpy arrays by name, as most programs do."""
    names = example.names

    def run(arrays: list[Any]) -> Sequence[Any]:
        outputs: Sequence[Any] = session.run(None, dict(zip(names, arrays, strict=True)))
        return outputs

    return run


def _calls(events: list[dict[str, Any]]) -> list[list[tuple[str, str, float]]]:
    """Return the nodes of each call in order. The event of a whole call follows those of its nodes."""
    calls: list[list[tuple[str, str, float]]] = [[]]
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            kind = str(event.get("args", {}).get("op_name", ""))
            calls[-1].append((event["name"].removesuffix(KERNEL), kind, event["dur"] * 1e-6))
        elif event.get("name") == "model_run":
            calls.append([])
    return [nodes for nodes in calls if nodes]


def device_model(session: Any, example: Example) -> LoadedModel:
    """Return a model whose tensors stay on the device. The session uses torch's memory once torch is done with it."""
    from onnxruntime import OrtValue
    from torch.utils.dlpack import from_dlpack

    device = example.tensors[0].device

    def arrays(tensors: Sequence[torch.Tensor]) -> list[Any]:
        return [OrtValue.from_dlpack(tensor.contiguous()) for tensor in tensors]

    def run(values: list[Any]) -> Sequence[Any]:
        binding = session.io_binding()
        for name, value in zip(example.names, values, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name in example.outputs:
            binding.bind_output(name, device.type, device.index or 0)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        session.run_with_iobinding(binding)
        outputs: Sequence[Any] = binding.get_outputs()
        return outputs

    return LoadedModel(arrays, run, lambda outputs: [from_dlpack(value) for value in outputs])
