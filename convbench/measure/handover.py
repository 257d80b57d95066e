"""Hand over a case's model: an ONNX file that describes itself, checked against eager, and a program that runs it."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from convbench.core import metrics
from convbench.core.errors import CaseFailed, ConvbenchError, line_of
from convbench.core.option_types import Exporter
from convbench.core.package import __version__
from convbench.core.record import Case, Choice, Reading, Scalar
from convbench.core.system import files
from convbench.core.traits import FP32, dtype, of_variant
from convbench.measure.attempts import explain
from convbench.measure.comparison.agreement import agreement
from convbench.measure.comparison.leeway import by_chance, explanation, refuse_other_weights
from convbench.measure.comparison.outputs import time_call
from convbench.measure.comparison.parity import Parity
from convbench.models import network
from convbench.models.deployment import Example
from convbench.models.runtimes.onnx_file import FILE
from convbench.models.subject import Subject, assemble, transform
from convbench.models.values import tensors
from convbench.models.variants import combine, need

RUNTIME = "onnxruntime"
NO_STATE = "it must be what torch.save(model.state_dict(), ...) writes for the whole model"
WRAPPED = ("_orig_mod.", "module.")
"""Prefixes of the names of weights that were saved from a compiled model, or from one trained on several GPUs."""
HEAD = """import numpy as np, onnxruntime, os
beside = os.path.join(os.path.dirname(__file__), {file})
session = onnxruntime.InferenceSession(beside, providers=["CPUExecutionProvider"])
given = {given}
"""
"""The beginning of a program; its first words identify it as one of ours."""
WHOLE = """for entry, output in zip(session.get_outputs(), session.run(None, given)):
    print(entry.name, output.shape)
"""
STREAM = """\
for _ in range({frames}):  # put a frame into given["{frame}"]; the values after the output are the next state
    returned = session.run(None, given); given.update(zip({states}, returned[{outputs}:]))
print(returned[0].shape)
"""


def hand_over(
    case: Case,
    seed: int,
    to: Path,
    weights: Path | None,
    facts: Mapping[str, Scalar],
    exporter: Exporter | None = None,
    any_batch: bool = False,
) -> tuple[list[Path], Parity | None]:
    """Write a case's model to ``to``, large weights and a program beside it; return the files and the parity.

    The model is checked like a measured one; if it is random in eager, too, the parity is None. ``weights`` is a
    state_dict that torch saved; without it the model has the weights of its seed. For a training case, the model is
    written as inference calls it. ``facts`` are noted in the file beside the case. Raises CaseFailed if the model does
    not run, cannot be exported or gives another output, ConvbenchError if it cannot be written.
    """
    need(RUNTIME)
    program_path = _program_path(to)
    variants = tuple(choice for choice in case.variant if _is_kept(choice.name))
    options: dict[str, Scalar] = {"exporter": exporter} if exporter else {}
    options |= {"any_batch": True} if any_batch else {}
    runtime = Choice(RUNTIME, tuple(sorted({**_runtime_options(case), **options}.items())))
    deployment_case = replace(case.forward_only, variant=(*variants, runtime), device="cpu")
    make_eager = partial(_load_subject, deployment_case.eager, seed, weights)
    eager, expected = _eager_output(deployment_case.eager, make_eager)
    subject = transform(_load_subject(deployment_case, seed, weights))
    assert subject.deployment
    parity = _parity(subject, eager, expected, make_eager)
    metadata = {"case": case.id, "seed": seed, "weights": weights.name if weights else "seeded, untrained", **facts}
    metadata |= parity._asdict() if parity else {}
    program = {program_path: files.encoded(_program(to.name, deployment_case, subject.deployment.example))}
    return _write(subject.deployment.folder, to, metadata, program), parity


def _runtime_options(case: Case) -> dict[str, Scalar]:
    """Options of the runtime in which a case was measured, if that is the runtime of the file."""
    return next((dict(choice.options) for choice in case.variant if choice.name == RUNTIME), {})


def foreign_variants(case: Case) -> list[str]:
    """Variants of a case whose number type the file lacks, because they belong to another runtime or to torch alone."""
    choices = (choice for choice in case.variant if not _is_kept(choice.name))
    return [str(choice) for choice in choices if dtype(replace(case, variant=(choice,))) != FP32]


def _is_kept(variant: str) -> bool:
    """Whether a variant changes the exported model: the runtime accepts it, and it changes tensors."""
    return combine(variant, RUNTIME) and not of_variant(variant).same_tensors


def _program_path(to: Path) -> Path:
    """Return the program's path. Raises ConvbenchError if another file is there, such as the model's source."""
    program = to.with_suffix(".py")
    if program.exists() and not (program.is_file() and files.read(program).startswith(HEAD.partition("{")[0].encode())):
        raise ConvbenchError(
            f"{program}: is not a program of convbench, but the one that runs {to} gets this name: choose another --to"
        )
    return program


def _eager_output(case: Case, make_eager: Callable[[], Subject]) -> tuple[Subject, Any]:
    """Return the eager model and its output. Raises CaseFailed, worded as in a failed record, if it does not run."""
    try:
        eager = make_eager()
        return eager, time_call(eager)[0]
    except ConvbenchError:
        raise
    except (Exception, SystemExit) as error:
        failure = explain(error)
        raise CaseFailed(failure.kind, f"{case.id} does not run: {failure.message}") from error


def _load(model: nn.Module, weights: Path, case: Case) -> None:
    """Load the weights of a file into a model. Raises ConvbenchError that says what else the file holds."""
    try:
        state = torch.load(weights, map_location=case.device, weights_only=True)
    except OSError as error:
        raise ConvbenchError(f"{weights}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        raise ConvbenchError(f"{weights}: cannot be read as weights ({line_of(error)[:100]}): {NO_STATE}") from error
    model_state = model.state_dict()
    if not isinstance(state, Mapping):
        raise ConvbenchError(f"{weights}: holds a {type(state).__name__}: {NO_STATE}")
    parts = [part for part in state.values() if isinstance(part, Mapping) and _shares_names(part, model_state)]
    if not _shares_names(state, model_state) and len(parts) == 1:  # a training's checkpoint, with its optimizer
        state = parts[0]
    if model_state and not model_state.keys() & state.keys():
        names = ", ".join(map(str, [*state][:4]))
        raise ConvbenchError(f"{weights}: are not the weights of {case.id} but {names}: {NO_STATE}")
    try:
        model.load_state_dict(state)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConvbenchError(f"{weights}: are not the weights of {case.id}: {reason}") from error


def _shares_names(state: Mapping[Any, Any], model_state: Mapping[str, Any]) -> bool:
    """Whether weights have any name of the model's, if need be without the prefixes of wrappers, which are removed."""
    if not model_state.keys() & state.keys() and all(isinstance(name, str) for name in state):
        for prefix in WRAPPED:
            consume_prefix_in_state_dict_if_present(state, prefix)  # type: ignore[arg-type]
    return bool(model_state.keys() & state.keys())


def _parity(subject: Subject, eager: Subject, expected: Any, make_eager: Callable[[], Subject]) -> Parity | None:
    """Return how far the exported model is from eager, also on another clip or every frame; None if only by chance.

    Raises CaseFailed if it is another model.
    """
    output = time_call(subject)[0]
    try:
        results = agreement(subject, eager, output, expected)
        parity_values = {result.metric: result.samples[0] for result in results if isinstance(result, Reading)}
    except CaseFailed as error:
        refuse_other_weights(make_eager, eager.model)
        if by_chance(subject, eager, output, expected, make_eager) is None:
            raise explanation(error, make_eager()) from error.__cause__
        return None
    return Parity(parity_values[metrics.PARITY_LARGEST], parity_values[metrics.PARITY_RELATIVE])


def _program(file: str, case: Case, example: Example) -> str:
    """A few lines that call the model with zeros and its first state; a streaming model once for each frame."""
    inputs = len(example.names) - example.carried
    state = tensors(example.first[-1]) if example.first else []
    arrays = [*map(_array, map(torch.zeros_like, example.tensors[:inputs])), *map(_array, state)]
    arguments = ", ".join(f'"{name}": {array}' for name, array in zip(example.names, arrays, strict=True))
    states, outputs = example.names[inputs:], len(example.outputs) - example.carried
    text = HEAD + (STREAM if case.streams else WHOLE)
    literal = json.dumps(file, ensure_ascii=False)
    return text.format(
        file=literal,
        given=f"{{{arguments}}}",
        frames=case.clip.frames,
        frame=example.names[0],
        states=states,
        outputs=outputs,
    )


def _array(tensor: torch.Tensor) -> str:
    """The Python expression that makes a tensor's array."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if not tensor.any():
        return f'np.zeros({tuple(tensor.shape)}, "{kind}")'
    numbers = re.sub("nan|inf", r"np.\g<0>", str(tensor.tolist()))  # Python has no names for these
    return f'np.array({numbers}, "{kind}")'


def _load_subject(case: Case, seed: int, weights: Path | None) -> Subject:
    subject = assemble(case, seed)
    if weights is not None:
        _load(subject.model, weights, case)
    network.in_mode(subject.model, training=False)
    return subject


def _write(folder: Path, to: Path, metadata: Mapping[str, Any], program: Mapping[Path, bytes]) -> list[Path]:
    """Write the model to its place, with metadata, and a program; weights in files beside it are named after it."""
    import onnx

    model = onnx.load(str(folder / FILE), load_external_data=False)
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    locations = [entry for entry in entries if entry.key == "location"]
    names = sorted({entry.value for entry in locations})
    targets = {name: to.with_name(f"{to.name}.data{place or ''}") for place, name in enumerate(names)}
    for entry in locations:
        entry.value = targets[entry.value].name
    model.producer_name, model.producer_version = "convbench", __version__
    onnx.helper.set_model_props(model, {f"convbench.{key}": str(value) for key, value in metadata.items()})
    weights = {target: (folder / name).read_bytes() for name, target in targets.items()}
    files.write_together({to: model.SerializeToString(), **weights, **program})
    for path in {*to.parent.glob(f"{glob.escape(to.name)}.data*")} - {*weights}:
        if re.fullmatch(r"\d*", path.name.removeprefix(f"{to.name}.data")):
            with suppress(OSError):
                path.unlink()
    return [to, *weights, *program]
