"""The driver's library on the simulated GPU. CONVBENCH_PAPER_DRIVER, an object of JSON, says how it misbehaves.

``answers`` are the results of functions by name, ``refuses`` names those that raise, and ``others`` are processes that
compute on the device beside this one.
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

BEHAVIOUR = json.loads(os.environ.get("CONVBENCH_PAPER_DRIVER", "{}"))
CONTEXT = 650 << 20
"""Bytes that a process's context takes."""
NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
ANSWERS: dict[str, Any] = {
    "nvmlInit": None, "nvmlSystemGetDriverVersion": "0.0", "nvmlDeviceGetHandleByUUID": "paper",
    "nvmlDeviceGetClockInfo": 1980, "nvmlDeviceGetTemperature": 40, "nvmlDeviceGetEnforcedPowerLimit": 700_000,
    "nvmlDeviceGetCurrentClocksThrottleReasons": 0, "nvmlDeviceGetComputeMode": 0, "nvmlDeviceGetPersistenceMode": 1,
}  # fmt: skip


class NVMLError(Exception):
    """The driver refuses to answer."""


def nvmlDeviceGetComputeRunningProcesses(_handle: Any) -> list[SimpleNamespace]:
    import torch

    _refuse("nvmlDeviceGetComputeRunningProcesses")
    sizes = dict.fromkeys(BEHAVIOUR.get("others", []), 1 << 30)
    if torch.cuda.is_initialized():
        sizes[os.getpid()] = CONTEXT + torch.cuda.memory_reserved()
    return [SimpleNamespace(pid=process, usedGpuMemory=size) for process, size in sizes.items()]


def _refuse(name: str) -> None:
    if name in BEHAVIOUR.get("refuses", []):
        raise NVMLError(name)


def __getattr__(name: str) -> Any:
    """Return a function of the driver that gives one answer."""
    if name not in ANSWERS:
        raise AttributeError(name)

    def answer(*_: Any) -> Any:
        _refuse(name)
        return BEHAVIOUR.get("answers", {}).get(name, ANSWERS[name])

    return answer
