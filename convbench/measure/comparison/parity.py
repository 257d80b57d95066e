"""Compare a variant's output with eager's: the largest difference, the relative error, and the tolerance of either.

Each leaf must agree within the tolerance of the number type, relative and absolute. In coarse arithmetic, single
numbers may be further off if the norm is not. In int8 they may be off by any amount, because the gates of an LSTM
amplify a rounding step: there the norm alone decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.testing import assert_close

from convbench.core import metrics
from convbench.core.errors import CaseFailed
from convbench.core.record import Reading
from convbench.models.values import densify

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2, torch.int8: 1e-1}
"""Relative and absolute tolerance by number type; outputs of an LSTM lie in [-1, 1]. For gradients and int8, of the
norm."""
ROUNDING = {torch.float32: 1.3e-6, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""Relative rounding error of a number: for sums in float32 what torch.testing allows, for coarser types half a step."""
OUTLIER = 3
"""How many tolerances a single number may be off in coarse arithmetic: of 16,384 numbers a few are."""
NEXT_TO_NOTHING = 1e-2
"""A norm counts as at least this share of that of ones, or of all gradients: values next to nothing differ by
chance."""
NUMBERS = (torch.Tensor, int, float, complex)
"""The types of values that are compared."""
Output = Mapping[str, Any]


class Parity(NamedTuple):
    """The largest absolute difference of any value, and the norm of the difference over that of the expected values."""

    largest: float
    relative: float

    def readings(self) -> Iterator[Reading]:
        yield Reading(metrics.PARITY_LARGEST, (self.largest,))
        yield Reading(metrics.PARITY_RELATIVE, (self.relative,))

    def merge(self, other: Parity) -> Parity:
        return Parity(max(self.largest, other.largest), max(self.relative, other.relative))


def compare(output: Output, expected: Output, limit: float, place: str = "") -> Parity:
    """Return how far an output is from eager's, leaf by leaf; leaves that are no numbers only have to exist.

    Raises CaseFailed, with the parity as its known results, if the output is not the same within the tolerance.
    """
    if output.keys() != expected.keys():
        paths = ", ".join(sorted(output.keys() ^ expected.keys()))
        raise CaseFailed(
            "wrong output", f"does not return what eager returns: only one of them has {paths or 'an output'}"
        )
    pair_by_path = {
        path: (densify(output[path]), densify(reference))
        for path, reference in expected.items()
        if isinstance(reference, NUMBERS)
    }
    for path, (actual, reference) in pair_by_path.items():
        if not isinstance(actual, NUMBERS):
            kinds = f"{type(actual).__name__} instead of {type(reference).__name__}"
            raise CaseFailed("wrong output", f"differs from eager's output{path}{place}: it is {kinds}")
    pairs = [*pair_by_path.values()]
    if _is_nan_alone(pairs):
        reason = "all its numbers are NaN"
        raise CaseFailed("wrong output", f"cannot be compared with eager's output{place}: {reason}")
    parity = parity_of(pairs)
    for path, (actual, reference) in pair_by_path.items():
        try:
            _agree(actual, reference, limit)
        except (AssertionError, TypeError) as error:
            reason = " ".join(str(error).split())
            leaf = path if len(pairs) > 1 else ""
            raise CaseFailed(
                "wrong output", f"differs from eager's output{leaf}{place}: {reason}", tuple(parity.readings())
            ) from error
    return parity


def _is_nan_alone(pairs: list[tuple[Any, Any]]) -> bool:
    """Whether the expected values have numbers and all of them are NaN."""
    references = [reference for _, reference in pairs if isinstance(reference, torch.Tensor) and reference.numel()]
    return bool(references) and all(bool(reference.isnan().all()) for reference in references)


def norm_of(value: Any) -> float:
    """The norm of a tensor or a number; values that are not finite count as 0."""
    return float(torch.nan_to_num(_numbers(value).abs(), posinf=0.0).norm())


def parity_of(pairs: list[tuple[Any, Any]], floor: float = 0.0) -> Parity:
    """The parity of values with the expected ones; infinite if shapes differ or a difference is not finite.

    A norm below ``floor`` counts as ``floor``.
    """
    largest = squares = norm = 0.0
    for output, reference in pairs:
        actual, expected = _numbers(output), _numbers(reference)
        if actual.shape != expected.shape:
            return Parity(math.inf, math.inf)
        difference = (actual - expected).abs()
        difference[(actual == expected) | (actual.isnan() & expected.isnan())] = 0.0
        if not difference.isfinite().all():
            return Parity(math.inf, math.inf)
        largest = max(largest, float(difference.max()) if difference.numel() else 0.0)
        squares += float(difference.square().sum())
        norm += float(torch.nan_to_num(expected.abs()).square().sum())
    size = max(math.sqrt(norm), floor)
    relative = math.sqrt(squares) / size if size else (0.0 if squares == 0 else math.inf)
    return Parity(largest, math.inf if math.isnan(relative) else relative)


def _agree(actual: Any, reference: Any, limit: float) -> None:
    """Compare number by number, and in coarse arithmetic by the norm as well. Raises AssertionError."""
    is_coarse = (
        isinstance(reference, torch.Tensor) and reference.is_floating_point() and limit > TOLERANCE[torch.float32]
    )
    if not (is_coarse and limit >= TOLERANCE[torch.int8]):
        tolerance = OUTLIER * limit if is_coarse else limit
        assert_close(
            actual, reference, rtol=tolerance, atol=tolerance, check_dtype=False, check_stride=False, equal_nan=True
        )
    if is_coarse and not (share := _share_off(actual, reference)) <= limit:
        raise AssertionError(f"by {share:.3g} of its norm, more than the {limit:g} that is allowed")


def _share_off(actual: torch.Tensor, reference: torch.Tensor) -> float:
    """The norm of the difference over that of the expected values, or over a share of that of ones if larger."""
    if actual.shape != reference.shape:
        return math.inf
    mask = ~(actual.isnan() & reference.isnan())
    output, expected = actual[mask].float(), reference[mask].float()
    size = max(float(expected.norm()), NEXT_TO_NOTHING * math.sqrt(expected.numel()) or 1.0)
    return float((output - expected).norm()) / size


def _numbers(value: Any) -> torch.Tensor:
    tensor = value.detach() if isinstance(value, torch.Tensor) else torch.tensor(value)
    kind = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.to("cpu", kind)
