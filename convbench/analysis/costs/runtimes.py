"""Compare what a reducer and its LSTM input size cost in each runtime, relative to one base model, and in eager.

The price of a model in a runtime is its latency over that of the base model in the same runtime. The base model is the
fastest in eager of the models that another runtime ran too. If the order of two models differs between eager and a
runtime, their ranking crosses.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from convbench.analysis.costs.gains import gains
from convbench.analysis.results import Result, latency_ratios, measured_results
from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.record import EAGER, Case, Parts
from convbench.core.statistics import Interval

MOST_MODELS = 60
"""With more models than this, crossings are not searched: comparing every pair would take a second or more."""


@dataclass(frozen=True)
class RelativeLatency:
    """A model in a runtime; ``over_base`` is its latency over that of the base model in the same runtime."""

    runtime: str
    result: Result
    over_base: Interval


@dataclass(frozen=True)
class Crossing:
    """Two models in one order in eager and the opposite order in a runtime; ``faster`` is the faster one in eager.

    Either ratio is the latency of ``faster`` over that of ``slower``: below 1 in eager, above 1 in the runtime.
    """

    runtime: str
    faster: Result
    slower: Result
    in_eager: Interval
    ratio: Interval


@dataclass(frozen=True)
class Runtimes:
    """One situation (clip, scenario, device, backbone, recurrent stage) with its models in every runtime.

    ``runtimes`` holds eager first, then the others by the base model's latency. ``paid_after`` holds, by runtime, the
    calls after which export and loading have paid off for each model, infinite if it gains nothing. ``crossings`` is
    None if they were not searched.
    """

    scenario: str
    device: str
    base: Result
    runtimes: tuple[str, ...]
    prices: tuple[RelativeLatency, ...]
    crossings: tuple[Crossing, ...] | None
    paid_after: dict[str, tuple[float, ...]]

    def of(self, runtime: str) -> list[RelativeLatency]:
        return [price for price in self.prices if price.runtime == runtime]

    def price(self, runtime: str, model: Result) -> RelativeLatency | None:
        """Return the price of the same model in a runtime; None if it was not measured there."""
        return next(
            (price for price in self.of(runtime) if price.result.case.architecture == model.case.architecture), None
        )


def runtimes(results: Sequence[Result]) -> list[Runtimes]:
    """Return every situation in which several models ran in eager and at least one of them in an exported runtime."""
    models = [
        result for result in measured_results(results) if result.timing and isinstance(result.case.architecture, Parts)
    ]
    situations = grouped(models, lambda result: (result.record.environment, result.case.situation))
    views = (_view(members) for members in situations.values())
    return [view for view in views if view is not None]


def turn(view: Runtimes) -> tuple[RelativeLatency, RelativeLatency] | None:
    """Return the price in eager and in an exported runtime of the model, except the base, that changes most in between.

    None if there is no such model.
    """
    pairs = [
        (eager, price)
        for eager in view.of(EAGER)
        if eager.result is not view.base
        for runtime in view.runtimes
        if (price := view.price(runtime, eager.result)) and is_exported(price.result)
    ]
    turns = [(abs(math.log(eager.over_base.median / price.over_base.median)), eager, price) for eager, price in pairs]
    return max(turns, key=lambda entry: entry[0])[1:] if turns else None


def is_exported(result: Result) -> bool:
    """Whether another runtime loaded the model from files."""
    return bool(result.record.samples(metrics.LOAD))


def _view(members: Sequence[Result]) -> Runtimes | None:
    eager_results = [result for result in members if not result.case.variant and result.latency]
    architectures = {result.case.architecture for result in members if is_exported(result)}
    candidates = [result for result in eager_results if result.case.architecture in architectures]
    if len(eager_results) < 2 or not candidates:
        return None
    base = min(candidates, key=lambda result: result.latency.median if result.latency else math.inf)
    bases = {
        result.case.variant_name: result for result in members if result.case.architecture == base.case.architecture
    }
    order = sorted(bases, key=lambda name: (name != EAGER, bases[name].latency.median))  # type: ignore[union-attr]
    results = [result for result in members if result.case.variant_name in bases]
    ratios = _ratios([(result, bases[result.case.variant_name]) for result in results])
    prices = tuple(
        RelativeLatency(result.case.variant_name, result, ratio) for result, ratio in zip(results, ratios, strict=True)
    )
    case, crossings = base.case, tuple(_crossings(results)) if len(eager_results) <= MOST_MODELS else None
    return Runtimes(case.scenario, case.device, base, tuple(order), prices, crossings, _paid_after(members))


def _crossings(members: Sequence[Result]) -> Iterator[Crossing]:
    """Yield the pairs of models whose orders in eager and in a runtime are opposite, both by their whole intervals."""
    by_case: dict[Case, Result] = {result.case: result for result in members}
    eager_results = [result for result in members if not result.case.variant]
    pairs = list(combinations(eager_results, 2))
    for (first, second), ratio in zip(pairs, _ratios(pairs), strict=True):
        faster, slower, in_eager = (first, second, ratio) if ratio.median < 1 else (second, first, _inverse(ratio))
        if in_eager.high >= 1:
            continue
        for variant in dict.fromkeys(result.case.variant for result in members if result.case.variant):
            twins = [by_case.get(replace(result.case, variant=variant)) for result in (faster, slower)]
            if twins[0] and twins[1]:
                (runtime_ratio,) = _ratios([(twins[0], twins[1])])
                if runtime_ratio.low > 1:
                    yield Crossing(twins[0].case.variant_name, faster, slower, in_eager, runtime_ratio)


def _paid_after(members: Sequence[Result]) -> dict[str, tuple[float, ...]]:
    calls: dict[str, list[float]] = defaultdict(list)
    for gain in gains(members):
        if is_exported(gain.result):
            calls[gain.result.case.variant_name].append(math.inf if gain.pays_after is None else gain.pays_after)
    return {name: tuple(sorted(counts)) for name, counts in calls.items()}


def _ratios(pairs: Sequence[tuple[Result, Result]]) -> list[Interval]:
    """Return the ratios of pairs of models that are all timed."""
    return [ratio for ratio in latency_ratios(pairs) if ratio]


def _inverse(ratio: Interval) -> Interval:
    return Interval(1 / ratio.median, 1 / ratio.high, 1 / ratio.low if ratio.low > 0 else math.inf)
