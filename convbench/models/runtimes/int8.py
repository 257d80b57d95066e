"""Quantise to eight bits: choose the clips from which ranges are found, and let torch quantise with fixed ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch.fx import GraphModule

from convbench.core.errors import CaseFailed, ConvbenchError
from convbench.core.imports import import_path, of_file
from convbench.core.record import Case
from convbench.core.text import counted
from convbench.models.inputs import Inputs, inputs
from convbench.models.runtimes.example import record_calls
from convbench.models.runtimes.export_error import reason
from convbench.models.stages import called_parts, stage_roots
from convbench.models.subject import Subject

FEWEST = 4
"""The smallest number of calibration clips that is accepted."""
FRAMES = 4
"""Frames of each calibration clip that are streamed to find the ranges of a model that takes one frame a call."""
CALIBRATION_SEED = 10_000
"""Added to the seed of a subject for its calibration clips, so that they differ from the measured inputs."""


def calibration_clips(subject: Subject, clips: int, source: str | None) -> tuple[Inputs, ...]:
    """Return up to ``clips`` clips from which ranges are found.

    ``source`` is a ``package.module:function`` that takes the clip's shape and the number of clips and yields tensors
    (B, T, C, H, W). Without it, the clips are the task's own if the model is tried on a task, else the case's inputs of
    other seeds than the measured ones. Raises CaseFailed if there are fewer than four or one has values that are not
    finite.
    """
    case = subject.case
    if subject.samples and source is None:
        samples = list(subject.samples[:clips])
    elif source is None:
        samples = [
            inputs(case, CALIBRATION_SEED + subject.seed + number, subject.device, subject.model)
            for number in range(clips)
        ]
    else:
        samples = [Inputs((clip,)) for clip in _source_clips(case, source, clips)]
    if len(samples) < FEWEST:
        count = counted(len(samples), "calibration clip is", "calibration clips are")
        raise CaseFailed("error", f"{count} too few to find ranges: give at least {FEWEST}")
    for number, sample in enumerate(samples):
        if not all(bool(torch.isfinite(tensor).all()) for tensor in sample.tensors):
            raise CaseFailed(
                "error", f"calibration clip {number} has values that are not finite: its ranges would be meaningless"
            )
    return tuple(samples)


def rows_of(subject: Subject, clips: Sequence[Inputs]) -> tuple[list[torch.Tensor], ...]:
    """Return the tensors of every calibration call: those that the subject's scenario makes on these clips."""
    calls = FRAMES if subject.case.streams else 1
    return tuple(row for clip in clips for row in record_calls(replace(subject, inputs=clip), calls))


def quantise_with_ranges(subject: Subject, clips: Sequence[Inputs]) -> None:
    """Replace backbone and reducer by modules with fixed ranges, which are found by calling the model on these clips.

    Raises CaseFailed if the model does not name these stages, only calls the parts of one of their modules, or has a
    module in them that torch cannot trace.
    """
    from torch.ao import quantization
    from torch.ao.quantization import quantize_fx

    model, mapping = subject.model, quantization.get_default_qconfig_mapping("x86")
    roots = stage_roots(subject.case, model)
    parts = [module for stage in ("backbone", "reducer") for module in called_parts(roots.get(stage, ()))]
    names = [name for name, module in model.named_modules() if name and any(module is part for part in parts)]
    names = [name for name in names if not any(name.startswith(f"{outer}.") for outer in names)]  # quantised with it
    if not names:
        raise CaseFailed(
            "error",
            "torch cannot tell which modules to quantise with fixed ranges: name backbone and reducer under stages, or "
            "use int8(method=static)+onnxruntime",
        )
    examples = _first_inputs(subject, names)
    if uncalled_names := [name for name in names if name not in examples]:
        raise CaseFailed(
            "error",
            f"{uncalled_names[0]} is not called in a forward pass, so torch cannot find its ranges: under "
            "stages, name modules that are called, or use int8(method=static)+onnxruntime",
        )
    for name in names:
        with _explain_refusal(name):
            model.set_submodule(name, quantize_fx.prepare_fx(model.get_submodule(name), mapping, examples[name]))
    rows_of(subject, clips)
    for name in names:
        with _explain_refusal(name):
            model.set_submodule(name, quantize_fx.convert_fx(cast(GraphModule, model.get_submodule(name))))


@contextmanager
def _explain_refusal(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise CaseFailed("error", f"torch cannot quantise {name} with fixed ranges: {reason(error)}") from error


def _first_inputs(subject: Subject, names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return the positional arguments of each module's first call during one call of the model."""
    arguments: dict[str, tuple[Any, ...]] = {}
    hooks = [
        subject.model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: arguments.setdefault(name, args) and None
        )
        for name in names
    ]
    record_calls(subject, 1)
    for hook in hooks:
        hook.remove()
    return arguments


def _source_clips(case: Case, source: str, clips: int) -> Iterator[torch.Tensor]:
    clip = case.clip
    clip_shape = (clip.batch, clip.frames, clip.channels, clip.height, clip.width)
    for number, tensor in zip(range(clips), import_path(of_file(source))(clip, clips), strict=False):
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != clip_shape:
            shape = "x".join(map(str, tensor.shape)) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise ConvbenchError(f"{source}: calibration clip {number} is {shape}: it must be a tensor {clip}")
        yield tensor
