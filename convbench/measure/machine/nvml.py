"""Query the NVIDIA driver about a GPU; without nvidia-ml-py or a driver, the answers are None or empty."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch

KINDS = ("GPU", "MIG")
"""Prefixes of a device's name: of a whole card, and of a part of one."""
THROTTLE_REASONS = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
MODES = {
    "nvmlDeviceGetComputeMode": (
        0,
        "it admits one process at a time, and check times two: nvidia-smi --compute-mode=DEFAULT admits several",
    ),
    "nvmlDeviceGetPersistenceMode": (
        1,
        "its persistence mode is off, so each process waits for its driver: nvidia-smi --persistence-mode=1 helps",
    ),
}
"""Settings of the driver by the function that reads them: the value that does not hinder, and what any other means."""


def rules_out_a_gpu() -> bool:
    """Whether torch has no GPU here, found without asking CUDA: children of a process that did could not use a GPU.

    NVML tells nothing about a part of a card (MIG), or without permission. Then there may be a GPU if there is a
    driver.
    """
    if not torch.version.cuda:
        return True
    count = torch.cuda._device_count_nvml()
    return count == 0 or (count < 0 and not has_driver())


def has_driver() -> bool:
    """Whether CUDA's driver is installed."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _handle(device: torch.device) -> tuple[Any, Any] | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
    except Exception:
        return None
    for kind in KINDS:
        with suppress(pynvml.NVMLError):
            return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}".encode())
    return None


def hindrances(device: torch.device) -> list[str]:
    """Explain which settings of the driver hinder measurements, and how to change them."""
    binding = _handle(device)
    if binding is None:
        return []
    nvml, handle = binding
    sentences = []
    for name, (usual, sentence) in MODES.items():
        with suppress(nvml.NVMLError):  # a part of a card (MIG) has no modes of its own
            sentences += [sentence] if getattr(nvml, name)(handle) != usual else []
    return sentences


def state(device: torch.device) -> dict[str, str | int]:
    """Clocks (MHz), temperature (C), power limit (mW) and throttle reasons at this moment."""
    binding = _handle(device)
    if binding is None:
        return {}
    nvml, handle = binding
    queries: dict[str, Callable[[], str | int]] = {
        "sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "power_limit_mw": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle),
        "throttle_reasons": lambda: _reasons(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
    }
    answers: dict[str, str | int] = {}
    for name, query in queries.items():
        with suppress(nvml.NVMLError):
            answers[name] = query()
    return answers


def driver_version(device: torch.device) -> str | None:
    """The NVIDIA driver's version; None if it cannot be read."""
    binding = _handle(device)
    return None if binding is None else str(binding[0].nvmlSystemGetDriverVersion())


def process_bytes(device: torch.device) -> dict[int, int | None]:
    """Bytes of the device's memory by the id of the process that uses them, as nvidia-smi shows them.

    A container's processes have other ids outside of it. A value is None if the driver does not report it, as for a
    part of a card (MIG).
    """
    binding = _handle(device)
    if binding is None:
        return {}
    nvml, handle = binding
    with suppress(nvml.NVMLError):
        return {process.pid: process.usedGpuMemory for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    return {}


def _reasons(mask: int) -> str:
    return ", ".join(name for bit, name in THROTTLE_REASONS.items() if mask & bit)
