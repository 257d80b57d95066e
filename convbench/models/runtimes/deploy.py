"""Export and load a subject's model, replace its call by the runtime's, and note how long export and load took."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from convbench.core.errors import CaseFailed, is_out_of_memory
from convbench.core.system import scratch
from convbench.models.deployment import Deployment, Example, LoadedModel, Runtime
from convbench.models.network import in_mode
from convbench.models.runtimes import structure
from convbench.models.runtimes.example import FlatModel, any_batch_example, call_cycle, example, state_filler
from convbench.models.runtimes.export_error import reason
from convbench.models.subject import Subject


def deploy(subject: Subject, runtime: Runtime, *, any_batch: bool = False) -> Subject:
    """Return the subject as a runtime runs it. With ``any_batch``, the exported model takes batches of any size.

    Raises CaseFailed if the model cannot be exported or loaded. Its calls raise CaseFailed if the runtime fails.
    """
    call = example(subject)
    folder, export_seconds, keeper = _export(subject, runtime, call, any_batch)
    start = time.perf_counter()
    model = runtime.load(folder, call, torch.get_num_threads())
    load_seconds = time.perf_counter() - start
    rebuild = structure.rebuild(call.output, "the output")

    def output(arrays: Sequence[Any]) -> Any:
        return rebuild(iter(model.tensors(arrays)))

    deployment = Deployment(
        runtime, folder, call, torch.get_num_threads(), export_seconds, load_seconds, model,
        _program(subject, runtime, model, call), output, keeper,
    )  # fmt: skip
    return replace(subject, forward=_forward(runtime, model, call, rebuild), deployment=deployment)


class _Folder:
    """A scratch folder of this process that is removed with this object, or, if it is killed, by a later command."""

    def __init__(self) -> None:
        stack = ExitStack()
        self.path = stack.enter_context(scratch.folder())
        weakref.finalize(self, stack.close)


def _export(subject: Subject, runtime: Runtime, call: Example, any_batch: bool) -> tuple[Path, float | None, object]:
    """Return the folder of the exported model, the seconds of the export, and the object that keeps the folder alive.

    An export of an earlier visit to the case is used again, and its seconds are None. A folder gets its final name only
    once it is complete.
    """
    shared_folder = os.environ.get(scratch.EXPORTS)
    keeper = None if shared_folder else _Folder()
    parent = Path(shared_folder or keeper.path)  # type: ignore[union-attr]
    folder = parent / runtime.name
    if folder.exists():
        return folder, None, keeper
    parent.mkdir(parents=True, exist_ok=True)
    temporary_folder = Path(tempfile.mkdtemp(dir=parent))
    start = time.perf_counter()
    try:
        with torch.no_grad():
            export_call = any_batch_example(subject, call) if any_batch else call
            runtime.export(in_mode(FlatModel(subject, call), training=False), export_call, temporary_folder)
    except BaseException:
        shutil.rmtree(temporary_folder, ignore_errors=True)
        raise
    seconds = time.perf_counter() - start
    temporary_folder.rename(folder)
    return folder, seconds, keeper


def _forward(runtime: Runtime, model: LoadedModel, call: Example, rebuild: structure.Rebuild) -> Callable[..., Any]:
    """Return the model as PyTorch calls it: every call converts tensors to the runtime's arrays and its arrays back."""
    shapes, fill_state = structure.shapes(call.tensors), state_filler(call)

    def forward(*args: Any, **kwargs: Any) -> Any:
        tensors = structure.row((fill_state(args), kwargs))
        if structure.shapes(tensors) != shapes:
            raise _shape_error(shapes, structure.shapes(tensors))
        try:
            outputs = model(tensors)
        except Exception as error:
            raise _run_error(runtime, error) from error
        return rebuild(iter(outputs))

    return forward


def _program(subject: Subject, runtime: Runtime, model: LoadedModel, call: Example) -> Callable[[], Sequence[Any]]:
    """Return a function that makes the scenario's next call, with no more work than in a user's short program."""
    rows = [model.arrays(row) for row in call_cycle(subject, call)]
    input_count, output_count = len(call.names) - call.carried, len(call.outputs) - call.carried
    input_cycle = cycle([row[:input_count] for row in rows])
    state: Sequence[Any] = rows[0][input_count:]

    def step() -> Sequence[Any]:
        nonlocal state
        try:
            outputs = model.run([*next(input_cycle), *state])
        except Exception as error:
            raise _run_error(runtime, error) from error
        state = outputs[output_count:]
        return outputs

    return step


def _run_error(runtime: Runtime, error: Exception) -> CaseFailed:
    """Return the error of a call in which the runtime raised, whatever the runtime's error is."""
    message = f"{runtime.name} has loaded the exported model but cannot run it: {reason(error)}"
    return CaseFailed("out of memory" if is_out_of_memory(error) else "error", message)


def _shape_error(exported_shapes: list[torch.Size], actual_shapes: list[torch.Size]) -> CaseFailed:
    def text(shapes: list[torch.Size]) -> str:
        return ", ".join("x".join(map(str, shape)) for shape in shapes)

    return CaseFailed(
        "error",
        f"was exported for {text(exported_shapes)} but is given {text(actual_shapes)}: shapes are fixed "
        "when a model is exported; export it for that clip",
    )
