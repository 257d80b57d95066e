"""Our own marks among a profiler's events: phases and stages as ranges, and where the backward pass goes on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.profiler import record_function

from convbench.boundaries import OTHER, PHASES

PREFIX = "convbench::"
BACKWARD = f"{PREFIX}backward of "
"""Begins the name of the mark (no range of its own) at which the backward pass of a stage begins."""


class Marks:
    """A listener that puts marks among the profiler's events. ``outputs``: addresses of what stages returned."""

    def __init__(self) -> None:
        self.open: list[Any] = []
        self.outputs: set[int] = set()

    def enters(self, stage: str) -> None:
        self.open.append(record_function(PREFIX + stage))
        self.open[-1].__enter__()

    def leaves(self, _stage: str, outputs: list[torch.Tensor]) -> None:
        self.open.pop().__exit__(None, None, None)
        self.outputs |= {tensor.untyped_storage().data_ptr() for tensor in outputs}

    def reverses(self, stage: str) -> None:
        with record_function(BACKWARD + stage):
            pass

    def phase(self, name: str) -> AbstractContextManager[Any]:
        return record_function(PREFIX + name)


class Spans:
    """Which phase and which stage a moment lies in, from marks as (name, begin, end) in one unit of time."""

    def __init__(self, marks: Iterable[tuple[str, float, float]]) -> None:
        named = sorted((begin, end, name.removeprefix(PREFIX)) for name, begin, end in marks)
        reversals = BACKWARD.removeprefix(PREFIX)
        self.phases = [mark for mark in named if mark[2] in PHASES]
        self.stages = [mark for mark in named if mark[2] not in PHASES and not mark[2].startswith(reversals)]
        self.reversals = [(mark[0], mark[2].removeprefix(reversals)) for mark in named if mark[2].startswith(reversals)]

    def phase(self, moment: float) -> str:
        """``forward``, ``backward``, ``optimizer``, or ``other``."""
        return _innermost(self.phases, moment) or OTHER

    def stage(self, moment: float) -> str:
        """The stage whose forward pass or backward pass the moment lies in; ``optimizer`` counts as ``other``."""
        inside = _innermost(self.stages, moment)
        if inside or self.phase(moment) != "backward":
            return inside or OTHER
        before = bisect_right(self.reversals, (moment, "\U0010ffff"))
        return self.reversals[before - 1][1] if before else OTHER

    def backward(self) -> list[tuple[str, float, float]]:
        """The ranges of the backward passes of the stages, as (stage, begin, end)."""
        ends = [end for begin, end, name in self.phases if name == "backward"]
        ranges = []
        for (begin, stage), following in zip(self.reversals, [*self.reversals[1:], None], strict=True):
            phase_end = next((end for end in ends if end >= begin), begin)
            ranges.append((stage, begin, min(phase_end, following[0] if following else phase_end)))
        return [one for one in ranges if one[0] != OTHER]


def _innermost(marks: list[tuple[float, float, str]], moment: float) -> str | None:
    return next((name for begin, end, name in reversed(marks) if begin <= moment < end), None)
