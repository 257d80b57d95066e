"""A training step of a subject: forward, loss, backward, optimizer, and what each computed."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from convbench.core.errors import CaseFailed
from convbench.models.subject import Subject

LEARNING_RATE = 1e-4
LOSS_SCALE = 2.0**12


class Step(NamedTuple):
    """What one step computed: its loss and the gradient of every parameter that has one, by name."""

    loss: torch.Tensor
    gradients: dict[str, torch.Tensor]


class TrainingStep:
    """One training step. Its parts can also be called one after another, by a probe that tells them apart.

    Raises CaseFailed for a model that does not train, with the reason.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.model = subject.model.train()
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if not self.parameters:
            raise CaseFailed("error", "does not train: it has no parameters that require a gradient")

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Keeps small gradients of float16 from vanishing; does nothing for other types."""
        device = torch.device(self.subject.device).type
        return torch.amp.GradScaler(device, LOSS_SCALE, enabled=self.subject.dtype == torch.float16)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.subject.optimizer(self.parameters, lr=LEARNING_RATE)

    def __call__(self) -> Step:
        self.forget()
        loss = self.forward()
        self.backward(loss)
        self.optimize()
        return Step(loss.detach(), self._gradients())

    def forget(self) -> None:
        """Release the gradients of the step before."""
        self.optimizer.zero_grad()

    def forward(self) -> torch.Tensor:
        """The mean square of the first floating-point output of the model."""
        inputs = self.subject.inputs
        output = first_tensor(self.subject.forward(*inputs.args, **inputs.kwargs))
        if not output.requires_grad:
            raise CaseFailed("error", "does not train: its output does not depend on a parameter by a gradient")
        return output.float().square().mean()

    def backward(self, loss: torch.Tensor) -> None:
        try:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if "a second time" not in str(error):
                raise
            message = "does not train: it keeps state between calls with its history; detach the state it keeps"
            raise CaseFailed("error", message) from error

    def optimize(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _gradients(self) -> dict[str, torch.Tensor]:
        named = ((name, parameter.grad) for name, parameter in self.model.named_parameters())
        return {name: gradient for name, gradient in named if gradient is not None}


def first_tensor(output: Any) -> torch.Tensor:
    """The first floating-point tensor of a model's output. Raises CaseFailed where there is none."""
    tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    for tensor in tensors:
        if tensor.is_floating_point():
            return tensor
    kinds = ", ".join(sorted({str(tensor.dtype) for tensor in tensors})) or type(output).__name__
    raise CaseFailed("error", f"does not train: its output is {kinds}, not floating point, and has no gradient")
