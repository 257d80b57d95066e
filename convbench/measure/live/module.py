"""What counting and measuring a live module share: its name, its device, its first call, and its subject."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch._C._autograd import _profiler_enabled
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from convbench.core.code import located
from convbench.core.errors import ConvbenchError
from convbench.core.record import Case, Choice, Clip, Whole
from convbench.models.inputs import Inputs
from convbench.models.subject import Subject, WithoutGradients
from convbench.models.weights import number_type

T = TypeVar("T")
HOW = "give the arguments of its call one by one, tensors and not their shapes"
"""What to do if a call gets something else than it takes. Other tools take a tuple of inputs, or their shapes."""


def subject(model: nn.Module, inputs: Inputs) -> Subject:
    """Return a live module as the subject that probes expect: called as it is, without gradients."""
    clips = [leaf for leaf in inputs.args if isinstance(leaf, torch.Tensor) and leaf.dim() == 5]
    clip = Clip(*clips[0].shape) if clips else Clip()
    case = Case(Whole(Choice(f"live:{type(model).__qualname__}")), clip)
    device, modes = device_of(model, inputs), WithoutGradients.TRAINABLE
    return Subject(case, 0, device, model, inputs, model, number_type(model), modes=modes)


def device_of(call: object, inputs: Inputs) -> str:
    """The GPU that holds any of a module's tensors or inputs, else the first one's device; ``cpu`` without any."""
    tensors = (*call.parameters(), *call.buffers()) if isinstance(call, nn.Module) else ()
    devices = [tensor.device for tensor in (*tensors, *inputs.tensors)]
    return str(next((device for device in devices if device.type == "cuda"), devices[0] if devices else "cpu"))


def device_of_all(calls: Sequence[object], inputs: Inputs) -> str:
    """The GPU of any of the calls, else the first call's device, for a clock that has to wait for it.

    Raises ConvbenchError for devices whose calls cannot be timed, and for two GPUs.
    """
    devices = [device_of(call, inputs) for call in calls]
    for call, device in zip(calls, devices, strict=True):
        refuse_untimeable(call, device)
    gpus = list(dict.fromkeys(device for device in devices if device.startswith("cuda")))
    if len(gpus) > 1:
        names = " and ".join(gpus)
        raise ConvbenchError(f"the callables are on {names}: move both to one GPU, since the clock waits for one")
    return gpus[0] if gpus else devices[0]


def first_call(model: object, call: Callable[[], T]) -> T:
    """Return ``call()``. Raises ConvbenchError, naming the model, if that does not run on its inputs."""
    try:
        return call()
    except Exception as error:
        is_other_type = isinstance(error, TypeError) or re.match("'(tuple|list|dict)' object", str(error))
        remedy = f"; {HOW}" if is_other_type else ""
        raise ConvbenchError(f"{_name(model)} does not run on these inputs: {located(error)}{remedy}") from error


def refuse_no_module(model: object) -> None:
    """Raise ConvbenchError for an object without parameters to count and without a mode to be called in."""
    if not isinstance(model, nn.Module):
        raise ConvbenchError(
            f"{_name(model)} is not a torch.nn.Module: give a model instance, not its class; for an exported program, "
            "its .module(); to time another callable, such as a runtime's session, use convbench.compare"
        )


def refuse_untimeable(call: object, device: str) -> None:
    """Raise ConvbenchError for a device whose calls cannot be timed, and inside of a dispatch mode or a profiler.

    Another profiler in it would also end that of the caller, whose trace would be lost.
    """
    names = [type(mode).__name__.removeprefix("_") for mode in _get_current_dispatch_mode_stack()]
    names += ["torch's profiler"] if _profiler_enabled() else []
    if names:
        raise ConvbenchError(
            f"{names[-1]} is active, and each call would be timed with its work: leave its `with` block first"
        )
    if torch.device(device).type not in ("cpu", "cuda"):
        raise ConvbenchError(f"{_name(call)} is on {device}: only what is on cpu or cuda can be measured")


def _name(call: object) -> str:
    return str(getattr(call, "__name__", type(call).__name__))
