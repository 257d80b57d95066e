"""Let models run on tensors that have shapes but no values: on ``meta``, as fake tensors or in an export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributions import Distribution
from torch.nn.modules import transformer


@contextmanager
def without_checks() -> Iterator[None]:
    """Turn off what reads values in torch's own code: validation in distributions, and the search for causal masks.

    A mask that torch does not recognise as causal is applied as it is, which gives the same results.
    """
    default, detect_causal_mask = Distribution._validate_args, transformer._detect_is_causal_mask
    Distribution.set_default_validate_args(False)
    transformer._detect_is_causal_mask = _is_declared_causal
    try:
        yield
    finally:
        transformer._detect_is_causal_mask = detect_causal_mask
        Distribution.set_default_validate_args(default)


def _is_declared_causal(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:  # noqa: ARG001
    return is_causal is True
