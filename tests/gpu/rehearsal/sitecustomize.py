"""A CUDA of paper: with this folder on PYTHONPATH every process believes that it has a GPU, whose work the CPU does.

It is for rehearsing the kit, so that no slip costs a run on a real device; its numbers mean nothing. Whatever names a
device of kind ``cuda`` is made on the CPU, and ``torch.cuda`` answers from a clock and figures of its own. Triton's
part is ``do_bench_of_paper.py``.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import time
import types
from typing import Any

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("CONVBENCH_DO_BENCH", "do_bench_of_paper")


class Later(importlib.abc.MetaPathFinder):
    """Changes torch once it has been imported, whoever imports it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def loaded(module: types.ModuleType) -> None:
            load(module)
            pretend(module)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def pretend(torch: Any) -> None:
    """Put a GPU of paper into a torch that has none."""
    from torch.overrides import TorchFunctionMode

    def on_cpu(value: Any) -> Any:
        if isinstance(value, torch.device) and value.type == "cuda":
            return torch.device("cpu")
        return "cpu" if isinstance(value, str) and value.startswith("cuda") else value

    class OnCpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.device:  # naming a device makes nothing on it
                return func(*args, **(kwargs or {}))
            kwargs = {name: on_cpu(value) for name, value in (kwargs or {}).items()}
            return func(*map(on_cpu, args), **kwargs)

    OnCpu().__enter__()
    for name, value in _answers(torch).items():
        setattr(torch.cuda, name, value)
    torch.cuda.memory._record_memory_history = lambda **_: None
    block = {"requested_size": 500, "size": 512, "state": "active_allocated"}
    change = {"action": "alloc", "size": 512}
    torch.cuda.memory._snapshot = lambda: {"device_traces": [[change]], "segments": [{"blocks": [block]}]}
    torch.version.cuda = "0.0"
    _profile_the_cpu(torch)


def _profile_the_cpu(torch: Any) -> None:
    import torch.profiler as profiler

    class Profile(profiler.profile):  # type: ignore[misc]
        def __init__(self, *, activities: Any = None, **more: Any) -> None:  # noqa: ARG002
            super().__init__(activities=[profiler.ProfilerActivity.CPU], **more)

    torch.profiler.profile = Profile


def _answers(torch: Any) -> dict[str, Any]:
    class Event:
        def __init__(self, **_: Any) -> None:
            self.at = 0

        def record(self, *_: Any) -> None:
            self.at = time.perf_counter_ns()

        def elapsed_time(self, other: Event) -> float:
            return max(1, other.at - self.at) * 1e-6

    properties = types.SimpleNamespace(name="paper", total_memory=8 << 30, major=9, minor=0, uuid="0" * 8)
    return {
        "Event": Event,
        "is_available": lambda: True,
        "is_initialized": lambda: False,
        "init": lambda: None,
        "device_count": lambda: 1,
        "synchronize": lambda *_: None,
        "_sleep": lambda _: None,
        "_device_count_nvml": lambda: 1,
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_capability": lambda *_: (9, 0),
        "empty_cache": lambda: None,
        "manual_seed": lambda seed: torch.manual_seed(seed),
        "memory_allocated": lambda *_: 1 << 20,
        "max_memory_allocated": lambda *_: 2 << 20,
        "max_memory_reserved": lambda *_: 4 << 20,
        "memory_reserved": lambda *_: 4 << 20,
        "reset_peak_memory_stats": lambda *_: None,
        "mem_get_info": lambda *_: (7 << 30, 8 << 30),
        "get_device_properties": lambda *_: properties,
    }


sys.meta_path.insert(0, Later())
