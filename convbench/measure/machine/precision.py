"""How exactly torch computes with float32, whichever of its two kinds of switches that was set by.

Its older ones raise RuntimeError when they are read after the newer ones (``fp32_precision``) were set apart from
them; those tell it then.
"""

from __future__ import annotations

import torch

EXACT = frozenset({"highest", "ieee", "none"})
"""The words of either kind for products that are computed in float32 throughout."""


def products(device: str) -> str:
    """How float32 matrices are multiplied on a device, in torch's word."""
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
    """Whether float32 numbers may be computed with in TF32, as on a GPU."""
    return torch.device(device).type == "cuda" and (tf32_in_cudnn() or products(device) not in EXACT)


def _newer_setting(backend: str, operation: str) -> str:
    return torch._C._get_fp32_precision_getter(backend, operation)
