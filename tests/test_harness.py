"""Measuring in this process: what a Record holds for each variant and scenario, and what a failure becomes."""

from __future__ import annotations

import gc
import itertools
import math
import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from wild import Ending

from convbench.core.errors import CaseFailed, ConvbenchError, Impossible, Unavailable
from convbench.core.metric import Metric
from convbench.core.record import Case, Choice, Clip, Finding, Parts, Protocol, Reading, Record, Recurrent, Whole
from convbench.core.registry import Plugin, declares, probes, scenarios, variants
from convbench.measure import attempts, harness, probing, reference
from convbench.measure.comparison import first_call
from convbench.measure.probes import ProbeTraits, is_exact, results_of, traits_of
from convbench.models import subject, values
from convbench.plugins.probes import memory
from convbench.plugins.probes.params import params

QUICK = Protocol(max_warmup=0.02, max_time=0.05, min_samples=6, target=0.5)
SMALL = Clip(1, 2, 3, 8, 8)
BYTES = Metric("odd_bytes", "B")


class OnnxRuntimeError(Exception):
    """An error as ONNX Runtime raises it: none of its errors is a RuntimeError."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


def case(*variant: Choice, scenario: str = "inference", clip: Clip = SMALL, reducer: str = "gap") -> Case:
    return Case(Parts(Choice("conv"), Choice(reducer), 32), clip, variant, scenario)


def quick(of: Case) -> Record:
    return harness.measure(of, QUICK)


def value(record: Record, metric: str) -> float:
    (only,) = record.samples(metric)
    return only


@pytest.fixture(scope="module")
def gap() -> Record:
    return quick(case())


def readings_on_gpu(monkeypatch, run, **answers) -> dict[str, tuple[float, ...]]:
    """Return the readings of memory of a GPU whose allocator gives these answers."""
    usual = {"synchronize": lambda _: None, "empty_cache": lambda: None, "memory_snapshot": list,
             "get_allocator_backend": lambda: "native", "reset_peak_memory_stats": lambda _: None,
             "max_memory_allocated": lambda _: 3, "max_memory_reserved": lambda _: 4}  # fmt: skip
    for name, answer in (usual | answers).items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(memory.allocations, "timeline_of", lambda _: memory.allocations.timeline([]))
    monkeypatch.setattr(memory.nvml, "process_bytes", lambda _: {})
    readings = memory.memory(SimpleNamespace(device="cuda", on_gpu=True, deployment=None, run=run), QUICK)
    return {reading.metric.name: reading.samples for reading in readings}


def test_memory_that_eager_took_before_is_not_reserved_by_a_variant(monkeypatch):
    """Torch keeps freed memory of the GPU: the peak reserved of each variant was at least that of eager."""
    reserved = {"now": 10, "peak": 10}

    def run():
        reserved["now"] = max(reserved["now"], 4)
        reserved["peak"] = max(reserved["peak"], reserved["now"])

    readings = readings_on_gpu(
        monkeypatch, run,
        empty_cache=lambda: reserved.update(now=1),
        reset_peak_memory_stats=lambda _: reserved.update(peak=reserved["now"]),
        max_memory_reserved=lambda _: reserved["peak"],
    )  # fmt: skip
    assert readings["cuda_peak_reserved_bytes"] == (4,)


def test_the_peak_of_cuda_graphs_includes_the_memory_that_they_hold(monkeypatch):
    """An H200 told 82 MiB of a graph's recording, in kinds that summed to the 16 MiB of a replay; it holds 66 MiB."""
    calls, peak = itertools.count(), {"bytes": 0}

    def run():
        peak["bytes"] = max(peak["bytes"], 82 if next(calls) < 2 else 16)

    segments = [{"segment_pool_id": (0, 0), "total_size": 20, "allocated_size": 10},
                {"segment_pool_id": (0, 1), "total_size": 70, "allocated_size": 4}]  # fmt: skip
    readings = readings_on_gpu(
        monkeypatch, run,
        reset_peak_memory_stats=lambda _: peak.update(bytes=0),
        max_memory_allocated=lambda _: peak["bytes"],
        memory_snapshot=lambda: segments,
    )  # fmt: skip
    assert readings["cuda_peak_allocated_bytes"] == (82,)
    assert memory.allocations.held_by_graphs() == 66
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "cudaMallocAsync")
    assert memory.allocations.held_by_graphs() == 0


def test_an_eager_case_has_every_metric(gap):
    assert gap.status == "ok"
    assert value(gap, "params") == 83_840
    assert value(gap, "flops") == 2 * value(gap, "macs") == 2 * (2 * 64 * 864 + 2 * 512 * 160)
    assert len(gap.samples("latency_s")) >= 6
    assert all(0 < seconds < 10 for seconds in gap.samples("latency_s"))
    assert value(gap, "cold_call_s") > 0
    assert value(gap, "adds") == 2 * 32 * 64 * 2
    assert value(gap, "faults_per_call") >= 0
    assert value(gap, "cpu_peak_rss_bytes") > 2**20
    assert gap.conditions["threads"] == 1
    assert not gap.samples("graphs")


def test_peak_tensor_bytes_are_weights_clip_and_two_feature_maps():
    record = harness.measure(case(clip=Clip()), QUICK, ["memory"])
    weights, clip, feature_map = 83_840 * 4, 16 * 3 * 64 * 64 * 4, 16 * 131_072 * 4
    assert value(record, "cpu_peak_tensor_bytes") == weights + clip + 2 * feature_map


@pytest.mark.parametrize(
    "variant",
    [
        (Choice("channels_last"),),
        (Choice("autocast"),),
        (Choice("channels_last"), Choice("autocast", (("dtype", "bf16"),))),
        (Choice("eager"),),
    ],
    ids=lambda value: "+".join(map(str, value)),
)
@pytest.mark.parametrize("scenario", ["inference", "streaming"])
def test_every_variant_agrees_with_eager_and_is_measured(variant, scenario):
    record = quick(case(*variant, scenario=scenario, reducer="spatial-softmax"))
    assert len(record.samples("latency_s")) >= 6


def test_channels_last_reaches_the_convolution_without_a_copy():
    case_subject = subject.transform(subject.assemble(case(Choice("channels_last"), clip=Clip(2, 3, 3, 8, 8)), 0))
    frames = case_subject.inputs.args[0].flatten(0, 1)
    assert frames.data_ptr() == case_subject.inputs.args[0].data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert case_subject.model.backbone[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_streaming_carries_the_state():
    case_subject = subject.assemble(case(scenario="streaming"), 0)
    first, second = case_subject.run(), case_subject.run()
    expected, _ = case_subject.model(case_subject.inputs.args[0])
    torch.testing.assert_close(torch.cat((first[0], second[0]), dim=1), expected)


@pytest.mark.parametrize("scenario", ["inference", "streaming"])
def test_a_stream_of_a_two_way_model_is_a_finding(scenario):
    """Its frames differ from the clip's: with state carried backward, too, they answer another question."""
    for is_two_way in (False, True):
        rnn = Recurrent(hidden=4, bidirectional=is_two_way)
        of = replace(case(scenario=scenario), architecture=Parts(Choice("conv"), Choice("gap"), 32, rnn))
        findings = [item for item in params(subject.assemble(of, 0), QUICK) if isinstance(item, Finding)]
        expected = {"two_way_stream"} if is_two_way and scenario == "streaming" else set()
        assert {finding.code for finding in findings} == expected


class OverTime(torch.nn.Module):
    """A 3-D convolution over clips with a learned offset, and a layer that learns its size at the first call."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv3d(3, 8, 3)
        self.place = torch.nn.Parameter(torch.zeros(1, 3, 1, 8, 8))
        self.head = torch.nn.LazyLinear(4)

    def forward(self, clip):
        return self.head(self.convolution(clip + self.place).flatten(1))


def channels_before_frames(clip):
    return torch.randn(clip.batch, clip.channels, clip.frames, clip.height, clip.width)


def test_channels_last_also_covers_3d_convolutions():
    over_time = Whole(Choice(f"{__name__}:OverTime"), f"{__name__}:channels_before_frames")
    record = quick(Case(over_time, Clip(2, 4, 3, 8, 8), (Choice("channels_last"),)))
    assert record.status == "ok", record.failure
    case_subject = subject.transform(subject.assemble(record.case, 0))
    for tensor in (case_subject.inputs.args[0], case_subject.model.convolution.weight):
        assert tensor.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize(("device", "number"), [("cuda:1", 1), ("cuda", None), ("cpu", None)])
def test_a_cases_numbered_gpu_is_current_while_it_is_measured(monkeypatch, device, number):
    """Otherwise events of the first GPU would time its calls."""
    entered = []

    class Current:
        def __init__(self, place):
            self.place = place

        def __enter__(self):
            entered.append(self.place.index)

        def __exit__(self, *_):
            entered.append("left")

    monkeypatch.setattr(torch.cuda, "device", Current)
    with harness.computing_with(replace(case(), device=device)):
        assert entered == ([] if number is None else [number])
    assert entered == ([] if number is None else [number, "left"])


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_cuda_graphs_get_a_copy_of_the_state_they_overwrite(monkeypatch, mode):
    """torch refuses to read the result of a call once the next call has begun."""
    written_over = []

    def as_graph(forward, mode):
        def replayed(frame, state):
            assert not any(tensor is former for tensor in values.tensors(state) for former in written_over)
            output = forward(frame, state)
            written_over[:] = values.tensors(output)
            return output

        return replayed

    monkeypatch.setattr(torch, "compile", as_graph)
    monkeypatch.setattr("convbench.plugins.variants.compile.missing_gpu_tool", lambda: None)
    eager = subject.assemble(case(scenario="streaming"), 0)
    with torch._dynamo.config.patch(allow_rnn=False):  # The variant sets this for good.
        graphs = variants.get("compile").build(replace(eager, device="cuda"), mode=mode, rnn=True)
    for _ in range(3):
        torch.testing.assert_close(graphs.run(), eager.run())


def test_a_variant_with_different_output_is_a_failure():
    wrong = Case(Whole(Choice("wild:Unsteady")), SMALL, (Choice("channels_last"),))
    with pytest.raises(CaseFailed, match="differs from eager's output") as failed:
        quick(wrong)
    assert attempts.explain(failed.value).kind == "wrong output"


def test_a_compiled_case_reports_its_captured_graph():
    """Convolution and reducer are captured, the LSTM stays out of the graph, and the break says why."""
    record = harness.measure(case(Choice("compile")), QUICK, ["compile"])
    backbone, lstm = 2 * 64 * 864, 2 * 512 * 160
    assert value(record, "graphs") == 1
    assert value(record, "graph_breaks") == 1
    assert value(record, "flops_captured") == pytest.approx(backbone / (backbone + lstm))
    assert value(record, "compile_s") > 0
    (finding,) = (finding for finding in record.findings if finding.code == "graph_breaks")
    assert "LSTM(32, 128" in finding.data["reasons"][0]


def opaque():
    """Return a model that dynamo does not look into."""
    model = torch.nn.Flatten(2)
    model.forward = torch.compiler.disable(model.forward)
    return model


def test_a_case_of_which_nothing_is_compiled_says_so():
    record = harness.measure(Case(Whole(Choice(f"{__name__}:opaque")), SMALL, (Choice("compile"),)), QUICK, ["compile"])
    assert (value(record, "graphs"), value(record, "flops_captured")) == (0, 0.0)
    assert "nothing_compiled" in [finding.code for finding in record.findings]


def test_static_metrics_build_no_model():
    """Weights for flatten of a huge map would not fit into memory, but its counts can be computed."""
    huge = Case(Parts(Choice("conv"), Choice("flatten")), Clip(1, 2, 3, 4096, 4096))
    record = harness.measure(huge, QUICK, ["params", "macs"])
    assert value(record, "params_lstm") == 512 * (32 * 4096 * 4096 + 128) + 1024
    assert not record.samples("latency_s")


def test_metrics_select_probes_in_running_order():
    assert [plugin.name for plugin in harness.select(["latency", "params"])] == ["params", "latency"]
    assert not harness.needs_isolation(["params", "macs"])
    assert harness.needs_isolation(["memory"])


def test_a_probe_declares_its_order_and_what_it_includes(monkeypatch):
    """The harness used to know convbench's own probes by name, so a third-party probe could declare neither."""

    @declares(ProbeTraits(order=15, includes=("params",)))
    def totals(_subject, _protocol):
        return ()

    monkeypatch.setitem(probes._plugins, "totals", Plugin("totals", totals, "", {}))
    assert [plugin.name for plugin in harness.select(["macs", "totals", "params"])] == ["totals", "macs"]
    assert [plugin.name for plugin in harness.select(["latency", "reference"])] == ["latency"]


def test_a_static_probe_is_exact():
    @declares(ProbeTraits(static=True, order=15))
    def totals(_subject, _protocol):
        return ()

    assert traits_of(totals) == ProbeTraits(static=True, order=15)
    assert is_exact(totals)


@pytest.mark.parametrize(
    ("yielded", "words"),
    [
        (None, "the probe odd returned None: a probe has to yield readings and findings"),
        ([3.0], "the probe odd yielded 3.0: a probe has to yield readings and findings"),
        (
            [Reading(BYTES, 3.0)],
            "the probe odd: the samples of odd_bytes, 3.0, are not a tuple of numbers, such as (3.0,)",
        ),
        ([Reading(BYTES, ("a",))], "the probe odd: the samples of odd_bytes, ('a',), are not a tuple of numbers"),
        ([Finding("odd", data={"v": {1}})], "cannot be stored: data.v.str: Input should be a valid string"),
        ([Finding("odd", data={"v": object()})], "cannot be stored: data.v.str: Input should be a valid string"),
        ([Finding(3)], "the probe odd: Finding(code=3, level='warning', data={}) cannot be stored: code: Input should"),
        (
            [Reading("odd_bytes", (3.0,))],
            "the probe odd yielded a reading of 'odd_bytes': declare a Metric with its name",
        ),
        ([Reading(Metric("odd_bytes", None), (3.0,))], "cannot be stored: unit: Input should be a valid string"),
        (
            [Reading(Metric("odd_bytes", ""), (3.0,))],
            "metric 'odd_bytes': it has no unit: write its base unit, such as s",
        ),
        (
            [Reading(Metric("odd_bytes", "B", number="exact"), (1, 2))],
            'the probe odd: the samples of odd_bytes, (1.0, 2.0), differ, but its metric has number="exact"',
        ),
    ],
)
def test_a_probe_that_yields_something_else_is_named(yielded, words):
    """Samples that were no tuple ended the run in a traceback, and other values were dropped silently."""

    def odd(_subject, _protocol):
        return yielded

    with pytest.raises(ConvbenchError, match=re.escape(words)):
        results_of(odd, None, QUICK)


def test_a_probes_samples_are_stored_as_floats():
    (reading,) = results_of(lambda *_: [Reading(BYTES, [3, torch.tensor(4)])], None, QUICK)
    assert reading.samples == (3.0, 4.0)
    assert {type(sample) for sample in reading.samples} == {float}


def test_a_scenario_or_variant_with_a_wrong_result_is_named(monkeypatch):
    """This used to be an AttributeError or TypeError that named neither."""
    for shelf in (scenarios, variants):
        monkeypatch.setitem(shelf._plugins, "odd", Plugin("odd", lambda _: None, "", {}))
    with pytest.raises(ConvbenchError, match="the scenario odd returned NoneType: it must return the call to time"):
        _ = subject.assemble(case(scenario="odd"), 0).run
    with pytest.raises(ConvbenchError, match="the variant odd returned NoneType: it must return the subject"):
        subject.transform(subject.assemble(case(Choice("odd")), 0))


@pytest.mark.parametrize(
    ("twin", "moments"),
    [
        ("", ["static meta", "passive meta", "timed cpu", "last cpu", "tardy meta"]),
        ("it reads values", ["passive cpu", "timed cpu", "last cpu", "tardy cpu", "static cpu"]),
    ],
    ids=["on meta", "not on meta"],
)
def test_each_kind_of_probe_runs_at_its_moment(monkeypatch, twin, moments):
    """Only convbench's own prediction used to run last, because the harness knew it by name."""
    order: list[str] = []

    def probe(name: str, **traits: bool) -> Plugin:
        @declares(ProbeTraits(**traits))
        def noted(case_subject, _protocol):
            order.append(f"{name} {case_subject.device}")
            return ()

        return Plugin(name, noted, "", {})

    named = [
        probe("tardy", static=True, late=True), probe("timed"), probe("static", static=True),
        probe("passive", static=True, passive=True),
    ]  # fmt: skip
    monkeypatch.setattr(harness, "select", lambda _: named)
    if twin:
        monkeypatch.setattr(probing, "on_meta_or_reason", lambda *_: twin)
    record = harness.measure(case(), QUICK, last_probes=[probe("last").build])
    assert order == moments
    assert [finding.data for finding in record.findings if finding.code == "not_on_meta"] == (
        [{"reason": twin}] if twin else []
    )


def test_the_reference_workload_needs_only_the_device():
    case_subject = subject.assemble(case(), seed=0)
    without_a_model = replace(case_subject, model=None, forward=None, inputs=None)
    (reading,) = probes.get("reference").build(without_a_model, QUICK)
    assert (reading.metric.name, reading.metric.unit, reading.metric.better) == ("reference_s", "s", "neither")
    assert len(reading.samples) >= QUICK.min_samples
    assert min(reading.samples) > 0


def _set_default_type() -> None:
    torch.set_default_dtype(torch.float64)


def _set_precision() -> None:
    torch.set_float32_matmul_precision("medium")


def _set_device() -> None:
    torch.set_default_device("meta")


def _autocast() -> None:
    torch.set_autocast_enabled("cpu", True)


@pytest.fixture
def global_settings() -> Iterator[None]:
    """Restore torch's settings of the whole process at the end."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_float32_matmul_precision("highest")
    torch.set_default_device(None)
    torch.set_autocast_enabled("cpu", False)


@pytest.mark.usefixtures("global_settings")
@pytest.mark.parametrize("change", [_set_default_type, _set_precision, _set_device, _autocast])
def test_settings_of_the_users_code_do_not_change_the_reference_workload(monkeypatch, change):
    """A model's module that calls ``torch.set_default_dtype(torch.float64)`` had a reference of twice the time, so its
    cases were withheld as disturbed; after ``set_float32_matmul_precision("medium")`` it had half,
    and latencies of later runs were scaled to that."""
    results: list[torch.Tensor] = []
    monkeypatch.setattr(reference, "warm_up", lambda *_: None)
    monkeypatch.setattr(reference, "sample", lambda call, *_: [results.append(call()) or []])
    reference.Reference("cpu").block()
    change()
    reference.Reference("cpu").block()
    assert torch.equal(*results)


def test_an_unknown_metric_is_named():
    with pytest.raises(ConvbenchError, match="unknown metric 'latnecy'; did you mean 'latency'"):
        harness.select(["latnecy"])


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (ValueError("the user's own mistake"), "error", "failed"),
        (MemoryError(), "out of memory", "failed"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory", "failed"),
        (RuntimeError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"), "out of memory", "failed"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `c`"), "out of memory", "failed"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory", "failed"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "out of memory", "failed"),
        (OnnxRuntimeError("Non-zero status code: CUDA failure 2: out of memory"), "out of memory", "failed"),
        (CaseFailed("timeout", "no result after 3 s"), "timeout", "failed"),
        (Unavailable("jemalloc is not installed"), "unavailable", "skipped"),
        (Impossible("streaming needs state"), "impossible", "skipped"),
        (ConvbenchError("clip 3 has no label"), "error", "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_any_error_becomes_a_record_and_the_sweep_goes_on(error, kind, status):
    def measure(of: Case) -> Record:
        if of.scenario == "streaming":
            raise error
        return Record(of, "ok")

    cases = [case(scenario="streaming"), case()]
    failed, fine = (attempts.attempt(case, measure) for case in cases)
    assert (failed.status, failed.failure.kind, fine.status) == (status, kind, "ok")


@pytest.mark.parametrize(("message", "kind", "advice", "may_succeed"), [
    ("CUDA error: an illegal memory access was encountered", "error", attempts.LOST, False),
    ("CUDA error: device-side assert triggered", "error", attempts.LOST, False),
    ("CUDA error: unspecified launch failure", "error", attempts.LOST, False),
    ("CUDA error: the launch timed out and was terminated", "error", attempts.LOST, False),
    ("CUDA error: invalid program counter", "error", attempts.LOST, False),
    ("CUDA driver error: an illegal memory access was encountered", "error", attempts.LOST, False),
    ("Triton Error [CUDA]: an illegal memory access was encountered", "error", attempts.LOST, False),
    ("CUDA error: uncorrectable ECC error encountered", "error", attempts.DAMAGED, False),
    ("CUDA error: uncorrectable NVLink error detected during the execution", "error", attempts.DAMAGED, False),
    ("CUDA error: no kernel image is available for execution on the device", "error", attempts.LACKS_KERNELS, False),
    ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "error", attempts.ADMITTED, True),
    ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", "out of memory",
     attempts.LACKS_HANDLE, True),
    ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "out of memory", attempts.LACKS_HANDLE, True),
])  # fmt: skip
def test_a_gpus_error_says_what_to_do(message, kind, advice, may_succeed):
    """torch's further lines are about debugging torch, and only the first was recorded."""
    failure = attempts.explain(
        torch.AcceleratorError(f"{message}\nCUDA kernel errors might be asynchronously reported")
    )
    assert (failure.kind, failure.message) == (kind, f"AcceleratorError: {message}; {advice}")
    assert attempts.may_succeed_alone(failure) is may_succeed


def measured_without_cuda(message: str, monkeypatch: pytest.MonkeyPatch) -> Record:
    """Measure a case on a GPU on which CUDA does not start, for the reason in the message."""

    def init() -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(torch.cuda, "init", init)
    return attempts.attempt(replace(case(), device="cuda"), lambda of: harness.measure(of, QUICK, ["latency"]))


@pytest.mark.parametrize("message", [
    "No CUDA GPUs are available",
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before? Error 802: not initialized",
    "CUDA unknown error - this may be due to an incorrectly set up environment",
])  # fmt: skip
def test_a_gpu_that_has_gone_ends_the_sweep(message, monkeypatch):
    """All remaining cases failed with advice about ``.cuda()`` in their code, and --resume did not try them again."""
    with pytest.raises(ConvbenchError, match=r"does not start on cuda any more \(.*nvidia-smi -L.*--resume"):
        measured_without_cuda(message, monkeypatch)


def test_another_error_of_a_gpus_start_is_that_of_the_case(monkeypatch):
    record = measured_without_cuda("CUDA error: CUDA-capable device(s) is/are busy or unavailable", monkeypatch)
    assert record.failure.message.endswith(attempts.ADMITTED)


def test_widely_spread_samples_give_a_finding(monkeypatch):
    """The finding interval_wide holds the interval's relative width."""
    record = harness.measure(case(), Protocol(max_warmup=0.01, max_time=0.02, min_samples=6, target=1e-9), ["latency"])
    (wide,) = (finding for finding in record.findings if finding.code == "interval_wide")
    assert 0 < wide.data["relative"] < math.inf


ARTICLE = """
from convbench.core.record import Case, Choice, Clip, Parts, Protocol
from convbench.measure import harness
from convbench.measure.machine import malloc

malloc.apply(malloc.GLIBC)
article = Case(Parts(Choice("conv"), Choice("gap")), Clip())
record = harness.measure(article, Protocol(max_warmup=0.1, max_time=0.3), ["latency"])
print(*record.samples("faults_per_call"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
def test_the_article_case_page_faults_with_glibcs_defaults(tmp_path):
    """docs/method/measuring.md: with default glibc, an 8 MiB feature map is mapped anew at every call.

    In a process of its own, as the heap of this one may have room for the map from earlier tests.
    """
    done = subprocess.run([sys.executable, "-c", ARTICLE], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 2000


def test_a_models_own_exception_is_not_swallowed_by_measure():
    broken = Case(Whole(Choice("wild:Ending", (("how", "raise"),))), SMALL)
    assert isinstance(subject.assemble(broken, 0).model, Ending)
    with pytest.raises(ValueError, match="the user's own mistake"):
        first_call.open_case(broken, 0)


class Keeps(torch.nn.Module):
    """Takes a gradient in its forward pass of a tensor that it made in its first call."""

    needs_gradient = True
    models: ClassVar[list[weakref.ref]] = []

    def __init__(self):
        super().__init__()
        self.layer, self.factor = torch.nn.Linear(3, 4), None
        self.models.append(weakref.ref(self))

    def forward(self, clip):
        if self.needs_gradient:
            self.factor = torch.ones(3) if self.factor is None else self.factor
            torch.autograd.grad((self.layer.weight * self.factor).sum(), self.layer.weight)
        return self.layer(clip.mean((1, 3, 4)))


def test_a_model_that_inference_mode_spoiled_is_neither_kept_nor_remembered(monkeypatch):
    """The error that refused the mode kept its frames, and so a second model in memory, for the whole session."""
    case = Case(Whole(Choice("test_harness:Keeps")), Clip(1, 2, 3, 8, 8))
    keeps = subject.import_path("test_harness:Keeps")
    _, results = first_call.open_case(case, 0)
    gc.collect()
    assert "not_in_inference_mode" in {getattr(result, "code", "") for result in results}
    assert len(keeps.models) == 2
    assert len([model for model in keeps.models if model() is not None]) <= 1
    monkeypatch.setattr(keeps, "needs_gradient", False)
    harness.measure(case, Protocol(), ["params"])
    _, results = first_call.open_case(case, 0)
    assert "not_in_inference_mode" not in {getattr(result, "code", "") for result in results}
