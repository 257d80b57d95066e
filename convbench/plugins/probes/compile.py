"""What torch.compile captures: graphs, graph breaks with their reasons, and the share of the FLOPs inside graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from convbench.core import metrics
from convbench.core.findings import GRAPH_BREAKS, NOT_CAPTURED, NOTHING_COMPILED
from convbench.core.record import Finding, Protocol, Reading
from convbench.core.registry import declares, probes
from convbench.core.traits import compiles
from convbench.measure.counts.counted import NotCounted, count_forward, forward_twin, reason_of
from convbench.measure.counts.dispatched import Flops, decompose
from convbench.measure.probes import ProbeTraits
from convbench.models.subject import Subject


@probes.register("compile")
@declares(ProbeTraits(exact=True, order=90))
def compile_capture(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Graphs, graph breaks and captured FLOPs, from a twin compiled on the meta device; only for compiled cases.

    The backend only counts. Of a training step it counts the forward pass: autograd differentiates the captured part of
    that pass as a graph.
    """
    if not compiles(subject.case):
        return
    needs_device = _needs_default_device(forward_twin(subject.case, protocol.seed))
    twin = forward_twin(subject.case, protocol.seed)
    try:
        graph_count, flops = _capture(twin, needs_device)
    except Exception as error:
        yield Finding(NOT_CAPTURED, "note", {"reason": reason_of(error)})
        return
    counters = torch._dynamo.utils.counters
    breaks = counters["graph_break"] | counters["unimplemented"]
    yield Reading(metrics.GRAPH_COUNT, (graph_count,))
    yield Reading(metrics.GRAPH_BREAKS, (sum(breaks.values()),))
    with suppress(NotCounted):
        total = 2 * count_forward(subject.case, protocol.seed).total
        yield Reading(metrics.CAPTURED, (flops / total if total else 0.0,))
    if breaks:
        reasons = tuple(_summary(str(reason)) for reason in breaks)
        yield Finding(GRAPH_BREAKS, "note", {"reasons": reasons})
    if graph_count == 0:
        yield Finding(NOTHING_COMPILED)


def _needs_default_device(twin: Subject) -> bool:
    """Whether a twin makes tensors without naming a device, so that it runs on ``meta`` only as the default device.

    A default device is set only for such twins, because with it dynamo sees graph breaks that do not occur otherwise,
    such as at ``Tensor.unflatten``.
    """
    try:
        twin.run()
    except Exception:
        return True
    return False


def _capture(twin: Subject, needs_device: bool) -> tuple[int, int]:
    """Compile and call a twin; return the number of graphs and the FLOPs inside them."""
    graphs: list[torch.fx.GraphModule] = []
    flops = 0

    def backend(graph: torch.fx.GraphModule, _inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(graph)

        def call(*args: Any) -> Any:
            nonlocal flops
            arguments = pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, args)
            with decompose(), Flops(twin.case) as counter:
                result = graph(*arguments)
            flops += counter.get_total_flops()
            return result

        return call

    torch._dynamo.utils.counters.clear()
    compiled_twin = replace(twin, forward=torch.compile(twin.forward, backend=backend))
    compiled_twin.call() if needs_device else compiled_twin.run()
    return len(graphs), flops


def _summary(reason: str) -> str:
    """Return dynamo's explanation of a break in one line: its cause and its place."""
    cause, *details = reason.splitlines()
    place = next((line.partition(":")[2] for line in details if "debug context" in line), "")
    return f"{cause}:{place}" if place else cause
