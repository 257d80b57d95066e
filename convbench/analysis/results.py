"""A record with the numbers that everything else asks of it, derived once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from convbench.analysis import latencies
from convbench.core import metrics, traits
from convbench.core.case import Options, common_options
from convbench.core.errors import ConvbenchError
from convbench.core.metric import Metric, Place
from convbench.core.record import Case, Parts, Reading, Record, Scalar, Whole
from convbench.core.statistics import Interval, percentile
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
    """A record and its derived numbers (base units); None where the metric was not measured."""

    record: Record
    group: Group
    timing: latencies.Latency | None
    params: float | None
    macs: float | None
    flops: float | None
    memory: float | None
    cold: float | None
    common: Options = frozenset()
    """The options that all own models of its name in the run share; the others tell it apart."""

    @property
    def case(self) -> Case:
        return self.record.case

    @property
    def latency(self) -> Interval | None:
        """Seconds of a call, with the interval over processes where there were several."""
        return self.timing.interval if self.timing else None

    @property
    def lstm_input(self) -> int | None:
        architecture = self.case.architecture
        return architecture.lstm_input if isinstance(architecture, Parts) else None

    @property
    def series(self) -> str:
        """What a mark's colour and shape stand for: the reducer's name, or the model's where it is a user's own."""
        architecture = self.case.architecture
        return (architecture.reducer if isinstance(architecture, Parts) else architecture.model).name

    @property
    def row(self) -> str | Whole:
        """What has a row of its own: a reducer at whatever size, and each model of a user's own, as its options are."""
        architecture = self.case.architecture
        return architecture if isinstance(architecture, Whole) else self.series

    @property
    def frames_per_s(self) -> float | None:
        return self.case.frames_per_call / self.latency.median if self.latency and self.latency.median > 0 else None

    @property
    def launch_share(self) -> float | None:
        """Share of a call on a GPU in which the device does not work; None on a CPU."""
        device_seconds = part_of_call(self, metrics.DEVICE_LATENCY)
        if device_seconds is None or not self.latency:
            return None
        return max(0.0, 1 - device_seconds / self.latency.median)

    def value(self, metric: Metric) -> float | None:
        """One number of a metric: what it says of itself becomes of its samples; None where it was not measured."""
        derive = _DERIVED.get(metric.name)
        return derive(self) if derive else typical(self.record, metric)

    def metric(self, option: str) -> Metric | None:
        """The metric of that short name, ours or one that this record declares; None where neither is called so."""
        candidates = chain(metrics.ALL, metrics.own(self.record.readings))
        return next((metric for metric in candidates if metric.shown and metric.option == option), None)

    def meets(self, limits: Mapping[str, float]) -> bool:
        """Whether it is within every limit; without any it is."""
        return all(self.within(option, limit) for option, limit in limits.items())

    def within(self, option: str, limit: float) -> bool:
        """Whether it is within a limit: a maximum, or a minimum of a metric of which more is better; unmeasured: no."""
        metric = self.metric(option)
        value = self.value(metric) if metric else None
        return metric is not None and value is not None and metric.sign * value <= metric.sign * limit

    def cost(self, option: str) -> float | None:
        """A metric's number by its short name, such as ``latency``; None where it was not measured."""
        metric = self.metric(option)
        return self.value(metric) if metric else None


_DERIVED: Mapping[str, Callable[[Result], float | None]] = {
    metrics.LSTM_INPUT.name: lambda result: result.lstm_input,
    metrics.LATENCY.name: lambda result: result.latency.median if result.latency else None,
    metrics.MEMORY.name: lambda result: result.memory,
    metrics.FRAMES_PER_S.name: lambda result: result.frames_per_s,
    metrics.LAUNCH_SHARE.name: lambda result: result.launch_share,
}
"""What follows from readings, by the metric's name; each is worked out only where it is asked for."""


def group(record: Record) -> Group:
    """What a record shares with the records that it may be compared with."""
    case = record.case
    return Group(record.environment, case.device, str(case.clip), case.scenario, dtype(record), threads(record))


def dtype(record: Record) -> str:
    """The number type that a record's case was computed in: as it was noted then, of a variant or of the model itself,
    else as the variants declare.
    """
    if name := record.conditions.get("dtype"):
        return str(name)
    if any(choice.is_imported for choice in record.case.variant):
        return traits.FP32  # another would be noted: to read a run imports nobody's code
    try:
        return traits.dtype(record.case)
    except ConvbenchError:
        return traits.FP32


def typical(record: Record, metric: Metric | str) -> float | None:
    """A record's one number of a metric: the median of its samples or the last of a curve; None without any."""
    reading = record.reading(metric)
    if reading is None:
        return None
    if reading.visits:
        reading = replace(reading, samples=record.samples(metric))
    return number(reading)


def part_of_call(result: Result, part: Metric) -> float | None:
    """Seconds of a part of a call: of the latency that is stated, its share in the visits that took both.

    Not its own seconds, which are those of a visit in which the machine may have been slower than the latency says.
    """
    calls = result.record.by_visit(metrics.LATENCY)
    shares = [
        median(samples) / median(calls[number])
        for number, samples in result.record.by_visit(part).items()
        if calls.get(number)
    ]
    return median(shares) * result.latency.median if shares and result.latency else typical(result.record, part)


def number(reading: Reading) -> float | None:
    """A reading as one number, as its metric says; None without samples, or where each is a number by itself."""
    if metrics.known(reading.metric).number == "each":
        return None
    if len(reading.samples) < 2:
        return next(iter(reading.samples), None)
    return reading.samples[-1] if metrics.known(reading.metric).number == "last" else median(reading.samples)


def result(
    record: Record,
    machines: Mapping[Scope, latencies.Machine] | None = None,
    common: Mapping[str, Options] = MappingProxyType({}),
) -> Result:
    """The derived numbers of one record. Peak memory is CUDA's peak allocated, on a CPU the peak of tensor bytes.

    Of a model that another runtime runs it is what the process grew by.

    ``machines`` is what all records of the run tell of its visits; without it the record's own have to do. ``common``
    are the ``common_options`` of the run's models.
    """
    memory = metrics.CPU_PEAK if record.case.device.startswith("cpu") else metrics.CUDA_PEAK
    memory = metrics.RUNTIME_PEAK if record.samples(metrics.RUNTIME_PEAK) else memory
    fields = (metrics.PARAMS, metrics.MACS, metrics.FLOPS, memory, metrics.COLD_CALL)
    params, macs, flops, peak, cold = (typical(record, metric) for metric in fields)
    machine_by_scope = latencies.machines([record]) if machines is None else machines
    architecture = record.case.architecture
    options = common.get(architecture.model.name, frozenset()) if isinstance(architecture, Whole) else frozenset()
    latency = latencies.latency_of(record, machine_by_scope)
    return Result(record, group(record), latency, params, macs, flops, peak, cold, options)


def results(records: Iterable[Record]) -> list[Result]:
    """Every record with its numbers; those of trials, which are no costs, stand after all others."""
    records = list(records)
    machines = latencies.machines(records)
    common = common_options(record.case.architecture for record in records)
    entries = [result(record, machines, common) for record in records]
    return sorted(entries, key=lambda result: result.case.trial is not None)


def latency_ratios(pairs: Sequence[tuple[Result, Result]]) -> list[Interval | None]:
    """The first's latency over the second's of each pair, of visits that both had; None where either was not timed."""
    timings = [(first.timing, second.timing) for first, second in pairs]
    intervals = iter(latencies.ratios([(first, second) for first, second in timings if first and second]))
    return [next(intervals) if first and second else None for first, second in timings]


def costs(results: Iterable[Result]) -> list[Result]:
    """Those that are measured for what they cost, whatever came of it: no trials."""
    return [result for result in results if result.case.trial is None]


def measured(results: Iterable[Result]) -> list[Result]:
    """The costs that have a result at all."""
    return [result for result in costs(results) if result.record.status == "ok"]


def triable(results: Sequence[Result]) -> bool:
    """Whether any of these models can be tried on a task: a whole model has no head to exchange for one."""
    return not results or any(isinstance(result.case.architecture, Parts) for result in results)


def own_metrics(results: Iterable[Result]) -> list[Metric]:
    """The metrics of these results that somebody's own probes declare, each once, as the records hold them."""
    return list({metric.name: metric for result in results for metric in metrics.own(result.record.readings)}.values())


def shown_metrics(results: Iterable[Result], place: Place) -> list[Metric]:
    """Every metric that is shown at a place: ours in their order, on axes latency first, then what others declare."""
    candidates = [metric for metric in (*metrics.ALL, *own_metrics(results)) if place in metric.shown]
    return sorted(candidates, key=lambda metric: metric is not metrics.LATENCY) if place == "axes" else candidates


def sustained(record: Record) -> tuple[float, int] | None:
    """Frames per second that a streaming case keeps up with, and the percentile of the latency it is stated at.

    The 99th where there are samples enough, else the 90th, else None.
    """
    if not record.case.streams:
        return None
    for q in (99, 90):
        seconds = percentile(record.samples(metrics.LATENCY), q)
        if seconds:
            return record.case.frames_per_call / seconds, q
    return None
