"""torch's compiler on the simulated GPU: it traces and differentiates graphs, and runs their operators one by one.

Its modes with CUDA graphs warm up in the first call, record in the second, and then replay. A recorded graph holds a
segment of memory, and a replay allocates nothing that can be seen, and overwrites the outputs of the call before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

from profiler_of_paper import REPLAY

MODES = ("reduce-overhead", "max-autotune")
"""Modes in which torch's compiler records CUDA graphs."""
RECORDED = WeakSet[Callable[..., Any]]()
"""The graphs that were recorded and are still in use."""
SEGMENT = {"segment_pool_id": (0, 1), "total_size": 2 << 20, "allocated_size": 0}
"""The memory that each of them holds, as torch's allocator reports it."""
GRAPH = "## Call CompiledFxGraph of paper ##"
"""The event around a graph, named as the compiler names its own."""


def backend(mode: str | None) -> Any:
    """Return the backend of ``torch.compile`` for a mode."""
    from torch._dynamo.backends.common import aot_autograd

    return aot_autograd(fw_compiler=partial(_compile, replays=mode in MODES))


def _compile(graph: Callable[..., Any], _inputs: Any, *, replays: bool) -> Callable[..., Any]:
    import torch
    from functorch.compile import make_boxed_func

    calls, kept = itertools.count(), list[Any]()

    def run(*args: Any) -> Any:
        with torch.profiler.record_function(GRAPH):
            if kept:
                _replay(torch, graph, args, kept)
                return list(kept)
            outputs = graph(*args)
            if replays and next(calls):
                kept.extend(outputs)
                RECORDED.add(run)
            return outputs

    return make_boxed_func(run)


def _replay(torch: Any, graph: Callable[..., Any], args: Any, kept: list[Any]) -> None:
    torch.ops.paper.hide(True)
    try:
        with torch.profiler.record_function(REPLAY):
            for output, fresh in zip(kept, graph(*args), strict=True):
                if isinstance(output, torch.Tensor):
                    output.copy_(fresh)
    finally:
        torch.ops.paper.hide(False)
