"""The largest batch, clip or LSTM input that a memory limit admits, searched on the predicted peak."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from convbench.core.errors import CaseFailed, Impossible, line_of
from convbench.core.record import Case, Parts
from convbench.measure.harness import computing_with
from convbench.measure.memory.peak import TakesTooLong
from convbench.measure.memory.prediction import predict
from convbench.measure.preflight import resolve

LARGEST = {"batch": 2**16, "frames": 2**16, "lstm_input": 2**20}
"""The axes that can be searched, with the largest size that is tried."""
LONG_CLIP = 128
SECONDS = 5.0
"""Time limit of one prediction during a search; the prediction at the case's own size has none."""


@dataclass(frozen=True, slots=True)
class LargestSize:
    """The largest size of one axis whose predicted peak (B) is within the limit; the case's other sizes are unchanged.

    ``size`` is 0 if not even 1 fits. ``has_more``: the search ended below the limit, at ``LARGEST[axis]`` or because a
    prediction took more than ``SECONDS``. ``is_flat``: the size does not change the peak, as when inputs ignore the
    clip. ``reason``: why other sizes cannot be predicted.
    """

    case: Case
    axis: str
    size: int
    peak: int
    has_more: bool = False
    is_flat: bool = False
    reason: str = ""


def fits(case: Case, limit: int) -> Iterator[LargestSize]:
    """Return the largest size within ``limit`` bytes for each axis of the case."""
    return (_fit(case, axis, limit) for axis in axes(case))


def _fit(case: Case, axis: str, limit: int) -> LargestSize:
    peaks: dict[int, int] = {}
    last_size = 0

    def peak(size: int) -> int:
        nonlocal last_size
        last_size = size
        peaks[size] = peak_of(of_size(case, axis, size), SECONDS)
        return peaks[size]

    try:
        size = search(peak, limit, LARGEST[axis])
        has_more = size == LARGEST[axis]
    except CaseFailed as error:
        if not (peaks and isinstance(error, TakesTooLong)):
            return LargestSize(case, axis, 0, 0, reason=f"{line_of(error)}, with {axis}={last_size}")
        size, has_more = max((size for size in peaks if peaks[size] <= limit), default=0), True
    is_flat = size == LARGEST[axis] and peaks[size] == peaks[1]
    return LargestSize(case, axis, size, peaks[size or 1], has_more, is_flat)


def peak_and_fits(case: Case, limit: int) -> tuple[int, list[LargestSize]]:
    """Return the predicted peak of the case at its own size, and its ``fits``. Raises CaseFailed."""
    with computing_with(case):  # kernels have workspaces for each thread
        return peak_of(case), list(fits(case, limit))


def axes(case: Case) -> list[str]:
    """The axes along which the case can grow; the LSTM input only if its size can be chosen."""
    sizes = ["batch"] if case.streams else ["batch", "frames"]
    parts = case.architecture
    is_free = isinstance(parts, Parts) and parts.lstm_input is not None and _is_free(case)
    return [*sizes, "lstm_input"] if is_free else sizes


def peak_of(case: Case, seconds: float = math.inf) -> int:
    """Return the predicted peak (B); each prediction may take ``seconds``.

    For a recurrent stage that runs step by step, the peak of a long clip is extrapolated from two shorter ones.
    """
    frames, parts = case.clip.frames, case.architecture
    is_stepwise = isinstance(parts, Parts) and (parts.rnn.cell == "gru" or parts.rnn.proj_size)
    if not is_stepwise or frames <= LONG_CLIP or case.streams:
        return predict(case, seconds).peak
    shorter, longer = (predict(of_size(case, "frames", frames), seconds) for frames in (LONG_CLIP // 2, LONG_CLIP))
    slope = 2 * (longer.resident + longer.forward_backward - shorter.resident - shorter.forward_backward) / LONG_CLIP
    line = longer.resident + longer.forward_backward + slope * (frames - LONG_CLIP)
    return max(int(line), longer.resident + longer.optimizer)


def of_size(case: Case, axis: str, size: int) -> Case:
    """The case with another size along one axis."""
    if axis == "lstm_input":
        assert isinstance(case.architecture, Parts)
        return replace(case, architecture=replace(case.architecture, lstm_input=size))
    return replace(case, clip=replace(case.clip, **{axis: size}))


def search(peak: Callable[[int], int], limit: int, largest: int) -> int:
    """Return the largest size from 1 to ``largest`` whose peak is within ``limit``, or 0 if none is.

    ``peak`` must not fall with the size. The search doubles the size until it no longer fits, then alternates between
    interpolation along the line between both ends and halving.
    """
    last_fit, size = (0, 0), 1
    while (bytes_needed := peak(size)) <= limit:
        if size == largest:
            return largest
        last_fit, size = (size, bytes_needed), min(2 * size, largest)
    low, low_bytes, high, high_bytes = *last_fit, size, bytes_needed
    halves = False
    while low and high - low > 1:
        estimate = low + (high - low) * (limit - low_bytes) // max(1, high_bytes - low_bytes)
        middle = (low + high) // 2 if halves else min(max(estimate, low + 1), high - 1)
        halves, middle_bytes = not halves, peak(middle)
        if middle_bytes <= limit:
            low, low_bytes = middle, middle_bytes
        else:
            high, high_bytes = middle, middle_bytes
    return low


def _is_free(case: Case) -> bool:
    """Whether the LSTM input can have another size."""
    assert isinstance(case.architecture, Parts) and case.architecture.lstm_input
    size = case.architecture.lstm_input + 1
    try:
        architecture = resolve(of_size(case, "lstm_input", size)).architecture
    except (Impossible, CaseFailed):
        return False
    return isinstance(architecture, Parts) and architecture.lstm_input == size
