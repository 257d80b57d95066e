"""What a convolution allocates on a CPU beside its output: oneDNN's copies in blocks of channels, or patches, in B."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from convbench.measure.memory.blocks import block, blocked_bytes, copy_bytes, pad
from convbench.models.weights import CHANNELS_LAST

Args = tuple[Any, ...]


class Convolution(NamedTuple):
    """The arguments of ``aten.convolution``, in its order."""

    clip: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None
    strides: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int

    @property
    def taps(self) -> int:
        """Places of the kernel."""
        return prod(self.weight.shape[2:])

    @property
    def is_volume(self) -> bool:
        return self.clip.dim() == VOLUME

    @property
    def is_strided(self) -> bool:
        return max(self.strides) > 1

    @property
    def is_dilated(self) -> bool:
        return max(self.dilation) > 1

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.weight.shape[:2] == (self.groups, 1)

    @property
    def is_in_fours(self) -> bool:
        """Whether each group of channels fills the smallest blocks: else oneDNN multiplies patches."""
        return self.weight.shape[0] // self.groups % 4 == 0 and self.weight.shape[1] % 4 == 0

    @property
    def is_pointwise(self) -> bool:
        return self.taps == 1 and not self.transposed

    def is_by_onednn(self, bias_shape: Sequence[int] | None) -> bool:
        """Whether torch gives it to oneDNN, which depends on its shapes and on the number of threads."""
        backend = torch._C._select_conv_backend(*self, bias_shape).name
        # the name of what computes a transposed one does not say that it is oneDNN's
        return "Mkldnn" in backend or (self.transposed and "Slow" not in backend)

    def patches(self, result: torch.Tensor) -> int:
        """Bytes of what the weights of a group meet at all places of an image; of 1 x 1 the input itself."""
        if self.taps == 1 and not (self.is_strided or self.is_dilated or any(self.padding)):
            return 0
        places = self.clip if self.transposed else result
        return prod(self.weight.shape[1:]) * prod(places.shape[2:]) * self.clip.element_size()

    def workers(self, result: torch.Tensor, places: int) -> int:
        """Threads that have patches of their own: all, where a plane has fewer than so many places for each."""
        threads = torch.get_num_threads()
        return threads if prod(result.shape[2:][-2:]) < places * threads else 1

    def plane(self, result: torch.Tensor) -> int:
        """Bytes of a thread's patches as oneDNN makes them: of an image, of a volume those of one of its planes."""
        if self.taps == 1 and not self.is_strided and not any(self.padding):
            return 0
        return prod(self.weight.shape[1:]) * prod(result.shape[2:][-2:]) * self.clip.element_size()

    def products(self, result: torch.Tensor) -> int:
        """Bytes of all threads' patches forward."""
        return self.workers(result, PLACES) * self.plane(result)

    def gather_bytes(self, result: torch.Tensor) -> int:
        """Bytes of what 1 x 1 with a stride meets of an image, which each thread gathers first."""
        if not self.is_pointwise or not self.is_strided or self.groups > 1 or self.is_volume:
            return 0
        image = pad(self.weight.shape[1]) * prod(result.shape[2:]) * self.clip.element_size()
        return torch.get_num_threads() * image

    def torch_bytes(self, result: torch.Tensor) -> int:
        """Bytes of the patches of all images; of groups their inputs one after another, then all outputs once more.

        Of volumes the groups' patches are there at once.
        """
        patches = self.clip.shape[0] * self.patches(result)
        if self.is_volume and self.groups > 1:
            return self.groups * patches or self.clip.nbytes
        return patches if self.groups == 1 else max(self.clip.nbytes // self.groups + patches, result.nbytes)

    def copies(self) -> int:
        """Bytes of input and weights in blocks of channels; an input of less than a block is mostly read as it is."""
        inputs = self.weight.shape[1]
        is_copied = self.clip.shape[1] >= block() or self.is_depthwise
        is_copied |= self.is_pointwise and (not self.is_volume or not self.is_strided)
        inputs = pad(inputs) if is_copied and self.groups == 1 else inputs
        weights = pad(self.weight.shape[0]) * inputs * self.taps * self.weight.element_size()
        return weights + (blocked_bytes(self.clip) if is_copied else 0)

    def weights_in_blocks(self) -> int:
        """Bytes of the weights in blocks of outputs, the one copy where frames are in NHWC order.

        What groups and transposed ones copy there is not known.
        """
        if self.groups > 1 or self.transposed:
            return 0
        return pad(self.weight.shape[0]) * self.weight.shape[1] * self.taps * self.weight.element_size()

    def transposed_bytes(self, result: torch.Tensor) -> int:
        """Bytes of a transposed one: its copies and two of the output in blocks.

        With a stride there are two of the output as it is; or, where more, copies of the input and of an image a
        thread, of the output where windows overlap, and what oneDNN takes for itself.
        """
        if self.groups > 1:
            copies = 0 if self.is_strided else self.clip.nbytes + self.weight.nbytes
            return copies + result.nbytes
        if self.is_strided:
            threads, sizes = torch.get_num_threads(), self.weight.shape[2:]
            images = self.clip.nbytes * threads // self.clip.shape[0]
            scratch = threads * TRANSPOSED_SCRATCH
            if any(size % stride for size, stride in zip(sizes, self.strides, strict=True)):
                scratch += result.nbytes + scratch
            return max(2 * result.nbytes, self.clip.nbytes + images + scratch)
        weights = pad(self.weight.shape[0]) * pad(self.weight.shape[1]) * self.taps * self.weight.element_size()
        return blocked_bytes(self.clip) + weights + 2 * blocked_bytes(result) - result.nbytes

    def sums(self, output: torch.Tensor) -> int:
        """Bytes of each thread's sums of an image in float32, which products of fewer bits are added up in."""
        if not self.is_pointwise or self.groups > 1 or self.clip.dtype == torch.float32:
            return 0
        return torch.get_num_threads() * pad(output.shape[1]) * prod(output.shape[2:]) * torch.float32.itemsize


def convolution_bytes(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """Copies of input and weights, then of the output, where none is channels_last already, or the patches of an image.

    The copies are there at once; then the output is copied back.
    """
    call = Convolution(*args)
    clip, weight, bias = call[:3]
    copy, output = copy_bytes(clip), result.nbytes
    if is_double(clip):
        return copy + call.torch_bytes(result), 0
    if not is_known(clip):
        return 0, 0
    if not call.is_by_onednn(None if bias is None else bias.shape):
        return (copy if is_blocked(clip) else 0) + call.torch_bytes(result), 0
    if not is_blocked(clip):
        return call.weights_in_blocks(), 0
    if call.transposed:
        return copy + call.transposed_bytes(result), 0
    if call.is_depthwise and call.is_volume:
        weights = pad(weight.shape[0]) * call.taps * clip.element_size()
        peak = max(clip.nbytes + weights, 2 * output)
        return copy + (max(call.products(result), output) if call.is_dilated else peak), 0
    if call.groups > 1 and not call.is_depthwise:
        copies = clip.nbytes + weight.nbytes if call.is_in_fours else call.products(result)
        return copy + max(copies, output), 0
    scratch = call.sums(result) + call.gather_bytes(result)
    return copy + max(call.copies() + scratch + blocked_bytes(result) - output, blocked_bytes(result)), 0


def is_blocked(clip: torch.Tensor) -> bool:
    """Whether oneDNN computes on blocked copies: on a CPU, unless the frames are in NHWC order."""
    if not is_known(clip):
        return False
    order = CHANNELS_LAST.get(clip.dim())
    return order is None or not clip.is_contiguous(memory_format=order) or clip.is_contiguous()


def is_known(clip: torch.Tensor) -> bool:
    """Whether oneDNN may compute it: on a CPU, in one of its number types."""
    return clip.device.type == "cpu" and clip.dtype in (torch.float32, torch.bfloat16, torch.float16)


def is_double(clip: torch.Tensor) -> bool:
    """Whether oneDNN does not know the numbers at all."""
    return clip.device.type == "cpu" and clip.dtype == torch.float64


PLACES = 512
"""Below so many places of an output for each thread, threads take images of their own."""
VOLUME = 5
"""Axes of volumes."""
TRANSPOSED_SCRATCH = 28_000
"""Bytes of oneDNN's scratchpad of a transposed convolution with a stride, a thread; of 360 layers 80 % are predicted
within a tenth."""
