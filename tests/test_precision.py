"""The precision of float32 is reported correctly whichever of torch's switches set it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convbench import suite
from convbench.core import traits
from convbench.core.comparability import fingerprint
from convbench.measure.live import count as live
from convbench.measure.machine import doctor, environment, precision
from convbench.models.inputs import Inputs

NEWER = pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has no newer switches")


@pytest.fixture
def set_to() -> Iterator[Callable[[Any, str], None]]:
    """Yield a function that sets a newer switch until the end of the test."""
    before: list[tuple[Any, str]] = []

    def put(switch: Any, word: str) -> None:
        before.append((switch, switch.fp32_precision))
        switch.fp32_precision = word

    yield put
    for switch, word in before:
        switch.fp32_precision = word


@NEWER
def test_a_module_is_counted_whichever_switch_sets_tf32(set_to) -> None:
    set_to(torch.backends.cudnn.conv, "ieee")
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        assert torch.backends.cudnn.allow_tf32
    assert live.count(nn.LSTM(3, 4), Inputs((torch.zeros(5, 1, 3),))).macs == 5 * 4 * 4 * (3 + 4)


def test_counting_gives_no_warnings_and_keeps_fused_operators_enabled() -> None:
    before = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled
    with warnings.catch_warnings(action="error"):
        live.count(nn.LSTM(3, 4), Inputs((torch.zeros(5, 1, 3),)))
    assert (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled) == before


@NEWER
def test_cudnn_counts_as_tf32_if_any_operator_may_use_it(set_to) -> None:
    assert precision.tf32_in_cudnn()
    set_to(torch.backends.cudnn.conv, "ieee")
    assert precision.tf32_in_cudnn()
    assert precision.tf32("cuda") and not precision.tf32("cpu")
    set_to(torch.backends.cudnn.rnn, "ieee")
    assert not precision.tf32_in_cudnn()
    assert not precision.tf32("cuda")


@NEWER
def test_matmul_precision_is_recorded_whichever_switch_sets_it(set_to) -> None:
    assert environment.describe("cpu")["matmul_precision"] == torch.get_float32_matmul_precision() == "highest"
    set_to(torch.backends.cuda.matmul, "tf32")
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        torch.get_float32_matmul_precision()
    assert precision.products("cuda:1") == "tf32"
    assert environment.describe("cpu")["matmul_precision"] in precision.EXACT


def test_variables_that_limit_instruction_sets_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run under them passed for one of the same machine, and was stated at the speed of the others."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert environment.describe("cpu")["ONEDNN_MAX_CPU_ISA"] == "SSE41"


def test_the_compiler_is_a_fact_of_a_run_that_it_builds_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies of compiled cases passed for comparable after an upgrade of the compiler."""
    compiler = tmp_path / "c++"
    monkeypatch.setenv("CXX", str(compiler))
    cases = [suite.load("smoke", [f"variant={variant}"]).cases[0] for variant in ("compile", "aot-inductor")]
    monkeypatch.setattr(doctor, "missing_tool", lambda: None)
    fingerprints = set()
    for version in ("c++ (Vendor) 12.2", "c++ (Vendor) 13.1"):
        compiler.write_text(f"#!/bin/sh\necho '{version}'\necho 'a licence'\n")
        compiler.chmod(0o755)
        facts = environment.describe("cpu", traits.packages(cases))
        assert facts["compiler"] == version
        assert doctor._compiler().message == f"torch.compile can build for the CPU with {version}"
        fingerprints.add(fingerprint(facts))
    assert len(fingerprints) == 2
    compiler.unlink()
    assert environment.describe("cpu", traits.packages(cases))["compiler"] is None
    assert "compiler" not in environment.describe("cpu", traits.packages([cases[0].eager]))


@pytest.mark.parametrize("name", ["OMP_PLACES", "GOMP_CPU_AFFINITY", "OMP_THREAD_LIMIT"])
def test_variables_that_place_or_limit_threads_are_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With OMP_THREAD_LIMIT=1, a case of two threads runs on one, and torch says two."""
    monkeypatch.setenv(name, "1")
    assert environment.describe("cpu")[name] == "1"


def test_libraries_loaded_first_are_recorded_without_their_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with another OpenMP passed for one of the same machine. Only an allocator was noticed."""
    monkeypatch.setenv("LD_PRELOAD", "/home/jo/lib/libiomp5.so:/usr/lib/libjemalloc.so.2 ")
    assert environment.describe("cpu")["LD_PRELOAD"] == "libiomp5.so libjemalloc.so.2"
    monkeypatch.setenv("LD_PRELOAD", "")
    assert "LD_PRELOAD" not in environment.describe("cpu")
