"""Inference: the whole clip in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from convbench.core.registry import scenarios
from convbench.models.subject import Subject


@scenarios.register("inference")
def inference(subject: Subject) -> Callable[[], Any]:
    """The whole clip in one call, without gradients."""
    args, kwargs = subject.inputs.args, subject.inputs.kwargs

    def run() -> Any:
        with torch.inference_mode():
            return subject.forward(*args, **kwargs)

    return run
