"""Test readings of a fake NVIDIA driver: of a GPU, of a part of a GPU, and with values that the driver withholds."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from convbench.cli import run
from convbench.core.comparability import fingerprint
from convbench.core.errors import ConvbenchError
from convbench.core.findings import FOREIGN_PROCESS
from convbench.core.record import Finding
from convbench.measure.machine import environment, nvml
from convbench.plugins.probes import latency

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
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: 0x4 | 0x20,
            "nvmlDeviceGetComputeMode": lambda _: 3, "nvmlDeviceGetPersistenceMode": lambda _: 1}  # fmt: skip
    vars(module).update(told)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="12ab"))


@pytest.mark.parametrize("kind", ["GPU", "MIG"])
def test_a_gpu_and_a_mig_part_are_found_by_name(monkeypatch, kind):
    driver(monkeypatch, f"{kind}-12ab", {7: 650 << 20, 8: 1 << 20})
    assert nvml.driver_version(CUDA) == "580.1"
    assert nvml.process_bytes(CUDA)[7] == 650 << 20
    assert tuple(nvml.process_bytes(CUDA)) == (7, 8)
    assert nvml.state(CUDA) == {
        "power_limit_mw": 700_000,
        "throttle_reasons": "software power cap, software thermal slowdown",
    }


def test_memory_that_the_driver_withholds_is_none_not_zero(monkeypatch):
    driver(monkeypatch, "GPU-12ab", {7: None})
    assert nvml.process_bytes(CUDA) == {7: None}


def foreign_findings() -> list[Finding]:
    return [finding for finding in latency._disturbances(CUDA) if finding.code == FOREIGN_PROCESS]


@pytest.mark.parametrize(("processes", "said"), [
    ((7, 8), [("7", "8")]),
    ((8,), [("8",)]),
    ((), []),
])  # fmt: skip
def test_other_processes_on_the_gpu_are_reported(monkeypatch, processes, said):
    driver(monkeypatch, "GPU-12ab", dict.fromkeys((os.getpid(), *processes), 1))
    assert [finding.data["pids"] for finding in foreign_findings()] == said


@pytest.mark.parametrize(("processes", "said"), [((7,), []), ((7, 8), [("1 of 7, 8",)])])
def test_this_process_is_no_other_process_of_a_container(monkeypatch, processes, said):
    """There the driver names processes by their ids outside, and each case had a warning about its own process."""
    driver(monkeypatch, "GPU-12ab", dict.fromkeys(processes, 1))
    assert [finding.data["pids"] for finding in foreign_findings()] == said


def test_settings_of_the_driver_that_hinder_are_named(monkeypatch):
    driver(monkeypatch, "GPU-12ab", {})
    assert nvml.hindrances(CUDA) == [nvml.MODES["nvmlDeviceGetComputeMode"][1]]


def test_a_part_of_a_card_has_no_settings(monkeypatch):
    def refused(_: str) -> int:
        raise NVMLError("not supported")

    driver(monkeypatch, "MIG-12ab", {})
    for name in nvml.MODES:
        monkeypatch.setattr(sys.modules["pynvml"], name, refused)
    assert nvml.hindrances(CUDA) == []


def test_the_driver_of_another_gpu_gives_no_readings(monkeypatch):
    driver(monkeypatch, "GPU-other", {7: 1})
    assert nvml.driver_version(CUDA) is None
    assert nvml.state(CUDA) == {}
    assert nvml.hindrances(CUDA) == []
    assert nvml.process_bytes(CUDA) == {}


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
    monkeypatch.setattr(nvml, "has_driver", lambda: has_driver)
    assert nvml.rules_out_a_gpu() is without


OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver."


@pytest.mark.parametrize(("cuda", "visible", "count", "message"), [
    (None, None, 0, f"cuda' here: torch {torch.__version__} is built without CUDA: install a build for CUDA"),
    ("13.0", "", 0, "cuda' here: CUDA_VISIBLE_DEVICES='' hides every GPU: unset it, or name one of `nvidia-smi -L`"),
    ("13.1", "", 0, f"cuda' here: {OLD_DRIVER.rstrip('.')}"),
    ("13.0", "GPU-9", 0, "cuda' here: CUDA_VISIBLE_DEVICES='GPU-9' hides every GPU: unset it, or name one of"),
    ("13.0", None, 0, f"cuda' here: {environment.HIDDEN}"),
    ("13.1", None, 0, f"cuda' here: {OLD_DRIVER.rstrip('.')}"),
    ("13.1", None, 1, f"cuda:1' here: {OLD_DRIVER.rstrip('.')}"),
    ("13.0", "0,1", 2, "cuda:2' here: torch sees 2 CUDA devices, numbered from 0"),
])  # fmt: skip
def test_a_missing_gpu_is_explained(monkeypatch, cuda, visible, count, message):
    """The message was "torch sees 0 CUDA devices", whatever the reason. torch counts those that the driver has."""

    def refused() -> None:
        raise RuntimeError(OLD_DRIVER if cuda == "13.1" else f"{environment.HIDDEN}.")

    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0 and cuda != "13.1")
    monkeypatch.setattr(torch.cuda, "init", refused)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ConvbenchError) as refusal:
        environment.describe(f"cuda:{count}" if count else "cuda")
    assert str(refusal.value).startswith(f"no device '{message}")


def test_a_gpu_that_torch_cannot_use_is_noted_and_does_not_decide(monkeypatch):
    """With a driver that is too old, auto measured on the CPU, and nothing said so."""
    monkeypatch.setattr(nvml, "has_driver", lambda: True)
    facts = environment.describe("auto")
    assert (facts["device"], facts["gpu_unused"]) == ("cpu", environment.why_no_gpu())
    assert fingerprint(facts) == fingerprint(environment.describe("cpu"))


def test_the_command_says_if_nothing_watches_the_gpu_and_why_there_is_none():
    (unused,) = run._gpu_sentences({"gpu_unused": OLD_DRIVER})
    assert unused == f"this machine's GPU is left unused: {OLD_DRIVER}"
    (unwatched,) = run._gpu_sentences({"gpu": "NVIDIA H200", "driver": None})
    assert unwatched.startswith("the driver does not tell about throttling")
    assert not [*run._gpu_sentences({"gpu": "NVIDIA H200", "driver": "580.1"}), *run._gpu_sentences({"cpu": "Xeon"})]
