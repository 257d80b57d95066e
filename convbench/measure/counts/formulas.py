"""Formulas that torch's FLOP registry lacks: fused attention, quantised layers, and the user's own operators.

A formula is called like torch's own (``torch.utils.flop_counter.register_flop_formula``): with the shapes of the
operator's tensors, its other arguments unchanged, and ``out_shape``. It returns FLOPs, twice the MACs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, ClassVar

import torch
from torch.utils.flop_counter import flop_registry, sdpa_flop_count, shape_wrapper

from convbench.core.errors import CaseFailed
from convbench.core.imports import import_path
from convbench.core.record import Case, Whole
from convbench.models.values import is_sparse, stored_numbers

Formula = Callable[..., int]
Shape = tuple[int, ...]
UNKNOWN = frozenset(
    f"aten::{name}"
    for name in (
        "addr", "_addmm_activation", "_sparse_sparse_matmul", "sspaddmm", "conv_tbc",
        "_cudnn_rnn", "miopen_rnn", "mkldnn_rnn_layer", "_fft_c2c", "_fft_r2c", "_fft_c2r", "_linalg_svd",
        "_linalg_eigh", "linalg_inv_ex", "linalg_matrix_exp", "linalg_pinv", "_cdist_backward", "_pdist_backward",
        "_convolution_double_backward", "_weight_int8pack_mm", "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu",
        "_weight_int4pack_mm_with_scales_and_zeros", "_dyn_quant_matmul_4bit", "_int_mm", "_grouped_mm",
        "_scaled_grouped_mm", "linalg_householder_product", "_linalg_solve_ex", "linalg_qr", "linalg_cholesky_ex",
        "linalg_lu_factor_ex", "linalg_lu", "linalg_lu_solve", "linalg_lstsq", "_linalg_det", "_linalg_slogdet",
        "linalg_ldl_factor_ex", "linalg_ldl_solve", "linalg_solve_triangular", "linalg_eig", "_linalg_eigvals",
        "cholesky", "cholesky_solve", "cholesky_inverse", "triangular_solve", "geqrf", "ormqr",
        "sparse_sampled_addmm", "_sparse_mm_reduce_impl", "_sparse_semi_structured_linear",
        "_sparse_semi_structured_mm", "_sparse_semi_structured_addmm", "_cslt_sparse_mm",
        "_linear_cross_entropy_batch_chunked_no_reduction", "linear_backward", "matmul_backward", "_foreach_mm",
        "_mixed_dtypes_linear", "_scaled_mm_v2", "_scaled_grouped_mm_v2", "_sparse_mm_reduce_impl_backward", "_spsolve",
        "_compute_linear_combination", "_cholesky_solve_helper", "mkldnn_linear_backward",
        "mkldnn_linear_backward_input", "mkldnn_linear_backward_weights", "mkldnn_rnn_layer_backward",
        "_cudnn_rnn_backward", "miopen_rnn_backward", "_lstm_mps", "lstm_mps_backward", "_cudnn_attention_forward",
        "_cudnn_attention_backward", "_flash_attention_forward_no_dropout_inplace", "_triton_multi_head_attention",
        "_triton_scaled_dot_attention", "_scaled_dot_product_attention_math_for_mps", "cudnn_convolution_add_relu",
        "cudnn_convolution_relu", "cudnn_convolution_transpose", "miopen_convolution", "miopen_convolution_add_relu",
        "miopen_convolution_relu", "miopen_convolution_transpose", "miopen_depthwise_convolution", "_mps_convolution",
        "_mps_convolution_transpose", "mps_convolution_backward", "mps_convolution_transpose_backward",
        "_nnpack_spatial_convolution", "_conv_depthwise2d", "conv_depthwise3d", "_slow_conv2d_backward",
        "slow_conv3d_forward", "slow_conv_dilated2d", "slow_conv_dilated3d", "slow_conv_transpose2d",
        "slow_conv_transpose3d", "convolution_backward_overrideable",
    )
)  # fmt: skip
"""torch's operators that multiply and accumulate without a formula, as far as known; its other operators without a
formula count as zero."""
WITH_VECTOR = frozenset({"aten::mv", "aten::dot", "aten::vdot", "aten::addmv"})
"""Products with a vector. On weights alone, as in spectral norm, they are no work on a clip and are not counted."""
IN_PLACE = "_"
"""Suffix of an operator that writes into its first argument: ``addmm_`` does the work of ``addmm``."""
FREE_SPACES = frozenset(
    {"aten", "prim", "prims", "onnx", "profiler", "inductor", "c10d", "_c10d_functional", "debugprims"}
)
FREE = frozenset({"torchvision::nms", "torchvision::roi_align", "torchvision::roi_pool"})
QUANTISED_PRODUCT = re.compile(r"quantized::(?!.*(prepack|unpack)).*(linear|conv|lstm|gru|rnn|mm|matmul)")
"""Quantised operators that multiply and accumulate; the others add, scale, look up or pack."""
FIRST_LINEAR = 12
"""Index of the first linear layer's weight among the arguments of an encoder layer after its width."""
PRODUCTS = (
    "linear", "linear_relu", "linear_dynamic", "linear_relu_dynamic", "linear_dynamic_fp16", "linear_relu_dynamic_fp16",
)  # fmt: skip
ATTENTIONS = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention",
              "fused_attention_overrideable")  # fmt: skip
ATTENTION_BACKWARD = tuple(f"_scaled_dot_product_{kind}_backward" for kind in ATTENTIONS)
CONVOLUTIONS = tuple(
    f"conv{n}d{relu}{suffix}" for n in (1, 2, 3) for relu in ("", "_relu") for suffix in ("", "_dynamic")
)
CELLS = (
    ("quantized_lstm_cell_dynamic", 4), ("quantized_gru_cell_dynamic", 3), ("quantized_rnn_tanh_cell_dynamic", 1),
    ("quantized_rnn_relu_cell_dynamic", 1),
)  # fmt: skip


def operator(func_packet: Any) -> str:
    """The name of an operator as torch writes it, ``shop::proj``."""
    name = getattr(func_packet, "_qualified_op_name", None)
    return str(name) if name else str(func_packet).replace(".", "::", 1)


def base_name(name: str) -> str:
    """An operator's name without the suffix of an in-place operator."""
    return name.removesuffix(IN_PLACE)


def is_unknown(name: str) -> bool:
    """Whether an operator without a formula may do work that should be counted."""
    space = name.partition("::")[0]
    if space == "quantized":
        return QUANTISED_PRODUCT.match(name) is not None
    return base_name(name) in UNKNOWN or (space not in FREE_SPACES and name not in FREE)


@dataclass(frozen=True, slots=True)
class RawFormula:
    """A formula that receives the tensors themselves, like those in torch's registry."""

    formula: Callable[..., int]
    _get_raw: ClassVar = True

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        return self.formula(*args, **kwargs)


def formulas(case: Case) -> dict[Any, Formula]:
    """The formulas to add to torch's registry for a case: ours, and the suite's for the user's operators."""
    torch_formulas = {packet: RawFormula(formula) for packet, formula in flop_registry.items()}
    own_formulas = _own_formulas()
    return _in_place(torch_formulas | own_formulas) | own_formulas | _user_formulas(case)


def _in_place(registry: Mapping[Any, Formula]) -> dict[Any, Formula]:
    """Return the same formulas for the operators' in-place forms."""
    pairs = ((operator(packet).removeprefix("aten::") + IN_PLACE, formula) for packet, formula in registry.items())
    return {getattr(torch.ops.aten, name): formula for name, formula in pairs if hasattr(torch.ops.aten, name)}


def by_name(case: Case) -> Mapping[str, Formula]:
    """Formulas of operators outside of aten, by name: the suite's, and those that the user registered with torch."""
    user_formulas = {packet: _of_shapes(formula) for packet, formula in _user_formulas(case).items()}
    registry: Mapping[Any, Formula] = {**flop_registry, **user_formulas}
    formula_by_name = {operator(packet): formula for packet, formula in registry.items()}
    return {name: formula for name, formula in formula_by_name.items() if not name.startswith("aten::")}


def _of_shapes(formula: Formula) -> Formula:
    wrapper: Formula = shape_wrapper(formula)  # type: ignore[no-untyped-call]
    return wrapper


def _user_formulas(case: Case) -> dict[Any, Formula]:
    pairs = case.architecture.flops if isinstance(case.architecture, Whole) else ()
    return {_packet(name): _lenient_formula(path) for name, path in pairs}


def _packet(name: str) -> Any:
    space, _, operation = name.partition("::")
    try:
        return getattr(getattr(torch.ops, space), operation)
    except AttributeError as error:
        raise CaseFailed(
            "error", f"flops: there is no operator {name!r}: write it as torch knows it, namespace::name"
        ) from error


def _lenient_formula(path: str) -> Formula:
    """Wrap a user's formula so that it need not accept keyword arguments it does not use, such as ``out_shape``."""
    function = import_path(path)
    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def formula(*args: Any, **kwargs: Any) -> int:
        return int(function(*args, **{key: value for key, value in kwargs.items() if takes_all or key in names}))

    return formula


def _own_formulas() -> dict[Any, Formula]:
    aten = torch.ops.aten
    return {
        **dict.fromkeys((aten.dot, aten.vdot), _product_with_vector),
        aten.mv: _sparse_product(_of_shapes(_product_with_vector)),
        aten.addmv: _sparse_product(_of_shapes(_without_addend(_product_with_vector))),
        **{packet: _sparse_product(flop_registry[packet]) for packet in (aten.mm, aten.bmm, aten.addmm)},
        **dict.fromkeys((aten._sparse_mm, aten._sparse_addmm, aten.hspmm), _sparse_product(flop_registry[aten.addmm])),
        aten.addbmm: _without_addend(_summed_products),
        aten.convolution_backward: _convolution_gradients,
        aten._trilinear: _bilinear,
        aten.affine_grid_generator: _product,
        aten._cdist_forward: _distances,
        aten._euclidean_dist: _distances,
        aten._pdist_forward: _distances_within,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        **dict.fromkeys(_packets("aten", ATTENTION_BACKWARD), _attention_backward),
        aten._scaled_dot_product_fused_attention_overrideable: _attention,
        aten._native_multi_head_attention: _multi_head_attention,
        aten._transformer_encoder_layer_fwd: _encoder_layer,
        aten.mkldnn_linear: _product,
        aten.mkldnn_convolution: _convolution,
        aten.quantized_lstm: partial(_quantised_recurrent, 4),
        aten.quantized_gru: partial(_quantised_recurrent, 3),
        **dict.fromkeys(_packets("quantized", PRODUCTS), _product),
        **dict.fromkeys(_packets("quantized", CONVOLUTIONS), _quantised_convolution),
        **{
            packet: partial(_quantised_cell, gates) for name, gates in CELLS for packet in _packets("quantized", [name])
        },
    }


def _packets(space: str, names: Iterable[str]) -> Iterator[Any]:
    for name in names:
        if (packet := getattr(getattr(torch.ops, space), name, None)) is not None:
            yield packet


def _sparse_product(dense: Formula) -> RawFormula:
    """Extend the formula of a product to sparse matrices, of which only stored elements are multiplied."""

    def formula(*args: Any, **kwargs: Any) -> int:
        factors = [argument for argument in args if isinstance(argument, torch.Tensor)]
        left, right = factors[-2:]
        if is_sparse(left):
            return 2 * stored_numbers(left) * (right.shape[-1] if right.dim() > 1 else 1)
        return 2 * stored_numbers(right) * left.shape[-2] if is_sparse(right) else dense(*factors, **kwargs)

    return RawFormula(formula)


def _product_with_vector(factor: Shape, *_args: Any, **_kwargs: Any) -> int:
    """A matrix, or a vector, times a vector; torch counts this only if it is written as a layer with one output."""
    return 2 * prod(factor)


def _without_addend(formula: Formula) -> Formula:
    """Adapt a formula to an operator that adds its product to the first argument."""

    def call(_addend: Shape, *args: Any, **kwargs: Any) -> int:
        return formula(*args, **kwargs)

    return call


def _summed_products(left: Shape, right: Shape, *_args: Any, **_kwargs: Any) -> int:
    return 2 * prod(left) * right[-1]


def _bilinear(
    first: Shape, second: Shape, third: Shape, expanded: Sequence[int], expanded_second: Sequence[int],
    expanded_third: Sequence[int], summed: Sequence[int], unrolled: int = 1, **_kwargs: Any,
) -> int:  # fmt: skip
    """``nn.Bilinear`` and its gradients.

    The first two tensors are multiplied and summed over axes that the third lacks; the result is multiplied by the
    third. Along the unrolled axis this is repeated for each position. A multiplication that sums over no axis is no
    matrix product.
    """
    shapes = map(_with_axes, (first, second, third), (expanded, expanded_second, expanded_third))
    left, middle, right = map(list, shapes)
    pair = list(map(max, left, middle))
    pair[unrolled] = max(pair[unrolled], right[unrolled])
    inner_axes = [axis for axis in summed if axis != unrolled]
    early_axes = [axis for axis in inner_axes if axis in expanded_third]
    remainder = [1 if axis in early_axes else size for axis, size in enumerate(pair)]
    sums = ((pair, early_axes), (list(map(max, remainder, right)), set(inner_axes) - set(early_axes)))
    return 2 * sum(prod(sizes) for sizes, axes in sums if axes)


def _with_axes(shape: Shape, axes: Sequence[int]) -> Shape:
    """Insert an axis of one element at each of the positions ``axes``."""
    sizes = iter(shape)
    return tuple(1 if axis in axes else next(sizes) for axis in range(len(shape) + len(axes)))


def _distances(
    left: Shape, _right: Shape, power: float = 2.0, *_args: Any, out_shape: Any = None, **_kwargs: Any
) -> int:
    """Distances of all pairs of rows: one square per coordinate; norms other than 2 have no products."""
    return int(2 * prod(out_shape) * left[-1]) if power == 2.0 else 0


def _distances_within(rows: Shape, *args: Any, **kwargs: Any) -> int:
    return _distances(rows, rows, *args, **kwargs)


def _convolution_gradients(
    gradient: Shape, source: Shape, weight: Shape, _bias: Any, _stride: Any, _padding: Any, _dilation: Any,
    transposed: bool, _output_padding: Any, _groups: int, output_mask: Sequence[bool], **_kwargs: Any,
) -> int:  # fmt: skip
    """Each gradient costs as much as the forward pass; torch's own formula ignores groups in the weight's gradient."""
    places = source if transposed else gradient
    return 2 * sum(output_mask[:2]) * source[0] * prod(places[2:]) * prod(weight)


def _attention(query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_backward(_gradient: Shape, query: Shape, key: Shape, value: Shape, *_args: Any, **_kwargs: Any) -> int:
    """Two products for each of the two in the forward pass, as on ``meta``, where attention is decomposed.

    A fused kernel computes the scores once more to save memory; that is not counted.
    """
    batch, heads, rows, width = query
    columns, depth = key[-2], value[-1]
    return 2 * batch * heads * rows * columns * 2 * (width + depth)


def _multi_head_attention(query: Shape, _key: Shape, _value: Shape, width: int, *_args: Any, **_kwargs: Any) -> int:
    """Four projections, the scores, and the weighted sum; torch requires equal shapes of query, key and value."""
    batch, rows, _ = query
    return 2 * batch * rows * width * (4 * width + 2 * rows)


def _encoder_layer(source: Shape, width: int, *args: Any, **_kwargs: Any) -> int:
    """Self-attention, and two linear layers from the width to the first one's outputs and back."""
    hidden_size, tokens = args[FIRST_LINEAR][0], prod(source[:-1])
    feed_forward: int = 2 * 2 * tokens * width * hidden_size
    return _multi_head_attention(source, source, source, width) + feed_forward


def _product(source: Shape, *_args: Any, out_shape: Any = None, **_kwargs: Any) -> int:
    """Each output sums over a row of the source: a linear layer, or an affine grid."""
    return int(2 * prod(out_shape) * source[-1])


def _convolution(_source: Shape, weight: Shape, *_args: Any, out_shape: Any = None, **_kwargs: Any) -> int:
    """Each output position uses the whole weight, which oneDNN stores in five axes if there are groups."""
    return int(2 * prod(out_shape) * prod(weight) // out_shape[1])


def _quantised_convolution(_source: Shape, params: Any, *_args: Any, out_shape: Any = None, **_kwargs: Any) -> int:
    weight = params.unpack()[0].shape
    return int(2 * prod(out_shape) * prod(weight[1:]))


def _quantised_recurrent(gates: int, source: Shape, *args: Any, out_shape: Any = None, **_kwargs: Any) -> int:
    """All layers and directions, from shapes: the input is (T, B, D), a state (layers x directions, B, H).

    A packed sequence comes as (sum of lengths, D), with its batch sizes before the states.
    """
    state = next(value for value in args if len(tensor_shape(value)) == 3)
    stack_size, _, hidden_size = tensor_shape(state)
    directions = out_shape[0][-1] // hidden_size
    first_layer = directions * gates * hidden_size * (source[-1] + hidden_size)
    upper_layers = (stack_size - directions) * gates * hidden_size * (directions * hidden_size + hidden_size)
    return int(2 * prod(source[:-1]) * (first_layer + upper_layers))


def _quantised_cell(gates: int, source: Shape, states: Any, *_args: Any, **_kwargs: Any) -> int:
    hidden_size = tensor_shape(states)[-1]
    return 2 * prod(source[:-1]) * gates * hidden_size * (source[-1] + hidden_size)


def tensor_shape(value: Any) -> Shape:
    """The shape of a state, which is one tensor or a list of two."""
    return tuple(value if isinstance(value, torch.Size) else value[0])
