"""Write a model as an ONNX file with one of torch's exporters, and map the nodes of the file to stages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convbench.core.errors import CaseFailed, Impossible
from convbench.core.metrics import OTHER
from convbench.core.option_types import Exporter
from convbench.core.record import STAGES, Case, Parts
from convbench.core.traits import NO_PROJECTIONS
from convbench.models.deployment import ASIDE, Example
from convbench.models.runtimes import structure
from convbench.models.runtimes.export_error import export_reason
from convbench.models.runtimes.quiet import quiet
from convbench.models.weights import has_projection
from convbench.models.without_values import without_checks, without_fused_attention

FILE = "model.onnx"
OPSET = 20
BATCH = "batch"
"""The name of the batch axis in a file that takes any batch."""
SCOPES = "pkg.torch.onnx.name_scopes"
RECURRENT = ("LSTM", "GRU", "RNN")


def write(flat_model: nn.Module, example: Example, folder: Path, exporter: Exporter, opset: int) -> Path:
    """Write ``model.onnx`` and large weights beside it.

    Raises Impossible if ONNX has no form for the model, and CaseFailed with the operator that cannot be exported.
    """
    import onnx

    path = folder / FILE
    axes = tuple({} if axis is None else {axis: BATCH} for axis in example.batch_axes)
    if any(tensor.is_complex() for tensor in (*example.tensors, *structure.row(example.output))):
        raise Impossible("the model takes or returns complex numbers, which ONNX does not have: use torch.view_as_real")
    try:
        with quiet(), without_checks(), without_fused_attention():
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
        text = export_reason(error, flat_model)
        if exporter == "torchscript" and has_projection(flat_model):
            raise Impossible(NO_PROJECTIONS) from error
        if exporter == "torchscript" and text.startswith("the operator "):
            text += "; the exporter dynamo, the default, knows more operators"
        raise CaseFailed("error", f"cannot be exported to ONNX by {exporter}: {text}") from error
    model = onnx.load(str(path), load_external_data=False)
    _refuse_constants(model, example, exporter)
    _refuse_other_opset(model, opset)
    _refuse_projections(flat_model, model)
    (folder / ASIDE).write_text(json.dumps(_scopes_of_nodes(model)))
    return path


def stage_of_nodes(folder: Path, case: Case) -> dict[str, str | None]:
    """Return the stage of every node and every value of the exported model, by name; None outside of all stages."""
    scopes = json.loads((folder / ASIDE).read_text())
    return {name: _stage(scope, case) or (_rnn_stage(case) if kind else None) for name, (scope, kind) in scopes.items()}


def by_stage(nodes: list[tuple[str, str, float]], stages: Mapping[str, str | None], case: Case) -> dict[str, float]:
    """Return the seconds by stage of the nodes in a runtime's profile: name, kind and seconds of each, in order.

    Runtimes fuse nodes and name the fused node after them. A node that a runtime inserts counts to the stage before it,
    and so does work between the stages of a model that we assemble. In a user's own model that is ``other``.
    """
    names = "|".join(map(re.escape, sorted(stages, key=len, reverse=True))) or r"(?!)"
    name_pattern = re.compile(rf"(?:{names})(?!_?\d)")  # node_conv2d is not a part of node_conv2d_1
    outside = None if isinstance(case.architecture, Parts) else OTHER
    stage_seconds: dict[str, float] = {}
    stage = OTHER
    for name, kind, seconds in nodes:
        if name in stages:
            stage = stages[name] or outside or stage
        elif match := name_pattern.search(name):
            stage = stages[match.group()] or outside or stage
        elif any(cell in kind for cell in RECURRENT):
            stage = _rnn_stage(case) or stage
        stage_seconds[stage] = stage_seconds.get(stage, 0.0) + seconds
    return stage_seconds


def _scopes_of_nodes(model: Any) -> dict[str, tuple[list[str], bool]]:
    """Return the modules around every node and every value, by name, and whether the node is recurrent.

    This runs before a quantiser rewrites the file, because quantisers keep names but drop the exporter's metadata.
    """
    return {
        name: (_scope(node), node.op_type in RECURRENT)
        for node in model.graph.node
        for name in (node.name, *node.output)
        if name
    }


def _refuse_constants(model: Any, example: Example, exporter: Exporter) -> None:
    """Raise CaseFailed if the exporter took an input for a constant and left it out of the file.

    The output of the exported model would not depend on that input.
    """
    inputs = {value.name for value in model.graph.input}
    if constants := [name for name in example.names if name not in inputs]:
        raise CaseFailed(
            "error",
            f"cannot be exported to ONNX by {exporter}: the output does not depend on {', '.join(constants)} in the "
            "exported model; the model turns it into a number or does not use it",
        )


def _refuse_other_opset(model: Any, opset: int) -> None:
    """Raise CaseFailed if the file has another opset: dynamo keeps its own if it cannot convert the file."""
    version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if version != opset:
        raise CaseFailed(
            "error", f"cannot be exported to ONNX in opset {opset}: the exporter can write this model only in {version}"
        )


def _refuse_projections(flat_model: nn.Module, model: Any) -> None:
    """Raise Impossible if an LSTM has projections: exporters drop them, and runtimes find shapes that do not fit."""
    if has_projection(flat_model) and any(node.op_type == "LSTM" for node in model.graph.node):
        raise Impossible(NO_PROJECTIONS)


def _scope(node: object) -> list[str]:
    """Return the dotted names of the modules around a node, outermost first."""
    for entry in node.metadata_props:  # type: ignore[attr-defined]
        if entry.key == SCOPES:
            return [name.removeprefix("model.") for name in ast.literal_eval(entry.value)]
    parts = str(node.name).strip("/").split("/")  # type: ignore[attr-defined]
    return [_dotted_name(parts)]


def _dotted_name(parts: list[str]) -> str:
    """Join a module's name from torchscript's parts, which repeat it: ``backbone/backbone.0`` is ``backbone.0``."""
    name = ""
    for part in parts[1:-1]:
        head = name.rpartition(".")[2]
        name = name[: len(name) - len(head)] + part if head and part.startswith(f"{head}.") else f"{name}.{part}"
    return name.strip(".")


def _stage(scopes: list[str], case: Case) -> str | None:
    """Return the stage with the longest submodule name that contains one of the scopes, or None.

    A stage that is the model itself contains all scopes.
    """
    pairs = [(stage, stage) for stage in STAGES]
    if not isinstance(case.architecture, Parts):
        pairs = [(stage, name.strip(".")) for stage, name in case.architecture.stages]
    candidates = [
        (len(name), stage)
        for stage, name in pairs
        if not name or any(f"{scope}.".startswith(f"{name}.") for scope in scopes)
    ]
    return max(candidates)[1] if candidates else None


def _rnn_stage(case: Case) -> str | None:
    if isinstance(case.architecture, Parts) or not case.architecture.stages:
        return "lstm"
    return "lstm" if "lstm" in dict(case.architecture.stages) else None
