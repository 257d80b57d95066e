"""Compare two live callables in this process by the gate's slices, pairs, rule and confirmation.

This is quicker and less reliable than ``check``: it does not see how fresh processes differ (1 to 2 %), and other work
of this process affects the numbers.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from convbench.check import decision, pairs
from convbench.check.decision import CONFIRM_AT_MOST, SLOWER, Ratio
from convbench.check.outcome import CaseOutcome, Timing
from convbench.check.pairs import Arm, CheckedCase
from convbench.check.programs.worker import Server
from convbench.check.settings import Rule, Settings
from convbench.check.trees.sides import Side
from convbench.check.verdict import CaseVerdict, verdict
from convbench.core import showing
from convbench.core.text import counted
from convbench.measure.live.module import device_of_all, first_call
from convbench.models.inputs import Inputs
from convbench.models.network import preserve_random_state
from convbench.models.subject import WithoutGradients, current_device
from convbench.report.words import units

LiveVerdict = Literal["slower", "faster", "same", "cannot tell"]
THIS_PROCESS = Side("this process", None, Path(), ())
CASE = CheckedCase("live", {}, 0)
DIRECTIONS = 2
"""Slower and faster are two tests, which share the rule's error."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """The result for two live callables: ``ratio`` is the second's time over the first's, with its 95 % interval.

    ``verdict`` is about the second. ``slower`` and ``faster`` mean a change beyond the rule's tolerance that new pairs
    confirmed; ``same`` means surely a smaller change than the rule's guard in either direction. ``seconds`` are typical
    calls of both; ``pairs`` holds the raw timings. Everything was measured in one process.
    """

    verdict: LiveVerdict
    ratio: Ratio
    seconds: tuple[float, float]
    reason: str
    pairs: tuple[Timing, ...] = ()

    def __repr__(self) -> str:
        return f"Comparison({'; '.join(f'{name} {value}' for name, value in self._rows())})"

    def _repr_html_(self) -> str:
        return showing.table("Two callables in this process", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        first, second = (units.seconds(seconds) for seconds in self.seconds)
        return [
            ("verdict", f"{self.verdict}{f' ({self.reason})' if self.reason else ''}"),
            ("ratio", units.ratio(self.ratio)),
            ("typical calls", f"{first} and {second}"),
            ("in", f"this process, {len(self.pairs)} pairs"),
        ]


class Live(Server):
    """A worker within this process, which times the gate's slices of a live callable."""

    def __init__(self, call: Callable[[], Any], device: str) -> None:
        super().__init__()
        self.call, self.device = call, device

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Answer a command as the link to a worker does."""
        answer: dict[str, Any] = getattr(self, do)(**arguments)
        return answer

    def prepare(self, case: Any, seed: int, injected: tuple[int, int] | None = None) -> dict[str, Any]:  # noqa: ARG002
        self.run = self.call
        return {"device": self.device, "seconds": min(self.timed() for _ in range(3))}

    def release(self) -> dict[str, Any]:
        self.run = lambda: None
        gc.collect()
        return {}

    def _throttling(self) -> str | None:
        return None


Calls = Mapping[str, Live]


def compare(
    first: Callable[..., Any], second: Callable[..., Any], inputs: Inputs, rule: Rule, deadline: float = math.inf
) -> Comparison:
    """Compare the second of two callables with the first, on the same inputs and without gradients.

    Raises ConvbenchError if one of them does not run on these inputs, or is on a device that cannot be timed.
    """
    device, modes = device_of_all((first, second), inputs), WithoutGradients.TRAINABLE
    base, head = (partial(WithoutGradients(call, modes), *inputs.args, **inputs.kwargs) for call in (first, second))
    with current_device(device), preserve_random_state():
        first_call(first, base)
        first_call(second, head)
        return compare_calls(base, head, device, rule, deadline)


def compare_calls(
    first: Callable[[], Any], second: Callable[[], Any], device: str, rule: Rule, deadline: float = math.inf
) -> Comparison:
    """Measure pairs until one direction is suspect or both are decided, and confirm a suspect by new pairs.

    No pair but the first begins after the monotonic time ``deadline``.
    """
    calls = {"first": Live(first, device), "second": Live(second, device)}
    timings: list[Timing] = []
    while len(timings) < SLOWER.max_pairs:
        timings.append(_time(calls, ("first", "second")))
        decisions = _conclusions(timings, rule)
        if "suspect" in decisions or "undecided" not in decisions or time.monotonic() >= deadline:
            break
    word, ratio, reason = _verdict(calls, timings, rule, deadline)
    return Comparison(word, ratio, _typical_seconds(timings), reason, tuple(timings))


def _verdict(calls: Calls, timings: list[Timing], rule: Rule, deadline: float) -> tuple[LiveVerdict, Ratio, str]:
    ratio, decisions = decision.ratio([timing.log_ratio() for timing in timings]), _conclusions(timings, rule)
    if decisions == ("ok", "ok"):
        return "same", ratio, ""
    if "suspect" not in decisions:
        reason = "too noisy" if len(timings) == SLOWER.max_pairs else "the budget ended"
        return "cannot tell", ratio, f"{reason} after {counted(len(timings), 'pair')}"
    if decisions[0] == "suspect":
        verdict = _confirm(calls, ("first", "second"), timings, rule, deadline)
        return _word(verdict, "slower"), verdict.ratio or ratio, verdict.reason
    verdict = _confirm(calls, ("second", "first"), [_swap(timing) for timing in timings], rule, deadline)
    return _word(verdict, "faster"), _inverse(verdict.ratio) if verdict.ratio else ratio, verdict.reason


def _conclusions(timings: list[Timing], rule: Rule) -> tuple[decision.Conclusion, decision.Conclusion]:
    """Return the conclusions of both tests so far: whether the second is slower, and whether it is faster."""
    logs = [timing.log_ratio() for timing in timings]
    return decision.decide(logs, rule), decision.decide([-log for log in logs], rule)


def _confirm(calls: Calls, names: tuple[str, str], timings: list[Timing], rule: Rule, deadline: float) -> CaseVerdict:
    """Return the gate's verdict on a suspect, from new pairs that time its base twice."""
    base, head = names
    confirmation: list[Timing] = []
    while len(confirmation) < CONFIRM_AT_MOST and time.monotonic() < deadline:
        confirmation.append(_time(calls, (base, f"{base} again", head)))
        triples = [timing.triple() for timing in confirmation]
        if decision.confirmation(triples, rule, DIRECTIONS) != "undecided":
            break
    return verdict(CaseOutcome("live", tuple(timings), tuple(confirmation)), rule, DIRECTIONS)


def _word(verdict: CaseVerdict, suspicion: LiveVerdict) -> LiveVerdict:
    return suspicion if verdict.word == "regression" else "cannot tell"


def _time(calls: Calls, names: tuple[str, ...]) -> Timing:
    """Time one pair, or one triple that contains its first callable twice."""
    workers: dict[str, Any] = {name: calls[name.partition(" ")[0]] for name in names}
    return pairs.time_case([Arm(name, THIS_PROCESS) for name in names], workers, CASE, Settings())


def _swap(timing: Timing) -> Timing:
    return Timing(tuple(times[::-1] for times in timing.rounds), tuple(times[::-1] for times in timing.device))


def _inverse(ratio: Ratio) -> Ratio:
    return Ratio(1 / ratio.estimate, 1 / ratio.high, 1 / ratio.low if ratio.low else math.inf)


def _typical_seconds(timings: list[Timing]) -> tuple[float, float]:
    middle = sorted(timings, key=lambda timing: timing.best(0))[len(timings) // 2]
    return middle.best(0), middle.best(1)
