"""The numbers of a recommendation, as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from statistics import median_low

from convbench.analysis.choice.candidates import Candidate, CostName
from convbench.analysis.choice.recommendation import Ask, Recommendation
from convbench.analysis.costs.gains import VariantGain
from convbench.analysis.costs.headlines import withheld_results
from convbench.analysis.costs.ranking import MARGIN
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Result
from convbench.core import metrics, scales
from convbench.core.metric import Metric
from convbench.core.statistics import Interval
from convbench.core.text import counted, inside
from convbench.report.words import units

_CHEAPEST: Mapping[CostName, str] = {
    "latency": "fastest", "params": "smallest", "memory": "smallest in memory", "flops": "cheapest in FLOPs",
}  # fmt: skip
TIE = units.percent(MARGIN - 1)
"""``10 %``: a smaller difference between two processes counts as none."""
PAIRED = "× is taken visit by visit, so it may order close cases otherwise than their latencies do."
TOO_FEW_SEEDS = "With so few seeds in common no two configurations can be told apart."
SHARPEST = 9
"""Significant digits below which two costs are told apart."""
APART = 0.02
"""Least lead of the commonest class's share over chance for it to be mentioned."""
LIMITS: Mapping[CostName, str] = {"latency": "latency", "flops": "FLOPs"}
"""Names of limits that differ from their metric's title."""


def percent(share: float | None) -> str:
    """Return ``87.3 %``, with one decimal for accuracies; ``units.percent`` has two significant digits."""
    return units.MISSING if share is None else scales.percent(share)


def points(share: float) -> str:
    """Return ``1.3 points`` of accuracy, without the sign."""
    number = f"{100 * abs(share):.1f}"
    return f"{number} {'point' if number == '1.0' else 'points'}"


def chance(quality: Quality) -> str:
    """Return `` (chance 50.0 %)``, with the commonest class's share if that is clearly more."""
    if not quality.chance:
        return ""
    is_clear = quality.majority is not None and quality.majority - quality.chance > APART
    majority = f", the commonest class alone {percent(quality.majority)}" if is_clear else ""
    return f" (chance {percent(quality.chance)}{majority})"


def signed(share: float) -> str:
    """Return a difference as ``+1.3``, in points or per cent; a value that rounds to zero is ``+0.0``."""
    return f"{100 * share:+z.1f}"


def likely(probability: float) -> str:
    """Return ``58 %`` or ``over 99 %`` for a probability estimated from draws, which never proves 0 or 1."""
    if probability > 0.99:
        return "over 99 %"
    return "under 1 %" if probability < 0.01 else scales.percent(probability, places=0)


def amount(metric: Metric, value: float, apart_from: float | None = None) -> str:
    """Return a cost as people read it, in as many digits as tell it from ``apart_from``."""
    counts = range(metric.digits, SHARPEST)
    pairs = ([units.human(cost, metric.unit, count) for cost in (value, apart_from)] for count in counts)
    # a whole number of base units is written without decimals: 1 s beside 1.00 s
    apart = (pair[0] for pair in pairs if len({re.sub(r"\.0+(?!\d)", "", text) for text in pair}) > 1)
    return next(apart, units.human(value, metric.unit, metric.digits))


def cheapest(ask: Ask) -> str:
    """Return the superlative of the cost to minimize: ``fastest``, ``lowest in energy of a call``."""
    return _CHEAPEST.get(ask.cheapest) or f"lowest in {limit_name(ask.metrics[ask.cheapest])}"


def limit_name(metric: Metric) -> str:
    """Return the name of a limited cost: ``latency``, ``peak memory``."""
    return LIMITS.get(metric.option) or inside(metric.title)


def mean(quality: Quality, bounds: bool = True) -> str:
    """Return ``87.3 % [85.0, 89.6]``, the mean test accuracy over seeds; ``62 % [41, 83]`` if it is known vaguely."""
    if quality.mean is None:
        return units.MISSING
    if not quality.interval:
        return percent(quality.mean)
    middle, low, high = shares(quality.interval)
    return f"{middle} % [{low}, {high}]" if bounds else f"{middle} %"


def sound_runs(quality: Quality) -> str:
    """Return ``4 of 5``: the seeds whose runs were sound, of those that ended or failed."""
    return f"{len(quality.by_seed)} of {quality.ended + quality.failed}"


def shares(value: Interval, sign: str = "") -> list[str]:
    """Return a share and its bounds in per cent, with one decimal, or none if the interval is wide.

    ``sign`` is a format, such as ``+z`` for signed differences.
    """
    percents = Interval(*(100 * share for share in value))
    form = f"{sign}.{units.decimals(percents)}f"
    return [f"{number:{form}}" if math.isfinite(number) else units.MISSING for number in percents]


def cell(result: Result, metric: Metric) -> str:
    """Return a metric's value for a table, in digits that its interval supports."""
    return units.cell(result.value(metric), metric, _digits(result, metric))


def cost(result: Result, metric: Metric) -> str:
    """Return a metric's value with its unit, in digits that its interval supports."""
    return units.human(result.value(metric), metric.unit, _digits(result, metric))


def _digits(result: Result, metric: Metric) -> int:
    """Return the metric's digits, or those that the latency's interval leaves to what is derived from it."""
    if result.latency and metric in (metrics.LATENCY, metrics.FRAMES_PER_S):
        return min(metric.digits, units.precision(result.latency))
    return metric.digits


def gained(variant: VariantGain) -> tuple[str, str]:
    """Return a variant's speed-up over eager and its range over the cases: ``2.5×`` and ``1.04 to 3.2``.

    All have the digits that the interval of a typical case leaves. A single case has its interval and no range.
    """
    if len(variant.gains) == 1:
        return units.speedup(variant.gains[0].speedup), units.MISSING
    significant = median_low(units.precision(gain.speedup) for gain in variant.gains)
    median, low, high = (units.factor(ratio, significant) for ratio in variant.speedup)
    return median, f"{low} to {high}".replace("×", "")


def accuracy(candidate: Candidate) -> str:
    """Return ``87.3 % [85.0, 89.6] over 5 seeds``."""
    return f"{mean(candidate.quality)} over {counted(len(candidate.quality.by_seed), 'seed')}"


def untimed(results: Iterable[Result]) -> str:
    """Return why these results have no latency: never measured undisturbed, or not measured at all."""
    return "no latency was measured undisturbed" if withheld_results(list(results)) else "latency was not measured"


def costs(result: Result, answer: Recommendation | None = None) -> str:
    """Return the measured costs: ``3.10 ms [3.05, 3.21] a call, 74.2 k parameters, 8.02 MiB, 116 MFLOP``.

    The interval shows whether a latency just below a limit may exceed it.
    A cost that ``answer`` asks for is added, or that it was not measured.
    """
    ask = answer.ask if answer else None
    name = ask.cheapest if ask and ask.cheapest not in _CHEAPEST else ""
    value = result.cost(name)
    seconds = units.interval if result.latency and result.latency.bounded else units.median
    texts = [
        f"{seconds(result.latency)} a call" if result.latency else "",
        units.quantity(result.params, "parameter") if result.params is not None else "",
        units.size(result.memory) if result.memory is not None else "",
        units.flops(result.flops) if result.flops is not None else "",
        f"{inside(ask.metrics[name].title)} {amount(ask.metrics[name], value)}" if ask and value is not None else "",
    ]
    text = ", ".join(filter(None, texts))
    missing_cost = answer and (
        answer.unmeasured or (answer.ask.cheapest if result.cost(answer.ask.cheapest) is None else None)
    )
    if missing_cost == metrics.LATENCY.option:
        return f"{text}; {untimed([result])}"
    if answer and missing_cost:
        return f"{text}; {limit_name(answer.ask.metrics[missing_cost])} was not measured"
    return text
