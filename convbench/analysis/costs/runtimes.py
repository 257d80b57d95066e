"""Compare what a reducer and its LSTM input size cost in each runtime, relative to one base model, and in eager.

The price of a model in a runtime is its latency over that of the base model in the same runtime. The base model is the
fastest in eager of the models that another runtime ran too. If the order of two models differs between eager and a
runtime, their ranking crosses.

Models without a latency in eager are compared in the runtimes that they have. There the runtime of most models takes
the place of eager, and each runtime is compared with the fastest, on the base model in one number type.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from convbench.analysis.costs.gains import gains
from convbench.analysis.costs.ranking import MARGIN
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
    """Two models in one order at home (in eager) and the opposite order in a runtime; ``faster`` is so at home.

    Either ratio is the latency of ``faster`` over that of ``slower``: below 1 at home, above 1 in the runtime.
    """

    runtime: str
    faster: Result
    slower: Result
    at_home: Interval
    ratio: Interval


@dataclass(frozen=True)
class Runtimes:
    """One situation (clip, scenario, device, backbone, recurrent stage) with its models in every runtime.

    ``home`` is the runtime that the others are compared with: eager if it was timed. ``runtimes`` holds it first, then
    the others by the base model's latency. ``paid_after`` holds, by runtime, the calls after which export and loading
    have paid off for each model, infinite if it gains nothing. ``crossings`` is None if they were not searched.
    ``slower`` holds, without eager, the base model's latency in each runtime over that in the fastest, fastest first.
    """

    scenario: str
    device: str
    base: Result
    runtimes: tuple[str, ...]
    prices: tuple[RelativeLatency, ...]
    crossings: tuple[Crossing, ...] | None
    paid_after: dict[str, tuple[float, ...]]
    home: str = EAGER
    slower: tuple[RelativeLatency, ...] = ()

    def of(self, runtime: str) -> list[RelativeLatency]:
        return [price for price in self.prices if price.runtime == runtime]

    def price(self, runtime: str, model: Result) -> RelativeLatency | None:
        """Return the price of the same model in a runtime; None if it was not measured there."""
        return next(
            (price for price in self.of(runtime) if price.result.case.architecture == model.case.architecture), None
        )


def runtimes(results: Sequence[Result]) -> list[Runtimes]:
    """Return every situation in which several models ran in eager and at least one of them in an exported runtime.

    Without eager, return those in which a model ran in several variants.
    """
    models = [
        result for result in measured_results(results) if result.timing and isinstance(result.case.architecture, Parts)
    ]
    situations = grouped(models, lambda result: (result.record.environment, result.case.situation))
    return [view for members in situations.values() for view in _views(members)]


def turn(view: Runtimes) -> tuple[RelativeLatency, RelativeLatency] | None:
    """Return the price at home and in an exported runtime of the model, except the base, that changes most in between.

    None if there is no such model.
    """
    pairs = [
        (home, price)
        for home in view.of(view.home)
        if home.result is not view.base
        for runtime in view.runtimes
        if runtime != view.home and (price := view.price(runtime, home.result)) and is_exported(price.result)
    ]
    turns = [(abs(math.log(home.over_base.median / price.over_base.median)), home, price) for home, price in pairs]
    return max(turns, key=lambda entry: entry[0])[1:] if turns else None


def is_exported(result: Result) -> bool:
    """Whether another runtime loaded the model from files."""
    return bool(result.record.samples(metrics.LOAD))


def _views(members: Sequence[Result]) -> Iterator[Runtimes]:
    eager_results = [result for result in members if not result.case.variant]
    architectures = {result.case.architecture for result in members if is_exported(result)}
    candidates = [result for result in eager_results if result.case.architecture in architectures]
    if len(eager_results) > 1 and candidates:
        yield _view(members, EAGER, min(candidates, key=_seconds))
        return
    timed_in_eager = {result.case.architecture for result in eager_results}
    homeless = [result for result in members if result.case.architecture not in timed_in_eager]
    for group in grouped(homeless, lambda result: result.group).values():
        models = grouped(group, lambda result: result.case.architecture)
        movable = [result for variants in models.values() if len(variants) > 1 for result in variants]
        if movable:
            by_runtime = grouped(movable, lambda result: result.case.variant_name)
            home = min(by_runtime, key=lambda name: (-len(by_runtime[name]), min(map(_seconds, by_runtime[name]))))
            yield _view(group, home, min(by_runtime[home], key=_seconds))


def _view(members: Sequence[Result], home: str, base: Result) -> Runtimes:
    bases = {
        result.case.variant_name: result for result in members if result.case.architecture == base.case.architecture
    }
    by_speed = sorted(bases.values(), key=_seconds)
    order = sorted((result.case.variant_name for result in by_speed), key=lambda name: name != home)
    results = [result for result in members if result.case.variant_name in bases]
    ratios = _ratios([(result, bases[result.case.variant_name]) for result in results])
    slower = _ratios([(result, by_speed[0]) for result in by_speed]) if home != EAGER else []
    return Runtimes(
        base.case.scenario,
        base.case.device,
        base,
        tuple(order),
        _relative(results, ratios),
        tuple(_crossings(results, home)) if len({r.case.architecture for r in results}) <= MOST_MODELS else None,
        _paid_after(members),
        home,
        _relative(by_speed, slower) if slower else (),
    )


def _relative(results: Sequence[Result], ratios: Sequence[Interval]) -> tuple[RelativeLatency, ...]:
    pairs = zip(results, ratios, strict=True)
    return tuple(RelativeLatency(result.case.variant_name, result, ratio) for result, ratio in pairs)


def _seconds(result: Result) -> float:
    return result.latency.median if result.latency else math.inf


def _crossings(members: Sequence[Result], home: str) -> Iterator[Crossing]:
    """Yield the pairs of models whose orders at home and in a runtime are opposite.

    Both whole intervals lie beyond a tie: many pairs are compared, and in some of them chance reverses a small ratio.
    """
    by_case: dict[Case, Result] = {result.case: result for result in members}
    variants = dict.fromkeys(result.case.variant for result in members if result.case.variant_name != home)
    pairs = list(combinations([result for result in members if result.case.variant_name == home], 2))
    for (first, second), ratio in zip(pairs, _ratios(pairs), strict=True):
        faster, slower, at_home = (first, second, ratio) if ratio.median < 1 else (second, first, _inverse(ratio))
        for variant in variants if at_home.high * MARGIN < 1 else ():
            twin, other = (by_case.get(replace(result.case, variant=variant)) for result in (faster, slower))
            if twin and other and (runtime_ratio := _ratios([(twin, other)])[0]).low > MARGIN:
                yield Crossing(twin.case.variant_name, faster, slower, at_home, runtime_ratio)


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
