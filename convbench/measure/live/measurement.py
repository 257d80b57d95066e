"""Measure the latency, the peak memory and the findings of a live module, with the probes of a run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from convbench.core import metrics, scales, showing
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import probes
from convbench.core.statistics import Interval, median_interval
from convbench.core.text import counted
from convbench.measure.comparison.first_call import faults, versions
from convbench.measure.live.module import first_call, refuse_no_module, refuse_untimeable, subject
from convbench.models.inputs import Inputs
from convbench.models.subject import current_device
from convbench.models.values import leaves


@dataclass(frozen=True, slots=True, repr=False)
class Measurement:
    """One live module on given inputs, measured in this process.

    ``latency`` is the median with its 95 % interval in seconds per call, ``samples`` the seconds of each call.
    ``memory_bytes`` is the peak of torch's tensors in a call, weights and inputs included. ``findings`` are what a
    reader must know, such as page faults that are most of the time.
    """

    latency: Interval
    samples: tuple[float, ...]
    memory_bytes: int
    findings: tuple[Finding, ...]
    device: str
    threads: int
    training: bool

    def __repr__(self) -> str:
        return f"Measurement({'; '.join(f'{name} {value}' for name, value in self._rows())})"

    def _repr_html_(self) -> str:
        return showing.table("Measured in this process", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        (time_scale, time_unit), (byte_scale, byte_unit) = (
            scales.fitting_unit(self.latency.median, scales.SECONDS),
            scales.fitting_unit(self.memory_bytes, scales.BYTES),
        )
        median, low, high = (scales.four_digits(seconds / time_scale).replace(",", "") for seconds in self.latency)
        mode, threads = "train" if self.training else "eval", counted(self.threads, "thread")
        return [
            ("latency", f"{median} {time_unit} a call [{low}, {high}], {counted(len(self.samples), 'call')}"),
            ("peak memory", f"{scales.four_digits(self.memory_bytes / byte_scale)} {byte_unit}"),
            ("in", f"this process on {self.device}, {threads}, {mode} mode"),
            ("findings", ", ".join(finding.code for finding in self.findings) or "none"),
        ]


def measure(model: nn.Module, inputs: Inputs, protocol: Protocol) -> Measurement:
    """Time calls of the model on its inputs by the protocol, and take the peak memory of one more call."""
    refuse_no_module(model)
    live = subject(model, inputs)
    refuse_untimeable(model, live.device)
    with current_device(live.device):
        initial_versions = versions(inputs)
        output = first_call(model, live.run)
        results: list[Reading | Finding] = [*faults(inputs, initial_versions, dict(leaves(output)))]
        results += [result for name in ("latency", "memory") for result in probes.get(name).build(live, protocol)]
    readings = {result.metric.name: result.samples for result in results if isinstance(result, Reading)}
    samples, peak = readings[metrics.LATENCY.name], metrics.CPU_PEAK if live.device == "cpu" else metrics.CUDA_PEAK
    return Measurement(
        latency=median_interval(samples),
        samples=samples,
        memory_bytes=int(readings[peak.name][0]),
        findings=tuple(result for result in results if isinstance(result, Finding)),
        device=live.device,
        threads=torch.get_num_threads(),
        training=model.training,
    )
