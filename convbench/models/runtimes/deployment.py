"""Export, load and put the runtime's call where the model's was; what each of them cost is kept beside the subject."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from convbench.core import rooms
from convbench.core.errors import CaseFailed, Unavailable
from convbench.core.traits import of_variant
from convbench.models.deployed import Deployment, Engine, Example, Rows
from convbench.models.runtimes import structure
from convbench.models.runtimes.example import Flat, at_first, example
from convbench.models.subject import Subject


def deploy(subject: Subject, engine: Engine) -> Subject:
    """The subject run by an engine. Raises CaseFailed where it cannot be exported or loaded."""
    call = example(subject)
    folder, seconds, keeper = _exported(subject, engine, call)
    start = time.perf_counter()
    rows = engine.load(folder, call, torch.get_num_threads())
    loaded = time.perf_counter() - start
    deployment = Deployment(engine, folder, call, torch.get_num_threads(), seconds, loaded, keeper)
    return replace(subject, forward=_forward(rows, call), deployment=deployment)


def need(variant: str, modules: Sequence[str] = ()) -> None:
    """Raises Unavailable, naming the extra, where a module that a variant needs is not installed."""
    traits = of_variant(variant)
    missing = [module for module in modules or traits.modules if importlib.util.find_spec(module) is None]
    if missing:
        raise Unavailable(
            f"{', '.join(missing)} is not installed, which the variant {variant} needs: "
            f"pip install 'convbench[{traits.extra}]'"
        )


def _exported(subject: Subject, engine: Engine, call: Example) -> tuple[Path, float | None, object]:
    """The folder of the exported model, the seconds that took, and what keeps the folder for as long as it lives.

    What an earlier visit to the case has left is taken as it is; nobody sees a folder that is not finished.
    """
    shared = os.environ.get(rooms.EXPORTS)
    keeper = None if shared else tempfile.TemporaryDirectory(prefix="convbench-export-")
    parent = Path(shared or keeper.name)  # type: ignore[union-attr]
    folder = parent / engine.name
    if folder.exists():
        return folder, None, keeper
    parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=parent))
    start = time.perf_counter()
    try:
        with torch.no_grad():
            engine.export(Flat(subject, call).eval(), call, unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    seconds = time.perf_counter() - start
    unfinished.rename(folder)
    return folder, seconds, keeper


def _forward(rows: Rows, call: Example) -> Callable[..., Any]:
    shapes, put, begin = structure.shapes(call.tensors), structure.rebuild(call.output, "the output"), at_first(call)

    def forward(*args: Any, **kwargs: Any) -> Any:
        tensors = structure.row((begin(args), kwargs))
        if structure.shapes(tensors) != shapes:
            raise _another_shape(shapes, structure.shapes(tensors))
        return put(iter(rows(tensors)))

    return forward


def _another_shape(exported: list[torch.Size], given: list[torch.Size]) -> CaseFailed:
    def words(shapes: list[torch.Size]) -> str:
        return ", ".join("x".join(map(str, shape)) for shape in shapes)

    return CaseFailed(
        "error",
        f"was exported for {words(exported)} and is given {words(given)}: shapes are fixed when a model is exported; "
        "export it for that clip",
    )
