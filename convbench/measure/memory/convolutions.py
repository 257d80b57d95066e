"""Memory (B) that a convolution allocates on a CPU beside its output: oneDNN's blocked copies, or patches."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from convbench.measure.memory.blocks import block, blocked_bytes, common_order, copy_bytes, pad
from convbench.measure.memory.nhwc import Nhwc

Args = tuple[Any, ...]


class Convolution(NamedTuple):
    """The arguments of ``aten.convolution``, in order."""

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
        """Positions in the kernel."""
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
        """Whether a group's channels fill the smallest blocks, of 4; otherwise oneDNN multiplies patches."""
        return self.weight.shape[0] // self.groups % 4 == 0 and self.weight.shape[1] % 4 == 0

    @property
    def is_pointwise(self) -> bool:
        return self.taps == 1 and not self.transposed

    def is_by_onednn(self, bias_shape: Sequence[int] | None) -> bool:
        """Whether torch passes the convolution to oneDNN, which depends on its shapes and the number of threads."""
        backend = torch._C._select_conv_backend(*self, bias_shape).name
        # the backend's name does not mention oneDNN if the convolution is transposed
        return "Mkldnn" in backend or (self.transposed and "Slow" not in backend)

    def patches(self, result: torch.Tensor) -> int:
        """Bytes of a group's patches: the inputs under the kernel at all positions of an image; 0 for plain 1 x 1."""
        if self.taps == 1 and not (self.is_strided or self.is_dilated or any(self.padding)):
            return 0
        places = self.clip if self.transposed else result
        return prod(self.weight.shape[1:]) * prod(places.shape[2:]) * self.clip.element_size()

    def workers(self, result: torch.Tensor, places: int) -> int:
        """Threads with patches of their own: all if a plane has fewer than ``places`` positions per thread, or one."""
        threads = torch.get_num_threads()
        return threads if prod(result.shape[2:][-2:]) < places * threads else 1

    def plane(self, result: torch.Tensor) -> int:
        """Bytes of a thread's patches as oneDNN makes them: those of an image, or of one plane of a volume."""
        if self.taps == 1 and not self.is_strided and not any(self.padding):
            return 0
        return prod(self.weight.shape[1:]) * prod(result.shape[2:][-2:]) * self.clip.element_size()

    def products(self, result: torch.Tensor) -> int:
        """Bytes of all threads' patches in the forward pass."""
        return self.workers(result, PLACES) * self.plane(result)

    def gather_bytes(self, result: torch.Tensor) -> int:
        """Bytes of an image's inputs that each thread gathers first for a strided 1 x 1 kernel."""
        if not self.is_pointwise or not self.is_strided or self.groups > 1 or self.is_volume:
            return 0
        image = pad(self.weight.shape[1]) * prod(result.shape[2:]) * self.clip.element_size()
        return torch.get_num_threads() * image

    def torch_bytes(self, result: torch.Tensor) -> int:
        """Bytes beside the output if torch computes without oneDNN: the patches of all images.

        With groups: each group's input and patches in turn, then a second copy of all outputs. The groups of a volume
        hold their patches at once.
        """
        patches = self.clip.shape[0] * self.patches(result)
        if self.is_volume and self.groups > 1:
            return self.groups * patches or self.clip.nbytes
        return patches if self.groups == 1 else max(self.clip.nbytes // self.groups + patches, result.nbytes)

    def copies(self) -> int:
        """Bytes of input and weights in blocks; an input with fewer channels than a block is mostly read uncopied."""
        inputs = self.weight.shape[1]
        is_copied = self.clip.shape[1] >= block() or self.is_depthwise
        is_copied |= self.is_pointwise and (not self.is_volume or not self.is_strided)
        inputs = pad(inputs) if is_copied and self.groups == 1 else inputs
        weights = pad(self.weight.shape[0]) * inputs * self.taps * self.weight.element_size()
        return weights + (blocked_bytes(self.clip) if is_copied else 0)

    @property
    def order(self) -> torch.memory_format:
        """The memory order in which it is computed; oneDNN computes on blocked copies if this is not NHWC."""
        return common_order(self.clip, self.weight)

    def ordered_copies(self, *others: torch.Tensor) -> int:
        """Bytes of copies of the frames, the weights and others that are not in this memory order."""
        order = self.order
        return sum(copy_bytes(tensor, order) for tensor in (self.clip, self.weight, *others))

    def in_nhwc(self, result: torch.Tensor, has_bias: bool) -> Nhwc:
        """The convolution as oneDNN's kernels for NHWC order see it."""
        source, target = self.clip.shape[2:], result.shape[2:]
        if self.transposed:
            source, target = target, source
        return Nhwc(
            self.weight.shape[1], self.weight.shape[0] // self.groups, self.groups, tuple(self.weight.shape[2:]),
            tuple(self.strides), tuple(self.padding), self.clip.shape[0], tuple(source), tuple(target),
            self.clip.element_size(), has_bias, self.transposed, self.is_dilated,
        )  # fmt: skip

    def transposed_bytes(self, result: torch.Tensor, has_bias: bool) -> int:
        """Bytes beside a transposed convolution's output: blocked copies of input and weights, and two of the output.

        With a stride, oneDNN computes in NHWC order, from a copy of the input, and the output is copied twice.
        """
        if self.groups > 1:
            copies = 0 if self.is_strided else self.clip.nbytes + self.weight.nbytes
            return copies + result.nbytes
        if self.is_strided:
            order = torch.channels_last_3d if self.is_volume else torch.channels_last
            return max(2 * result.nbytes, copy_bytes(self.clip, order) + self.in_nhwc(result, has_bias).input_bytes())
        weights = pad(self.weight.shape[0]) * pad(self.weight.shape[1]) * self.taps * self.weight.element_size()
        return blocked_bytes(self.clip) + weights + 2 * blocked_bytes(result) - result.nbytes

    def sums(self, output: torch.Tensor) -> int:
        """Bytes of each thread's sums of an image in float32, in which it accumulates products of shorter types."""
        if not self.is_pointwise or self.groups > 1 or self.clip.dtype == torch.float32:
            return 0
        return torch.get_num_threads() * pad(output.shape[1]) * prod(output.shape[2:]) * torch.float32.itemsize


def convolution_bytes(args: Args, result: torch.Tensor) -> tuple[int, int]:
    """Return the (scratch, kept) bytes: copies of input, weights and output unless they are channels_last, or patches.

    The copies of input and weights are alive together; then the output is copied back.
    """
    call = Convolution(*args)
    clip, weight, bias = call[:3]
    if clip.device.type != "cpu" or not clip.is_floating_point():
        return 0, 0
    copy, output = call.ordered_copies(), result.nbytes
    if not call.is_by_onednn(None if bias is None else bias.shape):
        return copy + call.torch_bytes(result), 0
    if call.order != torch.contiguous_format:
        kernel = call.in_nhwc(result, bias is not None)
        return copy + (kernel.input_bytes() if call.transposed else kernel.output_bytes()), 0
    if call.transposed:
        return copy + call.transposed_bytes(result, bias is not None), 0
    if call.is_depthwise and call.is_volume:
        weights = pad(weight.shape[0]) * call.taps * clip.element_size()
        peak = max(clip.nbytes + weights, 2 * output)
        return copy + (max(call.products(result), output) if call.is_dilated else peak), 0
    if call.groups > 1 and not call.is_depthwise:
        copies = clip.nbytes + weight.nbytes if call.is_in_fours else call.products(result)
        return copy + max(copies, output), 0
    scratch = call.sums(result) + call.gather_bytes(result)
    return copy + max(call.copies() + scratch + blocked_bytes(result) - output, blocked_bytes(result)), 0


PLACES = 512
"""If the output has fewer positions per thread than this, each thread computes images of its own. This limit holds for
the forward pass; ``convolution_gradients.PLACES`` holds for the weights' gradient."""
VOLUME = 5
"""Number of axes of a batch of volumes."""
