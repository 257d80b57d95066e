"""Find the phase and the stage of a moment in a call, from marks with their times. Never imports torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

from convbench.core.metrics import GRAPHS, OTHER

PHASES = ("forward", "backward", "optimizer")
PREFIX = "convbench::"
"""Prefix of the names of our marks among a profiler's events."""
BACKWARD = f"{PREFIX}backward of "
"""Prefix of the mark (without a duration) at which the backward pass of a stage begins."""
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu", "rnn_layer", "cudnn_rnn", "miopen_rnn", "RnnLayer", "CudnnRnn")
TimedMark = tuple[str, float, float]
"""Name, begin, end."""
SortedMark = tuple[float, float, str]
"""Begin, end, name: the order in which they are sorted."""


def is_recurrent(name: str) -> bool:
    """Whether the name is that of an operator or autograd node which is an LSTM, GRU or RNN itself."""
    return not name.startswith(PREFIX) and any(part in name for part in RECURRENT)


def compiled_marks(events: Iterable[TimedMark]) -> Iterator[TimedMark]:
    """Yield marks for a compiled model's own events: its graphs, and recurrent operators wherever they run."""
    for name, begin, end in events:
        if "CompiledFxGraph" in name:
            yield PREFIX + GRAPHS, begin, end
        elif is_recurrent(name):
            yield f"{PREFIX}lstm", begin, end


class Spans:
    """Finds the phase and the stage of a moment, from marks (name, begin, end) in one unit of time."""

    def __init__(self, marks: Iterable[TimedMark]) -> None:
        spans = sorted((begin, end, name.removeprefix(PREFIX)) for name, begin, end in marks)
        reversals = BACKWARD.removeprefix(PREFIX)
        self.phases = [mark for mark in spans if mark[2] in PHASES]
        self.stages = [mark for mark in spans if mark[2] not in PHASES and not mark[2].startswith(reversals)]
        self.reversals = [(mark[0], mark[2].removeprefix(reversals)) for mark in spans if mark[2].startswith(reversals)]
        self._phase, self._stage = _Innermost(self.phases), _Innermost(self.stages)

    def phase(self, moment: float) -> str:
        """``forward``, ``backward``, ``optimizer``, or ``other``."""
        return self._phase.at(moment) or OTHER

    def stage(self, moment: float) -> str:
        """The stage whose forward pass or backward pass the moment lies in; ``optimizer`` counts as ``other``."""
        stage = self._stage.at(moment)
        if stage or self.phase(moment) != "backward":
            return stage or OTHER
        index = bisect_right(self.reversals, (moment, "\U0010ffff"))
        return self.reversals[index - 1][1] if index else OTHER

    def durations(self) -> dict[str, float]:
        """Time by innermost stage over all phases; ``optimizer`` is its phase, ``other`` is everything else."""
        edges = sorted({edge for begin, end, _ in (*self.phases, *self.stages) for edge in (begin, end)})
        times: dict[str, float] = {}
        for begin, end in pairwise(edges):
            phase = self.phase(begin)
            stage = phase if phase == PHASES[2] else self.stage(begin)
            if phase != OTHER:
                times[stage] = times.get(stage, 0.0) + end - begin
        return times

    def backward(self) -> list[TimedMark]:
        """The ranges of the stages' backward passes, as (stage, begin, end)."""
        ends = [end for begin, end, name in self.phases if name == "backward"]
        ranges = []
        for (begin, stage), next_reversal in zip(self.reversals, [*self.reversals[1:], None], strict=True):
            phase_end = next((end for end in ends if end >= begin), begin)
            ranges.append((stage, begin, min(phase_end, next_reversal[0] if next_reversal else phase_end)))
        return [mark for mark in ranges if mark[0] != OTHER]


class _Innermost:
    """Finds the mark that a moment lies in; of several marks, the one that began last."""

    def __init__(self, marks: Iterable[SortedMark]) -> None:
        self.moments: list[float] = []
        self.names: list[str | None] = []
        open_marks: list[SortedMark] = []
        for moment, is_begin, mark in sorted(_edges(marks), key=lambda edge: edge[:2]):
            open_marks.append(mark) if is_begin else open_marks.remove(mark)
            self.moments.append(moment)
            self.names.append(open_marks[-1][2] if open_marks else None)

    def at(self, moment: float) -> str | None:
        index = bisect_right(self.moments, moment)
        return self.names[index - 1] if index else None


def _edges(marks: Iterable[SortedMark]) -> Iterator[tuple[float, bool, SortedMark]]:
    """Yield when each mark begins and ends; a mark without a duration holds no moment."""
    for mark in marks:
        begin, end, _ = mark
        if begin < end:
            yield begin, True, mark
            yield end, False, mark
