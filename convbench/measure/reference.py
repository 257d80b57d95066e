"""A fixed workload beside each case, which tells a slower model from a slower moment of the same machine."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from convbench.measure.machine import precision
from convbench.measure.timing import Call, StoppingRule, clock_for, sample, warm_up

MAX_WARMUP, BLOCK_SECONDS, FEWEST = 0.03, 0.008, 3


class Reference:
    """A convolution, ReLU and matmul on a device, timed in short blocks between the samples of a case.

    Maps of 1 MiB and a matrix of 256 KiB use arithmetic and memory, but have no block that glibc maps anew each time.
    It is the same in every run: the number type, the device and the precision that the user's code sets for all of
    torch do not change it.
    """

    def __init__(self, device: str) -> None:
        self._device, self._call = device, _workload(device)
        self._clock = clock_for(device, self._call)
        self.samples: list[float] = []
        with precision.as_by_default(device):
            warm_up(self._call, self._clock, MAX_WARMUP)

    def block(self, seconds: float = BLOCK_SECONDS) -> None:
        """Take a few more samples."""
        rule = StoppingRule(target=0.0, min_samples=FEWEST, max_time=seconds)
        with precision.as_by_default(self._device):
            self.samples += [timing.host for timing in sample(self._call, self._clock, rule)[0]]


def _workload(device: str) -> Call:
    randn = partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    frames, matrix, weights = (randn(shape).to(device) for shape in ((16, 3, 32, 32), (256, 256), (16, 3, 3, 3)))
    product = _by_convolution if matrix.is_cuda else torch.matmul

    def call() -> torch.Tensor:
        with torch.no_grad():
            maps = nn.functional.conv2d(frames, weights, padding=1).relu()
            return product(product(maps.view(256, -1), maps.view(256, -1).T), matrix)

    return call


def _by_convolution(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A matrix product as a 1x1 convolution: cuBLAS would keep 32 MiB that do not belong to the case."""
    return nn.functional.conv1d(left.T[None], right.T[:, :, None])[0].T
