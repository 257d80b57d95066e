"""Runtimes in a sentence: relative costs in eager and there, changes of order, and when exporting pays off."""

from __future__ import annotations

import math
from collections.abc import Sequence

from convbench.analysis.costs.runtimes import Runtimes, turn
from convbench.core.record import EAGER
from convbench.core.text import counted, joined
from convbench.report.words import units
from convbench.report.words.names import model


def sentence(view: Runtimes) -> str:
    """Return ``In onnxruntime fc, LSTM input 128 costs 1.3× gap, LSTM input 32; in eager it costs 4×.`` and more.

    Changes of order and the payback follow. Without a model to compare, only the payback is returned. Without eager,
    the runtimes come first, ``order`` of the base model.
    """
    pair = turn(view)
    if pair is None:
        return " ".join(filter(None, (order(view), payback(view))))
    home, other = pair
    place = "" if view.scenario == "inference" else f" ({view.scenario})"
    cost = (
        f"In {other.runtime}{place} {model(other.result)} costs {units.factor(other.over_base)} "
        f"{model(view.base)}; in {view.home} it costs {units.factor(home.over_base)}."
    )
    return " ".join(filter(None, (order(view), cost, crossings(view), payback(view))))


def order(view: Runtimes) -> str:
    """Return the base model's fastest runtime and how much slower the others are; empty if eager was timed."""
    if not view.slower:
        return ""
    fastest, *others = view.slower
    place = "" if view.scenario == "inference" else f" ({view.scenario})"
    times = joined([f"{units.speedup(other.over_base)} its time in {other.runtime}" for other in others])
    return (
        f"No latency in eager to compare with{place}: {model(view.base)} is fastest in {fastest.runtime}, with "
        f"{units.interval(fastest.result.latency)}, and takes {times}."
    )


def crossings(view: Runtimes) -> str:
    """Return the models whose order changes most, or that no order changes; empty if orders were not compared."""
    if view.crossings is None:
        return ""
    if not view.crossings:
        if len(view.of(view.home)) < 2:
            return ""
        owner = "eager's order" if view.home == EAGER else f"the order that they have in {view.home}"
        return f"The models keep {owner} in every runtime, as far as this run can tell."
    widest = max(view.crossings, key=lambda crossing: crossing.ratio.median / crossing.at_home.median)
    other_count = len({(crossing.faster.case.id, crossing.slower.case.id) for crossing in view.crossings}) - 1
    remainder = f" ({counted(other_count, 'more pair crosses', 'more pairs cross')})" if other_count else ""
    return (
        f"The ranking crosses: {model(widest.faster)} is faster than {model(widest.slower)} in {view.home} and takes "
        f"{units.factor(widest.ratio)} its time in {widest.runtime}{remainder}."
    )


def payback(view: Runtimes) -> str:
    """Return after how many calls exporting pays off, by runtime, and the runtimes in which it never does."""
    by_runtime = sorted(view.paid_after.items())
    terms = ", ".join(f"{_calls(calls)} in {runtime}{_note(calls)}" for runtime, calls in by_runtime if _payers(calls))
    losers = [runtime for runtime, calls in by_runtime if not _payers(calls)]
    texts = (f"pay off after {terms}" if terms else "", f"never pay off in {joined(losers)}" if losers else "")
    text = "; they ".join(filter(None, texts))
    return f"Exporting and loading {text}." if text else ""


def _calls(calls: Sequence[float]) -> str:
    numbers = _payers(calls)
    low, high = numbers[0], numbers[-1]
    return f"{f'{low:,} to ' if low < high else ''}{counted(high, 'call')}"


def _note(calls: Sequence[float]) -> str:
    number = len(calls) - len(_payers(calls))
    return f" (never for {number} of {counted(len(calls), 'model')})" if number else ""


def _payers(calls: Sequence[float]) -> list[float]:
    """Return the whole calls of those models for which it pays off, in the order given."""
    return [number for number in calls if math.isfinite(number)]
