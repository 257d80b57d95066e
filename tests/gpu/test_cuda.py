"""Tests that only a GPU can run; skipped if torch sees none."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from dataclasses import replace
from statistics import median

import pytest
import torch

from convbench.core.record import Case, Choice, Clip, Parts, Protocol
from convbench.core.registry import executors
from convbench.measure import harness
from convbench.measure.counts import traced
from convbench.measure.counts.counted import macs_by_stage
from convbench.measure.machine import nvml
from convbench.measure.machine.environment import conditions
from convbench.measure.timing import CudaClock, clock_for
from convbench.models import subject
from convbench.runs.executor import Job

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]
SIMULATED = "CONVBENCH_PAPER" in os.environ
"""On the rehearsal's GPU a CPU does the work: the cases are tiny, and times mean nothing."""
CLIP = Clip(frames=2, height=32, width=32) if SIMULATED else Clip(batch=8)
PROTOCOL = Protocol(max_warmup=0.05, max_time=0.05) if SIMULATED else Protocol(max_warmup=1.0, max_time=1.0)
timed = pytest.mark.skipif(SIMULATED, reason="a simulated GPU's times mean nothing")
ARTICLE = [("gap", None), ("fc", 128), ("hybrid", 64), ("flatten", None)]


def case(reducer: str = "gap", size: int | None = None, *variant: Choice, scenario: str = "inference") -> Case:
    return Case(Parts(Choice("conv"), Choice(reducer), size), CLIP, variant, scenario, "cuda")


@pytest.fixture(scope="module")
def executor():
    """One executor for all tests: its forkserver imports torch and the compiler once, as in a run that compiles."""
    with executors.get("isolated").build("cuda", [case("gap", None, Choice("compile"))]) as isolated:
        yield isolated


@timed
def test_a_sample_waits_for_the_device():
    """A launch returns before its kernel ends: without synchronisation a long kernel seems to take microseconds."""
    big = torch.randn(8192, 8192, device="cuda")
    big @ big
    sample = CudaClock("cuda").time(lambda: big @ big)
    assert sample.device is not None
    assert min(sample.host, sample.device) > 2 * 8192**3 / 2e15
    assert sample.device == pytest.approx(sample.host, rel=0.2)


@timed
def test_the_hosts_launch_time_is_not_device_time():
    """Launching fifty almost empty kernels takes the host longer than it takes the device to run them."""
    small = torch.zeros(8, device="cuda")

    def launches():
        for _ in range(50):
            small.add_(1)

    clock = clock_for("cuda", launches)
    samples = [clock.time(launches) for _ in range(20)]
    assert median(sample.device for sample in samples) < 0.8 * median(sample.host for sample in samples)


@timed
def test_latency_agrees_with_do_bench():
    """They must agree within 2 % on a call whose data exceed the L2 cache, which do_bench flushes."""
    testing = pytest.importorskip("triton.testing")
    case_subject = subject.assemble(replace(case("fc", 128), clip=Clip(batch=64)), 0)
    clock = clock_for("cuda", case_subject.run)
    for _ in range(50):
        clock.time(case_subject.run)
    ours = median(clock.time(case_subject.run).device for _ in range(200))
    theirs = testing.do_bench(case_subject.run, warmup=100, rep=500, return_mode="median") * 1e-3
    assert ours == pytest.approx(theirs, rel=0.02)


def test_peak_memory_is_within_twice_torchs_own():
    case_subject = subject.assemble(case("flatten"), 0)
    case_subject.run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    case_subject.run()
    torch.cuda.synchronize()
    expected = torch.cuda.max_memory_allocated()
    record = harness.measure(case("flatten"), PROTOCOL, ["memory"])
    del case_subject
    assert record.samples("cuda_peak_reserved_bytes")[0] >= record.samples("cuda_peak_allocated_bytes")[0]
    assert record.samples("cuda_peak_allocated_bytes")[0] <= 2 * expected
    assert not record.samples("cpu_peak_tensor_bytes")


@pytest.mark.parametrize(("reducer", "size"), ARTICLE)
def test_the_lstm_is_counted_although_cudnn_runs_it(reducer, size):
    """No counter knows the operator _cudnn_rnn. The count on meta and the traced count both must include the LSTM."""
    article_case = case(reducer, size)
    assert traced.trace(subject.assemble(article_case, 0)).macs == macs_by_stage(article_case)


@pytest.mark.parametrize(
    "variant",
    [
        (Choice("channels_last"),),
        (Choice("compile"),),
        (Choice("compile", (("mode", "reduce-overhead"),)),),
        (Choice("autocast"),),
        (Choice("autocast", (("dtype", "fp16"),)),),
    ],
    ids=lambda value: "+".join(map(str, value)),
)
def test_every_variant_is_measured_in_its_own_process(variant, executor):
    measured = case("gap", None, *variant)
    ((_, record),) = executor.run([Job(measured, PROTOCOL)])
    assert record.status == "ok", record.failure
    assert record.samples("device_latency_s")
    assert record.samples("cuda_peak_allocated_bytes")


@pytest.mark.parametrize(
    ("variant", "provider"), [("onnxruntime", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")]
)
@pytest.mark.parametrize("scenario", ["inference", "streaming"])
def test_onnx_runtime_runs_on_the_gpu_with_eagers_output(variant, provider, scenario, executor):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime-gpu")
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {provider}: install onnxruntime-gpu")
    ((_, record),) = executor.run([Job(case("gap", None, Choice(variant), scenario=scenario), PROTOCOL)])
    assert record.status == "ok", record.failure
    assert record.samples("latency_s")
    assert record.samples("parity_relative")[0] < 2e-2


def test_describing_the_host_opens_no_context_on_its_device():
    """The caller would be a foreign process on its own device. This test's process has a context already."""
    script = (
        "import torch; from convbench.core.registry import executors\n"
        "with executors.get('isolated').build('auto', []) as executor: facts = executor.hosts[0].facts\n"
        "assert not torch.cuda.is_initialized(); print(dict(facts))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    facts = ast.literal_eval(done.stdout)
    assert facts["device"] == "cuda"
    assert facts["gpu"]


def test_clocks_and_throttle_reasons_are_recorded_with_nvml():
    pytest.importorskip("pynvml")
    if nvml.driver_version(torch.device("cuda")) is None:
        pytest.skip("no NVML here")
    assert {"sm_clock_mhz", "throttle_reasons"} <= set(conditions("cuda"))
