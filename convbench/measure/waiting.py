"""Measure how much of this process's time other processes and other virtual machines take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from convbench.core.findings import BUSY_MACHINE
from convbench.core.record import Finding, Scalar
from convbench.core.system.affinity import allowed_cores
from convbench.core.visits import WAITING_TOGETHER
from convbench.measure.machine import cgroup


@dataclass(frozen=True, slots=True)
class Waiting:
    """The time that others have taken from this process so far, as the scheduler counts it, in seconds.

    ``run_delay`` is how long its threads were ready while another process had their core, ``steal`` how long the host
    of a virtual machine took the cores that it may run on, ``pause`` how long a container's quota kept its processes
    from running, which is part of ``run_delay``. All are 0 if the system does not report them. ``clock`` is the time of
    this reading.
    """

    run_delay: float
    steal: float
    pause: float
    clock: float

    @classmethod
    def now(cls) -> Waiting:
        return cls(_ready_seconds(), _stolen_seconds(), cgroup.paused_seconds(), time.perf_counter())

    def shares(self, later: Waiting) -> tuple[float, float, float]:
        """(ready, stolen, pause) from this reading until ``later``, as shares of the time between."""
        duration = max(later.clock - self.clock, 1e-9)
        ready, stolen, pause = (
            max(0.0, getattr(later, name) - getattr(self, name)) / duration for name in ("run_delay", "steal", "pause")
        )
        return ready, stolen, pause


def busy_machine(run_delay: float, pause: float) -> Iterator[Finding]:
    """Report that other work took cores from the threads, which wait for each other at every operator.

    If there are more threads than cores, the number of cores is noted: the threads take them from each other. If the
    pauses that a container's quota made would suffice to disturb the visit, the quota is noted.
    """
    threads, cores = torch.get_num_threads(), cgroup.available_cores()
    if run_delay > WAITING_TOGETHER and threads > 1:
        reason: dict[str, Scalar] = {"cores": cores} if cores < threads else {}
        if not reason and pause > WAITING_TOGETHER and (quota := cgroup.cpu_quota()):
            reason = {"quota": quota}
        yield Finding(BUSY_MACHINE, data={"waited": run_delay, "threads": threads, **reason})


def _ready_seconds() -> float:
    total = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError):
            total += int(thread.read_text().split()[1])
    return total * 1e-9


def _stolen_seconds() -> float:
    """Stolen seconds, averaged over the cores that this process may run on."""
    times = psutil.cpu_times(percpu=True)
    steal_times = [getattr(times[core], "steal", 0.0) for core in allowed_cores() if core < len(times)]
    return sum(steal_times) / max(1, len(steal_times))
