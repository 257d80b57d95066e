"""Where it will run, in a sentence: what turns round from eager to a runtime, what crosses, when export has paid."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convbench.analysis.costs.runtimes import Runtimes, turn
from convbench.core.text import counted, joined
from convbench.report.words import units
from convbench.report.words.names import model


def sentence(view: Runtimes) -> str:
    """``In onnxruntime fc, LSTM input 128 costs 1.3× gap, LSTM input 32; in eager 4×.`` and what crosses."""
    turned = turn(view)
    if turned is None:
        return paid(view)
    eager, there = turned
    place = "" if view.scenario == "inference" else f" ({view.scenario})"
    cost = (
        f"In {there.runtime}{place} {model(there.result)} costs {units.factor(there.over_base.median)} "
        f"{model(view.base)}; in eager it costs {units.factor(eager.over_base.median)}."
    )
    return " ".join(filter(None, (cost, crossed(view), paid(view))))


def crossed(view: Runtimes) -> str:
    """Which models change places, the widest change first; that none does, where none does; nothing if unsought."""
    if view.crossings is None:
        return ""
    if not view.crossings:
        return "The order of the models is eager's in every runtime, as far as this run can tell."
    first = max(view.crossings, key=lambda crossing: crossing.there.median / crossing.in_eager.median)
    others = len({(crossing.faster.case.id, crossing.slower.case.id) for crossing in view.crossings}) - 1
    more = f" ({counted(others, 'more pair crosses', 'more pairs cross')})" if others else ""
    return (
        f"The ranking crosses: {model(first.faster)} is faster than {model(first.slower)} in eager and takes "
        f"{units.factor(first.there.median)} its time in {first.runtime}{more}."
    )


def paid(view: Runtimes) -> str:
    """After how many calls exporting has paid, by runtime, and where it never does."""
    by_runtime = sorted(view.paid_after.items())
    after = ", ".join(f"{_calls(calls)} in {runtime}{_never(calls)}" for runtime, calls in by_runtime if _paying(calls))
    never = [runtime for runtime, calls in by_runtime if not _paying(calls)]
    texts = (f"have paid after {after}" if after else "", f"never pay in {joined(never)}" if never else "")
    text = "; they ".join(filter(None, texts))
    return f"Exporting and loading {text}." if text else ""


def _calls(calls: Sequence[float]) -> str:
    numbers = _paying(calls)
    low, high = f"{numbers[0]:,.0f}", f"{numbers[-1]:,.0f}"
    return f"{high} calls" if low == high else f"{low} to {high} calls"


def _never(calls: Sequence[float]) -> str:
    number = len(calls) - len(_paying(calls))
    return f" (never for {number} of {counted(len(calls), 'model')})" if number else ""


def _paying(calls: Sequence[float]) -> list[float]:
    """The calls of the models for which it pays at all."""
    return [number for number in calls if math.isfinite(number)]
