"""torch's precision for float32, whether it was set by torch's older or newer switches.

Reading the older switches raises RuntimeError if the newer ones (``fp32_precision``) were set to differ from them; then
the newer ones are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

EXACT = frozenset({"highest", "ieee", "none"})
"""The words of both kinds of switches for products that are computed in float32 throughout."""
DEFAULTS = {"cpu": {("mkldnn", "matmul"): "ieee", ("mkldnn", "conv"): "ieee"}, "cuda": {("cuda", "conv"): "tf32"}}
"""The newer switches of convolutions and products, by type of device, as they are unless somebody sets them."""


def products(device: str) -> str:
    """torch's word for the precision of float32 matrix products on a device."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return _newer_setting("cuda" if torch.device(device).type == "cuda" else "mkldnn", "matmul")


def tf32_in_cudnn() -> bool:
    """Whether cuDNN may compute convolutions or recurrent layers of float32 in TF32."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return "tf32" in (_newer_setting("cuda", "conv"), _newer_setting("cuda", "rnn"))


def tf32(device: str) -> bool:
    """Whether float32 may be computed in TF32 on a device."""
    return torch.device(device).type == "cuda" and (tf32_in_cudnn() or products(device) not in EXACT)


@contextmanager
def as_by_default(device: str) -> Iterator[None]:
    """While entered, a device computes in the precision that torch has by default, whatever the user's code has set."""
    kind = torch.device(device).type
    defaults = DEFAULTS[kind] if hasattr(torch._C, "_set_fp32_precision_setter") else {}  # since torch 2.9
    settings = {switch: _newer_setting(*switch) for switch in defaults}
    try:
        for switch, word in defaults.items():
            torch._C._set_fp32_precision_setter(*switch, word)
        with torch.autocast(kind, enabled=False):
            yield
    finally:
        for switch, word in settings.items():
            torch._C._set_fp32_precision_setter(*switch, word)


def _newer_setting(backend: str, operation: str) -> str:
    return torch._C._get_fp32_precision_getter(backend, operation)
