"""A record with the numbers that everything else asks of it, derived once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from convbench.core.record import Case, Parts, Record
from convbench.core.statistics import Interval, median_interval, percentile


class Group(NamedTuple):
    """What two cases must share before their costs may be compared."""

    environment: str
    device: str
    clip: str
    scenario: str
    dtype: str


class Cost(NamedTuple):
    """Something a model costs: the column it stands in, its words, unit and better direction."""

    column: str
    words: str
    unit: str
    better: Literal["lower", "higher"] = "lower"


COSTS = (
    Cost("latency", "Latency of a call", "s"),
    Cost("params", "Parameters", "1"),
    Cost("flops", "FLOPs of a call", "FLOP"),
    Cost("memory", "Peak memory", "B"),
    Cost("cold", "Cold first call", "s"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A record and its derived numbers (base units); None where the metric was not measured."""

    record: Record
    group: Group
    latency: Interval | None
    params: float | None
    macs: float | None
    flops: float | None
    memory: float | None
    cold: float | None

    @property
    def case(self) -> Case:
        return self.record.case

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
    def frames_per_s(self) -> float | None:
        return self.case.frames_per_call / self.latency.median if self.latency and self.latency.median > 0 else None

    def cost(self, column: str) -> float | None:
        """A cost by the column of ``COSTS``; the median where there are samples."""
        if column == "latency":
            return self.latency.median if self.latency else None
        value: float | None = getattr(self, column)
        return value


def group(record: Record) -> Group:
    """What a record shares with the records that it may be compared with."""
    case = record.case
    return Group(record.environment, case.device, str(case.clip), case.scenario, dtype(case))


def dtype(case: Case) -> str:
    """The number type that a case computes in: what autocast asks for, else fp32."""
    asked = (dict(choice.options).get("dtype", "bf16") for choice in case.variant if choice.name == "autocast")
    return str(next(asked, "fp32"))


def typical(record: Record, metric: str) -> float | None:
    """The median of a metric's samples (an exact metric has one), of a training's curve its end, or None."""
    samples = sorted(record.samples(metric)[-1:] if record.case.scenario == "learn" else record.samples(metric))
    if not samples:
        return None
    middle = len(samples) // 2
    return samples[middle] if len(samples) % 2 else (samples[middle - 1] + samples[middle]) / 2


def result(record: Record) -> Result:
    """The derived numbers of one record. Peak memory is CUDA's peak allocated, on a CPU the peak of tensor bytes."""
    samples = record.samples("latency_s")
    memory = "cpu_peak_tensor_bytes" if record.case.device.startswith("cpu") else "cuda_peak_allocated_bytes"
    exact = (typical(record, name) for name in ("params", "macs", "flops", memory, "cold_call_s"))
    return Result(record, group(record), median_interval(samples) if samples else None, *exact)


def results(records: Iterable[Record]) -> list[Result]:
    """Every record with its numbers; those of trials, which are no costs, stand after all others."""
    return sorted((result(record) for record in records), key=lambda one: one.case.trial is not None)


def costs(found: Iterable[Result]) -> list[Result]:
    """Those that are measured for what they cost, whatever came of it: no trials."""
    return [one for one in found if one.case.trial is None]


def measured(found: Iterable[Result]) -> list[Result]:
    """The costs that have a result at all."""
    return [one for one in costs(found) if one.record.status == "ok"]


def sustained(record: Record) -> tuple[float, int] | None:
    """Frames per second that a streaming case keeps up with, and the percentile of the latency it is stated at.

    The 99th where there are samples enough, else the 90th, else None.
    """
    if record.case.scenario != "streaming":
        return None
    for q in (99, 90):
        slow = percentile(record.samples("latency_s"), q)
        if slow:
            return record.case.frames_per_call / slow, q
    return None
