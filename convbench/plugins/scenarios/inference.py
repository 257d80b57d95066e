"""Inference: the whole clip in one call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from convbench.core.registry import scenarios
from convbench.models.subject import Subject


@scenarios.register("inference")
def inference(subject: Subject) -> Callable[[], Any]:
    """The whole clip in one call, without gradients."""
    return partial(subject.without_gradients, *subject.inputs.args, **subject.inputs.kwargs)
