"""Records together with the numbers that the rest of the analysis needs, derived once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from convbench.analysis import latencies
from convbench.core import metrics, traits
from convbench.core.case import Options, common_options
from convbench.core.errors import ConvbenchError
from convbench.core.metric import Metric, Place
from convbench.core.record import Case, Parts, Reading, Record, Scalar, Whole
from convbench.core.statistics import TAIL, Interval, percentile
from convbench.core.visits import Scope, threads


class Group(NamedTuple):
    """What two cases must share before their costs may be compared."""

    environment: str
    device: str
    clip: str
    scenario: str
    dtype: str
    threads: Scalar = None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A record and its derived numbers (base units); None if the metric was not measured."""

    record: Record
    group: Group
    timing: latencies.Latency | None
    params: float | None
    macs: float | None
    flops: float | None
    memory: float | None
    common: Options = frozenset()
    """The options shared by all of the run's own models of the same name; the other options tell this one apart."""

    @property
    def case(self) -> Case:
        return self.record.case

    @property
    def latency(self) -> Interval | None:
        """Seconds per call, with the interval over processes if there were several."""
        return self.timing.interval if self.timing else None

    @property
    def lstm_input(self) -> int | None:
        architecture = self.case.architecture
        return architecture.lstm_input if isinstance(architecture, Parts) else None

    @property
    def series(self) -> str:
        """The name behind a mark's colour and shape: the reducer's, or the model's if it is a user's own."""
        architecture = self.case.architecture
        return (architecture.reducer if isinstance(architecture, Parts) else architecture.model).name

    @property
    def row(self) -> str | Whole:
        """The key of the result's table row: a reducer at any size, or a user's own model with its options."""
        architecture = self.case.architecture
        return architecture if isinstance(architecture, Whole) else self.series

    @property
    def frames_per_s(self) -> float | None:
        return self.case.frames_per_call / self.latency.median if self.latency and self.latency.median > 0 else None

    @property
    def launch_share(self) -> float | None:
        """Share of a call on a GPU during which the device is idle; None without device times, as on a CPU."""
        device_seconds = part_of_call(self, metrics.DEVICE_LATENCY)
        if device_seconds is None or not self.latency:
            return None
        return max(0.0, 1 - device_seconds / self.latency.median)

    def value(self, metric: Metric) -> float | None:
        """Return one number for a metric, derived or aggregated as the metric says; None if it was not measured."""
        derive = _DERIVED.get(metric.name)
        return derive(self) if derive else typical(self.record, metric)

    def metric(self, option: str) -> Metric | None:
        """Return the shown metric with this short name, built-in or declared by this record; None if there is none."""
        if option in _BUILT_IN:
            return _BUILT_IN[option]
        own_metrics = metrics.foreign_metrics(self.record.readings)
        return next((metric for metric in own_metrics if metric.shown and metric.option == option), None)

    def meets(self, limits: Mapping[str, float]) -> bool:
        """Whether the result is within every limit; true without limits."""
        return all(self.within(option, limit) for option, limit in limits.items())

    def within(self, option: str, limit: float) -> bool:
        """Whether the result is within a limit: a maximum, or a minimum if more is better. False if unmeasured."""
        metric = self.metric(option)
        value = self.value(metric) if metric else None
        return metric is not None and value is not None and metric.sign * value <= metric.sign * limit

    def cost(self, option: str) -> float | None:
        """Return a metric's number by its short name, such as ``latency``; None if it was not measured."""
        metric = self.metric(option)
        return self.value(metric) if metric else None


def group(record: Record) -> Group:
    """Return what a record must share with the records that it may be compared with."""
    case = record.case
    return Group(record.environment, case.device, str(case.clip), case.scenario, dtype(record), threads(record))


def dtype(record: Record) -> str:
    """Return the number type that a record's case was computed in.

    It is the one that the variant or the model noted during the run, else the one that the variants declare. A case
    with an imported or unknown variant and no note counts as fp32.
    """
    if name := record.conditions.get("dtype"):
        return str(name)
    if any(choice.is_imported for choice in record.case.variant):
        return traits.FP32  # any other type would be noted; reading a run never imports a user's code
    try:
        return traits.dtype(record.case)
    except ConvbenchError:
        return traits.FP32


def typical(record: Record, metric: Metric | str) -> float | None:
    """Reduce a record's samples of a metric to one number, by default the median; None without such a number."""
    reading = record.reading(metric)
    if reading is None:
        return None
    if reading.visits:
        reading = replace(reading, samples=record.samples(metric))
    return number(reading)


def part_of_call(result: Result, part: Metric) -> float | None:
    """Estimate the seconds of a part of a call: the stated latency times its median share in visits that took both.

    Its own seconds may come from a visit in which the machine was slower than the latency says. They are returned only
    without such a visit or a latency.
    """
    calls = result.record.by_visit(metrics.LATENCY)
    shares = [
        median(samples) / median(calls[number])
        for number, samples in result.record.by_visit(part).items()
        if calls.get(number)
    ]
    return median(shares) * result.latency.median if shares and result.latency else typical(result.record, part)


_BUILT_IN: Mapping[str, Metric] = {metric.option: metric for metric in metrics.ALL if metric.shown}

_DERIVED: Mapping[str, Callable[[Result], float | None]] = {
    metrics.LSTM_INPUT.name: lambda result: result.lstm_input,
    metrics.LATENCY.name: lambda result: result.latency.median if result.latency else None,
    metrics.MEMORY.name: lambda result: result.memory,
    metrics.FRAMES_PER_S.name: lambda result: result.frames_per_s,
    metrics.LAUNCH_SHARE.name: lambda result: result.launch_share,
    **{
        part.name: partial(part_of_call, part=part)
        for part in map(metrics.LATENCY.part, metrics.SPLIT[metrics.LATENCY])
    },
}
"""Functions that derive a metric from a result, by the metric's name; each runs only if its metric is requested."""


def number(reading: Reading) -> float | None:
    """Reduce a reading to one number, as its metric says; None without samples, or if each is a number by itself."""
    if metrics.with_words(reading.metric).number == "each":
        return None
    if len(reading.samples) < 2:
        return next(iter(reading.samples), None)
    return reading.samples[-1] if metrics.with_words(reading.metric).number == "last" else median(reading.samples)


def result(
    record: Record,
    machines: Mapping[Scope, latencies.Machine] | None = None,
    common: Mapping[str, Options] = MappingProxyType({}),
) -> Result:
    """Derive the numbers of one record.

    Peak memory is CUDA's peak allocated, on a CPU the peak of tensor bytes, and for a model in another runtime the
    growth of the process. ``machines`` describes the visits of all of the run's records; without it, only this record's
    own visits are used. ``common`` are the ``common_options`` of the run's models.
    """
    memory = metrics.CPU_PEAK if record.case.device.startswith("cpu") else metrics.CUDA_PEAK
    memory = metrics.RUNTIME_PEAK if record.samples(metrics.RUNTIME_PEAK) else memory
    fields = (metrics.PARAMS, metrics.MACS, metrics.FLOPS, memory)
    params, macs, flops, peak = (typical(record, metric) for metric in fields)
    machine_by_scope = latencies.machines([record]) if machines is None else machines
    architecture = record.case.architecture
    options = common.get(architecture.model.name, frozenset()) if isinstance(architecture, Whole) else frozenset()
    latency = latencies.latency_of(record, machine_by_scope)
    return Result(record, group(record), latency, params, macs, flops, peak, options)


def results(records: Iterable[Record]) -> list[Result]:
    """Derive every record's numbers; records of trials, which are not costs, come after all others."""
    records = list(records)
    machines = latencies.machines(records)
    common = common_options(record.case.architecture for record in records)
    entries = [result(record, machines, common) for record in records]
    return sorted(entries, key=lambda result: result.case.trial is not None)


def latency_ratios(pairs: Sequence[tuple[Result, Result]], tail: float = TAIL) -> list[Interval | None]:
    """Divide the first's latency by the second's in each pair, as ``latencies.ratios``; None if either is not timed."""
    timings = [(first.timing, second.timing) for first, second in pairs]
    intervals = iter(latencies.ratios([(first, second) for first, second in timings if first and second], tail))
    return [next(intervals) if first and second else None for first, second in timings]


def costs(results: Iterable[Result]) -> list[Result]:
    """Return the results that measure costs, whatever their status: all but trials."""
    return [result for result in results if result.case.trial is None]


def measured_results(results: Iterable[Result]) -> list[Result]:
    """Return the results that measure costs and whose status is ok."""
    return [result for result in costs(results) if result.record.status == "ok"]


def is_triable(results: Sequence[Result]) -> bool:
    """Whether any of these models can be tried on a task. A whole model cannot: it has no head to exchange."""
    return not results or any(isinstance(result.case.architecture, Parts) for result in results)


def own_metrics(results: Iterable[Result]) -> list[Metric]:
    """Return the metrics that users' own probes declare, each once, as the records hold them."""
    return list(
        {
            metric.name: metric for result in results for metric in metrics.foreign_metrics(result.record.readings)
        }.values()
    )


def shown_metrics(results: Iterable[Result], place: Place) -> list[Metric]:
    """Return every metric shown at a place: built-in ones in order (latency first on axes), then declared ones."""
    candidates = [metric for metric in (*metrics.ALL, *own_metrics(results)) if place in metric.shown]
    return sorted(candidates, key=lambda metric: metric is not metrics.LATENCY) if place == "axes" else candidates


def sustained_rate(record: Record) -> tuple[float, int] | None:
    """Return the frames per second that a streaming case sustains, and the percentile of the latency behind it.

    The 99th percentile with enough samples, else the 90th; None with too few, or if the case does not stream.
    """
    if not record.case.streams:
        return None
    for q in (99, 90):
        seconds = percentile(record.samples(metrics.LATENCY), q)
        if seconds:
            return record.case.frames_per_call / seconds, q
    return None
