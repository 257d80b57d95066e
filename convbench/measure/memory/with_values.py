"""Operators as torch computes them for tensors with values. Without values it often computes more, or refuses.

A prediction enters ``kernels``, so that these functions replace torch's. In inference mode it asks for ``composition``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch._C import DispatchKey
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import _disable_current_modes

from convbench.core.errors import CaseFailed

ATEN = torch.ops.aten
COMPOSITE = DispatchKey.CompositeImplicitAutograd
"""The key of operators that torch's own kernels compose of others; an operator that only torch's compiler decomposes is
a single one on a device."""
GRAIN = 32768
"""Elements from which torch divides work among threads (``at::internal::GRAIN_SIZE``)."""
NONE, MEAN = 0, 1
"""Numbers of reductions of losses."""
LOCK = threading.RLock()
Args = tuple[Any, ...]


def composition(func: Any) -> Callable[..., Any]:
    """Return the function that composes an operator of others: ours, or torch's own kernel."""
    return COMPOSED.get(func) or partial(func._op_dk, COMPOSITE)


@contextmanager
def kernels(device: str) -> Iterator[None]:
    """While entered, the operators of ``COMPOSED`` and ``GRADIENTS`` run as given here on a type of device.

    This holds for the whole process, so that one thread at a time enters. Other tensors than fake ones, and torch older
    than 2.9, keep torch's own gradients.
    """
    key = f"Autograd{device.upper()}"
    get_kernel = getattr(torch.library, "get_kernel", None)
    with LOCK, torch.library._scoped_library("aten", "IMPL") as library:
        for func, composed in COMPOSED.items():
            library.impl(func, composed, key)
        if get_kernel:
            for func in GRADIENTS:
                library.impl(func, partial(_differentiable, func, get_kernel(func, key)), key, with_keyset=True)
        yield


class Formula(NamedTuple):
    """How an operator's gradients are computed: from the result's gradient, and the operands at ``read`` places.

    All arguments and the result are read if no places are named. ``gradients`` returns the gradient of the first
    argument, or, if it ``takes_needs``, those of all: it is told first which arguments need one. Where the formula does
    not ``apply`` to the arguments, torch's own does.
    """

    gradients: Callable[..., Any]
    read: tuple[int, ...] = ()
    takes_needs: bool = False
    applies: Callable[..., bool] = lambda *_: True


def _differentiable(func: Any, kernel: Any, keys: Any, *args: Any, **options: Any) -> Any:
    """Call an operator so that its gradients come from its formula.

    In torch's function transforms, such as ``vmap``, torch computes gradients as without values.
    """
    is_transformed = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    if is_transformed or not isinstance(args[0], FakeTensor) or not GRADIENTS[func].applies(*args):
        return kernel.call_boxed(keys, *args, **options)
    return _Differentiable.apply(func, options, *args)  # type: ignore[no-untyped-call]


class _Differentiable(torch.autograd.Function):
    """An operator whose gradients come from its formula in ``GRADIENTS``."""

    @staticmethod
    def forward(ctx: Any, func: Any, options: dict[str, Any], *args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            result = func(*args, **options)
        ctx.func, places = func, GRADIENTS[func].read
        operands = [args[place] for place in places if place < len(args)] if places else [*args, result]
        ctx.numbers = [None if isinstance(value, torch.Tensor) else value for value in operands]
        ctx.save_for_backward(*(value if isinstance(value, torch.Tensor) else None for value in operands))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        pairs = zip(ctx.saved_tensors, ctx.numbers, strict=True)
        operands = [number if tensor is None else tensor for tensor, number in pairs]
        formula, needs = GRADIENTS[ctx.func], ctx.needs_input_grad[2:]
        if formula.takes_needs:
            results = formula.gradients(needs, *gradients, *operands)
        else:
            results = (formula.gradients(*gradients, *operands),)
        return (None, None, *results, *[None] * (len(needs) - len(results)))


def _product(gradient: Any, factors: Any, result: Any) -> Any:
    return gradient * (result / factors).conj()


def _product_along(gradient: Any, factors: Any, axis: int, *options: Any) -> Any:
    *keeps_axis, result = options
    if not any(keeps_axis) and factors.dim() > 1:
        gradient, result = gradient.unsqueeze(axis), result.unsqueeze(axis)
    _zeros = (factors == 0).sum(axis, True).sum()
    return gradient * (result / factors).conj()


def _products_so_far(gradient: Any, factors: Any, axis: int, result: Any) -> Any:
    weighted, _zeros = result.conj() * gradient, factors == 0
    flipped = weighted.flip(axis)
    sums = flipped.cumsum(axis)
    sums_from_here = sums.flip(axis)
    del flipped, sums
    return sums_from_here.div(factors.conj())


def _extremum(gradient: Any, values: Any, result: Any) -> Any:
    mask = values == result
    return gradient.new_zeros(values.shape).masked_fill_(mask, gradient / mask.sum())


def _filled(needs: Any, gradient: Any, mask: Any) -> Args:
    """A tensor filled where a mask is true. The value's gradient is a sum over these places, which may be all."""
    filled = gradient.masked_fill(mask, 0) if needs[0] else None
    if torch.is_grad_enabled():  # a gradient of this gradient follows it through operators
        return filled, None, torch.where(mask, gradient, 0).sum()
    mask = mask.expand_as(gradient)
    _count = mask.sum()
    selected = gradient.new_empty(gradient.numel())
    is_short = gradient.numel() < GRAIN or torch.get_num_threads() == 1
    if not (is_short and gradient.is_contiguous() and mask.is_contiguous()):
        _places = [torch.empty_like(selected, dtype=torch.int64) for _ in range(2)]  # released when it is selected
        del _places
    return filled, None, selected.sum()


def _has_trained_value(tensor: Any, _mask: Any, value: Any) -> bool:
    return tensor.device.type == "cpu" and _takes_gradient(value)


def _entropy_of_logits(needs: Any, *operands: Any) -> Args:
    """Entropies with a weight of positive targets, which torch computes in place, except for a gradient's gradient."""
    formulas = zip(needs, (_entropy_by_logits, _entropy_by_target), strict=False)
    return tuple(formula(*operands) if is_needed else None for is_needed, formula in formulas)


def _entropy_by_logits(
    gradient: Any, logits: Any, target: Any, weight: Any, positive: Any, reduction: int = MEAN
) -> Any:
    weighted = positive.mul(target)
    result = weighted.add(1)
    if torch.is_grad_enabled():  # a gradient of this gradient needs what would be overwritten
        result = result.sub(target).mul(logits.sigmoid()).sub(weighted).mul(gradient)
    else:
        result.sub_(target).mul_(logits.sigmoid()).sub_(weighted).mul_(gradient)
    if weight is not None:
        result = result.mul(weight)
    return result / logits.numel() if reduction == MEAN else result


def _entropy_by_target(
    gradient: Any, logits: Any, _target: Any, weight: Any, positive: Any, reduction: int = MEAN
) -> Any:
    opposite = -logits
    if torch.is_grad_enabled():
        result = functional.logsigmoid(opposite).sub(functional.logsigmoid(logits).mul(positive)).mul(gradient)
        result = result if weight is None else result.mul(weight)
    else:
        result = functional.logsigmoid(opposite).sub_(functional.logsigmoid(logits).mul_(positive)).mul_(gradient)
        result = result if weight is None else result.mul_(weight)
    return result.div_(logits.numel()) if reduction == MEAN else result


def _has_positive_weight(_logits: Any, _target: Any, _weight: Any = None, positive: Any = None, *_: Any) -> bool:
    return positive is not None


def _linear(rows: Any, weight: Any, bias: Any = None) -> Any:
    """A linear layer, whose bias is added in place.

    Rows that are not contiguous are copied if the weight takes a gradient, in inference mode too.
    """
    if rows.dim() <= 2 or (rows.dim() == 3 and rows.is_contiguous()):
        return ATEN.linear.default._op_dk(COMPOSITE, rows, weight, bias)
    if torch.is_inference_mode_enabled() and weight.requires_grad:
        product = torch.mm(rows.reshape(-1, rows.shape[-1]), weight.t()).view(*rows.shape[:-1], -1)
    else:
        product = torch.matmul(rows, weight.t())
    return product if bias is None else product.add_(bias)


def _singular_values(matrices: Any, *, driver: str | None = None) -> Any:
    """Singular values. Only gradients need their vectors, which torch always computes without values."""
    return ATEN._linalg_svd(matrices, False, _takes_gradient(matrices), driver=driver)[1]


def _eigenvalues(matrices: Any) -> Any:
    return ATEN.linalg_eig(matrices)[0] if _takes_gradient(matrices) else ATEN._linalg_eigvals(matrices)


def _eigenvalues_of_symmetric(matrices: Any, triangle: str = "L") -> Any:
    return ATEN._linalg_eigh(matrices, triangle, _takes_gradient(matrices))[0]


def _max_pool(signals: Any, *options: Any) -> Any:
    """Maxima, on a CPU without their places if no gradient needs them."""
    if signals.device.type != "cpu" or _takes_gradient(signals):
        return ATEN.max_pool1d.default._op_dk(COMPOSITE, signals, *options)
    with torch._C._AutoDispatchBelowAutograd():
        return ATEN.max_pool1d.default(signals, *options)


def _takes_gradient(tensor: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and tensor.requires_grad


def _one_hot(classes: Any, count: int = -1) -> Any:
    if count < 0:  # the largest class decides
        return ATEN.one_hot.default._op_dk(COMPOSITE, classes, count)
    return classes.new_zeros((*classes.shape, count)).scatter_(-1, classes.unsqueeze(-1), 1)


def _covariance(matrix: Any, **options: Any) -> Any:
    return ATEN.cov.default._op_dk(COMPOSITE, matrix, **options)


def _inverse_spectrogram(*args: Any, **options: Any) -> Any:
    return ATEN.istft.default._op_dk(COMPOSITE, *args, **options)


def _ctc_loss_of_lists(
    log_probs: Any, targets: Any, lengths: Any, target_lengths: Any,
    blank: int = 0, reduction: int = MEAN, zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """A CTC loss. To take the mean over lengths, torch writes them into a tensor, which must have values."""
    kernel = partial(ATEN.ctc_loss.IntList._op_dk, COMPOSITE, log_probs, targets, lengths, target_lengths, blank)
    if reduction != MEAN:
        return kernel(reduction, zero_infinity)
    losses = kernel(NONE, zero_infinity)
    return (losses / torch.empty_like(losses)).mean()


def _least_squares(matrix: Any, right: Any, _rcond: Any = None, *, driver: str | None = None) -> Args:
    """Empty results of ``linalg_lstsq`` for matrices of full rank; the solution is part of a copy of the right side."""
    rows, columns = matrix.shape[-2:]
    driver = driver or ("gelsy" if matrix.device.type == "cpu" else "gels")
    is_vector = right.dim() == matrix.dim() - 1 and right.shape == matrix.shape[:-1]
    batch, width = matrix.shape[:-2], () if is_vector else right.shape[-1:]
    if not is_vector:
        batch = torch.broadcast_shapes(batch, right.shape[:-2])  # type: ignore[no-untyped-call]
    has_residuals = rows > columns and driver != "gelsy"
    solution = right.new_empty((*batch, max(rows, columns), *width)).narrow(len(batch), 0, columns)
    return (
        solution,
        right.new_empty((*batch, *(width or (1,))) if has_residuals else (0,)),
        right.new_empty((0,) if driver == "gels" else batch, dtype=torch.int64),
        right.new_empty((*batch, min(rows, columns)) if driver in {"gelsd", "gelss"} else (0,)),
    )


def _ctc_loss(log_probs: Any, targets: Any, _lengths: Any, target_lengths: Any, *_options: Any) -> Args:
    """Empty results of ``_ctc_loss``: losses, and log-probabilities of all prefixes. Padded targets count in full."""
    if isinstance(target_lengths, torch.Tensor):
        if targets.dim() < 2:
            reason = "shapes do not tell the longest target of ctc_loss; pad the targets to (batch, length)"
            raise CaseFailed("error", f"not predicted: {reason}")
        longest = targets.shape[1]
    else:
        longest = max(target_lengths, default=0)
    frames, batch = log_probs.shape[:2]
    return log_probs.new_empty(batch), log_probs.new_empty(batch, frames, 2 * longest + 1)


def pack(sequences: Any, lengths: Any, batch_first: bool) -> Args:
    """Pack padded sequences as torch's kernel does, step by step; at full length if their lengths have no known values.

    Returns the packed values and the batch sizes, a tensor whose values are known.
    """
    steps = sequences.transpose(0, 1) if batch_first else sequences
    with _disable_current_modes():
        values = values_of(lengths)
        values = torch.full((steps.shape[1],), steps.shape[0]) if values is None else values
        sizes = (values > torch.arange(int(values.max()))[:, None]).sum(1)
    parts = [
        steps[start:end, :width].contiguous().view(-1, *steps.shape[2:]) for start, end, width in _equal_steps(sizes)
    ]
    return torch.cat(parts), with_values(sizes, sequences.fake_mode)


def _pad_packed(packed: Any, batch_sizes: Any, batch_first: bool, padding: float, total_length: int) -> Args:
    """Pad packed sequences as torch's kernel does; it writes into memory that a fake tensor lacks."""
    with _disable_current_modes():
        sizes = values_of(batch_sizes)
        lengths = (sizes[:, None] > torch.arange(int(sizes[0]))).sum(0)
    result = packed.new_full((max(len(sizes), total_length), len(lengths), *packed.shape[1:]), padding)
    offset = 0
    for start, end, width in _equal_steps(sizes):
        part = packed[offset : offset + (end - start) * width]
        result[start:end, :width].copy_(part.view(end - start, width, *packed.shape[1:]))
        offset += len(part)
    return result.transpose(0, 1) if batch_first else result, with_values(lengths, packed.fake_mode)


def _equal_steps(sizes: torch.Tensor) -> list[tuple[int, int, int]]:
    """Return the runs of time steps with equal batch sizes: the first, the one after the last, and the size."""
    with _disable_current_modes():
        widths, counts = (values.tolist() for values in torch.unique_consecutive(sizes, return_counts=True))
    ends = list(accumulate(counts))
    return [(end - count, end, width) for width, count, end in zip(widths, counts, ends, strict=True)]


def with_values(tensor: torch.Tensor, mode: Any) -> Any:
    """Return a fake tensor whose values are known."""
    return mode.fake_tensor_converter.from_real_tensor(mode, tensor, make_constant=True)


def values_of(tensor: Any) -> Any:
    """Return a tensor with the values of a fake one; None if they are not known."""
    return tensor.constant if isinstance(tensor, FakeTensor) else tensor


def _of_lengths(func: Any) -> Callable[..., Any]:
    """Return the composition of an operator that reads the batch sizes of a packed sequence."""

    def composed(*args: Any) -> Any:
        values = (values_of(arg) if isinstance(arg, FakeTensor) and arg.constant is not None else arg for arg in args)
        return func._op_dk(COMPOSITE, *values)

    return composed


GRADIENTS: dict[Any, Formula] = {
    ATEN.prod.default: Formula(_product),
    ATEN.prod.dim_int: Formula(_product_along),
    ATEN.cumprod.default: Formula(_products_so_far),
    ATEN.max.default: Formula(_extremum),
    ATEN.min.default: Formula(_extremum),
    ATEN.median.default: Formula(_extremum),
    ATEN.nanmedian.default: Formula(_extremum),
    ATEN.masked_fill.Tensor: Formula(_filled, (1,), takes_needs=True, applies=_has_trained_value),
    ATEN.binary_cross_entropy_with_logits.default: Formula(
        _entropy_of_logits, (0, 1, 2, 3, 4), takes_needs=True, applies=_has_positive_weight
    ),
}
"""Formulas that torch chooses by values, or computes in place only with values, as of torch 2.13.

They assume that no factor is 0.
"""
COMPOSED: dict[Any, Callable[..., Any]] = {
    ATEN.linear.default: _linear,
    ATEN.linalg_svdvals.default: _singular_values,
    ATEN.linalg_eigvals.default: _eigenvalues,
    ATEN.linalg_eigvalsh.default: _eigenvalues_of_symmetric,
    ATEN.max_pool1d.default: _max_pool,
    ATEN.one_hot.default: _one_hot,
    ATEN.cov.default: _covariance,
    ATEN.istft.default: _inverse_spectrogram,
    ATEN.ctc_loss.IntList: _ctc_loss_of_lists,
    ATEN._pad_packed_sequence.default: _pad_packed,
} | {
    func: _of_lengths(func)
    for func in (
        ATEN.lstm.data,
        ATEN.gru.data,
        ATEN.rnn_tanh.data,
        ATEN.rnn_relu.data,
        ATEN._pack_padded_sequence_backward.default,
    )
}
"""Compositions that torch's own kernels choose differently for tensors without values, or that check values."""
RESULTS: dict[Any, Callable[..., Args]] = {
    ATEN.linalg_lstsq.default: _least_squares,
    ATEN._ctc_loss.default: _ctc_loss,
    ATEN._ctc_loss.Tensor: _ctc_loss,
}
"""Results of operators whose shapes torch does not tell without values."""
CHECKS: dict[CodeType, float] = {
    _covariance.__code__: False,
    _inverse_spectrogram.__code__: False,
    functional.gaussian_nll_loss.__code__: False,
    _BatchNorm.forward.__code__: 1,
}
"""Values that functions read and that do not change the memory: the answers of checks, and a count of batches."""
