"""The first count: torch's FlopCounterMode over the call that is timed, with stages told by the entry of their modules.

It runs on ``meta``, where nothing is computed and an LSTM decomposes into products that torch counts exactly. A model
that cannot run there is counted on its device, with the fused recurrent operators of oneDNN and cuDNN off. The
convention is torch's: the multiply-accumulates of convolutions and matrix products; pooling and activations count as
zero.
"""

from __future__ import annotations

import sys
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Self

import torch
from torch import nn
from torch.nested._internal.nested_tensor import NestedTensor
from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode

from convbench.core.metrics import OTHER
from convbench.core.record import STAGES, Case
from convbench.measure.counts.formulas import WITH_VECTOR, base_name, formulas, is_unknown, operator
from convbench.measure.stages.entries import in_threads, observe
from convbench.models.stages import Roots, stage_roots
from convbench.models.subject import Subject, WithoutGradients
from convbench.models.values import is_sparse, tensors
from convbench.models.weights import nodes, shaped_tensors
from convbench.models.without_values import without_fused_attention

WHOLE = "Global"
"""The name under which FlopCounterMode keeps its total."""


@dataclass(frozen=True)
class StageCounts:
    """MACs of one call by stage, including ``other``. ``unknown_operators`` names the operators without a formula.

    ``unknown_share`` is the share of the parameters that only those operators read; ``missing_stages`` are the stages
    that the call never entered.
    """

    macs: dict[str, int]
    unknown_operators: tuple[str, ...] = ()
    unknown_share: float = 0.0
    missing_stages: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.macs.values())


def count(subject: Subject, modules: Roots | None = None) -> StageCounts:
    """Count one call of an eager subject that was called once before, by the stages of its case or by other modules.

    Raises whatever its model raises.
    """
    try:
        return _count_call(subject, modules)
    except Exception as error:
        if subject.without_gradients.mode is not torch.inference_mode:
            raise
        # In inference mode under a counter, dropout in evaluation returns a copy and not the parameter that it got, so
        # that a model cannot register the result as a parameter again. Without gradients alone it returns the same.
        try:
            trainable = replace(subject, modes=WithoutGradients.TRAINABLE)
            trainable.call()
            return _count_call(trainable, modules)
        except Exception:
            raise error from None


def _count_call(subject: Subject, modules: Roots | None) -> StageCounts:
    roots = stage_roots(subject.case, subject.model) if modules is None else modules
    tracker = _Stages()
    counter = _Counter(subject, tracker)
    with ExitStack() as stack:
        entered_stages = stack.enter_context(observe(roots, tracker.enter, tracker.leave))
        stack.enter_context(as_written())
        stack.enter_context(decompose())
        stack.enter_context(counter)
        stack.enter_context(in_threads(counter.in_this_thread))
        subject.call()
    macs = {name: sum(flops.values()) // 2 for name, flops in counter.get_flop_counts().items()}
    names = STAGES if modules is None else tuple(modules)
    return StageCounts(
        {name: macs.get(name, 0) for name in (*names, OTHER)},
        tuple(sorted(counter.unknown_names)),
        counter.unknown_share(subject.model),
        tuple(name for name, members in roots.items() if members and name not in entered_stages),
    )


@contextmanager
def as_written() -> Iterator[None]:
    """While entered, code that the user compiled runs as written, and torch's fused attention layers as operators."""
    stance = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    with without_fused_attention(), stance:
        yield


@contextmanager
def decompose() -> Iterator[None]:
    """While entered, fused recurrent operators are off, because torch's counter does not know them.

    Only these two switches are set: ``flags()`` of torch's backends also reads and sets TF32, which raises if TF32 was
    set by torch's newer switches, and warns on machines without a GPU.
    """
    switches = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    _fuse(mkldnn=False, cudnn=False)
    try:
        yield
    finally:
        _fuse(*switches)


def _fuse(mkldnn: bool, cudnn: bool) -> None:
    torch._C._set_mkldnn_enabled(mkldnn)
    torch._C._set_cudnn_enabled(cudnn)


class _Stages:
    """Replaces FlopCounterMode's module tracker: tells the stage that an operator belongs to, forward or backward.

    An operator of the backward pass belongs to the stage whose forward pass made its autograd node. Autograd numbers
    nodes in the order in which they are made, so a stage is a range of numbers.
    """

    def __init__(self) -> None:
        self._threads = threading.local()
        self.numbers: list[int] = []
        self.stages: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @property
    def stack(self) -> list[str]:
        """The stages that this thread is in."""
        stack: list[str] = vars(self._threads).setdefault("stack", [])
        return stack

    def enter(self, stage: str, _inputs: Any) -> None:
        self.stack.append(stage)
        self._mark()

    def leave(self, _stage: str, _output: Any) -> None:
        self.stack.pop()
        self._mark()

    @property
    def parents(self) -> set[str]:
        """The names under which the current operator counts."""
        node = torch._C._current_autograd_node()
        return {WHOLE, self._stage if node is None else self._stage_of(node._sequence_nr())}

    @property
    def _stage(self) -> str:
        return self.stack[-1] if self.stack else OTHER

    def _mark(self) -> None:
        self.numbers.append(torch._C._autograd._get_sequence_nr())
        self.stages.append(self._stage)

    def _stage_of(self, number: int) -> str:
        index = bisect_right(self.numbers, number)
        return self.stages[index - 1] if index else OTHER


class _Mode(_FlopCounterMode):
    """A counter's mode, which also counts higher-order operators.

    Operators with a formula, such as ``flex_attention``, are counted by it; loops, such as ``scan``, by their calls.
    For jagged tensors it counts the operators on their values, which torch's own mode refuses.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, NestedTensor) for kind in types):
            return NotImplemented  # jagged tensors decompose, and their values come back here
        result = super().__torch_dispatch__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        if result is NotImplemented and not types and isinstance(func, torch._ops.OpOverload):
            return func(*args, **(kwargs or {}))  # asks a plain tensor's layout, which nothing else answers
        return result

    def _handle_higher_order_ops(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in self.counter.flop_registry:
            return self.counter._count_flops(func, func(*args, **kwargs), args, kwargs)  # type: ignore[no-untyped-call]
        if func is torch.ops.higher_order.cond:
            return self._count_longer(args[1:3], args[3])
        if not any(map(callable, args)):
            return super()._handle_higher_order_ops(func, types, args, kwargs)  # type: ignore[no-untyped-call]
        return func(*(self._wrap(value) if callable(value) else value for value in args), **kwargs)

    def _count_longer(self, branches: Iterable[Callable[..., Any]], operands: Any) -> Any:
        """Return the output of the branch of a condition that takes more products, and count only these.

        torch's own mode counts both branches if an operator of theirs was counted before: its copies are shallow.
        """
        earlier_counts, outcomes = self.counter.flop_counts, []
        for branch in branches:
            self.counter.flop_counts = earlier_counts.copy()
            self.counter.flop_counts |= {name: flops.copy() for name, flops in earlier_counts.items()}
            output = self._wrap(branch)(*operands)
            outcomes.append((self.counter.get_total_flops(), self.counter.flop_counts, output))
        _, self.counter.flop_counts, output = max(outcomes, key=itemgetter(0))
        return output

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with every call counted by this mode."""

        def call(*args: Any) -> Any:
            with self:
                return function(*args)

        return call


class Flops(FlopCounterMode):
    """FlopCounterMode with the formulas of a case."""

    def __init__(self, case: Case) -> None:
        super().__init__(display=False, custom_mapping=formulas(case))

    def __enter__(self) -> Self:
        self.flop_counts.clear()
        self.mod_tracker.__enter__()  # type: ignore[no-untyped-call]
        self.mode = _Mode(self)
        self.mode.__enter__()  # type: ignore[no-untyped-call]
        return self


class _Counter(Flops):
    """A counter that also notes the operators that it did not count, and the weights that they read."""

    def __init__(self, subject: Subject, stages: _Stages) -> None:
        super().__init__(subject.case)
        self.mod_tracker = stages  # type: ignore[assignment]
        self.unknown_names = Counter(_direct_calls(subject.model))
        self.weight_storages = _storages(shaped_tensors((*subject.model.parameters(), *subject.model.buffers())))
        self._outputs: list[Any] = []
        self.known_storages: set[int] = set()
        self.unknown_storages: set[int] = set()
        self._lock = threading.Lock()

    def in_this_thread(self) -> AbstractContextManager[Any]:
        """Return the mode for a thread that the model started without it; autograd's own threads inherit the mode."""
        return nullcontext() if torch._C._len_torch_dispatch_stack() else _Mode(self)

    def _count_flops(self, func_packet: Any, out: Any, args: Any, kwargs: Any) -> Any:
        name, storages = operator(func_packet), _storages((args, kwargs))
        with self._lock:
            if self._works_on_weights(storages, out) and base_name(name) in WITH_VECTOR:
                return out
            has_formula = func_packet in self.flop_registry
            if has_formula and sum(map(is_sparse, args)) < 2:  # two sparse factors multiply where their elements meet
                # Backward products are counted even if the forward operator that read the weights was not.
                if torch._C._current_autograd_node() is None:
                    self.known_storages |= storages
                return super()._count_flops(func_packet, out, args, kwargs)  # type: ignore[no-untyped-call]
            if has_formula or is_unknown(name):
                self.unknown_names[name] += 1
                self.unknown_storages |= storages
            return out

    def _works_on_weights(self, storages: set[int], output: Any) -> bool:
        """Whether an operator reads only weights and values made from them; then its output counts as such, too."""
        if not storages or not storages <= self.weight_storages:
            self.weight_storages -= _storages(output)  # a buffer into which data of the clip was written
            return False
        self._outputs.append(output)  # keeps the storage alive, so that its number is not reused
        self.weight_storages |= _storages(output)
        return True

    def unknown_share(self, model: nn.Module) -> float:
        """The share of the parameters that only uncounted operators read."""
        sizes = {_storage(parameter): parameter.numel() for parameter in shaped_tensors(model.parameters())}
        total = sum(size for storage, size in sizes.items() if storage in self.unknown_storages - self.known_storages)
        return total / max(1, sum(sizes.values()))


def _direct_calls(model: nn.Module) -> Iterator[str]:
    """Yield oneDNN operators that an optimised script calls past the dispatcher, so that no mode sees them."""
    for module in model.modules():
        if not isinstance(module, torch.jit.ScriptModule):
            continue
        for name in module._c._method_names():  # a class of the user's may have a ``forward`` that is not scripted
            kinds = (node.kind() for node in nodes(module._c._get_method(name).graph))
            yield from (kind for kind in kinds if kind.startswith("prim::mkldnn_") or "prepacked::" in kind)


def _storages(values: Any) -> set[int]:
    return {_storage(tensor) for tensor in tensors(values)}


def _storage(tensor: torch.Tensor) -> int:
    """A number that identifies a tensor's storage; a sparse tensor has none and stands for itself."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)
