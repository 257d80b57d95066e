"""Export, load and put the runtime's call where the model's was; what each of them cost is kept beside the subject."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from convbench.core import scratch
from convbench.core.errors import CaseFailed, is_out_of_memory
from convbench.models.deployment import Deployment, Engine, Example, LoadedModel
from convbench.models.runtimes import structure
from convbench.models.runtimes.example import Flat, at_first, cycle_of, example, of_any_batch
from convbench.models.runtimes.export_error import reason
from convbench.models.subject import Subject


def deploy(subject: Subject, engine: Engine, *, any_batch: bool = False) -> Subject:
    """The subject run by an engine, which may take ``any_batch``. Raises CaseFailed where it cannot be exported or
    loaded; its calls do, where the engine cannot run it.
    """
    call = example(subject)
    folder, export_seconds, keeper = _exported(subject, engine, call, any_batch)
    start = time.perf_counter()
    model = engine.load(folder, call, torch.get_num_threads())
    load_seconds = time.perf_counter() - start
    forward, output = _forward(engine, model, call), _output(model, call)
    deployment = Deployment(
        engine, folder, call, torch.get_num_threads(), export_seconds, load_seconds, model,
        _program(subject, engine, model, call), output, keeper,
    )  # fmt: skip
    return replace(subject, forward=forward, deployment=deployment)


class _Folder:
    """A folder of this process's own that goes with this object; tempfile's would warn of that, as of a leak."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="convbench-export-")
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _exported(subject: Subject, engine: Engine, call: Example, any_batch: bool) -> tuple[Path, float | None, object]:
    """The folder of the exported model, the seconds that took, and what keeps the folder for as long as it lives.

    What an earlier visit to the case has left is taken as it is; nobody sees a folder that is not finished.
    """
    shared = os.environ.get(scratch.EXPORTS)
    keeper = None if shared else _Folder()
    parent = Path(shared or keeper.path)  # type: ignore[union-attr]
    folder = parent / engine.name
    if folder.exists():
        return folder, None, keeper
    parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=parent))
    start = time.perf_counter()
    try:
        with torch.no_grad():
            exported = of_any_batch(subject, call) if any_batch else call
            engine.export(Flat(subject, call).eval(), exported, unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    seconds = time.perf_counter() - start
    unfinished.rename(folder)
    return folder, seconds, keeper


def _forward(engine: Engine, model: LoadedModel, call: Example) -> Callable[..., Any]:
    """The model as PyTorch calls it: tensors are made the runtime's arrays and its arrays tensors, at every call."""
    shapes, put, begin = structure.shapes(call.tensors), structure.rebuild(call.output, "the output"), at_first(call)

    def forward(*args: Any, **kwargs: Any) -> Any:
        tensors = structure.row((begin(args), kwargs))
        if structure.shapes(tensors) != shapes:
            raise _another_shape(shapes, structure.shapes(tensors))
        try:
            outputs = model(tensors)
        except Exception as error:
            raise _cannot_run(engine, error) from error
        return put(iter(outputs))

    return forward


def _output(model: LoadedModel, call: Example) -> Callable[[Sequence[Any]], Any]:
    put = structure.rebuild(call.output, "the output")
    return lambda arrays: put(iter(model.tensors(arrays)))


def _program(subject: Subject, engine: Engine, model: LoadedModel, call: Example) -> Callable[[], Sequence[Any]]:
    """The scenario's calls, one at a time, with nothing in them that a short program of a user's would not do."""
    rows = [model.arrays(row) for row in cycle_of(subject, call)]
    inputs, outputs = len(call.names) - call.carried, len(call.outputs) - call.carried
    following = cycle([row[:inputs] for row in rows])
    state: Sequence[Any] = rows[0][inputs:]

    def step() -> Sequence[Any]:
        nonlocal state
        try:
            returned = model.run([*next(following), *state])
        except Exception as error:
            raise _cannot_run(engine, error) from error
        state = returned[outputs:]
        return returned

    return step


def _cannot_run(engine: Engine, error: Exception) -> CaseFailed:
    """What a call fails with where the runtime raises, whatever that is."""
    message = f"{engine.name} has loaded the exported model and cannot run it: {reason(error)}"
    return CaseFailed("out of memory" if is_out_of_memory(error) else "error", message)


def _another_shape(exported: list[torch.Size], actual: list[torch.Size]) -> CaseFailed:
    def words(shapes: list[torch.Size]) -> str:
        return ", ".join("x".join(map(str, shape)) for shape in shapes)

    return CaseFailed(
        "error",
        f"was exported for {words(exported)} and is given {words(actual)}: shapes are fixed when a model is exported; "
        "export it for that clip",
    )
