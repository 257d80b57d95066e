"""Memory (B) that oneDNN allocates for a convolution in NHWC order: weights in blocks, and each kernel's scratchpad.

Frames are read and written uncopied. The formulas are those with which oneDNN 3.12 books scratchpads (functions
``init_scratchpad`` in its src/cpu/x64), for the kernels that it takes on AVX-512.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import NamedTuple

import torch

from convbench.measure.memory.blocks import FEW_CHANNELS, block, pad


class Nhwc(NamedTuple):
    """A convolution as oneDNN's kernels see it; the roles of a transposed one's input and output are exchanged.

    ``inputs`` and ``outputs`` are channels of a group, ``source`` and ``target`` the sizes of an image.
    """

    inputs: int
    outputs: int
    groups: int
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    images: int
    source: tuple[int, ...]
    target: tuple[int, ...]
    size: int
    has_bias: bool
    is_transposed: bool
    is_dilated: bool

    @property
    def taps(self) -> int:
        return prod(self.kernel)

    @property
    def is_short(self) -> bool:
        return self.size < FLOAT

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.inputs == self.outputs == 1

    @property
    def is_strided(self) -> bool:
        return max(self.strides) > 1

    @property
    def is_pointwise(self) -> bool:
        return self.taps == 1 and self.groups == 1 and not self.is_transposed and len(self.kernel) == PLANE_AXES

    def output_bytes(self) -> int:
        """Bytes beside the target while it is computed from the source (brg_conv_fwd, brgconv_1x1, jit, brdgmm_dw)."""
        weights, is_product = self._weights(self.outputs, self.inputs)
        scratch = _products() + (ALIGNMENT if self.is_transposed else self._unfolded()) if is_product else 0
        return weights + scratch

    def input_bytes(self) -> int:
        """Bytes beside the source while it is computed from the target (brg_conv_bwd, brgconv_strided, jit).

        A kernel that does not add a transposed convolution's bias writes float32 sums first (ref_deconvolution.hpp).
        """
        is_by_channel = not (self.is_short and self.is_strided)
        width = 2 * block() if self.is_strided and self.inputs > block() else block()
        weights, is_product = self._weights(self.inputs, self.outputs, is_by_channel, width)
        if self.is_transposed and not (is_product or self.is_short or self.is_strided or self.is_depthwise):
            width = FEW_CHANNELS if self.inputs <= FEW_CHANNELS else block()
            weights, is_product = self.groups * pad(self.inputs, width) * self.outputs * self.taps * self.size, True
        is_uneven = self.is_strided and self.source[-1] % self.strides[-1] > 0
        scratch = ALIGNMENT * (self.is_transposed or not self.is_strided) * is_product
        if self.is_transposed and self.has_bias and (is_uneven or not is_product):
            scratch = ALIGNMENT + self.images * prod(self.source) * self.groups * self.inputs * FLOAT
        if is_product:
            scratch += self._strided(is_uneven) if self.is_strided else _products() + self._row()
        return weights + scratch

    def weights_bytes(self) -> int:
        """Bytes beside the gradients of weights and bias: in blocks, then the scratchpad or plain copies of both."""
        width = block()
        weights = pad(self.outputs) * (self.inputs if self._is_first else pad(self.inputs)) * self.groups * self.taps
        is_small = max(self.kernel) == SMALL_KERNEL or (self.taps == 1 and not self.is_strided)
        is_by_channel = self.is_depthwise and is_small and not self.is_dilated
        if is_by_channel:
            weights = pad(self.groups) * self.taps
        elif self.groups > 1:
            weights = self.groups * pad(self.outputs) * pad(self.inputs) * self.taps
        bias = self.has_bias * self.groups * (self.inputs if self.is_transposed else self.outputs) * self.size
        plain = self.groups * self.inputs * self.outputs * self.taps * self.size
        sums = self.groups * pad(self.outputs) if self.outputs % width and self._adds_bias else 0
        scratch = self._depthwise_sums() if is_by_channel else self._sums(weights, sums)
        if scratch and self.is_transposed:
            scratch += ALIGNMENT
        return weights * self.size + max(bias + scratch, 2 * bias + 2 * plain) - bias - plain

    @property
    def _adds_bias(self) -> bool:
        """Whether the kernel handles the bias; that of a transposed convolution is added apart."""
        return self.has_bias and not self.is_transposed

    @property
    def _is_first(self) -> bool:
        """Whether the weights' gradient has too few input channels for a block of them, as a first layer's."""
        return self.inputs < block() and self.groups == 1 and not self.is_pointwise

    def _weights(self, outer: int, inner: int, by_channel: bool = True, width: int | None = None) -> tuple[int, bool]:
        """Bytes of the weights in blocks of ``outer`` channels, and whether they are multiplied by brgemm.

        Short types keep ``inner`` channels in pairs. Groups whose channels fill small blocks are computed by jit.
        """
        if self.is_depthwise and by_channel:
            return pad(self.groups) * self.taps * self.size, False
        is_whole = outer % 4 == inner % 4 == 0
        if self.groups > 1 and (is_whole or not self.is_short):
            sizes = (FEW_CHANNELS, 4) if outer % block() and inner % block() else ()
            size = next((size for size in sizes if outer % size == inner % size == 0), block())
            return self.groups * pad(outer, size) * pad(inner, size) * self.taps * self.size, False
        return self.groups * pad(outer, width) * pad(inner, FLOAT // self.size) * self.taps * self.size, True

    def _unfolded(self) -> int:
        """Bytes in which frames of one channel are copied tap by tap, with the weights beside them (relo_whi)."""
        if self.inputs * self.groups > 1 or self.taps == 1 or self.is_dilated or len(self.kernel) != PLANE_AXES:
            return 0
        (height, width), rows = self.kernel, self.kernel[0] + 2 * self.padding[0]
        copied = height * rows * (self.source[1] + 2 * self.padding[1]) * width
        image = _pages(copied + (self.target[0] - 1) * self.strides[0] * width + width) * self.size
        weights = -(-pad(self.outputs) * self.taps // RELOCATED) * RELOCATED * self.size
        return weights + torch.get_num_threads() * (image + PAGE) + 3 * PAGE

    def _row(self) -> int:
        """Bytes of float32 sums of a row of the source for each thread, if it is padded by more than half a kernel."""
        if not self.is_short or self.is_dilated or self.padding[-1] >= self.kernel[-1] // 2:
            return 0
        return torch.get_num_threads() * pad(self.inputs) * self.source[-1] * FLOAT + PAGE

    def _strided(self, is_uneven: bool) -> int:
        """Bytes of scratch for the gradient of a strided convolution's input.

        Each thread copies an image of the target, and notes which rows it has copied. For short types it also holds a
        row of float32 sums, and a row of the source if its width is no multiple of the stride.
        """
        image = _pages(prod(self.target) * self.groups * self.outputs) * self.size
        row = pad(self.inputs) * -(-self.source[-1] // self.strides[-1]) * FLOAT if self.is_short else 0
        row += _pages(self.source[-1] * self.inputs) * self.size if is_uneven else 0
        pages = 2 + self.is_short + is_uneven
        return _products() + torch.get_num_threads() * (image + PAGE + row) + pages * PAGE

    def _sums(self, weights: int, bias: int) -> int:
        """Bytes of scratch for the gradient of the weights: threads that share images sum up what each has computed."""
        threads = self._image_threads()
        rows, width = prod(self.target), block()
        gathered = torch.get_num_threads() * rows * self.inputs * self.size if self.is_pointwise else 0
        scratch = _booked(gathered) if self.is_strided else 0
        biases = pad(self.outputs) * self.groups * self._adds_bias
        if not self.is_short:
            scratch += _booked(bias * FLOAT)
            if threads > 1:
                bias_sums = 0 if self.is_pointwise else self.groups * pad(self.outputs)
                scratch += _booked((threads - 1) * (weights + bias_sums) * FLOAT) + BARRIER
                if self._adds_bias and self.outputs <= width:  # all threads share the only block of the bias
                    scratch += (threads - 1) * width * FLOAT + PAGE + BARRIER
            return scratch
        reduced = _booked(threads * (weights + biases) * FLOAT)
        if self.is_pointwise:
            scratch += _booked(self.outputs * self.size) if bias else 0
            copies = [torch.get_num_threads() * pad(rows, 2) * pad(c) * self.size for c in (self.inputs, self.outputs)]
            return scratch + reduced + sum(map(_booked, copies)) + (BARRIER if threads > 1 else 0)
        edge = pad(self.padding[-1] + 1, 2)
        source_row = pad(-(-self.source[-1] // self.strides[-1]) + edge, 2) * self.strides[-1]
        inputs = self.inputs if self._is_first else pad(self.inputs)
        inputs *= self.inputs > 1 or not self._is_first  # frames of one channel are read as they are
        source = threads * self.groups * inputs * prod(self.source[:-1]) * source_row + edge
        target = threads * self.groups * pad(self.outputs) * prod(self.target[:-1]) * pad(self.target[-1], 2)
        shared = BARRIER if threads < torch.get_num_threads() and self.groups == 1 else 0
        return scratch + _booked(source * self.size) + _booked(target * self.size) + reduced + BARRIER + shared

    def _depthwise_sums(self) -> int:
        """Bytes of scratch for the gradient of a depthwise convolution's weights (jit_uni_dw_conv_kernel_utils.cpp)."""
        buffers = torch.get_num_threads() - (not self.is_short)
        weights = _booked(pad(self.groups) * self.taps * buffers * FLOAT)
        bias = _booked(self.groups * buffers * FLOAT) + (_booked(self.groups * FLOAT) if self.is_short else 0)
        return weights + bias * self._adds_bias

    def _image_threads(self) -> int:
        """Threads that share the images of a group: oneDNN splits images, outputs and inputs where least is moved.

        This is ``balance`` of its kernels for the weights' gradient, without its second step.
        """
        available = torch.get_num_threads()
        if available < self.groups:
            return 1
        available //= self.groups
        outputs, inputs = -(-self.outputs // block()), -(-self.inputs // block())
        rows = [prod(self.source) // prod(self.strides), prod(self.target)]
        width = self.inputs if self._is_first else block()

        numbers = self.inputs * rows[0] * prod(self.strides) + self.outputs * rows[1]
        ratio = 0.5 * self.images * numbers * self.size / (self.outputs * self.inputs * self.taps * FLOAT)
        source_cost, target_cost, weights_cost = 1.0, 1.0, float(WEIGHTS_COST)
        if self.is_pointwise:
            rows[0] = prod(self.target) // prod(self.strides)
        if self.is_pointwise and self.is_short:
            weights_cost = 4.0 * (1 if self.is_strided else max(1, self.outputs // self.inputs))
        elif self.is_short:
            source_cost = max(inputs / outputs, 1) * (4 if ratio < 1 else 1)
            target_cost, weights_cost = max(outputs / inputs, 1), max(ratio, 1)

        def moved(images: int, outer: int, inner: int) -> float:
            own_outer, own_inner = -(-outputs // outer), -(-inputs // inner)
            frames = source_cost * own_inner * width * rows[0] + target_cost * own_outer * block() * rows[1]
            weights = weights_cost * own_outer * own_inner * self.taps * width * block()
            return self.images / images * frames + weights

        splits = [
            (images, outer, min(available // images // outer, inputs))
            for images, outer in product(range(1, available + 1), range(1, outputs + 1))
            if images * outer <= available
        ]
        return min(reversed(splits), key=lambda split: moved(*split))[0]


def _products() -> int:
    """Bytes of scratch of a product of small matrices (brgemm): a page of addresses for each thread."""
    return torch.get_num_threads() * -(-PAGE // ADDRESS) * ADDRESS + PAGE


def _booked(size: int) -> int:
    return size + ALIGNMENT if size else 0


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


SMALL_KERNEL = 3
"""The kernel size for which the gradient of depthwise weights is computed channel by channel (jit_dw)."""
FLOAT = 4
"""Bytes of a float32, the type of sums."""
PLANE_AXES = 2
"""Axes of an image."""
RELOCATED = 1024
"""Multiple of numbers to which the weights of one input channel are padded."""
PAGE, ALIGNMENT = 4096, 128
"""Bytes of a page, and those that oneDNN adds to a buffer of a scratchpad to align it."""
ADDRESS = 40
"""Bytes of oneDNN's ``brgemm_batch_element_t``."""
BARRIER = 2 * PAGE
"""Bytes of a barrier of threads in a scratchpad, aligned to a page."""
WEIGHTS_COST = 8
"""How much more a number of the weights' gradient costs than one of the frames, by oneDNN's estimate."""
