"""Check what this machine can measure and what it cannot, for ``convbench doctor``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from convbench.core import git, installed
from convbench.core.errors import Unavailable, typed_line
from convbench.core.grouping import grouped
from convbench.core.registry import SHELVES, executors, variants
from convbench.core.scales import gib
from convbench.core.text import counted
from convbench.core.traits import ExecutorTraits, missing_modules, of_variant
from convbench.measure.machine import cgroup, environment, malloc, nvml
from convbench.measure.machine.malloc import PACKAGES, preload
from convbench.measure.machine.toolchain import compiler_version, missing_gpu_tool, missing_tool, switched_off
from convbench.models.runtimes.quiet import quiet

PROVEN = ("NVIDIA H200",)
"""Cards on which ``make gpu`` was run and its summary committed (``reports/gpu``)."""


@dataclass(frozen=True, slots=True)
class Examination:
    """One check: its name, whether it passed, and what follows."""

    name: str
    is_good: bool
    message: str


def examine() -> Iterator[Examination]:
    """Yield every check, in the order in which a person would ask."""
    facts = environment.describe("cpu")
    yield Examination("machine", True, f"{facts['cpu']}, {counted(facts['cores'], 'core')}, {facts['os']}")
    yield Examination(
        "torch", True, f"{facts['torch']} on Python {facts['python']}, {counted(facts['threads'], 'thread')}"
    )
    yield _gpu()
    yield from _gpu_settings()
    yield _compiler()
    yield _allocator_in_use()
    yield from _allocators()
    yield _peak_rss()
    yield _load()
    yield from _niceness()
    yield from _container()
    yield from _git()
    yield from _extras()
    yield from _runtimes()
    yield from _plugins()


def _gpu() -> Examination:
    if not torch.cuda.is_available():
        return Examination("gpu", False, f"none to measure on: {environment.why_no_gpu()}")
    facts = environment.describe("cuda")
    driver = facts["driver"] or "not readable without [gpu]"
    proof = "proven on this card" if facts["gpu"] in PROVEN else f"proven on {', '.join(PROVEN)} only"
    return Examination("gpu", True, f"{facts['gpu']}, driver {driver}; convbench's GPU figures are {proof} (make gpu)")


def _gpu_settings() -> Iterator[Examination]:
    """Report what hinders measurements on the GPU, and what torch.compile lacks to build for it."""
    if torch.cuda.is_available():
        for sentence in nvml.hindrances(torch.device("cuda")):
            yield Examination("gpu", False, sentence)
        if reason := missing_gpu_tool():
            yield Examination("gpu compiler", False, reason)


def _compiler() -> Examination:
    if reason := switched_off() or missing_tool():
        return Examination("compiler", False, reason)
    compiler = compiler_version() or "a C++ compiler"
    return Examination("compiler", True, f"torch.compile can build for the CPU with {compiler}")


def _allocator_in_use() -> Examination:
    malloc.hold()
    name = environment.allocator()
    if name == "glibc":
        return Examination(
            "allocator",
            True,
            "glibc, with fixed thresholds in every measuring process: each call maps feature maps of 4 MiB and more "
            "anew, so page faults can take most of eager's time; compare with the variant allocator",
        )
    return Examination("allocator", True, name)


def _allocators() -> Iterator[Examination]:
    for name in PACKAGES:
        try:
            library = preload(malloc=name)["LD_PRELOAD"]  # type: ignore[arg-type]
            yield Examination(name, True, f"variant allocator(malloc={name}) uses {library}")
        except Unavailable as error:
            yield Examination(name, False, str(error))


def _peak_rss() -> Examination:
    is_usable = sys.platform == "linux" and Path("/proc/self/clear_refs").exists()
    message = "measured per call" if is_usable else "/proc/self/clear_refs is missing: not measured"
    return Examination("peak rss", is_usable, message)


def _load() -> Examination:
    load, cores = psutil.getloadavg()[0], cgroup.available_cores()
    is_quiet = load < 0.5 * cores
    message = "quiet" if is_quiet else "other processes are busy: intervals will be wide; run again when it is quiet"
    return Examination("load", is_quiet, f"{load:.2f} on {counted(cores, 'core')}: {message}")


def _niceness() -> Iterator[Examination]:
    """Report a positive niceness: other processes run before this one and all that it measures."""
    niceness = psutil.Process().nice()
    if niceness > 0:
        message = f"{niceness}: other processes run first, and waiting for a core is not timed; start it without nice"
        yield Examination("niceness", False, message)


def _container() -> Iterator[Examination]:
    """Report a container's limits, which the kernel enforces by pausing a process or by killing it."""
    quota, limit = cgroup.cpu_quota(), cgroup.memory_limit()
    if quota is not None:
        yield Examination(
            "cpu quota",
            quota.is_integer(),
            f"{quota:g} processors' worth of time in each period: a case that has used up its share waits for the "
            "next period, which widens intervals; a whole number of processors, pinned to cores, measures best",
        )
    if limit is not None:
        yield Examination("memory limit", True, f"{gib(limit)}, which `fits` and `run` respect")
    if cgroup.kills_whole_group():
        yield Examination(
            "out of memory",
            False,
            "the kernel kills the command together with a case that exceeds the memory (memory.oom.group is 1, as "
            "Kubernetes sets it): `run --resume` continues; the kubelet's singleProcessOOMKill turns it off",
        )


def _git() -> Iterator[Examination]:
    if refusal := git.refusal(Path()):
        yield Examination("git", False, f"{refusal}; runs are kept without their commit, and check has no base here")


def _extras() -> Iterator[Examination]:
    """Check the extras that convbench itself uses, and those that executors declare."""
    declarations = ((plugin.name, plugin.declaration) for plugin in executors)
    of_executors = [
        (traits.modules, traits.extra, f"the executor {name}")
        for name, traits in declarations
        if isinstance(traits, ExecutorTraits) and traits.extra
    ]
    for modules, extra, use in (
        (["pynvml"], "gpu", "GPU clocks, throttle reasons and process memory"),
        (["torch_tb_profiler"], "tensorboard", "traces in TensorBoard"),
        (["pytest_benchmark"], "pytest", "benchmarks in pytest"),
        (["av"], "video", "video tasks"),
        (["s3fs"], "remote", "push and pull to s3://"),
        *of_executors,
    ):
        is_there = not missing_modules(modules)
        yield Examination(f"[{extra}]", is_there, use if is_there else f"pip install 'convbench[{extra}]' for {use}")


def _runtimes() -> Iterator[Examination]:
    """Check every extra that variants declare: which variants need it, and the installed versions."""
    for extra, names in _variants_of_extras().items():
        variant_traits = [of_variant(name) for name in names]
        is_needed = all(traits.modules for traits in variant_traits)
        modules = dict.fromkeys(module for traits in variant_traits for module in (traits.modules or traits.packages))
        missing_names = missing_modules(modules)
        purpose = f"the variant{'s' if len(names) > 1 else ''} {' and '.join(names)}"
        purpose = purpose if is_needed else f"some options of {purpose}"
        fault = None if missing_names else _import_error(modules)
        if missing_names:
            message = f"pip install 'convbench[{extra}]' for {purpose}; missing: {', '.join(missing_names)}"
        elif fault:
            message = f"{purpose} cannot run: {fault}"
        else:
            versions = ", ".join(f"{name} {environment.package_version(name) or 'installed'}" for name in modules)
            message = f"{purpose}: {versions}"
        yield Examination(f"[{extra}]", not (missing_names or fault), message)


def _import_error(modules: Iterable[str]) -> str | None:
    """Explain why one of these installed modules cannot be imported, such as a missing library; None if all can."""
    for name in modules:
        try:
            with quiet():
                importlib.import_module(name)
        except Exception as error:
            return f"{name} is installed but cannot be imported ({typed_line(error)[:200]}): reinstall it"
    return None


def _variants_of_extras() -> dict[str, list[str]]:
    names_by_extra = grouped((plugin.name for plugin in variants), lambda name: of_variant(name).extra)
    return {extra: names for extra, names in names_by_extra.items() if extra}


def _plugins() -> Iterator[Examination]:
    for shelf in SHELVES:
        list(shelf)
    for package in installed.missing_plugins():
        yield Examination("plug-ins", False, package.sentence)
