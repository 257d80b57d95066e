"""Fake tensors as a prediction uses them: in place of all tensors, with the values that are known, without addresses.

torch's own mode refuses real tensors, forgets lengths, and fails where modules are converted or copied.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch._subclasses.fake_impls import _is_tensor_constructor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _disable_current_modes

from convbench.measure.memory.with_values import pack, values_of, with_values

ATEN = torch.ops.aten
MOST_VALUES = 4096
"""Elements up to which whole numbers keep their values, such as the lengths of a batch."""
UNFILLED = (ATEN.empty, ATEN.empty_like, ATEN.empty_strided, ATEN.new_empty, ATEN.new_empty_strided)
"""Operators whose results hold whatever was in memory before."""


@contextmanager
def mute_log() -> Iterator[None]:
    """While entered, torch prints no traceback of an operator that fake tensors cannot run; the error is raised."""
    logger = logging.getLogger(FakeTensor.__module__)
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


@contextmanager
def safe_fakes() -> Iterator[None]:
    """While entered, a fake tensor has no address, and ``copy.deepcopy`` and numpy get the values that are known of it.

    An extension that wrote to its address would end the process. torch's own code, such as ``copy.deepcopy`` of a
    layer, compares addresses and gets the null address instead.
    """

    def data_ptr(tensor: FakeTensor) -> int:
        if str(sys._getframe(1).f_globals["__name__"]).startswith("torch."):
            return 0
        return torch.Tensor.data_ptr(tensor)  # raises torch's own error

    def deepcopy(tensor: FakeTensor, memo: dict[int, Any]) -> Any:
        if tensor.constant is None:
            return torch.Tensor.__deepcopy__(tensor, memo)  # type: ignore[no-untyped-call]
        with _disable_current_modes():  # in the mode they would become a fake tensor
            memo[id(tensor.constant)] = tensor.constant.clone()
        twin = torch.Tensor.__deepcopy__(tensor, memo)  # type: ignore[no-untyped-call]
        twin.fake_mode.fake_tensor_converter.add_constant_storage_mapping(twin)  # forgets them when twin is changed
        return twin

    def numpy(tensor: FakeTensor, **options: Any) -> Any:
        if tensor.constant is None:
            return torch.Tensor.numpy(tensor, **options)  # raises torch's own error
        with _disable_current_modes():
            return tensor.constant.numpy(**options).copy()

    FakeTensor.data_ptr = data_ptr  # type: ignore[method-assign, assignment]
    FakeTensor.__deepcopy__ = deepcopy  # type: ignore[method-assign, assignment]
    FakeTensor.numpy = numpy  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del FakeTensor.data_ptr, FakeTensor.__deepcopy__, FakeTensor.numpy


class Fakes(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Fake tensors in place of all tensors, also of real ones that the model's code made before, such as constants.

    Tensors that are copied with ``copy.deepcopy``, as for clones of a layer, stay in the same mode. They would copy the
    mode, and such a copy corrupts the process's memory when it is deleted (torch 2.13).
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self._allow_unsafe_data_ptr_access = False
        self.is_inside = False

    def may_turn_const(self, tensor: torch.Tensor) -> bool:
        """Whether to keep the values of a result: those of lengths and places, as torch does for a single number."""
        is_short = tensor.numel() <= MOST_VALUES and not tensor.is_floating_point() and not tensor.is_complex()
        is_real = tensor.layout is torch.strided and not isinstance(tensor, FakeTensor) and tensor.device.type != "meta"
        return super().may_turn_const(tensor) or (is_short and is_real)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is ATEN._pack_padded_sequence.default and values_of(args[1]) is not None:  # the inputs are packed
            with self:
                return pack(*args)
        was_inside, self.is_inside = self.is_inside, True
        try:
            result = super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            self.is_inside = was_inside
        if was_inside and getattr(func, "overloadpacket", None) in UNFILLED:
            cast("FakeTensor", result).constant = None  # another operator's result, not what is in memory
        elif isinstance(result, FakeTensor) and self._is_range(func, result):
            with _disable_current_modes():
                values = func(*args, **(kwargs or {}))
            return with_values(values, self) if self.may_turn_const(values) else result
        return result

    @staticmethod
    def _is_range(func: Any, result: FakeTensor) -> bool:
        """Whether an operator makes a few whole numbers from nothing but its options, such as ``arange``."""
        is_whole = not result.is_floating_point() and not result.is_complex()
        is_short = result.numel() <= MOST_VALUES and result.device.type == "cpu"
        is_drawn = torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())
        return is_whole and is_short and not is_drawn and _is_tensor_constructor(func)

    def __deepcopy__(self, _memo: Any) -> Fakes:
        return self


@contextmanager
def convert_anew() -> Iterator[None]:
    """While entered, ``.to``, ``.half`` and the like give a module new parameters; torch would swap fakes, and fail."""
    original = nn.Module._apply
    parameters: dict[tuple[Callable[..., Any], torch.Tensor], nn.Parameter] = {}

    def apply(module: nn.Module, convert: Callable[..., Any], recurse: bool = True) -> nn.Module:
        for child in module.children() if recurse else ():
            child._apply(convert)  # type: ignore[no-untyped-call]
        for name, parameter in module._parameters.items():
            if parameter is not None and (convert, parameter) not in parameters:
                with torch.no_grad():
                    result = convert(parameter)
                is_same = result is parameter
                parameters[convert, parameter] = parameter if is_same else nn.Parameter(result, parameter.requires_grad)
            module._parameters[name] = None if parameter is None else parameters[convert, parameter]
        for name, tensor in module._buffers.items():
            module._buffers[name] = None if tensor is None else convert(tensor)
        return module

    nn.Module._apply = apply  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module._apply = original  # type: ignore[method-assign]


def exchange_weights(model: nn.Module, device: str) -> nn.Module:
    """Replace a model's parameters and buffers in place by fake tensors on a device; shared ones stay shared."""
    fakes: dict[torch.Tensor, torch.Tensor] = {}
    for module in model.modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None or is_lazy(tensor):
                continue
            if tensor not in fakes:
                fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
                is_parameter = isinstance(tensor, nn.Parameter)
                fakes[tensor] = nn.Parameter(fake, tensor.requires_grad) if is_parameter else fake
            setattr(module, name, fakes[tensor])
    return model
