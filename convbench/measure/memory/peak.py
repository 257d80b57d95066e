"""The most bytes alive at once during a call on fake tensors: storages from birth to release, and what operators need.

Where torch computes otherwise without values, as in gradients of a selection, the operators are those with values.
"""

from __future__ import annotations

import math
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from convbench.core.errors import CaseFailed
from convbench.measure.memory import cudnn
from convbench.measure.memory.cpu_operators import extra_bytes
from convbench.measure.memory.rehearsal import ENCODER_LAYER, packed_layer, rehearse
from convbench.measure.memory.with_values import CHECKS, COMPOSITE, RESULTS, composition, kernels, pack, values_of

ATEN = torch.ops.aten
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


class TakesTooLong(CaseFailed):
    """A prediction was stopped at its time limit."""


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
        self.at_full_length = self.packs = False

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
        if composition_of_call := self._composition(func):
            with self:
                return composition_of_call(*args, **kwargs)
        return self._run(self._in_place(func, args), args, kwargs)

    def _composition(self, func: Any) -> Callable[..., Any] | None:
        """Return what torch calls in place of an operator, all of which is followed; None for an operator that runs."""
        if self.device.type == "cuda" and func in cudnn.COMPOSED:
            composed: Callable[..., Any] = cudnn.COMPOSED[func]
            return composed
        if func is ATEN._nested_tensor_from_mask_left_aligned.default:
            return self._keep_padded
        if func is ATEN._pack_padded_sequence.default:
            return self._pack
        is_composed = func.namespace == "aten" and self._is_composed(func.name())
        return partial(self._compose, func) if is_composed else None

    def _keep_padded(self, *_args: Any, **_kwargs: Any) -> bool:
        """Answer that sequences are not left-aligned: the encoder calls its layers on padded sequences then."""
        self.at_full_length = self.packs = True
        return False

    def _pack(self, *args: Any) -> Any:
        """Pack sequences, at full length if their lengths are not known."""
        self.at_full_length |= values_of(args[1]) is None
        return pack(*args)

    def _compose(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        with self._autocast_of_call(func.name()):
            return composition(func)(*args, **kwargs)

    def _in_place(self, func: Any, args: Any) -> Any:
        """Return the operator with which torch's own backward pass computes for tensors with values."""
        node: Any = torch._C._current_autograd_node()
        if node is None:
            return func
        return ATEN.add_.Tensor if self._accumulates(node, func, args) else IN_PLACE.get(func, func)

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operator, and follow the storages that it makes and what it needs beside them."""
        storage_ids = {id(tensor.untyped_storage()) for tensor in self._strided_tensors((args, kwargs))}
        result = STANDINS.get(func, func)(*args, **kwargs)
        self.workspaces |= cudnn.cublas_bytes(func, self.device, self.capability)
        if func.overloadpacket in WITHOUT_MEMORY:
            return result
        births = [tensor for tensor in self._strided_tensors(result) if id(tensor.untyped_storage()) not in storage_ids]
        for tensor in births:
            self._track(tensor.untyped_storage())
        scratch, reserve = self._beside_outputs(func, args, kwargs, result)
        if reserve and births:
            self._grow(reserve)
            weakref.finalize(_lifetime(result), self._shrink, reserve)
        self.bytes = max(self.bytes, self.alive_bytes + scratch)
        return result

    def _beside_outputs(self, func: Any, args: Any, kwargs: Any, result: Any) -> tuple[int, int]:
        """Return the bytes that an operator needs while it runs, and those that live as long as its outputs."""
        if self.packs and func is ENCODER_LAYER and self.device.type == "cpu":
            scratch, reserve = rehearse(packed_layer, args, kwargs, result)
        else:
            scratch, reserve = extra_bytes(func, args, result, kwargs)
        return scratch + cudnn.scratch_bytes(func, args), reserve

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
