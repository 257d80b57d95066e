"""Why there is no recommendation, in plain words, with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from convbench.analysis.choice.recommendation import Reason, Recommendation
from convbench.core.metric import Metric
from convbench.report.words.names import model, setup
from convbench.report.words.numbers import CHEAPEST, accuracy, amount, costs, limit, percent, points

ABSTAINS: Mapping[Reason, str] = {
    "not-run": "quality was not run for it",
    "no-sound-run": "no run was sound",
    "few-seeds": "fewer than 3 sound seeds of anything: run more seeds",
    "no-cost": "the costs of what was trained were not measured: run the same suite with its costs",
    "over-budget": "nothing meets the budget",
    "no-effect": "no difference in quality was found",
    "edge": "the best is at the edge of the sweep",
    "undecided": "too noisy to show what is within the margin of the best",
}


def abstention(one: Recommendation) -> str:
    """Why there is no recommendation, with what to do about it."""
    assert one.reason
    head = ABSTAINS[one.reason]
    match one.reason:
        case "over-budget":
            return f"{head}. {_misses(one)}"
        case "no-effect":
            return f"{head} (p = {one.numbers['p']:.2f}). {_cheapest(one)}"
        case "edge":
            return f"{head}. {_extend(one)}"
        case "undecided":
            return f"{head}. {_needed(one)}"
    return f"{head}."


def _misses(one: Recommendation) -> str:
    near = [_miss(one.ask.metrics[name], value, one.ask.constraints[name]) for name, value in one.numbers.items()]
    return f"Nearest: {'; '.join(near)}." if near else "What is limited was not measured of any of them."


def _miss(metric: Metric, value: float, asked: float) -> str:
    bound = "at most" if metric.better == "higher" else "at least"
    return f"{limit(metric)} {bound} {amount(metric, value)} (the limit is {amount(metric, asked)})"


def _cheapest(one: Recommendation) -> str:
    assert one.leading
    return (
        f"The {CHEAPEST[one.ask.cheapest]} is {setup(one.leading.result)} ({accuracy(one.leading)}; "
        f"{costs(one.leading.result)}). A difference of {points(one.numbers['detectable'])} between two "
        "configurations would have been seen in four of five such runs."
    )


def _extend(one: Recommendation) -> str:
    assert one.leading
    size, smaller = int(one.numbers["size"]), int(one.numbers["smaller"])
    return (
        f"{model(one.leading.result)} has {percent(one.leading.mean)}, {points(one.numbers['gain'])} more than at "
        f"{smaller:,}, and no larger size was tried: extend lstm_input to {2 * size:,} and beyond."
    )


def _needed(one: Recommendation) -> str:
    assert one.leading
    seeds, margin = int(one.numbers["seeds"]), one.numbers["margin"]
    more = f"about {int(one.numbers['needed'])} seeds instead of {seeds}, or " if "needed" in one.numbers else ""
    return (
        f"The highest mean is {setup(one.leading.result)} ({accuracy(one.leading)}). To decide within "
        f"{points(one.ask.within)}: {more}a margin of --within {100 * margin + 0.05:.1f}%."
    )
