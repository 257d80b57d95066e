"""Memory (B) that torch's fused attention allocates on a CPU beside its outputs: pure functions of shapes.

Outside of training, ``nn.MultiheadAttention`` and ``nn.TransformerEncoderLayer`` are one operator each, which computes
the scores of all pairs at once; ``scaled_dot_product_attention`` computes them block by block. The formulas follow
torch's attention.cpp, transformer.cpp and FlashAttentionKernel.cpp and were compared with the profiler's allocations.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch

OF_PADDING = 1
"""The kind of a mask that marks the padding vectors of a sequence; other masks are over pairs of vectors."""
FLOAT = 4
"""Bytes of a float32, the type in which sums are accumulated."""
ROWS, COLUMNS = ((768, 256), (192, 64), (0, 32)), 512
"""Block sizes: rows by the fewest queries that take them, and the most columns (keys)."""


class Attention(NamedTuple):
    """The arguments of ``aten._native_multi_head_attention``, in order."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    width: int
    heads: int
    qkv_weight: torch.Tensor
    qkv_bias: torch.Tensor
    proj_weight: torch.Tensor
    proj_bias: torch.Tensor
    mask: torch.Tensor | None = None
    needs_weights: bool = True
    averages: bool = True
    mask_kind: int | None = None

    @property
    def peak(self) -> int:
        """Most bytes alive at once, including the output.

        First two copies of query, key and value are alive, then one copy and the scores. A mask doubles the scores. At
        the end two copies of the output are alive, and the scores if they are returned.
        """
        vectors, pairs = self.query.nbytes, self.query.shape[0] * self.heads * self.query.shape[1] ** 2
        scores = pairs * self.query.element_size()
        weighing_peak = 3 * vectors + scores
        if self.mask is not None:
            weighing_peak += scores + (self.mask.numel() if self.mask_kind == OF_PADDING else pairs)
        end_peak = 5 * vectors
        if self.needs_weights:
            end_peak = scores + max(end_peak, 4 * vectors + (scores // self.heads if self.averages else 0))
        return max(6 * vectors, weighing_peak, end_peak)


class EncoderLayer(NamedTuple):
    """The arguments of ``aten._transformer_encoder_layer_fwd``, in order."""

    source: torch.Tensor
    width: int
    heads: int
    qkv_weight: torch.Tensor
    qkv_bias: torch.Tensor
    proj_weight: torch.Tensor
    proj_bias: torch.Tensor
    gelu: bool
    norm_first: bool
    eps: float
    norm_weight_1: torch.Tensor
    norm_bias_1: torch.Tensor
    norm_weight_2: torch.Tensor
    norm_bias_2: torch.Tensor
    wide_weight: torch.Tensor
    wide_bias: torch.Tensor
    narrow_weight: torch.Tensor
    narrow_bias: torch.Tensor
    mask: torch.Tensor | None = None
    mask_kind: int | None = None

    @property
    def peak(self) -> int:
        """Most bytes alive at once, including the output: attention's, or the wide layer between two of its vectors."""
        source = self.source
        attention = Attention(source, source, source, self.width, self.heads, *self[3:7], self.mask, False)
        attention = attention._replace(mask_kind=self.mask_kind)
        wide_bytes = prod(source.shape[:-1]) * self.wide_weight.shape[0] * source.element_size()
        return self.norm_first * source.nbytes + max(attention.peak, 2 * source.nbytes + wide_bytes)


def attention_bytes(args: tuple[Any, ...], result: tuple[torch.Tensor, torch.Tensor]) -> tuple[int, int]:
    """Return the (scratch, kept) bytes of ``nn.MultiheadAttention`` beside its outputs."""
    call = Attention(*args)
    output_bytes = sum(output.nbytes for output in result if output is not None)
    return (call.peak - output_bytes if call.query.device.type == "cpu" else 0), 0


def encoder_layer_bytes(args: tuple[Any, ...], result: torch.Tensor) -> tuple[int, int]:
    """Return the (scratch, kept) bytes of ``nn.TransformerEncoderLayer`` beside its output."""
    call = EncoderLayer(*args)
    return (call.peak - result.nbytes if call.source.device.type == "cpu" else 0), 0


def flash_bytes(args: tuple[Any, ...], _result: Any) -> tuple[int, int]:
    """Return the (scratch, kept) bytes of ``scaled_dot_product_attention``.

    Each thread holds a block's scores, their maxima and sums, and the weighted values. For types shorter than float32
    it also holds the scores in that type.
    """
    query, key = args[:2]
    rows, columns = _block(query, key)
    scores = rows * columns * (query.element_size() if query.element_size() < FLOAT else 0)
    return torch.get_num_threads() * (scores + rows * (columns + 2 + query.shape[-1]) * FLOAT), 0


def flash_backward_bytes(args: tuple[Any, ...], _result: Any) -> tuple[int, int]:
    """Return the (scratch, kept) bytes of the gradient of ``scaled_dot_product_attention``.

    Each thread holds a block's scores and their gradients. An output gradient that is not in time order is copied.
    """
    gradient, query, key = args[:3]
    rows, columns = _block(query, key)
    copy = 0 if gradient.transpose(1, 2).is_contiguous() else gradient.numel() * gradient.element_size()
    return torch.get_num_threads() * (2 * columns + 1) * rows * FLOAT + copy, 0


def _block(query: torch.Tensor, key: torch.Tensor) -> tuple[int, int]:
    queries, keys = query.shape[-2], key.shape[-2]
    rows = next(rows for threshold, rows in ROWS if queries >= threshold)
    return min(rows, queries), min(COLUMNS, keys)
