"""Peak memory of a call from its shapes alone: fake tensors on the case's device, nothing allocated, nothing computed.

What torch allocates is what its operators return, followed here from birth to release, what some of them take beside it
(``onednn``, ``cudnn``), and the optimizer's state and intermediates. Bytes of tensors, in B.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch._C import DispatchKey
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.core import traits
from convbench.core.errors import CaseFailed
from convbench.core.record import Case, Parts
from convbench.measure.counts.counted import on_meta_or_reason, reason_of
from convbench.measure.memory import cudnn
from convbench.measure.memory.onednn import extra_bytes
from convbench.measure.stages.entries import in_threads
from convbench.models import network, subject
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep
from convbench.models.weights import weights_bytes
from convbench.models.without_values import unchecked


@dataclass(frozen=True, slots=True)
class Prediction:
    """Bytes held between calls, and the most above them forward and backward, and in the optimizer's step."""

    resident: int
    forward_backward: int
    optimizer: int

    @property
    def peak(self) -> int:
        return self.resident + max(self.forward_backward, self.optimizer)


class TakesTooLong(CaseFailed):
    """A prediction was given up at its limit of time."""


@lru_cache(maxsize=256)
def predict(case: Case, seconds: float = math.inf) -> Prediction:
    """The peak of one warmed call. Raises CaseFailed where it cannot be told (compiled, an unknown operator).

    TakesTooLong where it takes more than so many ``seconds``: fake tensors cost a millisecond an operator, which a cell
    that is stepped through thousands of frames has tens of thousands of.
    """
    if traits.opaque(case):
        model = "a compiled model" if traits.compiles(case) else f"a model that {traits.engine(case)} runs"
        raise CaseFailed("error", f"the peak of {model} cannot be told from its shapes: buffers are reused")
    try:
        with _mute_log():
            return _prediction(case, time.monotonic() + seconds)
    except CaseFailed:
        raise
    except Exception as error:
        raise CaseFailed("error", f"not predicted: {_advice(error)}") from error


@contextmanager
def _mute_log() -> Iterator[None]:
    """While it lasts, torch does not print the traceback of an operator that fake tensors cannot run; it is raised."""
    logger = logging.getLogger(FakeTensor.__module__)
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _prediction(case: Case, until: float) -> Prediction:
    """A user's model that cannot be built of fake tensors is called on ``meta`` first and its weights exchanged."""
    if isinstance(case.architecture, Parts):
        network.build(case, 0, "meta")
    try:
        with _convert_anew(), FakeTensorMode(), unchecked():
            return _predict(_assemble(case), until)
    except CaseFailed:
        raise
    except Exception:
        on_meta = on_meta_or_reason(case.eager, 0)
        if isinstance(case.architecture, Parts) or isinstance(on_meta, str):
            raise
    with FakeTensorMode(), unchecked():
        return _predict(_assemble(case, _exchange_weights(on_meta.model, case.device)), until)


@contextmanager
def _convert_anew() -> Iterator[None]:
    """While it lasts, ``.to``, ``.half`` and their like give a module new parameters; torch swaps fake ones, and fails.

    What changes nothing leaves a parameter as it is, and what is shared stays so.
    """
    original = nn.Module._apply
    parameters: dict[tuple[Callable[..., Any], torch.Tensor], nn.Parameter] = {}

    def apply(module: nn.Module, convert: Callable[..., Any], recurse: bool = True) -> nn.Module:
        for child in module.children() if recurse else ():
            child._apply(convert)  # type: ignore[no-untyped-call]
        for name, parameter in module._parameters.items():
            if parameter is not None and (convert, parameter) not in parameters:
                with torch.no_grad():
                    result = convert(parameter)
                is_same = result is parameter
                parameters[convert, parameter] = parameter if is_same else nn.Parameter(result, parameter.requires_grad)
            module._parameters[name] = None if parameter is None else parameters[convert, parameter]
        for name, tensor in module._buffers.items():
            module._buffers[name] = None if tensor is None else convert(tensor)
        return module

    nn.Module._apply = apply  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module._apply = original  # type: ignore[method-assign]


def _exchange_weights(model: nn.Module, device: str) -> nn.Module:
    """The model, in place, with fake tensors on a device for its parameters and buffers; what is shared stays so."""
    fakes: dict[torch.Tensor, torch.Tensor] = {}
    for module in model.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or is_lazy(tensor):
                continue
            if tensor not in fakes:
                fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                is_parameter = isinstance(tensor, nn.Parameter)
                fakes[tensor] = nn.Parameter(fake, tensor.requires_grad) if is_parameter else fake
            setattr(module, name, fakes[tensor])
    return model


def _advice(error: Exception) -> str:
    """Why shapes do not tell the peak, in words where the reason is the model's own."""
    kind = type(error).__name__
    signs = ("item()", "numpy()", "Expected bool, got <class 'torch.Tensor'>")
    if "DataDependent" in kind or "DynamicOutputShape" in kind or any(sign in str(error) for sign in signs):
        return (
            "its forward reads the values of tensors (.item(), an if, nonzero, numpy, lengths of packed sequences) and "
            "a prediction knows shapes only: move that out of forward, or measure at each size"
        )
    return next(
        (reason for sign, reason in WITHOUT_VALUES.items() if sign in str(error)),
        f"a prediction runs the model on tensors without values, where it raises {reason_of(error)}",
    )


def _assemble(case: Case, model: nn.Module | None = None) -> Subject:
    """The subject with the variants that change its tensors; channels_last by the clip, which decides the rest."""
    variant = tuple(choice for choice in case.variant if not traits.of_variant(choice.name).same_tensors)
    result = subject.assemble(replace(case, variant=variant), seed=0, model=model)
    if any(variant_traits.channels_last for variant_traits, _ in traits.of_case(case)):
        result = replace(result, inputs=result.inputs.channels_last(case.clip))
    return subject.transform(result)


def _predict(subject: Subject, until: float) -> Prediction:
    resident = weights_bytes(subject.model) + subject.inputs.bytes
    step, peak = subject.run, Peak(torch.device(subject.device), until)
    if not isinstance(step, TrainingStep):
        with peak.follow(), in_threads(_refuse_threads):
            step()
        if subject.without_gradients.refused:  # what the refused call has left is not there in the next one
            peak = Peak(torch.device(subject.device), until)
            with peak.follow(), in_threads(_refuse_threads):
                step()
        return Prediction(resident + peak.libraries, peak.bytes, 0)
    with peak.follow(), in_threads(_refuse_threads):
        step.backward(step.forward())
    resident += peak.libraries
    parameters = [parameter for parameter in step.parameters if parameter.grad is not None]
    state, intermediates = optimizer_bytes(step.optimizer, parameters)
    gradients = sum(parameter.nbytes for parameter in parameters)
    return Prediction(resident + state, peak.bytes, gradients + intermediates)


def _refuse_threads() -> AbstractContextManager[Any]:
    if not torch._C._len_torch_dispatch_stack():
        raise CaseFailed("error", "not predicted: it calls modules in threads of its own, whose memory is not followed")
    return nullcontext()


def optimizer_bytes(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> tuple[int, int]:
    """Bytes of an optimizer's state, and the most that its step needs beside it, for parameters that have gradients.

    Adam and AdamW keep two moments and a step count a parameter. A plain loop takes two buffers of the parameter at
    hand beside one of the parameter before it, foreach one of all parameters, a fused step none.
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


ATEN = torch.ops.aten
WITHOUT_VALUES = {
    "OpaqueTensorImpl": "shapes do not tell the bytes of its tensors in oneDNN's layout",
    "quantized::": "its layers are quantised as it is made, which torch does to weights with values alone",
    "nested_tensor": "shapes do not tell the bytes of its nested tensors",
    "self.shape_env must not be None": "shapes do not tell the bytes of its jagged tensors",
}
"""Why a model does not run on tensors without values, by what torch's error says then."""
COMPOSITE = DispatchKey.CompositeImplicitAutograd
"""Of operators that torch's own kernels make of others; what only its compiler takes apart is one on a device."""
OF_ONE_TENSOR = 2
"""Uses of a storage: by its tensor, and by who asks."""
READ_VALUES = {ATEN.one_hot, ATEN.istft, ATEN.tensor_split}
"""Operators whose own kernels look at values."""
IN_PLACE = {
    getattr(packet, overload): getattr(in_place, overload)
    for packet, in_place, overload in (
        (ATEN.scatter, ATEN.scatter_, "src"),
        (ATEN.scatter_add, ATEN.scatter_add_, "default"),
        (ATEN.index_put, ATEN.index_put_, "default"),
        (ATEN.index_add, ATEN.index_add_, "default"),
    )
}
"""What the gradients of what picks (indices, maxima) write into zeros; of tensors without values torch makes copies."""
COUNTER = 4
"""Bytes of an optimizer's step count, a float32."""


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, follows the storages that operators return. ``bytes``: most bytes of them alive at once.

    Raises TakesTooLong from the monotonic time ``until`` on.
    """

    def __init__(self, device: torch.device, until: float = math.inf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.until = until
        self.capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)
        self.alive_bytes = 0
        self.bytes = 0
        self.workspaces: dict[str, int] = {}
        self.foreign_layout: torch.layout | None = None

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Follow what is called inside. Raises CaseFailed at its end where tensors had no storage, as sparse ones.

        Not at once: what is raised while torch asks such a tensor for its device ends the process.
        """
        with self:
            yield
        if self.foreign_layout:
            layout = str(self.foreign_layout).removeprefix("torch.").strip("_")
            raise CaseFailed("error", f"not predicted: shapes do not tell the bytes of its {layout} tensors")

    @property
    def libraries(self) -> int:
        """What libraries keep once they were called."""
        return sum(self.workspaces.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if time.monotonic() > self.until:
            raise TakesTooLong("error", "not predicted: it takes too long, as its forward has too many operators")
        kwargs = kwargs or {}
        if self.device.type == "cuda" and func in cudnn.COMPOSED:
            with self:
                return cudnn.COMPOSED[func](*args, **kwargs)
        if func.namespace == "aten" and self._is_composed(func.name()):
            with self, self._autocast_of_call(func.name()):
                return _composition(func)(*args, **kwargs)
        if torch._C._current_autograd_node() is not None:
            func = ATEN.add_.Tensor if _accumulates(func, args) else IN_PLACE.get(func, func)
        storage_ids = {id(tensor.untyped_storage()) for tensor in self._strided_tensors((args, kwargs))}
        result = cudnn.STANDINS.get(func, func)(*args, **kwargs)
        self.workspaces |= cudnn.cublas_bytes(func, self.device, self.capability)
        if func.overloadpacket is ATEN.set_:  # another view of a storage that is there
            return result
        births = [tensor for tensor in self._strided_tensors(result) if id(tensor.untyped_storage()) not in storage_ids]
        for tensor in births:
            self._track(tensor.untyped_storage())
        scratch, reserve = extra_bytes(func, args, result)
        scratch += cudnn.scratch_bytes(func, args)
        if reserve and births:
            self._grow(reserve)
            weakref.finalize(_lifetime(result), self._shrink, reserve)
        self.bytes = max(self.bytes, self.alive_bytes + scratch)
        return result

    def _is_composed(self, name: str) -> bool:
        """Whether torch makes the operator of that name of others on this device, which has no kernel of its own."""
        has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
        return has_kernel(name, COMPOSITE.name) and not has_kernel(name, self.device.type.upper())

    def _autocast_of_call(self, name: str) -> AbstractContextManager[Any]:
        """Autocast as it was around the call of an operator that it does not cast itself: a mode is called without it.

        What an LSTM or an Einstein sum is made of is cast.
        """
        with torch._C._RestorePythonTLSSnapshot():  # type: ignore[attr-defined]
            casts = torch.is_autocast_enabled(self.device.type)
        if not casts or torch._C._dispatch_has_kernel_for_dispatch_key(name, f"Autocast{self.device.type.upper()}"):
            return nullcontext()
        return torch.autocast(self.device.type, torch.get_autocast_dtype(self.device.type))

    def _strided_tensors(self, values: Any) -> list[torch.Tensor]:
        """The fake tensors in a value that have a storage."""
        fakes = _fake_tensors(values)
        for tensor in fakes:
            if tensor.layout is not torch.strided:
                self.foreign_layout = tensor.layout
        return [tensor for tensor in fakes if tensor.layout is torch.strided]

    def _track(self, storage: torch.UntypedStorage) -> None:
        self._grow(storage.nbytes())
        weakref.finalize(storage, self._shrink, storage.nbytes())

    def _grow(self, size: int) -> None:
        self.alive_bytes += size
        self.bytes = max(self.bytes, self.alive_bytes)

    def _shrink(self, size: int) -> None:
        self.alive_bytes -= size


def _accumulates(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether autograd adds a gradient to that of another use of the same tensor, which nobody else reads any more.

    It adds in place then, but not of tensors without values.
    """
    if func is not ATEN.add.Tensor or torch.is_grad_enabled() or not all(isinstance(a, FakeTensor) for a in args):
        return False
    total, gradient = args
    storage = total.untyped_storage()
    is_alone = torch._C._storage_Use_Count(storage._cdata) == OF_ONE_TENSOR
    return is_alone and storage.nbytes() == total.nbytes and total.shape == gradient.shape


def _composition(func: Any) -> Callable[..., Any]:
    """What makes an operator of others: torch's own kernel; the compiler's way copies more, and reads no values."""
    if func is ATEN.linear.default:
        return _linear
    return func.decompose if func.overloadpacket in READ_VALUES else partial(func._op_dk, COMPOSITE)


def _linear(rows: Any, weight: Any, bias: Any = None) -> Any:
    """A linear layer as torch computes it of tensors with values: its bias is added in place."""
    if bias is None or rows.dim() == 2 or (rows.dim() == 3 and rows.is_contiguous()):
        return ATEN.linear.default._op_dk(COMPOSITE, rows, weight, bias)
    if not weight.requires_grad:
        return torch.matmul(rows, weight.t()).add_(bias)
    product = torch.mm(rows.reshape(-1, rows.shape[-1]), weight.t())
    return product.view(*rows.shape[:-1], -1).add_(bias)


def _fake_tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, FakeTensor)]


def _lifetime(result: Any) -> torch.UntypedStorage:
    """The storage that stands for an operator's workspace: its last output, which the shapes give no bytes."""
    return _fake_tensors(result)[-1].untyped_storage()
