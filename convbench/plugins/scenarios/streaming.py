"""Streaming: one frame a call, the recurrent state carried from call to call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch

from convbench.core.errors import ConvbenchError
from convbench.core.registry import scenarios
from convbench.models.subject import Subject

STATEFUL = "streaming needs a model that takes (frame, state) and returns (output, state)"


@scenarios.register("streaming")
def streaming(subject: Subject) -> Callable[[], Any]:
    """One frame a call with carried state, as from a camera: per-frame latency and sustainable frames per second.

    The model is called as ``model(frame, state)`` with frame (B, 1, C, H, W) and must return ``(output, state)``.
    """
    match subject.inputs.args:
        case (torch.Tensor() as clip,) if clip.dim() == 5 and not subject.inputs.kwargs:
            _must_take_state(subject)
            frames = cycle(clip[:, t : t + 1] for t in range(clip.shape[1]))
        case _:
            raise ConvbenchError(
                "streaming needs a model whose input is one clip (B, T, C, H, W): use scenario: inference"
            )
    state: Any = None

    def run() -> Any:
        nonlocal state
        with torch.inference_mode():
            result = subject.forward(next(frames), state)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ConvbenchError(STATEFUL)
        state = result[1]
        return result

    return run


def _must_take_state(subject: Subject) -> None:
    try:
        inspect.signature(subject.model.forward).bind("frame", "state")
    except TypeError as error:
        raise ConvbenchError(STATEFUL) from error
