"""What has to be otherwise where tensors have shapes and no values, on ``meta``, as fake ones or in an export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributions import Distribution


@contextmanager
def unchecked() -> Iterator[None]:
    """While it lasts, torch's distributions do not look whether their arguments are valid, which only values tell."""
    default = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(default)
