"""The machine and the software that a number belongs to.

No host name, user name or path is recorded: reports are shared.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch

from convbench.core import git
from convbench.core.errors import ConvbenchError, Unavailable, line_of, typed_line
from convbench.core.package import __version__
from convbench.core.record import Scalar
from convbench.core.text import counted
from convbench.core.traits import COMPILER
from convbench.measure.machine import cgroup, malloc, nvml, precision
from convbench.measure.machine.toolchain import compiler_version

VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "OMP_PROC_BIND", "OMP_PLACES",
    "OMP_DYNAMIC", "OMP_THREAD_LIMIT", "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT", "KMP_AFFINITY", "MALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR",
    "NVIDIA_TF32_OVERRIDE", "TORCHINDUCTOR_MAX_AUTOTUNE", "TORCHINDUCTOR_FREEZING", "TORCHINDUCTOR_CPP_WRAPPER",
)  # fmt: skip
"""Environment variables that are recorded if they are set, because they change measured times.

They control threads, allocators, instruction sets, number types and torch's compiler.
"""

HIDDEN = "No CUDA GPUs are available"
"""torch's error message if the driver works and shows it no GPU."""


def describe(device: str, packages: Sequence[str] = ()) -> dict[str, Scalar]:
    """The machine, the versions and the settings that hold for a whole run, as plain names and values.

    ``packages`` are distributions whose versions matter beside torch's: those of the runtimes that variants use. The
    name ``COMPILER`` among them stands for the C++ compiler, which matters on a CPU.
    ``device`` ``auto`` is the GPU if there is one. Raises ConvbenchError for a device that this machine lacks.
    """
    is_auto, device = device == "auto", _resolve(device)
    facts: dict[str, Scalar] = {
        "device": device,
        "cpu": _cpu_model(),
        "cores": cgroup.available_cores(),
        "memory_bytes": min(_memory().total, cgroup.memory_limit() or sys.maxsize),
        "os": platform.platform(aliased=True, terse=True),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": package_version("numpy"),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "allocator": allocator(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "convbench": __version__,
    }
    facts |= {name: os.environ[name] for name in VARIABLES if name in os.environ} | _preloads()
    facts |= {name: package_version(name) for name in packages if name != COMPILER}
    facts |= {COMPILER: compiler_version()} if COMPILER in packages and device == "cpu" else {}
    facts |= {
        "matmul_precision": precision.products(device),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if (quota := cgroup.cpu_quota()) is not None:
        facts |= {"cpu_quota": quota}
    if torch.device(device).type == "cuda":
        facts |= _cuda(torch.device(device))
    elif is_auto and nvml.has_driver():
        facts["gpu_unused"] = why_no_gpu()
    return facts | _commit()


def conditions(device: str) -> dict[str, Scalar]:
    """The state of this process and machine at this moment, which may differ from case to case."""
    state: dict[str, Scalar] = {
        "threads": torch.get_num_threads(),
        "allocator": allocator(),
        "load_average": psutil.getloadavg()[0],
        "steal_s": getattr(psutil.cpu_times(), "steal", None),
        "involuntary_switches": psutil.Process().num_ctx_switches().involuntary,
        "l2": "warm",
    }
    return state | (nvml.state(torch.device(device)) if torch.device(device).type == "cuda" else {})


def allocator() -> str:
    """The C allocator of this process: jemalloc, tcmalloc, or glibc with its settings (``malloc.name``)."""
    files = malloc.mapped_files()
    if not files:
        return platform.libc_ver()[0] or sys.platform
    for library in ("jemalloc", "tcmalloc"):
        if f"lib{library}" in files:
            return library
    return malloc.name()


def available_bytes(facts: Mapping[str, Scalar]) -> int:
    """Bytes that a model may take: the GPU's memory, or the memory that this machine or its container has free."""
    if "gpu_memory_bytes" in facts:
        return int(facts["gpu_memory_bytes"] or 0)
    return available_memory()


def available_memory() -> int:
    """Bytes that this machine or its container has free."""
    machine_free, group_free = int(_memory().available), cgroup.memory_free()
    return machine_free if group_free is None else min(machine_free, group_free)


def _memory() -> Any:
    """The machine's memory as psutil reads it. Raises ConvbenchError if ``/proc`` is not mounted, or masked."""
    remedy = "mount /proc, whose counters tell what disturbs a measurement"
    try:
        psutil.cpu_times()
        return psutil.virtual_memory()
    except OSError as error:
        raise ConvbenchError(f"{error.filename}: cannot be read ({error.strerror}): {remedy}") from error
    except (LookupError, TypeError, ValueError) as error:  # a container's mask over a file reads as empty
        raise ConvbenchError(f"/proc/meminfo or /proc/stat is incomplete ({typed_line(error)}): {remedy}") from error


def refuse_unknown(device: str) -> None:
    """Raise ConvbenchError if ``device`` is not the name of a device."""
    if not (isinstance(device, str) and re.fullmatch(r"auto|cpu|cuda(:\d+)?", device)):
        raise ConvbenchError(f"unknown device {device!r}: use auto, cpu, cuda or cuda:N")


def _resolve(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    refuse_unknown(device)
    if device == "cpu":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0  # the driver counts GPUs that CUDA refuses
    if (torch.device(device).index or 0) >= count:
        reason = f"torch sees {counted(count, 'CUDA device')}, numbered from 0" if count else why_no_gpu()
        raise Unavailable(f"no device {device!r} here: {reason}")
    return device


def why_no_gpu() -> str:
    """Explain why torch sees no GPU: its build, a variable that hides GPUs, or what the driver says."""
    if not torch.version.cuda:
        return f"torch {torch.__version__} is built without CUDA: install a build for CUDA"
    reason = HIDDEN
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        reason = line_of(error).rstrip(".")
    visible_devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible_devices is None or HIDDEN not in reason:
        return reason
    return f"CUDA_VISIBLE_DEVICES={visible_devices!r} hides every GPU: unset it, or name one of `nvidia-smi -L`"


def _cuda(device: torch.device) -> dict[str, Scalar]:
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "gpu_memory_bytes": properties.total_memory,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": nvml.driver_version(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32_cudnn": precision.tf32_in_cudnn(),
    }


def _preloads() -> dict[str, Scalar]:
    """The libraries that the linker loads first, such as another OpenMP or allocator, without their folders."""
    names = [Path(path).name for path in re.split("[ :]+", os.environ.get("LD_PRELOAD", "")) if path]
    return {"LD_PRELOAD": " ".join(names)} if names else {}


def _cpu_model() -> str:
    lines = (_read("/proc/cpuinfo") or "").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _commit() -> dict[str, Scalar]:
    """The commit of the git tree that the working directory is in, and whether it is dirty; empty outside of a tree."""
    top = git.top(Path())
    commit = git.commit(top, "HEAD") if top else None
    return {"commit": commit[:12], "dirty": bool(git.uncommitted(top))} if top and commit else {}


def package_version(package: str) -> str | None:
    """The version of an installed distribution; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
