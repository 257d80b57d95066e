"""Streaming: one frame per call, with the recurrent state carried from call to call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import torch

from convbench.core.errors import Impossible
from convbench.core.record import Clip, Whole
from convbench.core.registry import scenarios
from convbench.measure.attempts import STREAMED
from convbench.models.inputs import Inputs, inputs, takes
from convbench.models.subject import Subject
from convbench.models.values import map_leaves, tensors

NOT_STATEFUL = (
    "streaming needs a model that takes (frame, state) and returns (output, state); for other models, name a function "
    "under step: package.module:function, which is called as step(model, frame, state) and returns (output, state)"
)


@scenarios.register("streaming")
def streaming(subject: Subject) -> Callable[[], Any]:
    """One frame per call with carried state, as from a camera: per-frame latency and sustainable frames per second.

    The model is called as ``model(frame, state)`` with frame (B, 1, C, H, W) and must return ``(output, state)``. If
    the user gives a ``step``, it is called as ``step(model, frame, state)``, and the frame is one moment of the inputs
    that ``inputs`` makes. The first state is None.
    """
    architecture, note = subject.case.architecture, ""
    if isinstance(architecture, Whole) and architecture.step is not None:
        frames = cycle(_moments(subject))
    else:
        frames = cycle(_frames(subject))
        if not takes(subject.model, ("frame", "state")):
            raise Impossible(NOT_STATEFUL)
        note = STREAMED if isinstance(architecture, Whole) else ""
    state: Any = None

    def run() -> Any:
        nonlocal state
        try:
            result = subject.without_gradients(next(frames), state)
        except Exception as error:
            if note:
                error.add_note(note)
            raise
        if not (isinstance(result, (tuple, list)) and len(result) == 2):
            raise Impossible(NOT_STATEFUL)
        state = result[1]
        return result

    return run


def _frames(subject: Subject) -> Iterator[torch.Tensor]:
    match subject.inputs.args:
        case (torch.Tensor() as clip,) if clip.dim() == 5 and not subject.inputs.kwargs:
            return iter([clip[:, t : t + 1] for t in range(clip.shape[1])])
    raise Impossible(
        "streaming needs a model whose only input is a clip (B, T, C, H, W), or a step: of your own; use scenario: "
        "inference for other models"
    )


def _moments(subject: Subject) -> Iterator[Any]:
    """Return the inputs at each moment: (B, T, ...) cut to (B, 1, ...), or (T, B, ...) to (1, B, ...); others whole.

    T is the clip's number of frames. If no input has that many, T is the length of the input with the most axes, such
    as a video of every second frame beside a goal. Raises Impossible if no input has the clip's batch.
    """
    clip = subject.case.clip
    step_input = _step_input(subject.inputs)
    axis = _time_axis(subject)
    series = [tensor for tensor in tensors(step_input) if _is_series(tensor, clip, axis)]
    if not series:
        raise Impossible(
            f"streaming: no input is a tensor (B, T, ...) of the clip's batch of {clip.batch}, or (T, B, ...) with its "
            f"{clip.frames} frames too, so none can be cut into moments; (B, C, H, W) of the clip is a single frame: "
            "let inputs make such a tensor"
        )
    lengths = {tensor.shape[axis] for tensor in series}
    frames = clip.frames if clip.frames in lengths else max(series, key=torch.Tensor.dim).shape[axis]

    def cut(t: int, tensor: torch.Tensor) -> torch.Tensor:
        is_cut = _is_series(tensor, clip, axis) and tensor.shape[axis] == frames
        return tensor.narrow(axis, t, 1) if is_cut else tensor

    return iter([map_leaves(partial(cut, t), step_input) for t in range(frames)])


def _time_axis(subject: Subject) -> int:
    """Return 0 if inputs are (T, B, ...) of the clip, as LSTMs read them by default; else 1.

    If others are (B, T, ...), the one with the most axes decides. A first state (layers, B, hidden) is neither.
    """
    clip, model_inputs = subject.case.clip, subject.inputs
    if clip.batch == clip.frames:  # a longer clip tells the two axes apart
        clip = replace(clip, frames=clip.frames + 1)
        with suppress(Exception):  # the factory may make no other clip
            model_inputs = inputs(replace(subject.case, clip=clip), subject.seed, subject.device, subject.model)
    orders = (clip.frames, clip.batch), (clip.batch, clip.frames)
    series = (tensor for tensor in model_inputs.tensors if tensor.shape[:2] in orders)
    largest = max(series, key=torch.Tensor.dim, default=None)
    return 0 if largest is not None and largest.shape[:2] == orders[0] else 1


def _is_series(tensor: torch.Tensor, clip: Clip, axis: int) -> bool:
    is_frame = tensor.shape == (clip.batch, clip.channels, clip.height, clip.width) and clip.channels != clip.frames
    return tensor.dim() > 1 and tensor.shape[1 - axis] == clip.batch and not is_frame


def _step_input(inputs: Inputs) -> Any:
    """Return the frame argument of a step: the only input, or all inputs as they were made."""
    if inputs.kwargs:
        return inputs.kwargs
    return inputs.args[0] if len(inputs.args) == 1 else inputs.args
