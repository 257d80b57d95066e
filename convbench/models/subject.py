"""Define the subject that probes measure: a case's model, its inputs and ``run()``, the call that is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from convbench.core.code import modules_of
from convbench.core.errors import ConvbenchError, is_out_of_memory
from convbench.core.imports import import_path
from convbench.core.option_types import settings
from convbench.core.record import Case, Whole
from convbench.core.registry import scenarios, variants
from convbench.models import network, values
from convbench.models.deployment import Deployment, Quantisation
from convbench.models.inputs import Inputs, inputs
from convbench.models.variants import need, refuse_unsuited
from convbench.models.weights import number_type
from convbench.models.without_values import without_addresses, without_checks

F = TypeVar("F", bound=Callable[..., Any])
OF_INFERENCE_MODE = "inference tensor"
"""Part of torch's messages, in lower case, if a tensor that was made in inference mode is used for a gradient."""
_REFUSALS: dict[Any, Exception] = {}
"""Why architectures refused inference mode that keep tensors of their first call, by architecture.

A value that is passed on would go through the dozen places that assemble a model anew within one measurement. Before
the next measurement, ``forget_refusals`` empties it.
"""


class WithoutGradients:
    """A callable that runs a model with as few gradients as it allows: in the first of ``modes`` in which it succeeds.

    The first call finds ``mode``, in which all calls run. ``refusal`` is the error of the first mode if that failed.
    ``spoils`` is told it if the failed attempt has left tensors in the model, so that only a new model can be called.
    ``settles`` says whether the output has pending values (``values.settle``).
    """

    MODES = (torch.inference_mode, torch.no_grad, torch.enable_grad)
    TRAINABLE = MODES[1:]
    """Modes that leave a module trainable: no gradient goes through tensors that it makes in inference mode."""

    def __init__(
        self,
        forward: Callable[..., Any],
        modes: Sequence[Callable[[], Any]],
        refusal: Exception | None = None,
        spoils: Callable[[Exception], object] | None = None,
    ) -> None:
        self.forward, self.modes, self.refusal, self.spoils = forward, modes, refusal, spoils
        self.mode: Callable[[], Any] | None = None
        self.settles = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.mode is None:
            return self._first_call(args, kwargs)
        try:
            with self.mode():
                output = self.forward(*args, **kwargs)
                return values.settle(output) if self.settles else output
        except Exception as error:
            _forget_failed_compilation(error)
            raise

    def _first_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        *earlier_modes, last_mode = self.modes
        for mode in earlier_modes:
            try:
                return self._try(mode, args, kwargs)
            except ConvbenchError:
                raise
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                self.refusal = self.refusal or error
        try:
            return self._try(last_mode, args, kwargs)
        except RuntimeError as error:
            if self.refusal is None or OF_INFERENCE_MODE not in str(error).lower():
                raise
            if self.spoils:
                self.spoils(self.refusal)
            raise self.refusal from error  # ``error`` only comes from state that the first attempt left in the model

    def _try(self, mode: Callable[[], Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            with mode():
                output = self.forward(*args, **kwargs)
                result = values.settle(output)
        except Exception as error:
            _forget_failed_compilation(error)
            raise
        self.mode, self.settles = mode, result is not output
        return result


def _forget_failed_compilation(error: Exception) -> None:
    """Drop all compiled code if torch's compiler raised the error, as it may on ``meta`` and under a tracer.

    It skips a function that it once failed to compile, and operators such as ``torch.cond``, which compile what they
    are given, then fail in every later call.
    """
    if any(name.startswith("torch._dynamo") for name in modules_of(error)):
        torch._dynamo.reset()


@dataclass(frozen=True)
class Subject:
    """A model ready to be measured. Variants replace ``forward`` (the call) and the layout of the model and inputs.

    ``dtype`` is the number type of the arithmetic, at first that of most bytes of the weights. Cases are grouped by it,
    and it sets how closely a variant must agree with eager.
    ``optimizer(parameters, lr=...)`` makes the optimizer of the scenario ``train``. ``quantisation`` tells the runtime
    of a later variant how to quantise the model. ``deployment`` is the runtime that runs the model in torch's place.
    ``samples`` are clips of the task, if there is one, from which ranges are found. ``without_gradients`` tries
    ``modes`` in order.
    """

    case: Case
    seed: int
    device: str
    model: nn.Module
    inputs: Inputs
    forward: Callable[..., Any]
    dtype: torch.dtype = torch.float32
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    quantisation: Quantisation | None = None
    deployment: Deployment | None = None
    samples: tuple[Inputs, ...] = ()
    modes: Sequence[Callable[[], Any]] = WithoutGradients.MODES

    @property
    def on_gpu(self) -> bool:
        return torch.device(self.device).type == "cuda"

    @property
    def number_type(self) -> str:
        """The name of ``dtype`` in a report: ``fp32``, ``bf16``, ``int8``."""
        return str(self.dtype).removeprefix("torch.").replace("bfloat", "bf").replace("float", "fp")

    @cached_property
    def run(self) -> Callable[[], Any]:
        """One call as the case's scenario makes it, which returns the model's output."""
        call: object = scenarios.get(self.case.scenario).build(self)
        if not callable(call):
            kind = type(call).__name__
            raise ConvbenchError(f"the scenario {self.case.scenario} returned {kind}: it must return the call to time")
        return call

    @cached_property
    def without_gradients(self) -> WithoutGradients:
        """``forward`` as scenarios without training call it."""
        architecture = self.case.architecture
        spoils = partial(_REFUSALS.setdefault, architecture)
        return WithoutGradients(self.forward, self.modes, _REFUSALS.get(architecture), spoils)

    @cached_property
    def stage_entries(self) -> set[tuple[int, str]]:
        """Entries of stages that the first watched call used (``measure.stages.entries``). Empty before that call."""
        return set()

    @property
    def timed_call(self) -> Callable[[], Any]:
        """The call that is timed: ``run``, or in another runtime the same call without conversion from or to tensors.

        ``output`` turns its result into the model's output.
        """
        return self.deployment.call if self.deployment else self.run

    def output(self, result: Any) -> Any:
        """Return the model's output, given the result of ``timed_call``."""
        return self.deployment.output(result) if self.deployment else result

    def next_state(self) -> list[torch.Tensor]:
        """Stream one more call and return the tensors of the state that it hands on.

        The list is empty for cases that do not stream, and for other runtimes.
        """
        if not self.case.streams or self.deployment:
            return []
        _, state = self.run()
        return values.tensors(state)

    def call(self) -> Any:
        """Return ``run()``. On ``meta``, tensors without a device are made there too, and no values are checked."""
        if self.device != "meta":
            return self.run()
        weights = (*self.model.parameters(), *self.model.buffers())
        with torch.device("meta"), without_checks(), without_addresses((*weights, *self.inputs.tensors)):
            return self.run()


def current_device(device: str) -> AbstractContextManager[object]:
    """Return a context that makes a GPU with a number the one whose events, waits and random numbers torch uses."""
    place = torch.device(device)
    return torch.cuda.device(place) if place.type == "cuda" and place.index is not None else nullcontext()


def assemble(case: Case, seed: int, device: str | None = None, model: nn.Module | None = None) -> Subject:
    """Return the case in plain eager form, on its own device or another such as ``meta``.

    The model is built unless ``model`` is given.
    """
    device = device or case.device
    model = network.build(case, seed, device) if model is None else model
    arguments = inputs(case, seed, device, model)
    if any(isinstance(module, LazyModuleMixin) for module in model.modules()):
        with torch.device(device):  # so that its lazy layers get their sizes
            WithoutGradients(model, WithoutGradients.TRAINABLE)(*arguments.args, **arguments.kwargs)
    modes = WithoutGradients.TRAINABLE if case.architecture in _REFUSALS else WithoutGradients.MODES
    return Subject(case, seed, device, model, arguments, _forward(case, model), number_type(model), modes=modes)


def retry_with_gradients(function: F) -> F:
    """Decorator: call ``function(case, ...)`` again if its first call finds that inference mode spoils the model.

    Then ``assemble`` makes a model that is never called in inference mode.
    """

    @wraps(function)
    def wrapper(case: Case, *args: Any, **kwargs: Any) -> Any:
        is_known = case.architecture in _REFUSALS
        try:
            return function(case, *args, **kwargs)
        except Exception:
            if is_known or case.architecture not in _REFUSALS:
                raise
        refusal = _REFUSALS[case.architecture]
        refusal.__traceback__ = refusal.__cause__ = refusal.__context__ = None  # their frames hold the spoiled model
        return function(case, *args, **kwargs)

    return wrapper  # type: ignore[return-value]


def forget_refusals() -> None:
    """Forget which architectures refused inference mode: code of the same name may have changed since."""
    _REFUSALS.clear()


def assemble_forward(case: Case, seed: int, device: str | None = None) -> Subject:
    """Return only the forward pass of a case, in eager form. The model of a training case is in training mode."""
    forward = assemble(case.forward_only, seed, device)
    network.in_mode(forward.model, training=case.scenario == "train")
    return forward


def transform(subject: Subject) -> Subject:
    """Return ``subject`` with the variants of its case applied in order.

    Raises Impossible if its options do not fit, Unavailable if a module that it needs is not installed.
    """
    refuse_unsuited(subject.case)
    for choice in subject.case.variant:
        try:
            build = variants.get(choice.name).build
            result = build(subject, **settings(build, choice.options))
        except ImportError:
            need(choice.name)
            raise
        need(choice.name)  # a variant may import its modules later; before, it has better reasons, such as no GPU
        if not isinstance(result, Subject):
            kind = type(result).__name__
            raise ConvbenchError(f"the variant {choice} returned {kind}: it must return the subject")
        subject = result
    return subject


def _forward(case: Case, model: nn.Module) -> Callable[..., Any]:
    """Return the function that a scenario calls: the model, or the user's function that streams a frame through it."""
    if not case.streams or not isinstance(case.architecture, Whole) or case.architecture.step is None:
        return model
    step = import_path(case.architecture.step)

    def forward(*frame: Any) -> Any:
        return step(model, *frame)

    return forward
