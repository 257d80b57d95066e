"""The second count: fvcore's trace of a real call, with operator costs of our own that know the LSTM.

Independent of the first: another tracer, on real tensors, where ``nn.LSTM`` is one fused operator. Costs are the pure
functions of OPERATORS; what the trace holds and no table knows is returned by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from fvcore.nn import jit_handles
from fvcore.nn.jit_analysis import JitModelAnalysis
from torch import nn

from convbench.core.record import STAGES
from convbench.models.network import stage_modules
from convbench.models.subject import Subject

Values = list[Any]
Cost = Callable[[Values, Values], Any]


@dataclass(frozen=True)
class Trace:
    """MACs by stage, the additions of pooling and activations, and the operators that nothing counted."""

    macs: dict[str, int]
    adds: int
    uncounted: tuple[str, ...]


def _shape(value: Any) -> list[int]:
    return jit_handles.get_shape(value) or []


def recurrent_macs(inputs: Values, outputs: Values) -> int:
    """LSTM and GRU: every weight matrix is used once for every time step of every sequence.

    The first input is (T, B, D), or (sum of lengths, D) for packed sequences; the weights are the one list of tensors
    that holds two-dimensional ones.
    """
    steps = prod(_shape(inputs[0])[:-1])
    lists = (value.node().inputs() for value in inputs[1:] if value.node().kind() == "prim::ListConstruct")
    weights = (_shape(tensor) for tensors in lists for tensor in tensors)
    return steps * sum(prod(shape) for shape in weights if len(shape) == 2)


def _elements_in(inputs: Values, outputs: Values) -> int:
    return prod(_shape(inputs[0]))


def _elements_out(inputs: Values, outputs: Values) -> int:
    return prod(_shape(outputs[0]))


MACS: dict[str, Cost] = {
    "_convolution": jit_handles.conv_flop_jit,
    "convolution": jit_handles.conv_flop_jit,
    "linear": jit_handles.linear_flop_jit,
    "addmm": jit_handles.addmm_flop_jit,
    "mm": jit_handles.matmul_flop_jit,
    "matmul": jit_handles.matmul_flop_jit,
    "bmm": jit_handles.bmm_flop_jit,
    "baddbmm": jit_handles.bmm_flop_jit,
    "einsum": jit_handles.einsum_flop_jit,
    "lstm": recurrent_macs,
    "gru": recurrent_macs,
    "rnn_tanh": recurrent_macs,
    "rnn_relu": recurrent_macs,
}
POOLS = ("adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d", "mean", "sum", "amax")
ELEMENTWISE = (
    "add", "add_", "sub", "rsub", "mul", "mul_", "div", "div_", "pow", "clamp", "clamp_min", "relu", "relu_",
    "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softmax", "log_softmax", "exp", "log", "sqrt", "rsqrt",
    "reciprocal",
    "batch_norm", "layer_norm", "group_norm",
)  # fmt: skip
ADDS: dict[str, Cost] = {**dict.fromkeys(POOLS, _elements_in), **dict.fromkeys(ELEMENTWISE, _elements_out)}
FREE = frozenset(
    f"aten::{name}"
    for name in (
        "unflatten", "zeros", "ones", "full", "empty", "new_zeros", "type_as", "meshgrid", "linspace", "stack",
        "split", "chunk", "unbind", "dropout", "feature_dropout", "index", "copy_", "fill_", "detach", "clone",
        "squeeze_", "unsqueeze_", "alias", "reshape_as", "view_as", "item", "lift_fresh", "movedim", "unsafe_chunk",
        "_pack_padded_sequence", "_pad_packed_sequence", "new_empty", "zero_", "narrow", "flip", "roll",
        "zeros_like", "ones_like", "empty_like", "full_like", "tensor_split", "repeat", "gather", "index_select",
        "arange", "eq", "ne", "lt", "gt", "le", "ge", "numpy_T", "swapaxes", "one_hot", "sort",
    )
)  # fmt: skip


class _Call(nn.Module):
    """A scenario's call with the model's submodules under their own names, for a tracer that wants a module."""

    def __init__(self, model: nn.Module, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.kwargs = kwargs

    def forward(self, *args: Any) -> Any:
        return self.model(*args, **self.kwargs)


def trace(held: Subject) -> Trace:
    """Count one call of an eager subject that is not timed. Raises what the tracer raises where it cannot follow."""
    args = held.inputs.args
    if held.case.scenario == "streaming":
        args = (args[0][:, :1],)
    with torch.inference_mode():
        analysis = JitModelAnalysis(_Call(held.model, held.inputs.kwargs), args)
        analysis.set_op_handle(**HANDLES).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        by_module: dict[str, Counter[str]] = analysis.by_module_and_operator()
        uncounted = tuple(sorted(set(analysis.unsupported_ops()) - FREE))
    return Trace(_stages(held, by_module), int(by_module[""]["adds"]), uncounted)


def _stages(held: Subject, by_module: dict[str, Counter[str]]) -> dict[str, int]:
    stages = {
        stage: sum(int(by_module[f"model.{name}"]["macs"]) for name in names)
        for stage, names in stage_modules(held.case, held.model).items()
    }
    other = int(by_module[""]["macs"]) - sum(stages.values())
    return {stage: stages.get(stage, 0) for stage in STAGES} | {"other": other}


def _as(label: str, cost: Cost) -> Callable[[Values, Values], Counter[str]]:
    """The cost of an operator, put under ``label``, whatever name its author counts under."""

    def handle(inputs: Values, outputs: Values) -> Counter[str]:
        counted = cost(inputs, outputs)
        return Counter({label: sum(counted.values()) if isinstance(counted, Counter) else counted})

    return handle


HANDLES = {f"aten::{name}": _as("macs", cost) for name, cost in MACS.items()} | {
    f"aten::{name}": _as("adds", cost) for name, cost in ADDS.items()
}
