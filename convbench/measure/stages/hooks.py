"""Tell a listener where each stage of a call begins and ends while the model runs; no hook stays behind.

The forward pass uses module hooks. The backward pass uses hooks on the tensors between stages: that of a stage begins
when the gradient of its output is ready, and ends when that of its input is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch.utils.weak import WeakIdKeyDictionary

from convbench.core.metrics import OTHER
from convbench.measure.stages.entries import observe
from convbench.models.stages import stage_roots
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep
from convbench.models.values import tensors


class Listener(Protocol):
    """Receives the events of a call. ``reverses``: the stage that the backward pass is in from now on, or ``other``."""

    def enters(self, stage: str, /) -> None: ...

    def leaves(self, stage: str, outputs: list[torch.Tensor], /) -> None: ...

    def reverses(self, stage: str, /) -> None: ...


@contextmanager
def listen(subject: Subject, listener: Listener) -> Iterator[None]:
    """While entered, every call of the subject reports its stages to ``listener``."""
    hooks, roots = _Hooks(listener), stage_roots(subject.case, subject.model)
    with hooks.handles, observe(roots, hooks.enter, hooks.leave, subject.stage_entries):
        yield


def call(subject: Subject, phase: Callable[[str], AbstractContextManager[Any]]) -> None:
    """Call the subject once, each phase of a training step inside ``phase(name)``; inference is all forward."""
    step = subject.run
    if not isinstance(step, TrainingStep):
        with phase("forward"):
            step()
        return
    with phase("optimizer"):
        step.forget()
    with phase("forward"):
        loss = step.forward()
    with phase("backward"):
        step.backward(loss)
    with phase("optimizer"):
        step.optimize()


class _Hooks:
    """Hooks on modules, and on the tensors that pass from stage to stage."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.outputs: MutableMapping[torch.Tensor, None] = WeakIdKeyDictionary()
        self.handles = ExitStack()

    def enter(self, stage: str, inputs: Any) -> None:
        for tensor in _differentiable(inputs) if torch.is_grad_enabled() else ():
            if tensor not in self.outputs:
                self._on_gradient(tensor, OTHER)
        self.listener.enters(stage)

    def leave(self, stage: str, output: Any) -> None:
        outputs = tensors(output)
        self.listener.leaves(stage, outputs)
        if not torch.is_grad_enabled():
            return
        for tensor in _differentiable(outputs):
            if tensor not in self.outputs:
                self._on_gradient(tensor, stage)
                self.outputs[tensor] = None

    def _on_gradient(self, tensor: torch.Tensor, stage: str) -> None:
        handle = tensor.register_hook(lambda _: self.listener.reverses(stage))  # type: ignore[no-untyped-call]
        self.handles.callback(handle.remove)


def _differentiable(values: Any) -> list[torch.Tensor]:
    return [tensor for tensor in tensors(values) if tensor.requires_grad]
