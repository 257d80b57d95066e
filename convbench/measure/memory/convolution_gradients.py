"""Memory (B) that a convolution's gradients allocate on a CPU beside themselves: oneDNN's copies, patches and scratch.

oneDNN computes the gradient of the input first and then that of the weights, each with its own kernel. The choice of
kernel and its memory were found with torch 2.13 on AVX-512 from 1,120 layers, in oneDNN's own log and the profiler's
allocations.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch

from convbench.measure.memory.blocks import FEW_CHANNELS, block, blocked_bytes, copy_bytes, pad
from convbench.measure.memory.convolutions import Args, Convolution


def convolution_backward_bytes(args: Args, result: Any) -> tuple[int, int]:
    """Return the (scratch, kept) bytes beside the gradients of input, weights and bias; unwanted gradients are None."""
    gradient, clip, weight, bias_shape, *options, _ = args
    gradients = Gradients(Convolution(clip, weight, None, *options), gradient)
    wants_input, result_bytes = result[0] is not None, sum(part.nbytes for part in result if part is not None)
    if clip.device.type != "cpu" or not clip.is_floating_point():
        return 0, 0
    call = gradients.call
    if not call.is_by_onednn(bias_shape):
        return gradients.torch_bytes(wants_input) - result_bytes, 0
    if call.order != torch.contiguous_format:
        kernel = call.in_nhwc(gradient, result[2] is not None)
        input_bytes = result[0].nbytes if wants_input else 0
        data = input_bytes + (kernel.output_bytes() if call.transposed else kernel.input_bytes()) - result_bytes
        weights = kernel.weights_bytes() if any(part is not None for part in result[1:]) else 0
        return call.ordered_copies(gradient) + max(data if wants_input else 0, weights), 0
    copies = copy_bytes(clip) + copy_bytes(gradient)
    if gradients.call.transposed:
        return copies + gradients.transposed_bytes(), 0
    input_bytes = clip.nbytes if wants_input else 0
    weights_peak = input_bytes + gradients.weights_peak() if any(part is not None for part in result[1:]) else 0
    peak = max(gradients.input_peak() if wants_input else 0, weights_peak, result_bytes)
    return copies + peak - result_bytes, 0


class Gradients(NamedTuple):
    """A convolution and the gradient of its output."""

    call: Convolution
    gradient: torch.Tensor

    @property
    def size(self) -> int:
        return self.call.clip.element_size()

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels of a group."""
        return self.call.weight.shape[1], self.call.weight.shape[0] // self.call.groups

    @property
    def _is_short(self) -> bool:
        return self.call.clip.dtype != torch.float32

    @property
    def bias(self) -> int:
        return self.gradient.shape[1] * self.size

    def input_peak(self) -> int:
        """Most bytes alive at once while the input's gradient is computed, including that gradient."""
        call, clip = self.call, self.call.clip
        if self._is_by_channel():
            weights = call.weight.nbytes // call.weight.shape[1] * pad(call.weight.shape[1])
            copies = self.gradient.nbytes + weights + clip.nbytes + strided_scratch()
            return max(copies, (3 if clip.shape[1] > 1 else 2) * clip.nbytes)
        channels = self._input_block()
        if channels is None:
            return clip.nbytes + max(clip.nbytes, torch.get_num_threads() * self._sums())
        copies = blocked_bytes(self.gradient, channels) + self._weights(channels) + call.sums(clip)
        return blocked_bytes(clip, channels) + max(copies, clip.nbytes)

    def weights_peak(self) -> int:
        """Most bytes alive at once while the gradients of weights and bias are computed, including these gradients."""
        call = self.call
        channels = self._weights_block()
        if channels is None:
            products = GRADIENTS * call.weight.numel() * torch.float32.itemsize
            scratch = call.workers(self.gradient, PLACES) * (products + self._plane) + PRODUCTS_SCRATCH
            return call.weight.nbytes + self.bias + scratch
        is_copied = not self._reads_frames()
        weights = self._weights(channels, inputs=None if is_copied else call.weight.shape[1])
        copies = blocked_bytes(self.gradient, channels) + (blocked_bytes(call.clip, channels) if is_copied else 0)
        scratch = self._transpose_scratch(weights, channels, is_copied) + call.gather_bytes(self.gradient)
        return copies + weights + 2 * self.bias + scratch

    def torch_bytes(self, wants_input: bool) -> int:
        """Most bytes alive at once if torch computes without oneDNN: the patches of all images, group after group.

        The groups of a volume hold their patches at once.
        """
        call, clip = self.call, self.call.clip
        patches = clip.shape[0] * call.patches(self.gradient)
        input_bytes = clip.nbytes if wants_input else 0
        if call.groups == 1 or call.is_volume:
            if call.is_volume and not patches:
                patches = clip.nbytes if wants_input or call.groups > 1 else 0
            elif call.is_volume:
                patches *= call.groups
            return input_bytes + call.weight.nbytes + self.bias + patches
        group_bytes = (clip.nbytes + self.gradient.nbytes) // call.groups
        return input_bytes + max(group_bytes + patches, input_bytes) + call.weight.nbytes + self.bias

    def transposed_bytes(self) -> int:
        """Bytes beside a transposed convolution's gradients: unblocked copies, or with groups an image's patches."""
        if self.call.groups > 1 and not self.call.is_depthwise:
            return self.call.patches(self.gradient)
        return self.call.clip.nbytes + self.gradient.nbytes

    def _is_by_channel(self) -> bool:
        """Whether a stride makes oneDNN compute on copies in NHWC order."""
        if not self.call.is_strided or self.call.is_dilated:
            return False
        if self.call.is_depthwise:
            return self._is_short
        inputs, outputs = self.channels
        if self.call.groups > 1 and self._is_short:
            return inputs % 4 > 0 or outputs % 4 > 0
        return self.call.groups == 1 or outputs > MANY_OUTPUTS or (inputs % 4 > 0 and outputs >= SOME_OUTPUTS)

    def _input_block(self) -> int | None:
        """Channels per block in the copies for the input's gradient; None if oneDNN multiplies patches."""
        call = self.call
        if call.is_dilated and call.is_strided and (call.taps > 1 or call.is_volume):
            return None
        if call.is_depthwise:
            return None if call.is_volume or call.is_dilated else block()
        return block() if call.groups == 1 else self._whole_blocks((block(), FEW_CHANNELS, 4))

    def _weights_block(self) -> int | None:
        """Channels per block in the copies for the weights' gradient; None if oneDNN multiplies patches."""
        call, (inputs, _) = self.call, self.channels
        if call.is_depthwise:
            is_small = max(call.weight.shape[2:]) in ((1, 3) if self._is_short else (3,))
            return block() if is_small and not call.is_volume and not call.is_dilated else None
        if call.groups > 1:
            sizes = () if call.is_dilated and call.is_volume else (block(),)
            small_sizes = (
                () if call.is_dilated or self._is_short or (call.is_volume and call.taps > 1) else (FEW_CHANNELS,)
            )
            return self._whole_blocks((*sizes, *small_sizes))
        if call.taps == 1 and not (call.is_volume and call.is_strided):
            return block()
        is_plane = call.clip.dim() == PLANE
        if call.is_dilated and (call.is_volume or (call.is_strided and (is_plane or self._is_short))):
            return None
        if inputs >= block():
            return block()
        if self._is_short:
            return block() if self.gradient.shape[1] % block() == 0 else None
        if inputs < PLAIN_CHANNELS and call.taps > 1:
            return block()
        return None if call.is_dilated or (call.is_volume and call.taps > 1) else FEW_CHANNELS

    def _whole_blocks(self, sizes: tuple[int, ...]) -> int | None:
        """The first of the block sizes that divides both channel counts of a group, if any."""
        return next((size for size in sizes if all(channels % size == 0 for channels in self.channels)), None)

    def _reads_frames(self) -> bool:
        """Whether the weights' gradient reads the input uncopied, because it has too few channels for a block."""
        call = self.call
        limit = block() if self._is_short else PLAIN_CHANNELS
        is_copied_anyway = call.taps == 1 and not (call.is_volume and call.is_strided and limit == block())
        return call.groups == 1 and call.weight.shape[1] < limit and not is_copied_anyway

    def _weights(self, channels: int, inputs: int | None = None) -> int:
        """Bytes of the weights in blocks of ``channels``; the channels of groups fill whole blocks already."""
        call = self.call
        if call.is_depthwise:
            return pad(call.clip.shape[1], channels) * call.taps * self.size
        if call.groups > 1:
            return call.weight.nbytes
        inputs = inputs or pad(call.weight.shape[1], channels)
        return pad(call.weight.shape[0], channels) * inputs * call.taps * self.size

    @property
    def _plane(self) -> int:
        return self.call.plane(self.gradient)

    def _sums(self) -> int:
        """Bytes of a thread's products for the input's gradient; for short types in float32, with an image of it."""
        if self.size == torch.float32.itemsize:
            return self._plane
        image = prod(self.call.clip.shape[1:]) // self.call.groups
        return (self._plane // self.size + image) * torch.float32.itemsize

    def _transpose_scratch(self, weights: int, channels: int, is_copied: bool) -> int:
        """Bytes of scratch for short types: sums in float32, and per thread transposed images of input and gradient."""
        call = self.call
        if call.is_depthwise and self._is_short:
            return 2 * weights * torch.float32.itemsize // self.size
        if not self._is_short or (call.taps == 1 and call.clip.dim() == PLANE and not call.is_strided):
            return 0
        images = blocked_bytes(self.gradient, channels) + (blocked_bytes(call.clip, channels) if is_copied else 0)
        sums = weights * torch.float32.itemsize // self.size
        edges = TRANSPOSED_SCRATCH if call.taps > 1 else 0
        return sums + torch.get_num_threads() * (images // call.clip.shape[0] + edges)


def strided_scratch() -> int:
    return STRIDED_SCRATCH + torch.get_num_threads() * THREAD_SCRATCH


PLANE = 4
"""Number of axes of a batch of images."""
PLAIN_CHANNELS = 4
"""With fewer input channels than this, oneDNN reads frames uncopied."""
SOME_OUTPUTS, MANY_OUTPUTS = 12, 16
"""Outputs of a group with which a strided convolution is computed in NHWC order: from the first number on if its inputs
are no multiple of 4, above the second number in any case."""
GRADIENTS = 4
"""Copies of the weights' gradient that oneDNN keeps per worker when it multiplies patches."""
PRODUCTS_SCRATCH = 256
"""Bytes of scratch beside these copies and the patches."""
STRIDED_SCRATCH, THREAD_SCRATCH = 12_288, 24_600
"""Bytes of scratch of a strided convolution, and of each thread; half of the layers take this much, others up to four
times as much."""
PLACES = 256
"""If the output has fewer positions per thread than this, each thread computes images of its own. This limit holds for
the weights' gradient; ``convolutions.PLACES`` holds for the forward pass."""
TRANSPOSED_SCRATCH = 8_800
"""Bytes of scratch per thread for the edges of images that oneDNN transposes for the weights' gradient."""
