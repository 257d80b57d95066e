"""What the NVIDIA driver tells, by a driver of paper: a card, a part of one, and one that keeps something to itself."""

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
    """A driver of one device of that name, whose processes use so many bytes; None where it does not say."""

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
def test_a_card_and_a_part_of_one_are_asked_by_their_names(monkeypatch, kind):
    driver(monkeypatch, f"{kind}-12ab", {7: 650 << 20, 8: 1 << 20})
    assert nvml.driver_version(CUDA) == "580.1"
    assert nvml.process_bytes(CUDA, 7) == 650 << 20
    assert nvml.foreign_processes(CUDA, 7) == (8,)
    assert nvml.state(CUDA) == {
        "power_limit_mw": 700_000,
        "throttle_reasons": "software power cap, software thermal slowdown",
    }


def test_memory_that_the_driver_keeps_to_itself_is_none_and_not_nothing(monkeypatch):
    driver(monkeypatch, "GPU-12ab", {7: None})
    assert nvml.process_bytes(CUDA, 7) is None
    assert nvml.process_bytes(CUDA, 9) is None
    assert nvml.foreign_processes(CUDA, 9) == (7,)


def test_another_card_s_driver_tells_nothing(monkeypatch):
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
def test_where_nvml_does_not_tell_there_may_be_a_gpu(monkeypatch, cuda, count, has_driver, without):
    """As where CUDA_VISIBLE_DEVICES names a part of a card: the compiler is then each case's own to import."""
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: count)
    monkeypatch.setattr(nvml, "_has_driver", lambda: has_driver)
    assert nvml.rules_out_a_gpu() is without
