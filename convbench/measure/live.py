"""A live module of the user's, counted and measured in this process as it stands: its mode, its device, its weights.

Nothing is isolated here: what else this process does, and what it did before, is in the numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import nn

from convbench.core import metrics, showing
from convbench.core.errors import ConvbenchError, typed_line
from convbench.core.record import Case, Choice, Clip, Finding, Protocol, Reading, Whole
from convbench.core.registry import probes
from convbench.core.statistics import Interval, median_interval
from convbench.core.text import counted
from convbench.measure.counts.counted import after_call, count_by_module, reason_of
from convbench.measure.counts.traced import trace
from convbench.measure.first_call import amiss, versions
from convbench.measure.restored import changes_for_good, frozen, restored
from convbench.models.subject import Inputs, Subject, WithoutGradients, on
from convbench.models.values import leaves
from convbench.models.weights import number_type

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModuleCount:
    """A submodule by its dotted name: its parameters, and its MACs in one call, both with what lies inside of it.

    What lies in several, such as the encoder that two towers share or a weight that is tied, counts for the first of
    them alone: for an encoder all its calls.
    """

    name: str
    params: int
    macs: int


@dataclass(frozen=True, slots=True, repr=False)
class Count:
    """Parameters, and multiply-accumulates (MACs) of one forward call on the given inputs.

    ``modules`` are all submodules, outermost first. ``how`` is ``meta`` (exact, from shapes alone) or ``call`` (of a
    real call after a first one, where the model does not run on torch's meta device). ``uncounted`` names operators
    whose work nobody knows: ``macs`` is then a lower bound, and ``uncounted_share`` the share of the parameters that
    only those read. ``second`` is an independent count of the same call, from its trace; where that cannot be had it is
    None and ``counted_once`` says why.
    """

    params: int
    macs: int
    modules: tuple[ModuleCount, ...]
    how: str
    uncounted: tuple[str, ...] = ()
    uncounted_share: float = 0.0
    second: int | None = None
    counted_once: str | None = None

    @property
    def flops(self) -> int:
        """Two a MAC."""
        return 2 * self.macs

    def module(self, name: str) -> ModuleCount:
        """The submodule of that dotted name; one that has several is named by the first. Raises KeyError for others."""
        return {module.name: module for module in self.modules}[name]

    def __repr__(self) -> str:
        parts = (f"{module.name} {module.params:,} / {module.macs:,}" for module in self._outermost())
        note = "".join(f"; {name}: {value}" for name, value in self._doubts())
        return f"Count({self.params:,} parameters, {self.macs:,} MACs; {', '.join(parts) or 'no submodules'}{note})"

    def _repr_html_(self) -> str:
        whole = [("all", f"{self.params:,} parameters, {self.macs:,} MACs")]
        rows = ((module.name, f"{module.params:,} parameters, {module.macs:,} MACs") for module in self._outermost())
        return showing.table("Parameters and MACs of a call", [*whole, *rows, *self._doubts()])

    def _doubts(self) -> Iterator[tuple[str, str]]:
        """What keeps the count from being sure, as a heading and its words."""
        if self.uncounted:
            share = f"; they alone read {self.uncounted_share:.0%} of the parameters" if self.uncounted_share else ""
            yield "not counted", f"{', '.join(self.uncounted)}{share}"
        if self.counted_once:
            yield "counted once", self.counted_once
        elif self.second not in (None, self.macs):
            yield "a second count finds", f"{self.second:,} MACs"

    def _outermost(self) -> Iterator[ModuleCount]:
        return (module for module in self.modules if "." not in module.name)


@dataclass(frozen=True, slots=True, repr=False)
class Measurement:
    """One live module on given inputs, measured in this process.

    ``latency`` is the median with its 95 % interval in seconds a call, ``samples`` the seconds of each call;
    ``memory_bytes`` is the peak of what torch's tensors held in a call, weights and inputs included. ``findings`` is
    what a reader must know, such as page faults that are most of the time.
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
        (second, time), (byte, size) = (
            showing.scale(self.latency.median, showing.SECONDS),
            showing.scale(self.memory_bytes, showing.BYTES),
        )
        median, low, high = (seconds / second for seconds in self.latency)
        mode, threads = "train" if self.training else "eval", counted(self.threads, "thread")
        return [
            ("latency", f"{median:.4g} {time} a call ({low:.4g} to {high:.4g}, {counted(len(self.samples), 'call')})"),
            ("peak memory", f"{self.memory_bytes / byte:.4g} {size}"),
            ("in", f"this process on {self.device}, {threads}, {mode} mode"),
            ("findings", ", ".join(finding.code for finding in self.findings) or "none"),
        ]


def count(model: nn.Module, inputs: Inputs) -> Count:
    """Count one call of the model on its inputs, twice over. Raises ConvbenchError where it runs nowhere.

    Model, inputs and random numbers are left as they were, but for what a call itself writes into parameters that have
    gradients; each call draws the same numbers.
    """
    _refuse_no_module(model)
    with _as_before(model, inputs):
        second, reason = _second_count(model, inputs)
    with _as_before(model, inputs):
        on_meta = _on_meta(model, inputs)
    with _as_before(model, inputs):
        counts = count_by_module(_called(model, inputs) if on_meta is None else on_meta)
    modules = tuple(ModuleCount(name, counts.params[name], macs) for name, macs in counts.macs.items() if name)
    return Count(
        params=counts.params[""],
        macs=counts.macs[""],
        modules=modules,
        how="call" if on_meta is None else "meta",
        uncounted=counts.uncounted,
        uncounted_share=counts.uncounted_share,
        second=second,
        counted_once=reason,
    )


@contextmanager
def _as_before(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    device = torch.device(device_of(model, inputs))
    with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []), restored(model):
        yield


def _second_count(model: nn.Module, inputs: Inputs) -> tuple[int | None, str | None]:
    """MACs from the trace of a real call of a copy; or why there is none."""
    clones = {id(parameter): parameter for parameter in model.parameters() if frozen(parameter)}  # need no second copy
    try:
        copied = subject(copy.deepcopy(model, clones), inputs.changed(torch.clone))
        return sum(trace(after_call(copied)).macs.values()), None
    except Exception as error:
        return None, reason_of(error)


def measure(model: nn.Module, inputs: Inputs, protocol: Protocol) -> Measurement:
    """Time calls of the model on its inputs as the protocol says, and take the peak of memory of one more."""
    _refuse_no_module(model)
    live = subject(model, inputs)
    refuse_other_devices(model, live.device)
    with on(live.device):
        before = versions(inputs)
        output = first_call(model, live.run)
        results: list[Reading | Finding] = [*amiss(inputs, before, dict(leaves(output)))]
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


def _refuse_no_module(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise ConvbenchError(
            f"{_name(model)} is no torch.nn.Module: give a model, made and not its class; of an exported program its "
            ".module()"
        )


def _name(call: object) -> str:
    return str(getattr(call, "__name__", type(call).__name__))


def refuse_other_devices(call: object, device: str) -> None:
    """Raises ConvbenchError for a device whose calls cannot be timed."""
    if torch.device(device).type not in ("cpu", "cuda"):
        raise ConvbenchError(f"{_name(call)} is on {device}: only what is on cpu or cuda can be measured")


def subject(model: nn.Module, inputs: Inputs) -> Subject:
    """A live module as what probes hold: called as it stands, without gradients."""
    clips = [leaf for leaf in inputs.args if isinstance(leaf, torch.Tensor) and leaf.dim() == 5]
    clip = Clip(*clips[0].shape) if clips else Clip()
    case = Case(Whole(Choice(f"live:{type(model).__qualname__}")), clip)
    device, modes = device_of(model, inputs), WithoutGradients.TRAINABLE
    return Subject(case, 0, device, model, inputs, model, number_type(model), modes=modes)


def device_of(call: object, inputs: Inputs) -> str:
    """The GPU that any of a module's tensors or inputs is on, else the first one's device; ``cpu`` without any."""
    own = (*call.parameters(), *call.buffers()) if isinstance(call, nn.Module) else ()
    devices = [tensor.device for tensor in (*own, *inputs.tensors)]
    return str(next((device for device in devices if device.type == "cuda"), devices[0] if devices else "cpu"))


def device_of_all(calls: Sequence[object], inputs: Inputs) -> str:
    """The GPU that any of the calls is on, else the first one's device, for a clock that has to wait for it.

    Raises ConvbenchError for devices whose calls cannot be timed, and for two GPUs.
    """
    devices = [device_of(call, inputs) for call in calls]
    for call, device in zip(calls, devices, strict=True):
        refuse_other_devices(call, device)
    gpus = list(dict.fromkeys(device for device in devices if device.startswith("cuda")))
    if len(gpus) > 1:
        where = " and ".join(gpus)
        raise ConvbenchError(f"the callables are on {where}: move both to one GPU, since the clock waits for one")
    return gpus[0] if gpus else devices[0]


def _on_meta(model: nn.Module, inputs: Inputs) -> Subject | None:
    """A copy of the model with its parameters and buffers on meta, called once; None where it does not run there."""
    twins: dict[int, Any] = {}
    try:
        for parameter in model.parameters():
            twins[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for buffer in model.buffers():
            twins[id(buffer)] = buffer.detach().to("meta")
        copied = subject(copy.deepcopy(model, twins), inputs.changed(lambda tensor: tensor.to("meta")))
        return after_call(replace(copied, device="meta"))
    except Exception:
        return None


def _called(model: nn.Module, inputs: Inputs) -> Subject:
    """The model called once on a copy of the inputs; a copy of a model that a call would change for good."""
    if any(map(changes_for_good, model.modules())):
        with suppress(Exception):
            model = copy.deepcopy(model)
    return first_call(model, lambda: after_call(subject(model, inputs.changed(torch.clone))))


def first_call(model: object, call: Callable[[], T]) -> T:
    """What ``call`` returns. Raises ConvbenchError, in the model's name, where that does not run on its inputs."""
    try:
        return call()
    except Exception as error:
        raise ConvbenchError(f"{_name(model)} does not run on these inputs: {typed_line(error)}") from error
