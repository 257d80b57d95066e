"""Let models run on tensors that have shapes but no values: on ``meta``, as fake tensors or in an export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.backends import mha
from torch.distributions import Distribution
from torch.nn.modules import transformer
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

NO_ADDRESS = "Cannot access data pointer"
"""How torch's message begins if code asks for the address of a tensor that has none."""
REMEDY = (
    "it asks for the address of a tensor that has a shape but no values: register the extension's function as an "
    "operator that tells its shapes (torch.library.custom_op and register_fake)"
)


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


@contextmanager
def without_fused_attention() -> Iterator[None]:
    """While entered, torch's attention and encoder layers run as plain operators, which exporters and counters know.

    Fused encoder layers pack padded clips into nested tensors, whose shapes no counter can tell.
    """
    has_fastpath = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(has_fastpath)


def _is_declared_causal(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:  # noqa: ARG001
    return is_causal is True


@contextmanager
def without_addresses(tensors: Iterable[torch.Tensor] = ()) -> Iterator[None]:
    """While entered, tensors on ``meta``, those given and new ones, raise if code asks for the address of their values.

    The address would be null, and an extension that reads or writes there would end the process.
    """
    _refuse_addresses(tensors)
    try:
        with _WithoutAddresses():  # type: ignore[no-untyped-call]
            yield
    except RuntimeError as error:
        if NO_ADDRESS in str(error):
            error.args = (REMEDY,)
        raise


class _WithoutAddresses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    supports_higher_order_operators = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        _refuse_addresses(pytree.tree_leaves(result))
        return result


def _refuse_addresses(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, torch.Tensor) and value.device.type == "meta" and torch._C._has_storage(value):
            torch._C._set_throw_on_mutable_data_ptr(value)
