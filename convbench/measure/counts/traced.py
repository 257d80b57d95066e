"""The second count: a JIT trace of a real call, with fvcore's operator costs and our own, which know the LSTM.

It is independent of the first: another tracer, on real tensors, where ``nn.LSTM`` is one fused operator. It includes
results that are computed but not returned, and tells stages by the scopes of the graph. Costs are the pure functions of
MACS and ADDS.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler import record_function
from torch.fx import _symbolic_trace
from torch.jit._trace import _get_trace_graph
from torch.overrides import TorchFunctionMode

from convbench.core.errors import CaseFailed
from convbench.core.metrics import OTHER
from convbench.core.record import STAGES
from convbench.measure.counts.dispatched import as_written
from convbench.measure.counts.einsum import contraction_macs
from convbench.measure.counts.formulas import WITH_VECTOR, base_name, by_name, is_unknown
from convbench.measure.stages.entries import in_threads, observe
from convbench.models.stages import stage_roots
from convbench.models.subject import Subject
from convbench.models.weights import nodes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # fvcore scripts a loss, which is deprecated: an error under -W error
    from fvcore.nn import jit_handles

Values = list[Any]
Cost = Callable[[Values, Values], Any]
CONTROL = ("prim::Loop", "prim::If", "prim::CallMethod", "prim::CallFunction")
IN_OWN_LAYOUT = tuple(
    f"aten::{name}" for name in ("mkldnn_convolution", "mkldnn_linear", "_sparse_mm", "_sparse_addmm", "hspmm")
)
"""Operators whose tensors are sparse or in oneDNN's layout; a trace does not record the shapes of those."""
MADE_OF_PRODUCTS = tuple(
    f"aten::{name}"
    for name in ("linalg_multi_dot", "chain_matmul", "linalg_matrix_power", "matrix_power", "cov", "corrcoef")
)
"""Operators that choose which products to compute; a trace shows each of them as one operator."""

MAYBE_WITH_VECTOR = ("aten::matmul", "aten::linalg_matmul", "aten::linear")
"""Operators that the first count sees as ``WITH_VECTOR`` if the second factor is a vector."""

SIZES = (torch.Tensor.shape.__get__, torch.Tensor.size, torch.Tensor.numel)  # type: ignore[attr-defined]
"""Functions that return sizes of a tensor."""

GQA_INDEX = 7
"""Index of ``enable_gqa`` among the arguments of attention."""


@dataclass(frozen=True)
class Trace:
    """MACs by stage, the additions of pooling and activations, and the operators that were not counted."""

    macs: dict[str, int]
    adds: int
    unknown_operators: tuple[str, ...]


def trace(subject: Subject) -> Trace:
    """Count one call of an eager subject that was called before, by stage.

    Raises the tracer's own error if it cannot follow the call.
    """
    call = _CountedCall(subject)
    torch.clear_autocast_cache()  # the tracer refuses weights that an autocast around the call has cast before
    with torch.no_grad(), as_written(), _into_compiled(), _without_marks(), _PlainSizes(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _get_trace_graph(call, ())  # type: ignore[no-untyped-call]
    return Trace({stage: call.macs[stage] for stage in (*STAGES, OTHER)}, call.adds, tuple(sorted(call.unknown_names)))


@contextmanager
def _into_compiled() -> Iterator[None]:
    """While entered, what the user compiled calls the code that it was made of, as it does while torch.fx traces.

    Otherwise it refuses torch's JIT tracer.
    """
    if "torch._dynamo" not in sys.modules:
        yield
        return
    was_tracing, _symbolic_trace._is_fx_tracing_flag = _symbolic_trace._is_fx_tracing_flag, True
    try:
        with torch._dynamo.config.patch(error_on_nested_fx_trace=False):
            yield
    finally:
        _symbolic_trace._is_fx_tracing_flag = was_tracing


@contextmanager
def _without_marks() -> Iterator[None]:
    """While entered, ``record_function`` does nothing: it ends in a segmentation fault once the tracer has given up.

    An optimizer's step is inside such a mark, too.
    """
    enter, leave = record_function.__enter__, record_function.__exit__
    record_function.__enter__ = record_function.__exit__ = _nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        record_function.__enter__, record_function.__exit__ = enter, leave  # type: ignore[method-assign]


def _nothing(*_: object) -> None:
    """Neither begin nor end a mark."""


class _PlainSizes(TorchFunctionMode):
    """While entered, the tracer hands out sizes as numbers.

    It makes tensors of them, which some code cannot use: ``torch.LongTensor(size)`` then holds the size as its value.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        state = torch._C._get_tracing_state()
        if func not in SIZES or state is None:
            return func(*args, **(kwargs or {}))
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        try:
            return func(*args, **(kwargs or {}))
        finally:
            torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


class _CountedCall(nn.Module):
    """A subject's call as a module, which the tracer requires, with the stages as scopes of the graph."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.model = subject.model
        self.subject, self.roots = subject, stage_roots(subject.case, subject.model)
        self.formulas = by_name(subject.case)
        self.macs: Counter[str] = Counter()
        self.adds = 0
        self.unknown_names: set[str] = set()

    def forward(self) -> Any:
        """Make the call, and count its graph before the tracer drops results that are not returned."""
        state = torch._C._get_tracing_state()

        def enter(stage: str, _inputs: Any) -> None:
            state.push_scope(stage)

        def leave(_stage: str, _output: Any) -> None:
            state.pop_scope()

        with observe(self.roots, enter, leave), in_threads(_refuse_threads):
            self.subject.call()
        weights = {value.debugName() for value in state.graph().inputs()}
        for node in nodes(state.graph()):
            if not (_works_on(weights, node) and _is_with_vector(node)):
                self._count(node)
        return torch.zeros(1)  # the tracer refuses a result that no operator has made, such as an input

    def _count(self, node: Any) -> None:
        name = node.kind()
        if base_name(name) in MACS:
            self.macs[_stage(node)] += _cost(MACS[base_name(name)], node)
        elif base_name(name) in ADDS:
            self.adds += _cost(ADDS[base_name(name)], node)
        elif formula := self.formulas.get(name):
            self.macs[_stage(node)] += _by_formula(formula, node) // 2
        elif name in CONTROL:
            raise CaseFailed("error", f"{name} of a scripted module cannot be followed in a trace")
        elif name in IN_OWN_LAYOUT:
            raise CaseFailed("error", f"{name} works on tensors whose shapes a trace does not record")
        elif name in MADE_OF_PRODUCTS:
            raise CaseFailed("error", f"{name} consists of products that a trace does not record")
        elif is_unknown(name):
            self.unknown_names.add(name)


def _works_on(weights: set[str], node: Any) -> bool:
    """Whether a node reads only weights and values made from them; its outputs are then added to ``weights``."""
    names = {value.debugName() for value in node.inputs() if _is_of_tensors(value.type())}
    if not names or not names <= weights:
        return False
    weights |= {value.debugName() for value in node.outputs()}
    return True


def _is_of_tensors(kind: Any) -> bool:
    """Whether a type is that of a tensor or a list of tensors, and not of a list of sizes."""
    return bool((kind.getElementType() if kind.kind() == "ListType" else kind).kind() == "TensorType")


def _is_with_vector(node: Any) -> bool:
    """Whether a node is an operator ``WITH_VECTOR``, or a general product whose second factor is a vector."""
    name = base_name(node.kind())
    return name in WITH_VECTOR or (name in MAYBE_WITH_VECTOR and len(_shape(list(node.inputs())[1])) == 1)


def _stage(node: Any) -> str:
    return node.scopeName().rpartition("/")[2] or OTHER


def _refuse_threads() -> AbstractContextManager[Any]:
    if torch._C._get_tracing_state() is None:
        raise CaseFailed("error", "it calls modules in its own threads, which a trace does not follow")
    return nullcontext()


def _cost(cost: Cost, node: Any) -> int:
    result = cost(list(node.inputs()), list(node.outputs()))
    return int(sum(result.values()) if isinstance(result, Counter) else result)


def _by_formula(formula: Callable[..., int], node: Any) -> int:
    """FLOPs by a formula of torch's registry or the user's, called as torch calls it."""
    arguments = torch._C.parse_schema(node.schema()).arguments
    pairs = list(zip(arguments, map(_argument, node.inputs()), strict=True))
    keywords = {argument.name: value for argument, value in pairs if argument.kwarg_only}
    results = tuple(map(_argument, node.outputs()))
    positional = (value for argument, value in pairs if not argument.kwarg_only)
    return formula(*positional, **keywords, out_val=results[0] if len(results) == 1 else results)


def _argument(value: Any) -> Any:
    """Convert a value of the graph for torch's formulas: tensors to empty ones on ``meta``, constants to Python."""
    if value.isCompleteTensor():
        return torch.empty(value.type().sizes(), device="meta")
    if value.node().kind() == "prim::ListConstruct":
        return [_argument(item) for item in value.node().inputs()]
    return value.toIValue()


def _shape(value: Any) -> list[int]:
    """The shape of a tensor, empty for a number. Raises CaseFailed if the trace does not record it."""
    if value.type().kind() == "TensorType" and not value.isCompleteTensor():
        raise CaseFailed("error", "it multiplies tensors whose shapes a trace does not record, such as sparse ones")
    return jit_handles.get_shape(value) or []


def recurrent_macs(inputs: Values, outputs: Values) -> int:
    """LSTM and GRU: every weight matrix is used once for every time step of every sequence.

    The first input is (T, B, D), or (sum of lengths, D) for packed sequences; the weights are the only list that holds
    two-dimensional tensors.
    """
    steps = prod(_shape(inputs[0])[:-1])
    lists = (value.node().inputs() for value in inputs[1:] if value.node().kind() == "prim::ListConstruct")
    weights = (_shape(tensor) for tensors in lists for tensor in tensors)
    return steps * sum(prod(shape) for shape in weights if len(shape) == 2)


def cell_macs(inputs: Values, outputs: Values) -> int:
    """One step of LSTMCell, GRUCell or RNNCell: input, state, and the two weight matrices."""
    return prod(_shape(inputs[0])[:-1]) * sum(prod(_shape(weight)) for weight in inputs[2:4])


def attention_macs(inputs: Values, outputs: Values) -> int:
    """The scores of all pairs, and the weighted sum of the values."""
    query, key, value = map(_shape, inputs[:3])
    batches = [shape[:-2] for shape in (query, key, value)]
    if len(inputs) > GQA_INDEX and inputs[GQA_INDEX].toIValue():  # each key head serves several query heads
        batches = [[*batch[:-1], query[-3]] for batch in batches]
    batch: torch.Size = torch.broadcast_shapes(*batches)  # type: ignore[no-untyped-call]
    return prod(batch) * query[-2] * key[-2] * (query[-1] + value[-1])


def product_macs(inputs: Values, outputs: Values) -> int:
    """A product of matrices or vectors, or an affine grid: each position times its image's matrix."""
    return prod(_shape(outputs[0])) * _shape(inputs[0])[-1]


def added_product_macs(inputs: Values, outputs: Values) -> int:
    """A product of the second and the third input, added to the first."""
    return product_macs(inputs[1:], outputs)


def summed_products_macs(inputs: Values, outputs: Values) -> int:
    """The sum of a batch of products, added to the first input."""
    return prod(_shape(inputs[1])) * _shape(outputs[0])[-1]


def distances_macs(inputs: Values, outputs: Values) -> int:
    """The distances of all pairs of rows: one square per coordinate; norms other than 2 have no products."""
    return product_macs(inputs, outputs) if inputs[2].toIValue() == 2 else 0


def distances_within_macs(inputs: Values, outputs: Values) -> int:
    """The distances of all pairs of rows of one matrix."""
    return product_macs(inputs, outputs) if inputs[1].toIValue() == 2 else 0


def tensordot_macs(inputs: Values, outputs: Values) -> int:
    """Any product of two tensors over shared axes: each output element sums over the axes that both share."""
    left, right, output = prod(_shape(inputs[0])), prod(_shape(inputs[1])), prod(_shape(outputs[0]))
    return output * isqrt(left * right // max(1, output))


def bilinear_macs(inputs: Values, outputs: Values) -> int:
    """``nn.Bilinear``: the first vector times each matrix of the weight, and the result times the second vector."""
    _, rows, columns = _shape(inputs[2])
    return prod(_shape(outputs[0])) * (rows + 1) * columns


def einsum_macs(inputs: Values, outputs: Values) -> int:
    """Products over shared letters, in torch's order of contraction."""
    shapes = [_shape(value) for value in inputs[1].node().inputs()]
    path = _argument(inputs[2]) if len(inputs) > 2 else None
    return contraction_macs(inputs[0].toIValue(), shapes, path or ())


def convolution_macs(inputs: Values, outputs: Values) -> int:
    """A convolution of any kind: the whole weight at each position of its output, or of its input if transposed."""
    source, weight = _shape(inputs[0]), _shape(inputs[1])
    places = source if inputs[6].toIValue() else _shape(outputs[0])
    return source[0] * prod(weight) * prod(places[2:])


def padded_convolution_macs(inputs: Values, outputs: Values) -> int:
    """A convolution whose padding is a word, such as ``same``."""
    return prod(_shape(outputs[0])) * prod(_shape(inputs[1])[1:])


def _elements_in(inputs: Values, outputs: Values) -> int:
    return prod(_shape(inputs[0]))


def _elements_out(inputs: Values, outputs: Values) -> int:
    return prod(_shape(outputs[0]))


MACS: dict[str, Cost] = {
    f"aten::{name}": cost
    for cost, names in (
        (jit_handles.conv_flop_jit, ["_convolution"]),
        (convolution_macs, ["convolution"]),
        (padded_convolution_macs, ["_convolution_mode"]),
        (product_macs, ["linear", "mm", "bmm", "matmul", "linalg_matmul", "mv", "dot", "vdot"]),
        (product_macs, ["affine_grid_generator"]),
        (added_product_macs, ["addmm", "addmv", "baddbmm"]),
        (summed_products_macs, ["addbmm"]),
        (distances_macs, ["cdist"]),
        (distances_within_macs, ["pdist"]),
        (bilinear_macs, ["bilinear"]),
        (einsum_macs, ["einsum"]),
        (recurrent_macs, ["lstm", "gru", "rnn_tanh", "rnn_relu"]),
        (cell_macs, ["lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"]),
        (attention_macs, ["scaled_dot_product_attention"]),
        (tensordot_macs, ["tensordot", "inner"]),
    )
    for name in names
}
POOLS = (
    *(f"{kind}_pool{axes}d" for kind in ("adaptive_avg", "adaptive_max", "avg", "max") for axes in (1, 2, 3)),
    "mean", "sum", "amax", "amin", "max", "min",
)  # fmt: skip
ELEMENTWISE = (
    "add", "sub", "rsub", "mul", "div", "pow", "abs", "neg", "clamp", "clamp_min", "relu", "relu6", "hardtanh",
    "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "glu", "sigmoid", "hardsigmoid",
    "log_sigmoid", "hardswish", "softplus", "softshrink", "hardshrink", "threshold", "tanh", "softmax", "log_softmax",
    "exp", "log", "sqrt", "rsqrt", "reciprocal", "batch_norm", "instance_norm", "layer_norm", "group_norm", "rms_norm",
)  # fmt: skip
ADDS: dict[str, Cost] = {
    f"aten::{name}": cost for cost, names in ((_elements_in, POOLS), (_elements_out, ELEMENTWISE)) for name in names
}
