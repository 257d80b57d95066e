"""Run a training step of a subject: forward, loss, backward and optimizer. Return its loss and gradients."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch.nn.parameter import is_lazy

from convbench.core.errors import CaseFailed
from convbench.core.imports import import_path
from convbench.core.record import Whole
from convbench.models.network import in_mode
from convbench.models.subject import Subject
from convbench.models.values import densify, settle, tensors

LEARNING_RATE = 1e-4
LOSS_SCALE = 2.0**12


class StepResult(NamedTuple):
    """The results of one step: its loss, and by name the gradient of every parameter that has one."""

    loss: torch.Tensor
    gradients: dict[str, torch.Tensor]


class TrainingStep:
    """One training step. A probe that measures its parts apart can also call them one after another.

    Raises CaseFailed with the reason if the model does not train.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.model = in_mode(subject.model, training=True)

    @cached_property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters to train. First read after a forward pass, because a model may make layers in it."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if not parameters:
            raise CaseFailed("error", "does not train: it has no parameters that require a gradient")
        return parameters

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """The scaler that keeps small float16 gradients from vanishing. It does nothing for other types.

        It also does nothing if the weights themselves are float16: torch refuses to scale their gradients back.
        """
        device = torch.device(self.subject.device).type
        is_float16 = self.subject.dtype == torch.float16
        has_float16_weights = any(parameter.dtype == torch.float16 for parameter in self.parameters)
        return torch.amp.GradScaler(device, LOSS_SCALE, enabled=is_float16 and not has_float16_weights)

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.subject.optimizer(self.parameters, lr=LEARNING_RATE)

    @cached_property
    def loss(self) -> Callable[..., torch.Tensor]:
        """The user's loss of (output, inputs...), or the sum of the mean squares of all floating-point outputs.

        For a model that convbench assembles, the state beside the output does not count.
        """
        architecture = self.subject.case.architecture
        if not isinstance(architecture, Whole):
            return lambda output, *_: mean_squares(output[0])
        return _users_loss(architecture.loss) if architecture.loss else mean_squares

    def __call__(self) -> StepResult:
        self.forget()
        loss = self.forward()
        self.backward(loss)
        self.optimize()
        gradients = ((name, parameter.grad) for name, parameter in self.model.named_parameters())
        return StepResult(loss.detach(), {name: gradient for name, gradient in gradients if gradient is not None})

    def forget(self) -> None:
        """Release the gradients of the previous step."""
        if "optimizer" in vars(self):
            self.optimizer.zero_grad()
        else:
            self.model.zero_grad()

    def forward(self) -> torch.Tensor:
        """Call the model once and return the loss."""
        inputs = self.subject.inputs
        output = settle(self.subject.forward(*inputs.args, **inputs.kwargs))
        assert self.parameters
        loss = self.loss(output, *inputs.args, **inputs.kwargs)
        if not loss.requires_grad:
            reason = "no gradient leads from its output to a parameter, as under torch.no_grad() or after .detach()"
            if any(tensor.requires_grad for tensor in tensors(output)):
                reason = "no gradient leads from its loss to its output, as after .detach() or in torch.tensor(...)"
            if not torch.is_grad_enabled():
                reason = "its code switches gradients off for the whole process, as by torch.set_grad_enabled(False)"
            raise CaseFailed("error", f"does not train: {reason}")
        return loss

    def backward(self, loss: torch.Tensor) -> None:
        try:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if "a second time" not in str(error):
                raise
            message = (
                "does not train: it keeps state between calls with its autograd history; detach that state, and call "
                "no backward() in forward or in its loss"
            )
            raise CaseFailed("error", message) from error

    def optimize(self) -> None:
        """Step the optimizer, but not on ``meta``: nothing in it is counted, and older torch reads its step count."""
        if self.subject.device == "meta":
            return
        try:
            self.scaler.step(self.optimizer)
        except RuntimeError as error:
            if "sparse gradients" not in str(error):
                raise
            message = (
                "does not train: Adam takes no sparse gradients; set sparse=False in its embeddings, and make sparse "
                "weights buffers"
            )
            raise CaseFailed("error", message) from error
        self.scaler.update()

    def refuse_untrained(self) -> None:
        """Make another step. Raises CaseFailed if no parameter gets a gradient in it."""
        if not self._trained():
            raise CaseFailed(
                "error",
                "does not train: none of its parameters gets a gradient from the loss, as behind a quantised layer or "
                "another operator without a gradient, after .detach(), or if the loss has parameters of its own",
            )

    def without_gradient(self) -> list[str]:
        """Return the names of the parameters that require a gradient and get none.

        If some have none after the previous step, another step is made.
        """
        parameters = self.model.named_parameters()
        names = [name for name, p in parameters if p.requires_grad and p.grad is None and not is_lazy(p)]
        trained = self._trained() if names else set()
        return [name for name in names if name not in trained]

    def _trained(self) -> set[str]:
        """Make a step and return the names of the parameters that get a gradient, also if the model's hooks take it."""
        trained: set[str] = set()

        def note(name: str, gradient: torch.Tensor | None) -> None:
            if gradient is not None:
                trained.add(name)

        parameters = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad and not is_lazy(p)]
        hooks = [p.register_hook(functools.partial(note, name)) for name, p in parameters]  # type: ignore[no-untyped-call]
        try:
            self()
        finally:
            for hook in hooks:
                hook.remove()
        return trained


def mean_squares(output: Any, *_args: Any, **_kwargs: Any) -> torch.Tensor:
    """Return the sum of the mean squares of all floating-point and complex output tensors that require a gradient.

    If none does, uses the first of them. Raises CaseFailed if the output has none.
    """
    output_tensors = list(dict.fromkeys(tensors(output)))
    floats = [tensor for tensor in output_tensors if tensor.is_floating_point() or tensor.is_complex()]
    if not floats:
        kinds = ", ".join(sorted({str(tensor.dtype) for tensor in output_tensors})) or type(output).__name__
        raise CaseFailed("error", f"does not train: its output is {kinds}, not floating point, and so has no gradient")
    terms = [tensor for tensor in floats if tensor.requires_grad and tensor.numel()] or floats[:1]
    return functools.reduce(torch.add, map(_mean_square, terms))


def _mean_square(tensor: torch.Tensor) -> torch.Tensor:
    numbers: torch.Tensor = densify(tensor)
    return (numbers.abs() if numbers.is_complex() else numbers).float().square().mean()


def _users_loss(path: str) -> Callable[..., torch.Tensor]:
    """Return the loss at an import path, which is called with the output and as many of the inputs as it takes."""
    function = import_path(path)

    def loss(output: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        result = _call(function, (output, *args), kwargs)
        name = type(result).__name__
        if isinstance(result, torch.Tensor):
            if result.numel() == 1 and result.is_floating_point():
                return result
            name = f"a tensor of {result.dtype} and shape {tuple(result.shape)}"
        raise CaseFailed("error", f"{path} returned {name}: a loss must be a tensor of one real number")

    return loss


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return ``function(*args, **kwargs)``, without the last arguments and the keywords that it does not take."""
    parameters = inspect.signature(function).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        args = args[: sum(parameter.kind in positional for parameter in parameters)]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        names = {parameter.name for parameter in parameters}
        kwargs = {name: value for name, value in kwargs.items() if name in names}
    return function(*args, **kwargs)
