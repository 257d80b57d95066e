"""torch's profiler on the simulated GPU: every operator that has none inside launches a kernel.

A kernel lasts until the next one begins, as on a device that is never idle. So a call's kernels sum to its time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

REPLAY = "cudaGraphLaunch"
"""The event around a replayed CUDA graph: no operator launches its kernels."""


def profile_class(profiler: Any) -> type:
    """Return ``torch.profiler.profile`` for a torch without CUDA: it profiles the CPU, and adds the GPU's kernels."""
    cpu, gpu = profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA

    class Profile(profiler.profile):  # type: ignore[misc]
        def __init__(self, *, activities: Any = None, **more: Any) -> None:
            self.sees_kernels = activities is None or gpu in activities
            super().__init__(activities=[cpu], **more)

        def events(self) -> Any:
            events = super().events()
            return [*events, *_device_events(events)] if self.sees_kernels else events

        def export_chrome_trace(self, path: str) -> None:
            super().export_chrome_trace(path)
            if self.sees_kernels:
                trace = json.loads(Path(path).read_text())
                trace["traceEvents"] += list(_kernels_of_trace(trace["traceEvents"]))
                Path(path).write_text(json.dumps(trace))

    return Profile


def _device_events(events: Iterable[Any]) -> Iterator[Any]:
    """Yield the kernels as events, and add each to the operator that launched it, unless a graph did."""
    from torch._C._autograd import DeviceType
    from torch.autograd.profiler_util import FunctionEvent

    leaves = [event for event in events if event.name.startswith("aten::") and not event.cpu_children]
    leaves.sort(key=lambda event: event.time_range.start)
    ends = [following.time_range.start for _, following in pairwise(leaves)]
    for leaf, end in zip(leaves, [*ends, *(leaf.time_range.end for leaf in leaves[-1:])], strict=True):
        name, begin = f"kernel of {leaf.name}", leaf.time_range.start
        yield FunctionEvent(leaf.id, name, 0, begin, end, device_type=DeviceType.CUDA)
        if not leaf.kernels and REPLAY not in _names_around(leaf):
            leaf.append_kernel(name, 0, end - begin)


def _names_around(event: Any) -> Iterator[str]:
    while event := event.cpu_parent:
        yield event.name


def _kernels_of_trace(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the same kernels as entries of a Chrome trace."""
    operators = sorted(
        (entry for entry in entries if entry.get("cat") == "cpu_op"), key=lambda entry: float(entry["ts"])
    )
    for operator, following in pairwise(operators):
        begin, next_begin = float(operator["ts"]), float(following["ts"])
        if next_begin >= begin + float(operator["dur"]):  # no operator is inside it
            identity = operator["args"].get("External id")
            yield {"ph": "X", "cat": "kernel", "name": f"kernel of {operator['name']}", "pid": 0, "tid": 7,
                   "ts": begin, "dur": next_begin - begin, "args": {"External id": identity}}  # fmt: skip
