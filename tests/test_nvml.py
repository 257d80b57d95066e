"""Test readings of a fake NVIDIA driver: of a GPU, of a part of a GPU, and with values that the driver withholds."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from convbench.measure.machine import nvml

CUDA = torch.device("cuda")


class NVMLError(Exception):
    pass


def driver(monkeypatch: pytest.MonkeyPatch, name: str, memory: dict[int, int | None]) -> None:
    """Install a fake driver with one device; ``memory`` has the bytes of its processes, None if it withholds them."""

    def handle(asked: bytes) -> str:
        if asked.decode() != name:
            raise NVMLError("not found")
        return name

    def processes(_handle: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in memory.items()]

    def refused(*_: object) -> None:
        raise NVMLError("not supported")

    module = ModuleType("pynvml")
    told = {"nvmlInit": lambda: None, "nvmlDeviceGetHandleByUUID": handle, "NVMLError": NVMLError,
            "nvmlDeviceGetComputeRunningProcesses": processes, "nvmlSystemGetDriverVersion": lambda: "580.1",
            "nvmlDeviceGetClockInfo": refused, "nvmlDeviceGetTemperature": refused, "NVML_CLOCK_SM": 1,
            "NVML_CLOCK_MEM": 2, "NVML_TEMPERATURE_GPU": 0, "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700_000,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: 0x4 | 0x20}  # fmt: skip
    vars(module).update(told)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="12ab"))


@pytest.mark.parametrize("kind", ["GPU", "MIG"])
def test_a_gpu_and_a_mig_part_are_found_by_name(monkeypatch, kind):
    driver(monkeypatch, f"{kind}-12ab", {7: 650 << 20, 8: 1 << 20})
    assert nvml.driver_version(CUDA) == "580.1"
    assert nvml.process_bytes(CUDA, 7) == 650 << 20
    assert nvml.foreign_processes(CUDA, 7) == (8,)
    assert nvml.state(CUDA) == {
        "power_limit_mw": 700_000,
        "throttle_reasons": "software power cap, software thermal slowdown",
    }


def test_memory_that_the_driver_withholds_is_none_not_zero(monkeypatch):
    driver(monkeypatch, "GPU-12ab", {7: None})
    assert nvml.process_bytes(CUDA, 7) is None
    assert nvml.process_bytes(CUDA, 9) is None
    assert nvml.foreign_processes(CUDA, 9) == (7,)


def test_the_driver_of_another_gpu_gives_no_readings(monkeypatch):
    driver(monkeypatch, "GPU-other", {7: 1})
    assert nvml.driver_version(CUDA) is None
    assert nvml.state(CUDA) == {}
    assert nvml.process_bytes(CUDA, 7) is None


@pytest.mark.parametrize(("cuda", "count", "has_driver", "without"), [
    (None, 0, True, True),
    ("13.0", 0, True, True),
    ("13.0", 1, True, False),
    ("13.0", -1, True, False),
    ("13.0", -1, False, True),
])  # fmt: skip
def test_without_an_answer_from_nvml_there_may_be_a_gpu(monkeypatch, cuda, count, has_driver, without):
    """One reason is a CUDA_VISIBLE_DEVICES that names a part of a GPU. Each case then imports the compiler itself."""
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: count)
    monkeypatch.setattr(nvml, "_has_driver", lambda: has_driver)
    assert nvml.rules_out_a_gpu() is without
