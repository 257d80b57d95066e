"""Let models run on tensors that have shapes but no values: on ``meta``, as fake tensors or in an export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributions import Distribution


@contextmanager
def without_checks() -> Iterator[None]:
    """Turn off validation in torch's distributions for the block, because validation reads values."""
    default = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(default)
