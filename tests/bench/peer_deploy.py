"""The ten lines that a user of a runtime would write: ``python peer_deploy.py RUNTIME SCENARIO REDUCER SIZE FOLDER``.

The model is exported into the folder unless it is there already, and one thread runs it. Inputs are the runtime's own
arrays: numpy's for ONNX Runtime (a plain ``session.run``) and OpenVINO, tensors for PyTorch's. Prints the median
seconds of a call. Its clock stops while another process has the core, as ours does: otherwise the two could not be
compared on a shared machine.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from convbench.core.record import Case, Choice, Parts
from convbench.measure.running_clock import RunningClock
from convbench.models.network import build

SECONDS, WARM = 0.6, 0.15
Step = Callable[..., Any]
Tensors = tuple[torch.Tensor, ...]


def torchs_own(model: torch.nn.Module) -> Step:
    @torch.inference_mode()
    def step(*tensors: torch.Tensor) -> Any:
        return model(tensors[0], tensors[1:] or None)

    return step


def int8(model: torch.nn.Module, _: Tensors, __: Path) -> Step:
    kinds = {torch.nn.Linear, torch.nn.LSTM}
    return torchs_own(torch.ao.quantization.quantize_dynamic(model, kinds, dtype=torch.qint8))


class Flat(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output, (hidden, cell) = self.model(tensors[0], tensors[1:] or None)
        return output, hidden, cell


def onnx(model: torch.nn.Module, args: Tensors, folder: Path) -> str:
    path = folder / "model.onnx"
    if not path.exists():
        torch.onnx.export(Flat(model).eval(), args, str(path), dynamo=True, verbose=False, opset_version=20)
    return str(path)


def onnxruntime(model: torch.nn.Module, args: Tensors, folder: Path) -> Step:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(onnx(model, args, folder), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def openvino(model: torch.nn.Module, args: Tensors, folder: Path) -> Step:
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(onnx(model, args, folder), "CPU", settings).create_infer_request()
    return lambda *arrays: list(request.infer(list(arrays), share_inputs=True).values())


def aot_inductor(model: torch.nn.Module, args: Tensors, folder: Path) -> Step:
    path = folder / "model.pt2"
    if not path.exists():
        program = torch.export.export(Flat(model).eval(), args, strict=False)
        freezing = {"freezing": True}
        torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=freezing)
    return torch._inductor.aoti_load_package(str(path))


RUNTIMES = {"int8": int8, "onnxruntime": onnxruntime, "openvino": openvino, "aot-inductor": aot_inductor}


def main(runtime: str, scenario: str, reducer: str, size: str, folder: str) -> None:
    torch.set_num_threads(1)
    case = Case(Parts(Choice("conv"), Choice(reducer), int(size) if size != "None" else None), scenario=scenario)
    model = build(case, 0, "cpu")
    clip = torch.randn(1, 16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    frames = [clip[:, t : t + 1].contiguous() for t in range(16)]
    with torch.no_grad():
        state = model(frames[0])[1] if scenario == "streaming" else ()
        args = (frames[0], *state) if scenario == "streaming" else (clip,)
        step = RUNTIMES[runtime](model, args, Path(folder))
    arrays = runtime in ("onnxruntime", "openvino")
    inputs = [[tensor.numpy() for tensor in (frame,)] if arrays else [frame] for frame in frames]
    carried = [tensor.numpy() if arrays else tensor for tensor in state]
    whole, place = clip.numpy() if arrays else clip, 0

    def call() -> None:
        nonlocal carried, place
        if scenario != "streaming":
            step(whole)
            return
        _, *following = step(*inputs[place % 16], *carried)
        carried, place = list(following[0] if len(following) == 1 else following), place + 1

    clock, samples = RunningClock(), list[float]()
    until = time.perf_counter() + WARM
    while time.perf_counter() < until:
        call()
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(samples) < 10:
        samples.append(clock.timed(call))
    print(median(samples))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
