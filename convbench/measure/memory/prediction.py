"""Predict the peak memory of a call from shapes, with fake tensors on the case's device: the model computes nothing.

The peak counts the tensors that operators return, followed from birth to release, the memory that some operators take
beside them (``operators``, ``cudnn``), and the optimizer's state and intermediates. Sizes of tensors, in B.
"""

from __future__ import annotations

import gc
import logging
import math
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.core import traits
from convbench.core.errors import CaseFailed
from convbench.core.record import Case, Parts
from convbench.measure.counts.counted import on_meta_or_reason, reason_of
from convbench.measure.memory import cudnn
from convbench.measure.memory.operators import extra_bytes
from convbench.measure.memory.with_values import CHECKS, COMPOSITE, RESULTS, composition, kernels, pack, values_of
from convbench.measure.stages.entries import in_threads
from convbench.models import network, subject
from convbench.models.inputs import inputs as make_inputs
from convbench.models.stages import compiles
from convbench.models.subject import Subject
from convbench.models.training_step import TrainingStep
from convbench.models.values import held_bytes
from convbench.models.weights import channels_last, watch_attributes, weights_bytes
from convbench.models.without_values import NO_ADDRESS, without_checks


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


class TakesTooLong(CaseFailed):
    """A prediction was stopped at its time limit."""


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
        with _mute_log(), _without_addresses():
            return _prediction(case, time.monotonic() + seconds)
    except CaseFailed:
        raise
    except Exception as error:
        raise CaseFailed("error", f"not predicted: {_advice(error)}") from error


def _not_from_shapes(model: str) -> CaseFailed:
    return CaseFailed("error", f"the peak of {model} cannot be predicted from its shapes: buffers are reused")


@contextmanager
def _mute_log() -> Iterator[None]:
    """While entered, torch prints no traceback of an operator that fake tensors cannot run; the error is raised."""
    logger = logging.getLogger(FakeTensor.__module__)
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


@contextmanager
def _without_addresses() -> Iterator[None]:
    """While entered, a fake tensor has no address: an extension that wrote there would end the process.

    torch's own code, such as ``copy.deepcopy`` of a layer, compares addresses and gets the null address instead.
    """

    def data_ptr(tensor: FakeTensor) -> int:
        if str(sys._getframe(1).f_globals["__name__"]).startswith("torch."):
            return 0
        return torch.Tensor.data_ptr(tensor)  # raises torch's own error

    FakeTensor.data_ptr = data_ptr  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del FakeTensor.data_ptr


def _prediction(case: Case, until: float) -> Prediction:
    """Predict with fake tensors.

    A model that cannot be built of them, as with lazy layers, is built and called on ``meta`` first, then its weights
    are replaced.
    """
    if isinstance(case.architecture, Parts):
        network.build(case, 0, "meta")
    try:
        with _convert_anew(), _Fakes(), without_checks():
            return _predict(_assemble(case), until)
    except CaseFailed:
        raise
    except Exception as error:
        on_meta = on_meta_or_reason(case.eager, 0)
        if isinstance(on_meta, str):
            if "UninitializedParameter" not in str(error):
                raise
            reason = f"its lazy layers take their sizes from a call without values, which raises {on_meta}"
            raise CaseFailed("error", f"not predicted: {reason}") from error
    with _Fakes(), without_checks():
        return _predict(_assemble(case, _exchange_weights(on_meta.model, case.device)), until)


class _Fakes(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Fake tensors in place of all tensors, also of real ones that the model's code made before, such as constants.

    Tensors that are copied with ``copy.deepcopy``, as for clones of a layer, stay in the same mode. They would copy the
    mode, and such a copy corrupts the process's memory when it is deleted (torch 2.13).
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._allow_unsafe_data_ptr_access = False

    def may_turn_const(self, tensor: torch.Tensor) -> bool:
        """Whether to keep the values of a result: those of lengths and places, as torch does for a single number."""
        is_short = tensor.numel() <= MOST_VALUES and not tensor.is_floating_point() and not tensor.is_complex()
        is_real = tensor.layout is torch.strided and not isinstance(tensor, FakeTensor) and tensor.device.type != "meta"
        return super().may_turn_const(tensor) or (is_short and is_real)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is ATEN._pack_padded_sequence.default and values_of(args[1]) is not None:  # the inputs are packed
            with self:
                return pack(*args)
        return super().__torch_dispatch__(func, types, args, kwargs)

    def __deepcopy__(self, _memo: Any) -> _Fakes:
        return self


@contextmanager
def _convert_anew() -> Iterator[None]:
    """While entered, ``.to``, ``.half`` and the like give a module new parameters; torch would swap fakes, and fail."""
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
    """Replace a model's parameters and buffers in place by fake tensors on a device; shared ones stay shared."""
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
    """Explain why shapes do not tell the peak, in words if the model's own code is the reason."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [str(frame.f_globals.get("__name__")) for frame in frames]
    if reason := next(
        (reason for prefix, reason in BUILDERS.items() if any(name.startswith(prefix) for name in modules)), ""
    ):
        return reason
    places = {frame.f_code for frame in frames}
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
        f"a prediction runs the model on tensors without values, where it raises {reason_of(error)}",
    )


def _assemble(case: Case, model: nn.Module | None = None) -> Subject:
    """Assemble the subject with the variants that change its tensors, and those that store them with channels last."""
    variant = tuple(choice for choice in case.variant if not traits.of_variant(choice.name).same_tensors)
    result = subject.assemble(replace(case, variant=variant), seed=0, model=model)
    if any(variant_traits.channels_last for variant_traits in traits.of_case(case)):
        with _convert_anew():
            model = channels_last(result.model)
        result = replace(result, model=model, inputs=result.inputs.channels_last(case.clip))
    return subject.transform(result)


def _predict(subject: Subject, until: float) -> Prediction:
    if compiles(subject.model):
        raise _not_from_shapes("a model whose own code compiles it")
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
    held_bytes = weights_bytes(subject.model) + _held_bytes(subject, constants()) + peak.libraries
    return Prediction(held_bytes + peak.alive_bytes, peak.bytes - peak.alive_bytes, 0, peak.at_full_length)


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


ATEN = torch.ops.aten
MOST_VALUES = 4096
"""Elements up to which whole numbers keep their values, such as the lengths of a batch."""
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
OF_ONE_TENSOR = 2
"""The use count of a storage that only one tensor holds: the tensor's use, and that of the caller who asks."""
IN_PLACE = {
    getattr(packet, overload): getattr(in_place, overload)
    for packet, in_place, overload in (
        (ATEN.scatter, ATEN.scatter_, "src"),
        (ATEN.scatter_add, ATEN.scatter_add_, "default"),
        (ATEN.index_put, ATEN.index_put_, "default"),
        (ATEN.index_add, ATEN.index_add_, "default"),
        (ATEN.index_fill, ATEN.index_fill_, "int_Tensor"),
        (ATEN.put, ATEN.put_, "default"),
    )
}
"""In-place forms of the operators with which gradients of a selection (indices, maxima) write into zeros; for tensors
without values torch makes copies."""
WITHOUT_MEMORY = {ATEN.set_, ATEN._efficientzerotensor}
"""Operators whose results take no memory: another view of an existing storage, and the zeros of a missing tangent."""
READERS = {ATEN.equal.default, ATEN._local_scalar_dense.default}
"""Operators with which checks read values."""
STANDINS = cudnn.STANDINS | RESULTS
"""Replacements for operators whose output sizes torch does not tell, or not fully, for fake tensors."""
COUNTER = 4
"""Bytes of an optimizer's step count, a float32."""


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operators return. ``bytes``: the most bytes of them alive at once in the last call.

    Raises TakesTooLong after the monotonic time ``until``.
    """

    def __init__(self, device: torch.device, until: float = math.inf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.until = until
        self.capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)
        self.alive_bytes = 0
        self.bytes = 0
        self.workspaces: dict[str, int] = {}
        self.nodes: dict[int, tuple[str, int] | None] = {}
        self.foreign_layout: torch.layout | None = None
        self.at_full_length = False

    @contextmanager
    def follow(self) -> Iterator[None]:
        """Follow the call inside, anew: what an earlier one has left counts from the start.

        Raises CaseFailed at the end if tensors had no storage, such as sparse ones. It does not raise at once: an
        exception while torch asks such a tensor for its device ends the process.
        """
        self.bytes = self.alive_bytes
        with self, kernels(self.device.type):
            yield
        if self.foreign_layout:
            layout = str(self.foreign_layout).removeprefix("torch.").strip("_")
            raise CaseFailed("error", f"not predicted: shapes do not tell the bytes of its {layout} tensors")

    @property
    def libraries(self) -> int:
        """Bytes that libraries keep after their first call."""
        return sum(self.workspaces.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if time.monotonic() > self.until:
            raise TakesTooLong("error", "not predicted: it takes too long, because its forward has too many operators")
        kwargs = kwargs or {}
        if func in READERS and (answer := _answer()) is not None:
            return answer
        if self.device.type == "cuda" and func in cudnn.COMPOSED:
            with self:
                return cudnn.COMPOSED[func](*args, **kwargs)
        if func is ATEN._nested_tensor_from_mask_left_aligned.default:
            self.at_full_length = True
            return False  # the encoder does not pack its sequences then
        if func is ATEN._pack_padded_sequence.default:
            self.at_full_length |= values_of(args[1]) is None
            with self:
                return pack(*args)
        if func.namespace == "aten" and self._is_composed(func.name()):
            with self, self._autocast_of_call(func.name()):
                return composition(func)(*args, **kwargs)
        node = torch._C._current_autograd_node()
        if node is not None:
            func = ATEN.add_.Tensor if self._accumulates(node, func, args) else IN_PLACE.get(func, func)
        storage_ids = {id(tensor.untyped_storage()) for tensor in self._strided_tensors((args, kwargs))}
        result = STANDINS.get(func, func)(*args, **kwargs)
        self.workspaces |= cudnn.cublas_bytes(func, self.device, self.capability)
        if func.overloadpacket in WITHOUT_MEMORY:
            return result
        births = [tensor for tensor in self._strided_tensors(result) if id(tensor.untyped_storage()) not in storage_ids]
        for tensor in births:
            self._track(tensor.untyped_storage())
        scratch, reserve = extra_bytes(func, args, result, kwargs)
        scratch += cudnn.scratch_bytes(func, args)
        if reserve and births:
            self._grow(reserve)
            weakref.finalize(_lifetime(result), self._shrink, reserve)
        self.bytes = max(self.bytes, self.alive_bytes + scratch)
        return result

    def _accumulates(self, node: Any, func: Any, args: tuple[Any, ...]) -> bool:
        """Whether autograd adds a gradient to that of another use of the same tensor, which nothing else reads.

        It adds in place then, except for tensors without values. A sum of two tensors that one node has made is part of
        that node's formula, unless the node differentiates two uses of one tensor.
        """
        if func is not ATEN.add.Tensor or torch.is_grad_enabled() or not all(isinstance(a, FakeTensor) for a in args):
            return False
        total, gradient = args
        storage = total.untyped_storage()
        is_alone = torch._C._storage_Use_Count(storage._cdata) == OF_ONE_TENSOR
        targets = node.next_functions
        is_formula = self.nodes.get(id(storage)) == _identity(node) and len(set(targets)) == len(targets)
        return is_alone and not is_formula and storage.nbytes() == total.nbytes and total.shape == gradient.shape

    def _is_composed(self, name: str) -> bool:
        """Whether torch composes the operator of others on this device, because the device has no kernel for it.

        Without gradients, ``max_pool1d`` has a kernel on a CPU, which torch does not register.
        """
        has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
        is_pool = self.device.type == "cpu" and name == "aten::max_pool1d"
        return has_kernel(name, COMPOSITE.name) and not has_kernel(name, self.device.type.upper()) and not is_pool

    def _autocast_of_call(self, name: str) -> AbstractContextManager[Any]:
        """Restore the caller's autocast, which a mode runs without, for an operator that autocast does not cast itself.

        The operators that compose an LSTM or an Einstein sum are cast.
        """
        with torch._C._RestorePythonTLSSnapshot():  # type: ignore[attr-defined]
            casts = torch.is_autocast_enabled(self.device.type)
        if not casts or torch._C._dispatch_has_kernel_for_dispatch_key(name, f"Autocast{self.device.type.upper()}"):
            return nullcontext()
        return torch.autocast(self.device.type, torch.get_autocast_dtype(self.device.type))

    def _strided_tensors(self, values: Any) -> list[torch.Tensor]:
        """Return the fake tensors in a value that have a storage; note the layout of those that have none."""
        fakes = _fake_tensors(values)
        for tensor in fakes:
            if tensor.layout is not torch.strided:
                self.foreign_layout = tensor.layout
        return [tensor for tensor in fakes if tensor.layout is torch.strided]

    def _track(self, storage: torch.UntypedStorage) -> None:
        self.nodes[id(storage)] = _identity(torch._C._current_autograd_node())
        self._grow(storage.nbytes())
        weakref.finalize(storage, self._shrink, storage.nbytes())

    def _grow(self, size: int) -> None:
        self.alive_bytes += size
        self.bytes = max(self.bytes, self.alive_bytes)

    def _shrink(self, size: int) -> None:
        self.alive_bytes -= size


def _answer() -> float | None:
    """Return the value for the function that reads it, if it is in ``CHECKS``; torch calls the mode by wrappers."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals["__name__"].startswith((__name__, "torch._")):
        frame = frame.f_back
    return CHECKS.get(frame.f_code)


def _identity(node: Any) -> tuple[str, int] | None:
    return None if node is None else (node.name(), node._sequence_nr())


def _fake_tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, FakeTensor)]


def _lifetime(result: Any) -> torch.UntypedStorage:
    """The storage whose lifetime stands for an operator's workspace: its last output, to which shapes give no bytes."""
    return _fake_tensors(result)[-1].untyped_storage()
