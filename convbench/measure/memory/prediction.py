"""Predict the peak memory of a call from shapes, with fake tensors on the case's device: the model computes nothing.

The peak counts what the model holds between calls, the most that a call adds (``peak``), and the optimizer's state and
intermediates. Sizes of tensors, in B.
"""

from __future__ import annotations

import gc
import math
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from convbench.core import traits
from convbench.core.code import located, modules_of
from convbench.core.errors import CaseFailed
from convbench.core.record import Case, Parts
from convbench.measure.counts.counted import on_meta_or_reason, reason_of
from convbench.measure.memory.fakes import Fakes, convert_anew, exchange_weights, mute_log, safe_fakes
from convbench.measure.memory.peak import Peak
from convbench.measure.stages.entries import in_threads
from convbench.models import network, subject
from convbench.models.inputs import inputs as make_inputs
from convbench.models.stages import compiles
from convbench.models.subject import Subject, WithoutGradients
from convbench.models.training_step import TrainingStep
from convbench.models.values import held_bytes
from convbench.models.weights import channels_last, watch_attributes, weights_bytes
from convbench.models.without_values import NO_ADDRESS, without_checks

WITHOUT_VALUES = {
    "OpaqueTensorImpl": "shapes do not tell the bytes of its tensors in oneDNN's layout",
    "quantized::": "its layers are quantised while it is built, and torch quantises only weights that have values",
    "nested_tensor": "shapes do not tell the bytes of its nested tensors",
    "NestedTensorImpl": "shapes do not tell the bytes of its nested tensors",
    "of type FakeTensor which is not a subclass": "its code makes tensors of a class of its own (as_subclass), and "
    "tensors without values have another class already",
    "self.shape_env must not be None": "shapes do not tell the bytes of its jagged tensors",
}
"""Reasons why a model does not run on tensors without values, by a part of torch's error message."""
_PROGRAM = "and a prediction knows shapes only: name the module from which it was made"
BUILDERS = {
    "torch.jit._trace": f"it is traced while it is built, which takes values, {_PROGRAM}",
    "torch.jit._serialization": f"its program is loaded with its values (torch.jit.load), {_PROGRAM}",
    "torch.export": f"its program is loaded or exported with its values (torch.export), {_PROGRAM}",
    "torch.nn.parallel.distributed": "DistributedDataParallel sends the values of its weights to other processes while "
    "it is built, and a prediction knows shapes only: name the module that it wraps",
}
"""Reasons why a model cannot be built of tensors without values, by the module of torch that its code calls for it."""
COUNTER = 4
"""Bytes of an optimizer's step count, a float32."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Bytes held between calls, and the most bytes beyond: in forward and backward, and in the optimizer's step.

    ``at_full_length`` says that sequences are as long as their padding, because shapes do not tell their lengths.
    """

    resident: int
    forward_backward: int
    optimizer: int
    at_full_length: bool = False

    @property
    def peak(self) -> int:
        return self.resident + max(self.forward_backward, self.optimizer)


@lru_cache(maxsize=256)
def predict(case: Case, seconds: float = math.inf) -> Prediction:
    """Predict the peak of one warmed-up call. Raises CaseFailed if it is compiled or calls an unknown operator.

    Raises TakesTooLong after ``seconds``: fake tensors cost a millisecond per operator, and a cell that is stepped
    through thousands of frames has tens of thousands of operators.
    """
    if traits.opaque(case):
        model = "a compiled model" if traits.compiles(case) else f"a model that {traits.engine(case)} runs"
        raise _not_from_shapes(model)
    try:
        with mute_log(), safe_fakes():
            return _predict_case(case, time.monotonic() + seconds)
    except CaseFailed:
        raise
    except Exception as error:
        raise CaseFailed("error", f"not predicted: {_advice(error)}") from error


def _not_from_shapes(model: str) -> CaseFailed:
    return CaseFailed("error", f"the peak of {model} cannot be predicted from its shapes: buffers are reused")


def _predict_case(case: Case, until: float) -> Prediction:
    """Predict with fake tensors.

    A model that cannot be built of them, as with lazy layers, is built and called on ``meta`` first, then its weights
    are replaced.
    """
    if isinstance(case.architecture, Parts):
        network.build(case, 0, "meta")
    try:
        with convert_anew(), Fakes(), without_checks():
            return _predict_subject(_assemble(case), until)
    except CaseFailed:
        raise
    except Exception as error:
        on_meta = on_meta_or_reason(case.eager, 0)
        if isinstance(on_meta, str):
            if "UninitializedParameter" not in str(error):
                raise
            reason = f"its lazy layers take their sizes from a call without values, which raises {on_meta}"
            raise CaseFailed("error", f"not predicted: {reason}") from error
    with Fakes(), without_checks():
        return _predict_subject(_assemble(case, exchange_weights(on_meta.model, case.device)), until)


def _advice(error: Exception) -> str:
    """Explain why shapes do not tell the peak, in words if the model's own code is the reason."""
    modules = modules_of(error)
    if reason := next(
        (reason for prefix, reason in BUILDERS.items() if any(name.startswith(prefix) for name in modules)), ""
    ):
        return reason
    places = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    if subject.transform.__code__ in places:
        return "its variant reads the values of weights or clips, as int8 does, and a prediction knows shapes only"
    kind = type(error).__name__
    signs = ("item()", "numpy()", "Expected bool, got <class 'torch.Tensor'>", NO_ADDRESS)
    if "DataDependent" in kind or "DynamicOutputShape" in kind or any(sign in str(error) for sign in signs):
        readers = {network.build.__code__: "the code that builds it", make_inputs.__code__: "the code of its inputs"}
        reader = next((reader for code, reader in readers.items() if code in places), "its forward or its loss")
        return (
            f"{reader} reads the values of tensors (.item(), an if, nonzero, numpy, an extension) and a prediction "
            "knows shapes only: move that out of it, or measure at each size"
        )
    return next(
        (reason for sign, reason in WITHOUT_VALUES.items() if sign in str(error)),
        f"a prediction runs the model on tensors without values, where it raises {located(error, reason_of(error))}",
    )


def _assemble(case: Case, model: nn.Module | None = None) -> Subject:
    """Assemble the subject with the variants that change its tensors, and those that store them with channels last."""
    variant = tuple(choice for choice in case.variant if not traits.of_variant(choice.name).same_tensors)
    result = subject.assemble(replace(case, variant=variant), seed=0, model=model)
    if any(variant_traits.channels_last for variant_traits in traits.of_case(case)):
        with convert_anew():
            model = channels_last(result.model)
        result = replace(result, model=model, inputs=result.inputs.channels_last(case.clip))
    return subject.transform(result)


def _predict_subject(subject: Subject, until: float) -> Prediction:
    if compiles(subject.model):
        raise _not_from_shapes("a model whose own code compiles it")
    if subject.device == "cpu":
        # In inference mode, views of a fake weight (flatten, mT) require no gradient. Those of a real one do, and a
        # product with such a view copies its other factor. On a GPU only inference mode shows composed operators whole,
        # such as an LSTM: without a GPU torch would compose them as on a CPU.
        subject = replace(subject, modes=WithoutGradients.TRAINABLE)
    step = subject.run
    if not isinstance(step, TrainingStep):
        return _follow_calls(subject, step, subject.case.clip.frames, until)
    parameters: list[nn.Parameter] = []
    gradients = _follow_calls(subject, partial(_make_gradients, step, parameters), 2, until)
    state, intermediates = optimizer_bytes(step.optimizer, parameters)
    return replace(
        gradients,
        resident=gradients.resident + state,
        optimizer=sum(parameter.nbytes for parameter in parameters) + intermediates,
    )


def _follow_calls(subject: Subject, call: Callable[[], object], most_calls: int, until: float) -> Prediction:
    """Follow calls until the model keeps as much of one as of the call before: caches, or a state that may grow.

    A call that makes layers, or that inference mode refuses, happens only once.
    """
    peak, constants = Peak(torch.device(subject.device), until), watch_attributes(subject.model)
    for _ in range(max(2, most_calls)):
        kept_bytes, initial = peak.alive_bytes, (weights_bytes(subject.model), subject.without_gradients.refusal)
        with peak.follow(), in_threads(_refuse_threads):
            call()
        if peak.alive_bytes != kept_bytes:
            gc.collect()  # what is in reference cycles is not kept, and is collected before a call is measured
        refusal = subject.without_gradients.refusal
        if refusal and any(sign in str(refusal) for sign in WITHOUT_VALUES):  # real tensors would not be refused
            raise refusal
        if (weights_bytes(subject.model), refusal) != initial:
            peak, constants = Peak(torch.device(subject.device), until), watch_attributes(subject.model)
        elif peak.alive_bytes == kept_bytes:
            break
    resident = weights_bytes(subject.model) + _held_bytes(subject, constants()) + peak.libraries
    return Prediction(resident + peak.alive_bytes, peak.bytes - peak.alive_bytes, 0, peak.at_full_length)


def _make_gradients(step: TrainingStep, parameters: list[nn.Parameter]) -> None:
    """Make a training step up to its gradients and release these; ``parameters`` are then those that had one."""
    step.backward(step.forward())
    parameters[:] = [parameter for parameter in step.parameters if parameter.grad is not None]
    step.forget()


def _held_bytes(subject: Subject, others: list[torch.Tensor]) -> int:
    """Return the bytes of the inputs and of other tensors on the case's device, or on ``meta`` in its place."""
    kinds = (torch.device(subject.device).type, "meta")
    return held_bytes((*subject.inputs.tensors, *(tensor for tensor in others if tensor.device.type in kinds)))


def _refuse_threads() -> AbstractContextManager[Any]:
    if not torch._C._len_torch_dispatch_stack():
        raise CaseFailed("error", "not predicted: it calls modules in its own threads, whose memory is not tracked")
    return nullcontext()


def optimizer_bytes(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> tuple[int, int]:
    """Return the bytes of an optimizer's state, and the most that its step needs beside it; parameters have gradients.

    Adam and AdamW keep two moments and a step count per parameter. A plain loop takes two buffers of the current
    parameter and one of the previous one, foreach one buffer of all parameters, a fused step none.
    """
    kind, defaults = type(optimizer), optimizer.defaults
    if kind is torch.optim.SGD or not parameters:
        return 0, 0
    sizes = [parameter.nbytes for parameter in parameters]
    state = 2 * sum(sizes) + COUNTER * len(sizes)
    if defaults.get("fused"):
        return state, 0
    on_gpu = parameters[0].device.type == "cuda"
    if defaults.get("foreach") or (on_gpu and defaults.get("foreach") is None):
        return state, sum(sizes)
    return state, max(previous + 2 * size for previous, size in pairwise((0, *sizes)))
