"""Count the parameters and multiply-accumulates of one call of a live module, twice, in all and by module."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import is_fake
from torch.utils._python_dispatch import _disable_current_modes

from convbench.core import showing
from convbench.core.scales import percent
from convbench.measure.counts.counted import after_call, count_by_module, reason_of
from convbench.measure.counts.traced import trace
from convbench.measure.live.module import device_of, first_call, refuse_no_module, subject
from convbench.measure.live.restored import changes_for_good, is_frozen, restore
from convbench.models.inputs import Inputs
from convbench.models.network import preserve_random_state
from convbench.models.subject import Subject


@dataclass(frozen=True, slots=True)
class ModuleCount:
    """A submodule by its dotted name: its parameters, and its MACs in one call, both including its inner modules.

    A part of several modules, such as an encoder that two towers share or a tied weight, counts for the first of them
    alone: for an encoder, all its calls.
    """

    name: str
    params: int
    macs: int


@dataclass(frozen=True, slots=True, repr=False)
class Count:
    """Parameters, and multiply-accumulates (MACs) of one forward call on the given inputs.

    ``modules`` are all submodules, outermost first. ``how`` is ``meta`` (exact, from shapes alone) or ``call`` (a real
    call after a first one, if the model does not run on torch's meta device). ``uncounted`` names operators whose work
    is unknown: ``macs`` is then a lower bound, and ``uncounted_share`` the share of the parameters that only those
    operators read. ``second`` is an independent count of the same call, from its trace; without one it is None and
    ``counted_once`` says why.
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
        """Two per MAC."""
        return 2 * self.macs

    def module(self, name: str) -> ModuleCount:
        """The submodule of that dotted name; a shared module has only its first name. Raises KeyError for others."""
        return {module.name: module for module in self.modules}[name]

    def __repr__(self) -> str:
        parts = (f"{module.name} {module.params:,} / {module.macs:,}" for module in self._parts())
        note = "".join(f"; {name}: {value}" for name, value in self._doubts())
        return f"Count({self.params:,} parameters, {self.macs:,} MACs; {', '.join(parts) or 'no submodules'}{note})"

    def _repr_html_(self) -> str:
        totals = [("all", f"{self.params:,} parameters, {self.macs:,} MACs")]
        rows = ((module.name, f"{module.params:,} parameters, {module.macs:,} MACs") for module in self._parts())
        return showing.table("Parameters and MACs of a call", [*totals, *rows, *self._doubts()])

    def _doubts(self) -> Iterator[tuple[str, str]]:
        """Yield the reasons why the count is not certain, as a heading and its words."""
        if self.uncounted:
            share = percent(self.uncounted_share, places=0)
            clause = f"; they alone read {share} of the parameters" if self.uncounted_share else ""
            yield "not counted", f"{', '.join(self.uncounted)}{clause}"
        if self.counted_once:
            yield "counted once", self.counted_once
        elif self.second not in (None, self.macs):
            yield "a second count finds", f"{self.second:,} MACs"

    def _parts(self) -> Iterator[ModuleCount]:
        """Yield the outermost submodules, and what the model has or computes outside; together they are the whole."""
        outermost = [module for module in self.modules if "." not in module.name]
        params = self.params - sum(module.params for module in outermost)
        macs = self.macs - sum(module.macs for module in outermost)
        yield from outermost
        if outermost and (params or macs):
            yield ModuleCount("outside of these", params, macs)


def count(model: nn.Module, inputs: Inputs) -> Count:
    """Count one call of the model on its inputs, twice. Raises ConvbenchError if it runs nowhere.

    Model, inputs and random numbers are left as they were, except for what a call itself writes into parameters that
    have gradients. Each count is of a second call, which draws the same numbers. The caller's dispatch modes, such as
    ``FlopCounterMode``, see none of them: they would replace the operators that are counted. Fake tensors need theirs.
    """
    refuse_no_module(model)
    is_without_values = any(map(is_fake, (*model.parameters(), *inputs.tensors)))
    with nullcontext() if is_without_values else _disable_current_modes():
        return _count(model, inputs)


def _count(model: nn.Module, inputs: Inputs) -> Count:
    with _sandbox(model, inputs):
        second, reason = _second_count(model, inputs)
    with _sandbox(model, inputs):
        on_meta = _on_meta(model, inputs)
        counts = None if on_meta is None else count_by_module(on_meta)
    if counts is None:
        with _sandbox(model, inputs):
            counts = count_by_module(_call_once(model, inputs))
    modules = tuple(ModuleCount(name, counts.params[name], macs) for name, macs in counts.macs.items() if name)
    return Count(
        params=counts.params[""],
        macs=counts.macs[""],
        modules=modules,
        how="call" if on_meta is None else "meta",
        uncounted=counts.unknown_operators,
        uncounted_share=counts.unknown_share,
        second=second,
        counted_once=reason,
    )


@contextmanager
def _sandbox(model: nn.Module, inputs: Inputs) -> Iterator[None]:
    device = torch.device(device_of(model, inputs))
    on_gpu = [device.index or 0] if device.type == "cuda" else []
    with preserve_random_state(), torch.random.fork_rng(on_gpu), restore(model):
        yield


def _second_count(model: nn.Module, inputs: Inputs) -> tuple[int | None, str | None]:
    """Return the MACs from the trace of a real call of a copy, or the reason why there are none."""
    clones = {id(parameter): parameter for parameter in model.parameters() if is_frozen(parameter)}  # not copied
    try:
        # A trace refuses an input that takes a gradient.
        twin = subject(copy.deepcopy(model, clones), inputs.map_tensors(lambda tensor: tensor.detach().clone()))
        return sum(trace(after_call(twin)).macs.values()), None
    except Exception as error:
        return None, reason_of(error)


def _on_meta(model: nn.Module, inputs: Inputs) -> Subject | None:
    """A copy of the model with its parameters and buffers on meta, called once; None if it does not run there."""
    twins: dict[int, Any] = {}
    try:
        for parameter in model.parameters():
            twins[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        for buffer in model.buffers():
            twins[id(buffer)] = buffer.detach().to("meta")
        twin = subject(copy.deepcopy(model, twins), inputs.map_tensors(lambda tensor: tensor.to("meta")))
        return after_call(replace(twin, device="meta"))
    except Exception:
        return None


def _call_once(model: nn.Module, inputs: Inputs) -> Subject:
    """Call the model once on a copy of the inputs, or a copy of the model if a call would change it for good."""
    if any(map(changes_for_good, model.modules())):
        with suppress(Exception):
            twin = copy.deepcopy(model)
            # torch's copy of a class with scripted methods has these alone: what the class has in Python is lost.
            if [*map(type, twin.modules())] == [*map(type, model.modules())]:
                model = twin
    return first_call(model, lambda: after_call(subject(model, inputs.map_tensors(torch.clone))))
