"""What torch.compile captured: graphs, breaks with their reasons, and the share of the FLOPs inside graphs."""

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
from convbench.measure.counts.dispatched import Flops, decomposing
from convbench.measure.probes import ProbeTraits
from convbench.models.subject import Subject


@probes.register("compile")
@declares(ProbeTraits(exact=True, order=90))
def compile_capture(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Compiles a twin on the meta device with a backend that only counts; nothing for a case that is not compiled.

    Of training the forward pass is counted: what is captured of it is what autograd differentiates as a graph.
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
    """Whether a twin makes tensors without a device, so that it runs on ``meta`` only where that is the default one.

    While it is, dynamo sees graph breaks that are none elsewhere, as at ``Tensor.unflatten``.
    """
    try:
        twin.run()
    except Exception:
        return True
    return False


def _capture(twin: Subject, needs_device: bool) -> tuple[int, int]:
    """Number of graphs and FLOPs inside them over one call of a subject."""
    graphs: list[torch.fx.GraphModule] = []
    flops = 0

    def backend(graph: torch.fx.GraphModule, _inputs: list[Any]) -> Callable[..., Any]:
        graphs.append(graph)

        def call(*args: Any) -> Any:
            nonlocal flops
            arguments = pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, args)
            with decomposing(), Flops(twin.case) as counter:
                result = graph(*arguments)
            flops += counter.get_total_flops()
            return result

        return call

    torch._dynamo.utils.counters.clear()
    compiled_twin = replace(twin, forward=torch.compile(twin.forward, backend=backend))
    compiled_twin.call() if needs_device else compiled_twin.run()
    return len(graphs), flops


def _summary(reason: str) -> str:
    """Dynamo's explanation of a break in one line: what it met, and where."""
    cause, *details = reason.splitlines()
    place = next((line.partition(":")[2] for line in details if "debug context" in line), "")
    return f"{cause}:{place}" if place else cause
