"""The model as an ONNX file, by either of torch's exporters; which stage each of its nodes is of."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from convbench.core.errors import CaseFailed
from convbench.core.metrics import OTHER
from convbench.core.record import STAGES, Case, Parts
from convbench.models.deployment import ASIDE, Example
from convbench.models.runtimes import structure
from convbench.models.runtimes.export_error import reason
from convbench.models.runtimes.quiet import quiet
from convbench.models.weights import has_projection
from convbench.models.without_values import unchecked

Exporter = Literal["dynamo", "torchscript"]
FILE = "model.onnx"
OPSET = 20
BATCH = "batch"
"""What an axis is called in a file that takes any batch."""
SCOPES = "pkg.torch.onnx.name_scopes"
RECURRENT = ("LSTM", "GRU", "RNN")


def write(flat_model: nn.Module, example: Example, folder: Path, exporter: Exporter, opset: int) -> Path:
    """Write ``model.onnx``, large weights beside it. Raises CaseFailed: which operator cannot be exported, and why."""
    import onnx

    path = folder / FILE
    axes = tuple({} if axis is None else {axis: BATCH} for axis in example.batch_axes)
    if any(tensor.is_complex() for tensor in (*example.tensors, *structure.row(example.output))):
        raise CaseFailed(
            "error", "takes or returns complex numbers, which ONNX has not: let it be those of torch.view_as_real"
        )
    try:
        with quiet(), unchecked():
            torch.onnx.export(
                flat_model,
                tuple(example.tensors),
                str(path),
                dynamo=exporter == "dynamo",
                input_names=list(example.names),
                output_names=list(example.outputs),
                opset_version=opset,
                verbose=False,
                dynamic_shapes=(axes,) if axes else None,  # FlatModel takes all its tensors as one row
            )
    except Exception as error:
        raise CaseFailed("error", f"cannot be exported to ONNX by {exporter}: {reason(error)}") from error
    model = onnx.load(str(path), load_external_data=False)
    _refuse_constants(model, example, exporter)
    _refuse_other_opset(model, opset)
    _refuse_projections(flat_model, model)
    (folder / ASIDE).write_text(json.dumps(_scopes_of_nodes(model)))
    return path


def stage_of_nodes(folder: Path, case: Case) -> dict[str, str]:
    """By the name of every node and of every value that it makes, the stage of the case's model that it is of."""
    scopes = json.loads((folder / ASIDE).read_text())
    stages = {
        name: _stage(scope, case) or (_rnn_stage(case) if kind else None) for name, (scope, kind) in scopes.items()
    }
    return {name: stage for name, stage in stages.items() if stage}


def by_stage(nodes: list[tuple[str, str, float]], stages: Mapping[str, str], case: Case) -> dict[str, float]:
    """Seconds by stage of what a runtime's profile lists in order: name, kind and seconds of every node.

    Runtimes fuse nodes and name the results after them. What they put in between counts to the stage before it.
    """
    name_pattern = re.compile("|".join(map(re.escape, sorted(stages, key=len, reverse=True))) or r"(?!)")
    stage_seconds: dict[str, float] = {}
    stage = OTHER
    for name, kind, seconds in nodes:
        match = name_pattern.search(name)
        if match:
            stage = stages[match.group()]
        elif any(cell in kind for cell in RECURRENT):
            stage = _rnn_stage(case) or stage
        stage_seconds[stage] = stage_seconds.get(stage, 0.0) + seconds
    return stage_seconds


def _scopes_of_nodes(model: Any) -> dict[str, tuple[list[str], bool]]:
    """By the name of every node and of every value that it makes: the modules around it, and whether it is recurrent.

    Taken before a quantiser rewrites the file, which keeps names and drops what exporters note beside them.
    """
    return {
        name: (_scope(node), node.op_type in RECURRENT)
        for node in model.graph.node
        for name in (node.name, *node.output)
        if name
    }


def _refuse_constants(model: Any, example: Example, exporter: Exporter) -> None:
    """An input that is gone from the file was taken for a constant: the model would answer the same whatever it saw."""
    inputs = {value.name for value in model.graph.input}
    if constants := [name for name in example.names if name not in inputs]:
        raise CaseFailed(
            "error",
            f"cannot be exported to ONNX by {exporter}: the output does not depend on {', '.join(constants)} in the "
            "exported model; the model turns it into a number or leaves it out",
        )


def _refuse_other_opset(model: Any, opset: int) -> None:
    """dynamo writes the version that it knows best and leaves it at that where it cannot be changed to another."""
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version != opset:
        raise CaseFailed(
            "error", f"cannot be exported to ONNX in opset {opset}: the exporter can write this model in {version} only"
        )


def _refuse_projections(flat_model: nn.Module, model: Any) -> None:
    """An exporter writes them away, and runtimes find shapes that do not fit."""
    if has_projection(flat_model) and any(node.op_type == "LSTM" for node in model.graph.node):
        raise CaseFailed(
            "error", "has an LSTM with projections (proj_size), which that of ONNX has not: aot-inductor runs them"
        )


def _scope(node: object) -> list[str]:
    """The dotted names of the modules around a node, outermost first."""
    for entry in node.metadata_props:  # type: ignore[attr-defined]
        if entry.key == SCOPES:
            return [name.removeprefix("model.") for name in ast.literal_eval(entry.value)]
    parts = str(node.name).strip("/").split("/")  # type: ignore[attr-defined]
    return [_dotted_name(parts)]


def _dotted_name(parts: list[str]) -> str:
    """torchscript repeats a module's own name before the numbers in it: ``backbone/backbone.0`` is ``backbone.0``."""
    name = ""
    for part in parts[1:-1]:
        head = name.rpartition(".")[2]
        name = name[: len(name) - len(head)] + part if head and part.startswith(f"{head}.") else f"{name}.{part}"
    return name.strip(".")


def _stage(scopes: list[str], case: Case) -> str | None:
    """The stage whose submodule's name is the longest that a scope lies in."""
    pairs = [(stage, stage) for stage in STAGES]
    if not isinstance(case.architecture, Parts):
        pairs = [(stage, name) for stage, name in case.architecture.stages if name not in ("", ".")]
    candidates = [
        (len(name), stage) for stage, name in pairs if any(f"{scope}.".startswith(f"{name}.") for scope in scopes)
    ]
    return max(candidates)[1] if candidates else None


def _rnn_stage(case: Case) -> str | None:
    if isinstance(case.architecture, Parts) or not case.architecture.stages:
        return "lstm"
    return "lstm" if "lstm" in dict(case.architecture.stages) else None
