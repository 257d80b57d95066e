"""A simulated CUDA: with this folder on PYTHONPATH every process believes that it has a GPU, whose work the CPU does.

It is for rehearsing the kit, so that no slip costs a run on a real device; its times mean nothing. ``torch.cuda``
answers from a clock and figures of its own. Beside this file are the parts of triton (``do_bench_of_paper.py``), of the
profiler (``profiler_of_paper.py``), of CUDA graphs (``graphs_of_paper.py``) and of the driver (``pynvml_of_paper.py``).

There are two ways. By default, everything on a device of kind ``cuda`` is made on the CPU, which needs no compiler. If
CONVBENCH_PAPER names the library that ``rehearse.py`` builds of ``device.cpp``, tensors are on ``cuda`` and have memory
there: mixing them with a CPU's fails as it does on a GPU, and so does CUDA in the child of a process that has asked it.
CONVBENCH_PAPER_GONE names a file with CUDA's error message: from when it exists, CUDA does not start.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import os
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs_of_paper
from profiler_of_paper import profile_class

LIBRARY = os.environ.get("CONVBENCH_PAPER")
PROPERTIES = types.SimpleNamespace(name="paper", total_memory=8 << 30, major=9, minor=0, uuid="0" * 8)
if not LIBRARY:
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
            if LIBRARY:
                ctypes.CDLL(LIBRARY)  # before torch asks whether there is a GPU
            load(module)
            pretend(module)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


class Triton(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes triton seem to be installed, until something imports it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        return importlib.machinery.ModuleSpec(name, self) if name == "triton" else None

    def exec_module(self, module: types.ModuleType) -> None:
        raise ModuleNotFoundError(f"No module named {module.__name__!r}", name=module.__name__)


def pretend(torch: Any) -> None:
    """Put a simulated GPU into a torch that has none."""
    answers = _answers(torch) | (_answers_of_device(torch) if LIBRARY else {})
    for name, value in answers.items():
        for module in (torch.cuda, torch.cuda.memory, torch.cuda.random):
            if module is torch.cuda or hasattr(module, name):
                setattr(module, name, value)
    torch.version.cuda = "0.0"
    torch.profiler.profile = profile_class(torch.profiler)
    if LIBRARY:
        torch.backends.cudnn.is_acceptable = lambda _: False
        _compile_without_code(torch)
    else:
        _compute_on_the_cpu(torch)


def _compute_on_the_cpu(torch: Any) -> None:
    """Make everything on the CPU that names a device of kind ``cuda``."""
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


def _compile_without_code(torch: Any) -> None:
    """Let ``torch.compile`` trace and differentiate graphs, but run their operators one by one: there is no triton."""
    compile_model = torch.compile

    def traced(model: Any = None, *, backend: Any = None, mode: Any = None, **more: Any) -> Any:
        return compile_model(model, backend=backend or graphs_of_paper.backend(mode), **more)

    torch.compile = traced


def _answers(torch: Any) -> dict[str, Any]:
    class Event:
        def __init__(self, **_: Any) -> None:
            self.at = 0

        def record(self, *_: Any) -> None:
            self.at = time.perf_counter_ns()

        def elapsed_time(self, other: Event) -> float:
            return max(1, other.at - self.at) * 1e-6

    block = {"requested_size": 500, "size": 512, "state": "active_allocated"}
    change = {"action": "alloc", "size": 512}
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
        "manual_seed": lambda seed: torch.default_generator.manual_seed(seed),
        "memory_allocated": lambda *_: 1 << 20,
        "max_memory_allocated": lambda *_: 2 << 20,
        "max_memory_reserved": lambda *_: 4 << 20,
        "memory_reserved": lambda *_: 4 << 20,
        "reset_peak_memory_stats": lambda *_: None,
        "get_allocator_backend": lambda: "native",
        "memory_snapshot": lambda *_: [graphs_of_paper.SEGMENT] * len(graphs_of_paper.RECORDED),
        "mem_get_info": lambda *_: (7 << 30, 8 << 30),
        "get_device_properties": lambda *_: PROPERTIES,
        "_record_memory_history": lambda *_, **__: None,
        "_snapshot": lambda *_: {"device_traces": [[change]], "segments": [{"blocks": [block]}]},
    }


def _answers_of_device(torch: Any) -> dict[str, Any]:
    """The answers that the device gives: its memory, the current one, and which process has asked CUDA first."""
    paper, asked = torch.ops.paper, {"first": 0, "initialized": 0}
    gone = Path(os.environ.get("CONVBENCH_PAPER_GONE", os.devnull))

    def ask(*_: Any) -> None:
        if gone.is_file():
            has_begun = asked["initialized"] == os.getpid()
            raise RuntimeError("CUDA error: unspecified launch failure" if has_begun else gone.read_text())
        if _is_in_bad_fork():
            raise RuntimeError(
                "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must use the "
                "'spawn' start method"
            )
        asked["first"] = asked["initialized"] = os.getpid()

    def _is_in_bad_fork() -> bool:
        return asked["first"] not in (0, os.getpid())

    def is_available() -> bool:  # counting devices spoils the children, as it does with CUDA
        asked["first"] = asked["first"] or os.getpid()
        return not gone.is_file()

    def after(answer: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            ask()
            return answer(*args, **kwargs)

        return call

    stream = types.SimpleNamespace(synchronize=lambda: None)
    return {
        "_lazy_init": ask,  # the others are functions of their own: torch's compiler refuses one under two names
        "init": after(lambda: None),
        "is_available": is_available,
        "is_initialized": lambda: asked["initialized"] == os.getpid(),
        "_is_in_bad_fork": _is_in_bad_fork,
        "device_count": lambda: 2,
        "_device_count_nvml": lambda: 2,
        "current_device": after(lambda: paper.exchange(-1)),
        "set_device": after(lambda device: paper.exchange(torch.device(device).index or 0)),
        "_exchange_device": after(lambda index: paper.exchange(index)),
        "_maybe_exchange_device": after(lambda index: paper.exchange(index)),
        "current_stream": after(lambda *_: stream),
        "synchronize": after(lambda *_: None),
        "get_device_properties": after(lambda *_: PROPERTIES),
        "manual_seed_all": lambda _: None,
        "get_rng_state": after(lambda *_: torch.zeros(16, dtype=torch.uint8)),
        "set_rng_state": after(lambda *_: None),
        "memory_allocated": after(lambda *_: paper.bytes(0)),
        "max_memory_allocated": after(lambda *_: paper.bytes(1)),
        "memory_reserved": after(lambda *_: paper.bytes(2)),
        "max_memory_reserved": after(lambda *_: paper.bytes(3)),
        "reset_peak_memory_stats": after(lambda *_: paper.reset()),
        "empty_cache": after(lambda: paper.give_back()),
    }


sys.meta_path[:0] = [Later(), Triton()]
