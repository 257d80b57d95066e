"""Runtimes: each variant gives eager's output, for whole clips and frame by frame, or one message says why not."""

from __future__ import annotations

import errno
import importlib.util
import json
import math
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.export import _trace as export_trace

from convbench import suite
from convbench.analysis.quality.controls import linear_probes
from convbench.analysis.quality.qualities import qualities
from convbench.core import metrics, traits
from convbench.core.errors import CaseFailed, ConvbenchError, Impossible, StoreError, Unavailable
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Reading, Recurrent, Scalar, Whole
from convbench.core.registry import Plugin, declares, probes, variants
from convbench.core.system import files, scratch
from convbench.core.traits import VariantTraits
from convbench.measure import attempts, harness
from convbench.measure.comparison.first_call import open_case
from convbench.measure.comparison.parity import TOLERANCE, Parity, compare, parity_of
from convbench.measure.handover import _load, _write, hand_over
from convbench.measure.machine import nvml
from convbench.measure.machine.toolchain import missing_tool
from convbench.measure.memory import alone
from convbench.measure.preflight import resolve
from convbench.measure.quality import in_variant
from convbench.measure.quality.data import Labelled
from convbench.measure.quality.in_variant import names_of, scores_of
from convbench.models.deployment import ASIDE, Example, LoadedModel
from convbench.models.network import build
from convbench.models.runtimes import export_error, onnx_file, ort, structure
from convbench.models.runtimes.aoti import AotInductor
from convbench.models.runtimes.deploy import _Folder
from convbench.models.runtimes.example import _tensor_names, any_batch_example, example
from convbench.models.runtimes.int8 import calibration_clips
from convbench.models.runtimes.ov import OpenVino
from convbench.models.subject import Subject, assemble, transform
from convbench.models.variants import refuse_misplaced

TESTS = Path(__file__).parent
CLIP = Clip(2, 3, 3, 8, 8)
SMALL = Clip(2, 3, 3, 4, 4)
QUICK = Protocol(max_warmup=0.0, max_time=0.0, min_samples=1)
FC = Parts(Choice("conv", (("channels", 4),)), Choice("fc"), 6, Recurrent(hidden=5))
PROJECTED = replace(FC, rnn=Recurrent(hidden=5, proj_size=2))
ENGINES = [plugin.name for plugin in variants if plugin.declaration and plugin.declaration.last]
TORCHSCRIPT, STATIC = (("exporter", "torchscript"),), (("method", "static"),)
CASES = {
    "onnxruntime": (Choice("onnxruntime"),),
    "onnxruntime by torchscript": (Choice("onnxruntime", TORCHSCRIPT),),
    "openvino": (Choice("openvino"),),
    "openvino bf16": (Choice("openvino", (("precision", "bf16"),)),),
    "openvino f16": (Choice("openvino", (("precision", "f16"),)),),
    "int8": (Choice("int8"),),
    "int8 static": (Choice("int8", STATIC),),
    "int8 torchao": (Choice("int8", (("method", "torchao"),)),),
    "int8 in onnxruntime": (Choice("int8"), Choice("onnxruntime")),
    "int8 static in onnxruntime": (Choice("int8", STATIC), Choice("onnxruntime")),
    "int8 static in openvino": (Choice("int8", STATIC), Choice("openvino")),
    "half": (Choice("half"),),
    "half bf16": (Choice("half", (("dtype", "bf16"),)),),
    "half in onnxruntime": (Choice("half"), Choice("onnxruntime")),
}
QUICKLY = {
    "onnxruntime": (Choice("onnxruntime", TORCHSCRIPT),),
    "openvino": (Choice("openvino", TORCHSCRIPT),),
    "int8 in onnxruntime": (Choice("int8"), Choice("onnxruntime", TORCHSCRIPT)),
    "int8 static in onnxruntime": (Choice("int8", STATIC), Choice("onnxruntime", TORCHSCRIPT)),
}
"""The variants exported by TorchScript, in a tenth of the time, for tests that do not depend on the exporter."""


def case(*variant: Choice, scenario: str = "inference", architecture: Parts | Whole = FC, clip: Clip = CLIP) -> Case:
    return Case(architecture, clip, variant, scenario)


def own(name: str, inputs: str | None = None, **options: Scalar) -> Whole:
    model = Choice(f"exported_models:{name}", tuple(options.items()))
    return Whole(model, f"exported_models:{inputs}" if inputs else None)


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(TESTS / "plugins")
    return None


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of exported models that several tests share, so that each is exported once."""
    return tmp_path_factory.mktemp("exports")


def shared(runtime_case: Case, exports: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Return the case after pointing its export at the shared folder. Skip the test if the extra is missing."""
    skip_without_extra(runtime_case.variant)
    monkeypatch.setenv(scratch.EXPORTS, str(exports / sha256(runtime_case.id.encode()).hexdigest()[:16]))
    return runtime_case


def skip_without_extra(variant: tuple[Choice, ...]) -> None:
    """Skip the test, naming the extra, if a runtime is not installed or this CPU lacks the instructions."""
    for choice in variant:
        declared = traits.of_variant(choice.name)
        modules = (*declared.modules, *(("torchao",) if dict(choice.options).get("method") == "torchao" else ()))
        if any(importlib.util.find_spec(module) is None for module in modules):
            pytest.skip(f"needs the extra {declared.extra}: pip install 'convbench[{declared.extra}]'")


def opened(runtime_case: Case) -> dict[str, float]:
    """Return the readings from opening a case, by name. Skip the test if this machine lacks what the case needs."""
    skip_without_extra(runtime_case.variant)
    try:
        _, opening = open_case(runtime_case, 0)
    except Unavailable as error:
        pytest.skip(str(error))
    return {reading.metric.name: reading.samples[0] for reading in opening if isinstance(reading, Reading)}


# --- Every runtime ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["inference", "streaming"])
@pytest.mark.parametrize("name", CASES)
def test_a_runtime_gives_eagers_output_and_reports_its_costs(name: str, scenario: str) -> None:
    runtime_case = case(*CASES[name], scenario=scenario)
    readings = opened(runtime_case)
    exact = traits.dtype(runtime_case) == "fp32"
    assert readings["parity_relative"] < (1e-5 if exact else 0.1)
    assert readings["parity_largest"] < (1e-5 if exact else 0.1)
    assert readings["cold_call_s"] > 0
    if traits.of_variant(runtime_case.variant[-1].name).last:
        assert readings["export_s"] > 0
        assert readings["load_s"] > 0
        assert readings["exported_bytes"] > 1000
        if scenario == "streaming":
            assert readings["parity_frames"] < (1e-5 if exact else 0.1)


@pytest.mark.skipif(missing_tool() is not None, reason="AOTInductor needs a C++ compiler")
def test_a_model_compiled_ahead_of_time_streams_with_carried_state() -> None:
    """An unoptimised wrapper without precompiled headers takes a third of the time for a single model."""
    quickly = {"aot_inductor.compile_wrapper_opt_level": "O0", "aot_inductor.precompile_headers": False}
    with torch._inductor.config.patch(quickly):
        readings = opened(case(Choice("aot-inductor"), scenario="streaming"))
    assert readings["parity_largest"] < 1e-5
    assert readings["parity_frames"] < 1e-5
    assert readings["export_s"] > 0


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "onnxruntime by torchscript"])
def test_stage_times_come_from_the_runtimes_own_profile(
    name: str, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "convbench.plugins.probes.stages.adds_up", lambda *_: True
    )  # on a busy machine they may not, and are withheld
    record = harness.measure(shared(case(*CASES[name]), exports, monkeypatch), QUICK, ("latency", "stages"))
    assert {finding.code for finding in record.findings} >= {"stages_by_runtime"}
    assert all(record.samples(metrics.LATENCY.part(stage)) for stage in ("backbone", "reducer", "lstm"))
    assert sum(sum(record.samples(metrics.LATENCY.part(stage))) for stage in ("backbone", "lstm")) > 0


def test_memory_is_the_growth_of_a_separate_process(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the user's named random used to break it."""
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')")
    monkeypatch.chdir(tmp_path)
    runtime_case = shared(case(*QUICKLY["int8 static in onnxruntime"]), exports, monkeypatch)
    record = harness.measure(runtime_case, QUICK, ("memory",))
    assert not record.samples(metrics.CPU_PEAK), "another runtime's buffers are no tensors"
    assert record.samples(metrics.RUNTIME_PEAK)[0] > 2**20


def test_memory_that_the_system_does_not_report_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without VmHWM the peak was 0 B; where clear_refs cannot be written, a runtime's growth was negative."""
    status = tmp_path / "status"
    status.write_text("VmRSS:\t 100 kB\n")
    monkeypatch.setattr(alone, "CLEAR_REFS", tmp_path / "clear_refs")
    assert alone.peak_rss_of(lambda: None) > 0
    monkeypatch.setattr(alone, "STATUS", status)
    assert alone.peak_rss_of(lambda: None) is None
    with pytest.raises(FileNotFoundError):  # an error of the call is none of the system's
        alone.peak_rss_of((tmp_path / "weights").read_bytes)
    monkeypatch.setattr(alone, "CLEAR_REFS", tmp_path)
    job = tmp_path / "job"
    job.write_bytes(pickle.dumps((_Loader(), tmp_path, SimpleNamespace(tensors=[]), torch.get_num_threads())))
    alone.tell(str(job))
    assert capsys.readouterr().out == f"{alone.UNKNOWN}\n"


class _Loader:
    """A runtime that can be pickled and does nothing."""

    def load(self, _folder: Path, _example: object, _threads: int) -> LoadedModel:
        return LoadedModel(list, list, list)


def test_another_runtimes_memory_on_cuda_is_not_read_from_torch(monkeypatch) -> None:
    """torch's allocator knows the eager model's weights alone, so a runtime would seem to need almost no memory."""
    for name in ("synchronize", "reset_peak_memory_stats", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    monkeypatch.setattr(nvml, "process_bytes", lambda _: {os.getpid(): 700 << 20})
    deployed = SimpleNamespace(device="cuda", on_gpu=True, deployment=object(), run=lambda: None)
    (reading,) = probes.get("memory").build(deployed, Protocol())
    assert (reading.metric, reading.samples) == (metrics.CUDA_PROCESS, (700 << 20,))


@pytest.mark.parametrize(("device", "options"), [("cuda", {}), ("cuda:1", {"device_id": 1}), ("cpu", {})])
def test_a_provider_receives_the_index_of_its_gpu(device: str, options: dict[str, int]) -> None:
    runtime_case = replace(case(), device=device)
    assert ort.OnnxRuntime(runtime_case, "dynamo", 20, "CUDAExecutionProvider")._provider_options() == options
    engine = ort.OnnxRuntime(runtime_case, "dynamo", 20, "Tensorrt", options=(("trt_fp16_enable", True),))
    assert engine._provider_options() == {"trt_fp16_enable": True, **options}


def test_a_gpus_nodes_have_no_stage_times() -> None:
    """ONNX Runtime's profile has the seconds of their launches, and its inputs would have to be on the CPU."""
    engine = ort.OnnxRuntime(replace(case(), device="cuda"), "dynamo", 20, "CUDAExecutionProvider")
    assert engine.profile(Path(), None, 1, calls=1, before_call=lambda: None) is None


@pytest.mark.parametrize("scenario", ["inference", "streaming"])
@pytest.mark.parametrize("name", QUICKLY)
def test_only_the_runtimes_call_is_timed_and_outputs_match_eager(
    name: str, scenario: str, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Makes more calls than a clip has frames: the frames repeat and the state carries on. Nothing is converted."""
    runtime_case = shared(case(*QUICKLY[name], scenario=scenario), exports, monkeypatch)
    subject, eager = transform(assemble(runtime_case, 0)), assemble(runtime_case.eager, 0)

    def never(*_: object) -> None:
        raise AssertionError("converted while it was timed")

    for _ in range(2 * CLIP.frames + 1):
        with monkeypatch.context() as patched:
            patched.setattr(torch, "from_numpy", never)
            patched.setattr(torch.Tensor, "numpy", never)
            returned = subject.timed_call()
        output, state = subject.output(returned)
        expected, expected_state = eager.run()
        allowed = 1e-5 if traits.dtype(runtime_case) == "fp32" else 0.1
        torch.testing.assert_close(output, expected, rtol=allowed, atol=allowed)
        torch.testing.assert_close(tuple(state), tuple(expected_state), rtol=allowed, atol=allowed)


def test_tensors_bound_to_their_device_skip_numpy(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests on a CPU how ONNX Runtime's GPU providers are called."""
    import onnxruntime

    runtime_case = shared(case(*QUICKLY["onnxruntime"], scenario="streaming"), exports, monkeypatch)
    of = transform(assemble(runtime_case, 0)).deployment
    session = onnxruntime.InferenceSession(str(of.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    bound, plain = ort.device_model(session, of.example), of.model
    inputs = of.example.tensors
    for output, expected in zip(bound(inputs), plain(inputs), strict=True):
        torch.testing.assert_close(output, expected)
    again = bound.run([*bound.arrays(inputs[:1]), *bound.run(bound.arrays(inputs))[1:]])
    expected = plain.run([*plain.arrays(inputs[:1]), *plain.run(plain.arrays(inputs))[1:]])
    torch.testing.assert_close(bound.tensors(again)[0], plain.tensors(expected)[0])


@pytest.mark.parametrize(("variant", "provider"), [("tensorrt", "TensorrtExecutionProvider"),
                                                   ("onnxruntime", "CUDAExecutionProvider")])  # fmt: skip
def test_a_missing_gpu_provider_names_the_build_to_install(variant: str, provider: str) -> None:
    """Tests the engine alone, because a machine without a GPU refuses the variant earlier."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnxruntime")
    if provider in onnxruntime.get_available_providers():
        pytest.skip(f"this build has {provider}")
    with pytest.raises(Unavailable, match=f"no {provider}: install its build for the device .onnxruntime-gpu"):
        ort.OnnxRuntime(case(), "dynamo", 20, provider, name=variant)._session(Path(), 1)


@pytest.mark.parametrize("name", [name for name, variant in CASES.items() if variant[-1].name in ENGINES])
def test_the_fingerprint_includes_a_runtimes_versions(name: str) -> None:
    packages = traits.packages([case(*CASES[name])])
    assert {"onnx", CASES[name][-1].name} <= set(packages)


def test_an_export_folder_vanishes_with_its_model_without_a_warning() -> None:
    """Every case of a runtime used to fail where warnings are errors, as in many projects' tests."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folder = _Folder()
        path = Path(folder.path)
        assert path.is_dir()
        del folder
    assert (path.exists(), caught) == (False, [])


def test_a_later_visit_reuses_the_exported_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_extra(CASES["onnxruntime"])
    monkeypatch.setenv(scratch.EXPORTS, str(tmp_path / "exports"))
    monkeypatch.setattr("convbench.models.runtimes.deploy.time", SimpleNamespace(perf_counter=count(10.0).__next__))
    first, again = (open_case(case(*QUICKLY["onnxruntime"]), 0, checked=checked)[1] for checked in (False, True))
    seconds = {reading.metric.name: reading.samples for reading in first if isinstance(reading, Reading)}
    assert (seconds["export_s"], seconds["load_s"]) == ((1.0,), (1.0,)), "a second passes between two looks at a clock"
    assert [reading.metric.name for reading in again if isinstance(reading, Reading)] == [
        "load_s",
        "exported_bytes",
        "cold_call_s",
    ]
    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["onnxruntime"]


# --- A user's own model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime by torchscript", "openvino"])
def test_a_model_with_keyword_inputs_and_dict_outputs_runs(name: str) -> None:
    readings = opened(case(*CASES[name], architecture=own("Keyed", "keyed_inputs"), clip=SMALL))
    assert readings["parity_largest"] < 1e-5


@pytest.mark.parametrize(
    ("named", "inputs", "outputs"),
    [
        (FC, ("input",), ("output", "next_state_0", "next_state_1")),
        (own("Judging"), ("input",), ("output_0", "output_1")),
        (own("Keyed", "keyed_inputs"), ("input_frames", "input_scale"),
         ("output_scores", "output_state_0", "output_state_1")),
    ],
    ids=["ours", "two tensors", "keywords"],
)  # fmt: skip
def test_a_runtimes_inputs_and_outputs_keep_the_models_names(
    named: Parts | Whole, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> None:
    """An actor-critic's value used to be called next_state_0, and two keyword inputs could not be told apart."""
    call = example(assemble(case(architecture=named, clip=SMALL), 0))
    assert (call.names, call.outputs) == (inputs, outputs)


@pytest.mark.parametrize(
    ("name", "variant"),
    [("Twice", "int8 in onnxruntime"), ("Packing", "onnxruntime"), ("Attending", "onnxruntime")],
)
def test_a_runtime_has_eagers_output_for_layers_that_exporters_or_quantisers_mistake(name: str, variant: str) -> None:
    """The quantiser transposed the weights of an LSTM again at each further call; its output was off by its norm."""
    skip_without_extra(QUICKLY[variant])
    open_case(case(*QUICKLY[variant], architecture=own(name), clip=SMALL), 0)


def test_a_runtime_runs_an_agent_that_samples_its_action() -> None:
    """torch's distributions check the values of their arguments, and an export has no values."""
    subject, _ = open_case(Case(Whole(Choice("field:Acts")), CLIP, (Choice("onnxruntime"),)), seed=0)
    assert len(subject.output(subject.timed_call())) == 2


def test_an_agent_that_samples_its_action_is_exported_for_aotinductor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Agent(torch.nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return torch.distributions.Categorical(logits=logits).sample()

    programs: list[torch.export.ExportedProgram] = []
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", lambda program, **_: programs.append(program))
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", True)  # the compiler disables it
    AotInductor(freeze=False).export(Agent(), Example(((torch.zeros(2, 3),), {}), None, None, (), ()), tmp_path)
    assert len(programs) == 1


def test_an_input_that_tensors_cannot_rebuild_names_its_type() -> None:
    """The message used to be "the model's input is tuple, ...: use tensors, tuples, ...": the arguments are a tuple."""
    call = (torch.zeros(2), {"clips": torch.nn.utils.rnn.pack_sequence([torch.zeros(3, 1), torch.zeros(2, 1)])}), {}
    with pytest.raises(CaseFailed, match=r"^the model's input has a PackedSequence, whose tensors cannot be"):
        structure.rebuild(call, "the model's input")


def test_an_object_with_tensors_is_rebuilt_around_others() -> None:
    """Objects of no known class used to be refused, and with them a stream whose state is such an object."""
    call = (torch.zeros(2), {"mask": SimpleNamespace(tensor=torch.zeros(1), label="sky")}), {}
    clip, tensor = torch.ones(2), torch.ones(1)
    (first, keywords), _ = structure.rebuild(call, "the model's input")(iter([clip, tensor]))
    assert first is clip
    assert keywords["mask"].tensor is tensor
    assert keywords["mask"].label == "sky"
    boxing = case(*QUICKLY["onnxruntime"], scenario="streaming", architecture=own("Boxing"), clip=SMALL)
    assert opened(boxing)["parity_largest"] < 1e-5


def test_names_that_would_clash_become_numbers() -> None:
    assert _tensor_names("input", {"a b": torch.zeros(1), "a-b": torch.zeros(1)}) == ("input_0", "input_1")


def test_a_bidirectional_model_is_compared_with_eagers_stream_only() -> None:
    skip_without_extra(CASES["onnxruntime"])
    runtime_case = case(*QUICKLY["onnxruntime"], scenario="streaming", architecture=own("Bidirectional"), clip=SMALL)
    _, opening = open_case(runtime_case, 0)
    assert "frames_are_no_clip" in {getattr(item, "code", "") for item in opening}
    assert "parity_frames" not in {reading.metric.name for reading in opening if isinstance(reading, Reading)}


def test_a_clips_single_answer_equals_the_streams_last_answer() -> None:
    runtime_case = case(*QUICKLY["onnxruntime"], scenario="streaming", architecture=own("Answering"), clip=SMALL)
    assert opened(runtime_case)["parity_frames"] < 1e-5


@pytest.mark.parametrize(
    ("runtime_case", "reason"),
    [
        (
            case(Choice("onnxruntime"), architecture=own("Solving"), clip=SMALL),
            "by dynamo: the operator aten.linalg_eig: No(?!.*knows more)",
        ),
        (
            case(Choice("onnxruntime", TORCHSCRIPT), architecture=own("Solving"), clip=SMALL),
            r"by torchscript: the operator aten::linalg_eigvals.*; the exporter dynamo, the default, knows more",
        ),
        (
            case(Choice("onnxruntime", (("exporter", "torchscript"), ("opset", 7)))),
            r"cannot be exported to ONNX by torchscript",
        ),
        *(
            (
                case(Choice("onnxruntime", (("opset", opset),))),
                f"in opset {opset}: the exporter can write this model only in 18",
            )
            for opset in (7, 99)
        ),
        (
            case(Choice("onnxruntime", (*TORCHSCRIPT, ("opset", 99)))),
            "by torchscript: Unsupported onnx_opset_version: 99",
        ),
        (
            case(Choice("onnxruntime"), architecture=own("Counting"), clip=SMALL),
            "depends on what earlier calls left in its buffers calls, .*: pass it in and out .*; differs from eager's",
        ),
        (
            case(*QUICKLY["onnxruntime"], scenario="streaming", architecture=own("Keeping"), clip=SMALL),
            "depends on what earlier calls left in attributes of its own, .*; differs from eager's",
        ),
        (
            case(Choice("onnxruntime"), scenario="streaming", architecture=own("LateStart"), clip=SMALL),
            "the state of the first frame is not zeros",
        ),
        (
            case(Choice("onnxruntime"), scenario="streaming", architecture=own("LateStart", start=0.01), clip=SMALL),
            "the state of the first frame is not zeros",
        ),
        (
            case(Choice("onnxruntime"), scenario="streaming", architecture=own("Remembering"), clip=SMALL),
            r"the state changes its shape, state\['seen'\] from 2x1x3 to 2x2x3, but shapes are fixed",
        ),
        (
            case(Choice("onnxruntime"), scenario="streaming", architecture=own("Listing"), clip=SMALL),
            r"the state holds other values after a call than before it \(1 before, 2 after\)",
        ),
        (
            case(Choice("onnxruntime"), scenario="streaming", architecture=own("Numbering"), clip=SMALL),
            r"the state holds a number that changes, state\[0\] from 1 to 2, .*: make it a tensor",
        ),
        (case(Choice("int8"), architecture=own("LateStart"), clip=SMALL), "no LSTM, GRU or Linear layer"),
        (
            case(Choice("int8", STATIC), architecture=own("Keyed", "keyed_inputs"), clip=SMALL),
            "name backbone and reducer",
        ),
        (
            case(
                Choice("int8", STATIC),
                architecture=Whole(Choice("exported_models:Together"), stages=(("backbone", "."),)),
                clip=SMALL,
            ),
            "name backbone and reducer",
        ),
        (
            case(
                Choice("int8", STATIC),
                architecture=Whole(Choice("exported_models:Apart"), stages=(("backbone", "encoder"),)),
                clip=SMALL,
            ),
            "encoder is not called in a forward pass, so torch cannot find its ranges: under stages, name modules",
        ),
        (case(Choice("int8", (*STATIC, ("calibration", 3)))), "3 calibration clips are too few"),
        (case(Choice("int8", (("calibration", 64),))), "for int8.method=static.: dynamic has no ranges to find"),
        (
            case(Choice("int8", (("clips", "a:b"), ("method", "torchao")))),
            "method=static.: torchao has no ranges to find",
        ),
        (case(Choice("int8", (*STATIC, ("clips", "exported_models:few")))), "2 calibration clips are too few"),
        (case(Choice("int8", (*STATIC, ("clips", "./exported_models.py:few")))), "2 calibration clips are too few"),
        (case(Choice("int8", (*STATIC, ("clips", "exported_models:broken")))), "clip 3 has values that are not finite"),
        (
            case(Choice("int8", (*STATIC, ("clips", "exported_models:misshapen")))),
            "calibration clip 0 is 1x1: it must be",
        ),
        (case(Choice("int8"), Choice("openvino")), re.escape("use int8(method=static)+openvino")),
        (case(Choice("half", (("dtype", "bf16"),)), Choice("onnxruntime")), "no bfloat16"),
        (
            case(Choice("openvino"), architecture=own("Lowered", "lowered"), clip=SMALL),
            "numpy's arrays, which have no bfloat16",
        ),
        (case(Choice("openvino"), architecture=own("Emptying"), clip=SMALL), "shape of an output without numbers"),
        (case(Choice("openvino"), architecture=own("Turning"), clip=SMALL), "complex numbers, which ONNX does not"),
        (case(Choice("openvino"), architecture=own("Spelling"), clip=SMALL), "returns a str without tensors, so an"),
        (
            case(
                *QUICKLY["onnxruntime"],
                architecture=own("Spelling", scored=True),
                clip=SMALL,
            ),
            r"returns text that was fixed .*, '.*' instead of '.*' on another clip: let it return tensors",
        ),
        (
            case(*QUICKLY["onnxruntime"], architecture=own("Twice", proj_size=2), clip=SMALL),
            r"projections \(proj_size\), which ONNX does not have",
        ),
        (
            case(*QUICKLY["int8 static in onnxruntime"], architecture=own("Twice"), clip=SMALL),
            "the model has nothing that ONNX Runtime quantises .static: Conv",
        ),
        (case(Choice("int8"), architecture=own("Twice", bias=False), clip=SMALL), "layer without biases, which torch"),
        *(
            (
                case(*variant, architecture=own("Lowered", "lowered"), clip=SMALL),
                "made from float32 weights, .* bfloat16",
            )
            for variant in ((Choice("int8"),), QUICKLY["int8 in onnxruntime"])
        ),
        (case(Choice("openvino"), architecture=PROJECTED), r"projections \(proj_size\), which ONNX does not have"),
        (case(Choice("int8"), architecture=PROJECTED), r"projections \(proj_size\), which torch cannot quantise"),
        (case(Choice("tensorrt")), "NVIDIA GPUs only"),
    ],
)
def test_a_model_that_a_runtime_cannot_take_says_why(
    runtime_case: Case, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """torch used to print the whole graph as well."""
    skip_without_extra(() if runtime_case.variant[0].name == "tensorrt" else runtime_case.variant)
    with pytest.raises(ConvbenchError, match=reason):
        open_case(runtime_case, 0)
    assert "graph(" not in "".join(capfd.readouterr())


def test_a_branch_that_tracing_froze_is_a_wrong_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace is right on the clip that was exported and wrong on another."""
    skip_without_extra(CASES["onnxruntime"])
    import exported_models

    runtime_case = case(Choice("onnxruntime", TORCHSCRIPT), architecture=own("Branching"), clip=SMALL)
    firsts = [float(assemble(runtime_case.eager, seed).inputs.args[0].flatten()[0]) for seed in (0, 1)]
    monkeypatch.setattr(exported_models, "SEEN", sum(firsts) / 2)
    with pytest.raises(CaseFailed, match="on another clip") as failed:
        open_case(runtime_case, 0)
    assert failed.value.kind == "wrong output"
    assert {reading.metric.name for reading in failed.value.results} == {"parity_largest", "parity_relative"}


def test_a_clip_of_another_shape_is_refused_with_both_shapes(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = transform(assemble(shared(case(*QUICKLY["onnxruntime"]), exports, monkeypatch), 0))
    with pytest.raises(CaseFailed, match="exported for 2x3x3x8x8 but is given 1x3x3x8x8: shapes are fixed"):
        subject.forward(torch.zeros(1, 3, 3, 8, 8))


# --- Missing runtimes, and combinations that are refused --------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "int8 torchao"])
def test_a_runtime_that_is_not_installed_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    extra = {"int8 torchao": "int8"}.get(name, name)
    record = attempts.attempt(
        case(*CASES[name]), lambda runtime_case: harness.measure(runtime_case, QUICK, ("latency",))
    )
    assert record.status == "skipped"
    assert f"pip install 'convbench[{extra}]'" in record.failure.message


def test_a_precision_is_skipped_on_a_cpu_without_its_instructions() -> None:
    class Core:
        def get_property(self, *_: str) -> list[str]:
            return ["FP32", "INT8", "BIN"]

    with pytest.raises(Unavailable, match="no instructions for bf16"):
        OpenVino(case(), "dynamo", "bf16")._refuse_missing(Core())
    OpenVino(case(), "dynamo", "f32")._refuse_missing(Core())
    for precision, capability in (("bf16", "BF16"), ("f16", "FP16")):
        capable = SimpleNamespace(get_property=lambda *_, names=(capability,): names)
        OpenVino(case(), "dynamo", precision)._refuse_missing(capable)


def openvino_with(threads: int, settings: dict[str, Any]) -> SimpleNamespace:
    """Return an ``openvino`` whose compiled models run on so many threads; it writes down their settings."""

    def compile_model(_model: str, _device: str, given_settings: dict[str, Any]) -> SimpleNamespace:
        settings.update(given_settings)
        return SimpleNamespace(get_property={"INFERENCE_NUM_THREADS": threads}.get)

    core = SimpleNamespace(read_model=str, compile_model=compile_model, get_property=lambda *_: ["FP32"])
    return SimpleNamespace(Core=lambda: core)


@pytest.mark.parametrize(("cores", "threads", "used"), [(8, 8, 4), (8, 8, 8), (8, 1, 1), (1, 8, 1)])
def test_openvino_runs_on_the_threads_of_its_case_or_not_at_all(
    cores: int, threads: int, used: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With its hint for latency, it used one thread of the two that a core has, and the record said two."""
    settings: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "openvino", openvino_with(used, settings))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    engine = OpenVino(case(), "dynamo", "f32")
    if used < min(threads, cores):
        with pytest.raises(Unavailable, match=r"uses only 4 of the 8 threads .* ask for threads: 4"):
            engine._compile(tmp_path, threads)
    else:
        engine._compile(tmp_path, threads)
    assert settings["INFERENCE_NUM_THREADS"] == threads
    assert settings["ENABLE_HYPER_THREADING"] is True


@pytest.mark.parametrize("name", ["int8", "int8 static"])
def test_int8_is_skipped_on_a_cpu_without_an_engine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._C, "_supported_qengines", lambda: [0])
    record = attempts.attempt(
        case(*CASES[name]), lambda runtime_case: harness.measure(runtime_case, QUICK, ("latency",))
    )
    assert record.status == "skipped"
    assert "no engine for this CPU (fbgemm and x86 need AVX2): use int8+onnxruntime" in record.failure.message


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("onnxruntime+int8", r"write int8\+onnxruntime, not onnxruntime\+int8"),
        (
            "compile+onnxruntime",
            "compile and onnxruntime cannot be combined|onnxruntime and compile cannot be combined",
        ),
        ("onnxruntime+openvino", "cannot be combined"),
        ("half+int8", "cannot be combined"),
        ("half+openvino", "half combines with "),
        ("half+half(dtype=bf16)", "variant half is written twice: write it once"),
        ("compile+compile(mode=max-autotune)", "variant compile is written twice"),
        ("channels_last+compile+channels_last", "variant channels_last is written twice"),
        ("int8+aot-inductor", "cannot be combined"),
        ("channels_last+onnxruntime", "cannot be combined"),
    ],
)
def test_a_meaningless_combination_is_refused_in_one_message(written: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "combined.yaml"
    path.write_text(f"matrix: {{reducer: gap, clip: 1x2x3x8x8, variant: {written}}}")
    (combination,) = suite.load(str(path)).cases
    with pytest.raises(Impossible, match=reason):
        refuse_misplaced(combination)


def test_a_third_party_runtime_alone_declares_its_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    """``int8`` and ``half`` used to list the runtimes, and ``int8`` those that quantise by themselves."""

    @declares(VariantTraits(combines=("int8", "half"), last=True, takes_quantisation=True))
    def shop(subject: Subject) -> Subject:
        return subject

    monkeypatch.setitem(variants._plugins, "shop", Plugin("shop", shop, "", {}))
    refuse_misplaced(case(Choice("int8"), Choice("shop")))
    refuse_misplaced(case(Choice("half"), Choice("shop")))
    with pytest.raises(Impossible, match=r"half and int8 .*: half combines with allocator, .*shop"):
        refuse_misplaced(case(Choice("half"), Choice("int8"), Choice("shop")))
    with pytest.raises(Impossible, match="torchao quantises for torch only"):
        transform(assemble(case(Choice("int8", (("method", "torchao"),)), Choice("shop")), 0))


@pytest.mark.parametrize("name", [*ENGINES, "int8", "half"])
def test_a_runtime_refuses_the_train_scenario(name: str) -> None:
    with pytest.raises(Impossible, match="use scenario: inference or streaming"):
        refuse_misplaced(case(Choice(name), scenario="train"))


@pytest.mark.parametrize("written", ["int8+onnxruntime", "int8+compile", "half+aot-inductor", "allocator+openvino"])
def test_a_meaningful_combination_is_accepted(written: str) -> None:
    refuse_misplaced(case(*(Choice(name) for name in written.split("+"))))


def test_the_deploy_suite_has_every_runtime_in_both_scenarios() -> None:
    cases = suite.load("deploy").cases
    runtimes = {case.variant_name for case in cases}
    expected = {
        "eager",
        "channels_last",
        "compile",
        "onnxruntime",
        "openvino",
        "aot-inductor",
        "int8",
        "half(dtype=bf16)",
    }
    assert expected <= runtimes
    assert {case.scenario for case in cases} == {"inference", "streaming"}
    for runtime_case in cases:
        refuse_misplaced(runtime_case)


# --- Parity, in closed form -------------------------------------------------------------------------------------------


def test_parity_is_the_largest_and_the_relative_difference() -> None:
    expected = {"": torch.tensor([3.0, 4.0])}
    assert compare({"": torch.tensor([3.0, 4.0005])}, expected, TOLERANCE[torch.float32]) == pytest.approx(
        (5e-4, 1e-4), rel=1e-3
    )
    assert compare({"": torch.tensor([3.0, 4.0])}, expected, TOLERANCE[torch.float32]) == Parity(0.0, 0.0)


def test_complex_numbers_of_different_phase_differ() -> None:
    """Their magnitudes alone are equal."""
    expected = torch.tensor([3.0 + 4.0j, complex(math.nan, 1.0)])
    assert parity_of([(expected * 1j, expected)]) == pytest.approx((5 * math.sqrt(2), math.sqrt(2)))
    assert parity_of([(expected, expected)]) == Parity(0.0, 0.0)
    with pytest.raises(CaseFailed, match="differs from eager's output"):
        compare({"": expected[:1] * 1j}, {"": expected[:1]}, TOLERANCE[torch.float32])


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([3.0, 4.02], torch.float32),
        ([3.0, math.nan], torch.float32),
        ([3.0, 4.6], torch.int8),
        ([3.0, math.inf], torch.int8),
        ([3.0], torch.int8),
    ],
)
def test_a_difference_beyond_the_tolerance_is_a_wrong_output(values: list[float], dtype: torch.dtype) -> None:
    with pytest.raises(CaseFailed, match="differs from eager's output") as failed:
        compare({"": torch.tensor(values)}, {"": torch.tensor([3.0, 4.0])}, TOLERANCE[dtype])
    assert failed.value.kind == "wrong output"


def test_a_wrong_output_is_named_if_there_are_several() -> None:
    """Of an agent's logits, value, action and state, the message did not say which one int8 had changed."""
    expected = {"['logits']": torch.ones(3), "['value']": torch.ones(1), "['name']": "driver"}
    output = expected | {"['value']": torch.full((1,), 1.2)}
    with pytest.raises(CaseFailed, match=r"^differs from eager's output\['value'\] at frame 2: by 0.2 of its norm"):
        compare(output, expected, TOLERANCE[torch.int8], " at frame 2")
    with pytest.raises(CaseFailed, match=r"^differs from eager's output: by 0.2"):
        compare({"[0]": output["['value']"]}, {"[0]": torch.ones(1)}, TOLERANCE[torch.int8])
    with pytest.raises(CaseFailed, match=r"by 0.1 of its norm, more than the 0.1 that is allowed"):
        compare({"[0]": torch.full((3,), 1.10001)}, {"[0]": torch.ones(3)}, TOLERANCE[torch.int8])


def test_int8_is_judged_by_the_norm_not_by_one_value() -> None:
    expected = torch.ones(1000)
    output = expected.clone()
    output[0] = 1.5
    parity = compare({"": output}, {"": expected}, TOLERANCE[torch.int8])
    assert parity == pytest.approx((0.5, 0.5 / math.sqrt(1000)))
    with pytest.raises(CaseFailed):
        compare({"": output}, {"": expected}, TOLERANCE[torch.bfloat16])


def test_outputs_of_eight_bit_floats_are_compared() -> None:
    """torch refuses a tolerance for them, so that every variant of such a model failed."""
    output = torch.tensor([0.5, 1.0]).to(torch.float8_e4m3fn)
    assert compare({"": output}, {"": output.clone()}, TOLERANCE[torch.float32]) == (0.0, 0.0)
    with pytest.raises(CaseFailed, match="differs"):
        compare({"": output}, {"": output.float().neg().to(output.dtype)}, TOLERANCE[torch.float32])


def test_something_else_than_eagers_number_is_a_wrong_output() -> None:
    """torch's "Could not infer dtype of NoneType" was all that a variant's author read."""
    with pytest.raises(CaseFailed, match=r"differs from eager's output\[1\]: it is NoneType instead of Tensor"):
        compare({"[0]": 1, "[1]": None}, {"[0]": 1, "[1]": torch.ones(1)}, TOLERANCE[torch.float32])


# --- The profile of a runtime, by stage -------------------------------------------------------------------------------


def test_a_profile_node_without_a_stage_joins_the_previous_stage() -> None:
    stages = {"node_conv2d": "backbone", "relu": "backbone", "node_linear": "reducer", "node_linear_1": "head"}
    nodes = [
        ("node_view", "Reshape", 1.0),
        ("relu_nchwc", "Conv", 2.0),
        ("ReorderOutput", "ReorderOutput", 4.0),
        ("node_linear", "Gemm", 8.0),
        ("LSTMSequence_146", "LSTMSequence", 16.0),
        ("node_linear_1", "Gemm", 32.0),
        ("GRUSequence_147", "GRUSequence", 64.0),
    ]
    split = onnx_file.by_stage(nodes, stages, case())
    assert split == {"other": 1.0, "backbone": 6.0, "reducer": 8.0, "lstm": 80.0, "head": 32.0}


def test_profile_nodes_outside_of_a_users_stages_are_other(tmp_path: Path) -> None:
    """An unnamed head counted to the LSTM before it, or to the backbone: ``node_relu`` begins ``node_relu_1``."""
    stages = (("backbone", "net"), ("lstm", "rnn"))
    whole = replace(case(), architecture=Whole(Choice("models:make"), stages=stages))
    scopes = {"node_relu": ["net.1"], "node_lstm": ["rnn"], "node_relu_1": ["out.1"], "node_linear": ["out.0"]}
    entries = {name: (scope, False) for name, scope in scopes.items()} | {"node_gru": ([""], True)}
    (tmp_path / ASIDE).write_text(json.dumps(entries))
    nodes = [("node_relu_nchwc", "Conv", 1.0), ("node_lstm", "LSTM", 2.0), ("node_linear", "Gemm", 4.0)]
    nodes += [("node_relu_1", "Relu", 8.0), ("Reorder", "Reorder", 16.0), ("node_relu_12", "Relu", 32.0)]
    nodes += [("GRUSequence_1", "GRUSequence", 64.0)]
    split = onnx_file.by_stage(nodes, onnx_file.stage_of_nodes(tmp_path, whole), whole)
    assert split == {"backbone": 1.0, "lstm": 66.0, "other": 60.0}
    assert onnx_file.stage_of_nodes(tmp_path, whole)["node_gru"] == "lstm"
    unnamed = replace(whole, architecture=replace(whole.architecture, stages=stages[:1]))
    assert onnx_file.stage_of_nodes(tmp_path, unnamed)["node_gru"] is None
    rest = replace(whole, architecture=replace(whole.architecture, stages=(("head", "."), *stages)))
    split = onnx_file.by_stage(nodes, onnx_file.stage_of_nodes(tmp_path, rest), rest)
    assert split == {"backbone": 1.0, "lstm": 66.0, "head": 60.0}, "the model itself holds what is in no other stage"


@pytest.mark.parametrize(("name", "scope"), [("/model/net/layers/layers.0/GRU", "net.layers.0"), ("", "")])
def test_a_nodes_modules_are_noted_under_its_name_and_its_values(name: str, scope: str) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra onnxruntime")
    nodes = [onnx.helper.make_node("GRU", ["x"], ["y", "state"], name=name)]
    nodes += [onnx.helper.make_node("Conv", ["y"], ["z"])]
    noted = onnx_file._scopes_of_nodes(onnx.helper.make_model(onnx.helper.make_graph(nodes, "graph", [], [])))
    assert noted == {place: ([scope], True) for place in (name, "y", "state") if place} | {"z": ([""], False)}


def test_an_exporters_reason_is_one_line_with_the_operator() -> None:
    error = RuntimeError(
        "\x1b[31mFailed\x1b[0m\n=====\nNo function for <OpOverload(op='aten.eigh', overload='default')>"
    )
    assert export_error.reason(error) == "the operator aten.eigh: Failed"
    assert (
        export_error.reason(RuntimeError("Found conflicts:\n\n- a size of 2\n- more"))
        == "Found conflicts: - a size of 2"
    )
    loading = RuntimeError("[ONNXRuntimeError] : 10 : Load model from /tmp/a b/model.onnx failed:Type 'x' is invalid.")
    assert export_error.reason(loading) == "[ONNXRuntimeError] : 10 : Type 'x' is invalid."
    overloads = RuntimeError("No overload of aten.clamp. Tried:\nOverload name default:\naten::clamp() takes a number")
    assert export_error.reason(overloads).endswith("Tried: Overload name default: aten::clamp() takes a number")


def test_a_number_from_a_tensor_is_explained_without_torchs_symbols() -> None:
    message = "Could not extract specialized integer from data-dependent expression u0 (unhinted: u0)."
    assert export_error.reason(RuntimeError(message)) == export_error.NUMBER_REASON


def test_an_error_without_a_message_is_named_by_its_type() -> None:
    """The sentence was that of torch's wrapper: "Failed to export the model. This is step 1/3"."""
    wrapper = RuntimeError(
        "Failed to export. This is step 1/3 of exporting the model to ONNX. Next steps:\n- Modify it"
    )
    wrapper.__cause__ = StopIteration()
    assert export_error.reason(wrapper) == "StopIteration without a message"
    with pytest.raises(StopIteration) as raised:
        export_trace._find_node(torch.fx.GraphModule({}, torch.fx.Graph()), "gone")
    wrapper.__cause__ = raised.value
    place = r"StopIteration without a message from line [0-9]+ of torch\.export\._trace .*"
    assert re.fullmatch(place, export_error.reason(wrapper))


@pytest.mark.parametrize(
    ("name", "clip", "reason"),
    [
        ("Resetting", torch.ones(2), export_error.BRANCH_REASON),
        ("Packing", torch.ones(2, 3, 3, 4, 4), export_error.PACKED_REASON),
    ],
)
def test_a_model_that_cannot_be_exported_names_the_reason_and_its_line(
    name: str, clip: torch.Tensor, reason: str
) -> None:
    """torch's messages: "Could not guard on data-dependent expression Eq(u0, 1)", and "zeros(): argument 'size'"."""
    import exported_models

    with pytest.raises(Exception) as failed:
        torch.export.export(getattr(exported_models, name)(), (clip,))
    line = r" \(exported_models.py:\d+\)$"
    assert re.fullmatch(re.escape(reason) + line, export_error.reason(failed.value))


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (torch.jit.script(torch.nn.ReLU()), "scripted or traced"),
        (torch.ao.nn.quantized.dynamic.LSTM(2, 3), "quantised"),
        (torch.nn.ReLU(), ""),
    ],
)
def test_a_part_that_exporters_seldom_take_is_named(part: torch.nn.Module, kind: str) -> None:
    """It was "Cell.forward() takes 3 positional arguments but 4 were given", which the user's code does not do."""
    error, flat_model = TypeError("takes 3 positional arguments"), torch.nn.Module()
    flat_model.model = torch.nn.Sequential(torch.nn.Flatten(), part)
    advice = f"; 1 is {kind}, which exporters seldom take: export what it was made of" if kind else ""
    assert export_error.export_reason(error, flat_model) == f"takes 3 positional arguments{advice}"
    if kind:
        flat_model.model = part
        assert "; the model is" in export_error.export_reason(error, flat_model)


@pytest.mark.parametrize(("message", "reason"), [
    ("""Exception from src/inference/src/cpp/core.cpp:84:
Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted. Failed operations detailed log:
-- LSTM-20 with a message:
While validating ONNX node '<Node(LSTM): val_65>': Check 'DimType::merge(size)' failed at src/rnn_base.hpp:183:
Dimension `hidden_size` is not matched between inputs.

Summary:
-- Conversion is failed for: LSTM-20
""", "Dimension `hidden_size` is not matched between inputs. Conversion is failed for: LSTM-20"),
    ("Exception from src/core.cpp:84:\nUnable to read the model.\n\n", "Unable to read the model."),
    ("Exception from src/core.cpp:84:\n", "Exception from src/core.cpp:84:"),
])  # fmt: skip
def test_openvinos_reason_leaves_out_its_source_lines(message: str, reason: str) -> None:
    """Every refusal used to read "Exception from src/inference/src/cpp/core.cpp:84:"."""
    assert export_error.reason(RuntimeError(message)) == reason


@pytest.mark.parametrize("name", ["onnxruntime", "int8 static in onnxruntime"])
def test_a_model_that_writes_into_its_inputs_has_eagers_output_in_a_runtime(name: str) -> None:
    """The export's own calls changed the inputs, so that the runtime and eager were compared on different numbers."""
    readings = opened(case(*QUICKLY[name], architecture=Whole(Choice("field:Writes")), clip=SMALL))
    assert readings["parity_relative"] < (1e-5 if name == "onnxruntime" else 0.1)


# --- A trained model in each runtime, and handed over -----------------------------------------------------------------


def test_a_training_is_evaluated_in_each_variant_but_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(scratch.TRAINED, str(tmp_path / "trained"))
    path = tmp_path / "tried.yaml"
    path.write_text("""
quality: train
training: {tasks: identity, seeds: 1, learning_rates: [2.0e-3], steps: 6, checkpoints: 3, batch: 8,
           train_clips: 40, val_clips: 20, test_clips: 30, controls: [single-frame]}
matrix: {reducer: gap, backbone: {name: conv, channels: 4}, rnn: lstm8, clip: 1x2x1x16x16,
         variant: [eager, channels_last, int8]}
""")
    trials = [trial_case for trial_case in suite.load(str(path)).cases if trial_case.trial]
    assert [(trial_case.variant_name, trial_case.trial.control) for trial_case in trials] == [
        ("eager", None), ("int8", None), ("eager", "single-frame"),
    ]  # fmt: skip
    protocol = replace(QUICK, training=suite.load(str(path)).protocol.training)
    eager, eighth = (harness.measure(resolve(trial_case), protocol) for trial_case in trials[:2])
    assert len(eager.samples(metrics.TEST_ACCURACY)) == 3
    assert len(eighth.samples(metrics.TEST_ACCURACY)) == 1
    assert eighth.samples(metrics.TRAIN_SECONDS) == eager.samples(metrics.TRAIN_SECONDS)[-1:], (
        "it was not trained again"
    )
    assert abs(eighth.samples(metrics.TEST_ACCURACY)[0] - eager.samples(metrics.TEST_ACCURACY)[-1]) < 0.2
    variant_qualities = qualities([eager, eighth], in_variants=True)
    assert [quality.variant for quality in variant_qualities] == ["eager", "int8"]
    assert len(qualities([eager, eighth])) == 1


def test_a_probe_reads_each_variants_own_features(tmp_path: Path) -> None:
    skip_without_extra(CASES["int8 in onnxruntime"])
    path = tmp_path / "probed.yaml"
    path.write_text("""
quality: probe
matrix: {reducer: fc, lstm_input: 12, backbone: {name: conv, channels: 4}, rnn: lstm8, clip: 1x2x1x16x16,
         variant: [eager, channels_last, "onnxruntime(exporter=torchscript)", int8]}
include: [{reducer: gap, variant: [eager, int8]}]
""")
    trials = [trial_case for trial_case in suite.load(str(path)).cases if trial_case.trial]
    probed = [
        attempts.attempt(resolve(trial_case), lambda runtime_case: harness.measure(runtime_case, QUICK))
        for trial_case in trials
    ]
    by_case = {
        (record.case.architecture.reducer.name, record.case.variant_name.partition("(")[0]): record for record in probed
    }
    assert list(by_case) == [
        ("fc", "eager"), ("gap", "eager"), ("fc", "onnxruntime"), ("fc", "int8"), ("gap", "int8"),
    ]  # fmt: skip
    where = {key: record.samples(metrics.WHERE_R2) for key, record in by_case.items()}
    assert where["fc", "onnxruntime"] == pytest.approx(where["fc", "eager"], abs=2e-3)
    assert where["fc", "int8"] != where["fc", "eager"]
    assert where["fc", "int8"] == pytest.approx(where["fc", "eager"], abs=0.1)
    assert by_case["gap", "int8"].status == "skipped"
    assert (
        "backbone and reducer alone cannot be run as int8: the model has no LSTM"
        in by_case["gap", "int8"].failure.message
    )
    assert len(linear_probes(probed)) == 2
    assert [probe.variant for probe in linear_probes(probed, in_variants=True)].count("int8") == 1


def test_int8_accuracy_is_that_of_the_quantised_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the scores were eager's, changing the session's output would change nothing."""
    skip_without_extra(CASES["int8 in onnxruntime"])
    import onnx
    import onnxruntime

    files, real = list[Path](), onnxruntime.InferenceSession

    class Session:
        """A session whose output always names class 1."""

        def __init__(self, path: str, *args: object, **more: object) -> None:
            files.append(Path(path))
            self.real = real(path, *args, **more)
            self.get_providers = self.real.get_providers

        def run(self, names: object, inputs: dict[str, object]) -> list[object]:
            output, *state = self.real.run(names, inputs)
            output[..., 1] += 100.0
            return [output, *state]

    runtime_case = replace(case(*QUICKLY["int8 in onnxruntime"]), architecture=replace(FC, head=3))
    model = build(runtime_case.eager, 0, "cpu")
    clips = torch.randn(6, 3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    learned = Labelled(clips, torch.tensor([1, 1, 1, 0, 2, 0]))
    with monkeypatch.context() as patched:
        patched.setattr(onnxruntime, "InferenceSession", Session)
        names = names_of(runtime_case, model, learned)
        assert names(clips).tolist() == [1] * 6
        kinds = {node.op_type for node in onnx.load(str(files[-1])).graph.node}
    assert kinds >= {"DynamicQuantizeLSTM", "MatMulInteger", "Conv"}, "LSTM and matrices, but no convolution"
    plain = scores_of(runtime_case, model, learned)(clips)
    with torch.no_grad():
        eager = model(clips)[0][:, -1]
    assert 0 < float((plain - eager).abs().max()) < 0.1, "eight bits round"


def test_clips_that_fill_no_batch_get_the_models_own_scores() -> None:
    runtime_case = replace(case(Choice("int8")), clip=Clip(4, 3, 3, 8, 8))
    runtime_case = replace(runtime_case, architecture=replace(FC, head=3))
    model = build(runtime_case, 0, "cpu")
    clips = torch.randn(10, 3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(clips)[0][:, -1]
    output = scores_of(runtime_case, model, Labelled(clips, torch.zeros(10)))(clips)
    assert output.shape == (10, 3)
    torch.testing.assert_close(output, expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("count", [3, 10])
def test_calibration_uses_a_tasks_own_clips_however_few(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three or ten clips fill less than four batches of four. Each clip holds its own number everywhere."""
    subjects = []
    monkeypatch.setattr(in_variant, "transform", lambda subject: subjects.append(subject) or subject)
    static = replace(case(Choice("int8", STATIC)), clip=Clip(4, 3, 3, 8, 8))
    clips = torch.arange(float(count)).reshape(-1, 1, 1, 1, 1).expand(-1, 3, 3, 8, 8)
    scores_of(static, build(static.eager, 0, "cpu"), Labelled(clips, torch.zeros(count)))
    ranges = calibration_clips(subjects[0], 8, None)
    numbers = [number for sample in ranges for number in sample.tensors[0][:, 0, 0, 0, 0].tolist()]
    assert len(numbers) >= 4 * 4
    assert set(numbers) == set(range(count))


def test_four_calibration_clips_are_enough() -> None:
    first, *others = calibration_clips(assemble(case(), 0), 4, None)
    assert len(others) == 3
    assert not any(torch.equal(first.args[0], other.args[0]) for other in others)


@pytest.mark.parametrize("reducer", ["encoder.0", "encoder.1"])
def test_a_stage_inside_another_is_quantised_with_it(reducer: str) -> None:
    """It failed with torch's "no attribute 'qconfig'"."""
    stages = (("backbone", "encoder"), ("reducer", reducer))
    static = case(
        Choice("int8", STATIC), architecture=Whole(Choice("exported_models:Together"), stages=stages), clip=SMALL
    )
    model = open_case(static, 0)[0].model
    assert not any(type(module) is torch.nn.Conv2d for module in model.modules())


@pytest.mark.parametrize(("variant", "scenario"), [("eager", "inference"), ("eager", "train"), ("int8", "streaming")])
def test_a_handed_over_model_runs_by_the_program_beside_it(variant: str, scenario: str, tmp_path: Path) -> None:
    skip_without_extra(CASES["onnxruntime"])
    import onnx

    runtime_case = case(*(() if variant == "eager" else (Choice(variant),)), scenario=scenario)
    weights = tmp_path / "weights.pt"
    torch.save(build(runtime_case.eager, 7, "cpu").state_dict(), weights)
    to = tmp_path / "model.onnx"
    files, parity = hand_over(runtime_case, 0, to, weights, {"run": "deploy"})
    assert parity.relative < (1e-5 if variant == "eager" else 0.1)
    assert {to, tmp_path / "model.py"} <= set(files)
    noted = {entry.key: entry.value for entry in onnx.load(str(to)).metadata_props}
    assert noted["convbench.case"] == runtime_case.id
    assert noted["convbench.weights"] == "weights.pt"
    program = tmp_path / "model.py"
    assert len([line for line in program.read_text().splitlines() if line.strip()]) <= 7
    done = subprocess.run([sys.executable, str(program)], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("(2, 1, 5)" if scenario == "streaming" else "(2, 3, 5)") in done.stdout


def test_a_model_is_handed_over_for_any_batch_as_measured(tmp_path: Path) -> None:
    """Exporters take a batch of one for a constant. The opset of the measured case used to be left out."""
    skip_without_extra(CASES["onnxruntime"])
    import onnx
    import onnxruntime

    measured = case(Choice("onnxruntime", (("opset", 18),)), scenario="streaming", clip=Clip(1, 3, 3, 8, 8))
    to = tmp_path / "model.onnx"
    hand_over(measured, 0, to, None, {}, any_batch=True)
    assert onnx.load(str(to)).opset_import[0].version == 18
    clips, state = torch.randn(4, 1, 3, 8, 8), torch.randn(1, 4, 5)
    given = {"input": clips, "state_0": state, "state_1": state}
    session = onnxruntime.InferenceSession(str(to), providers=["CPUExecutionProvider"])
    output = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
    with torch.no_grad():
        expected = build(measured.eager, 0, "cpu").eval()(clips, (state, state))
    torch.testing.assert_close(torch.from_numpy(output[0]), expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", [CASES["onnxruntime"], QUICKLY["onnxruntime"]])
def test_a_state_that_the_model_overwrites_starts_with_zeros(variant: tuple[Choice, ...]) -> None:
    """The second call used to overwrite the recorded state of the first, which was then no longer zeros."""
    skip_without_extra(variant)
    open_case(case(*variant, scenario="streaming", architecture=own("Overwriting"), clip=SMALL), 0)


def test_a_learned_first_state_reaches_the_runtime_and_the_program(tmp_path: Path) -> None:
    """Such a model used to be refused. The program calls with zeros for frames and this state for the first call."""
    learned = case(*QUICKLY["onnxruntime"], scenario="streaming", architecture=own("Learned"), clip=SMALL)
    assert opened(learned)["parity_largest"] < 1e-5
    to = tmp_path / "model.onnx"
    hand_over(learned, 0, to, None, {})
    told: dict[str, dict[str, Any]] = {}
    exec(to.with_suffix(".py").read_text().partition("for _ in")[0], {"__file__": str(to.with_suffix(".py"))}, told)
    assert not told["given"]["input"].any()
    first = torch.tensor([[0.5, -1.0, 2.0]] * SMALL.batch)
    for name, state in zip(("state_0", "state_1", "state_2"), (first[None], -first[None], first), strict=True):
        assert torch.equal(torch.from_numpy(told["given"][name]), state)


def test_batch_axes_are_the_axes_that_grow_with_it() -> None:
    streamed = assemble(case(scenario="streaming"), 0)
    wide = any_batch_example(streamed, example(streamed))
    assert (wide.batch_axes, wide.tensors[0].shape[0]) == ((0, 1, 1), CLIP.batch + 1)
    fixed = assemble(case(architecture=Whole(Choice("torch.nn:Identity"), f"{__name__}:one_clip"), clip=SMALL), 0)
    with pytest.raises(CaseFailed, match="cannot be exported for any batch: none of its inputs"):
        any_batch_example(fixed, example(fixed))


def one_clip(_: Clip) -> torch.Tensor:
    return torch.rand(1, 3)


def test_any_batch_is_refused_for_the_exporter_that_fixes_it() -> None:
    skip_without_extra(CASES["onnxruntime"])
    with pytest.raises(Impossible, match="any_batch needs exporter=dynamo"):
        transform(assemble(case(Choice("onnxruntime", (("any_batch", True), *TORCHSCRIPT))), 0))


def test_a_model_that_inference_mode_refuses_is_handed_over(tmp_path: Path) -> None:
    skip_without_extra(CASES["onnxruntime"])
    versioned = case(architecture=own("Versioned"), clip=SMALL)
    _, parity = hand_over(versioned, 0, tmp_path / "model.onnx", None, {}, exporter="torchscript")
    assert parity.largest == 0


def test_a_handed_over_model_is_checked_on_another_clip_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that the exporter froze used to be handed over as identical to eager."""
    skip_without_extra(CASES["onnxruntime"])
    import exported_models

    branching = case(architecture=own("Branching"), clip=SMALL)
    firsts = [float(assemble(branching, seed).inputs.args[0].flatten()[0]) for seed in (0, 1)]
    monkeypatch.setattr(exported_models, "SEEN", sum(firsts) / 2)
    with pytest.raises(CaseFailed, match="on another clip"):
        hand_over(branching, 0, tmp_path / "model.onnx", None, {}, exporter="torchscript")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("trained", [False, True])
def test_a_model_that_is_random_in_eager_has_no_parity(trained: bool, tmp_path: Path) -> None:
    """It used to be measured, then refused as another model."""
    skip_without_extra(CASES["onnxruntime"])
    noisy, weights = case(architecture=own("Noisy"), clip=SMALL), tmp_path / "trained.pt"
    torch.save({"scale": torch.tensor(3.0)}, weights)
    files, parity = hand_over(
        noisy, 0, tmp_path / "model.onnx", weights if trained else None, {}, exporter="torchscript"
    )
    assert (files[0].exists(), parity) == (True, None)


@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError("\nno kernel"), "error"), (MemoryError("no kernel"), "out of memory")]
)
def test_a_model_that_loads_but_cannot_run_is_one_message(
    error: Exception, kind: str, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_extra(CASES["onnxruntime"])

    def refuse(_arrays: list[object]) -> None:
        raise error

    monkeypatch.setattr(ort, "_runner", lambda *_: refuse)
    message = r"^onnxruntime has loaded the exported model but cannot run it: no kernel \(test_runtimes.py:\d+\)$"
    with pytest.raises(CaseFailed, match=message) as handed:
        hand_over(case(), 0, tmp_path / "model.onnx", None, {}, exporter="torchscript")
    runtime_case = shared(case(*QUICKLY["onnxruntime"]), exports, monkeypatch)
    with pytest.raises(CaseFailed, match=message) as timed:
        open_case(runtime_case, 0)
    subject = transform(assemble(runtime_case, 0))
    with pytest.raises(CaseFailed, match=message) as called:
        subject.forward(*subject.inputs.args)
    assert {failed.value.kind for failed in (handed, timed, called)} == {kind}


class Scaled(torch.nn.Module):
    """A model that multiplies frames by an input of integers."""

    def forward(self, clip: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return clip.mean((3, 4)) * lengths[:, None, None]


def clip_and_lengths(clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(clip.batch, clip.frames, clip.channels, clip.height, clip.width), torch.full((clip.batch,), 3)


def test_the_program_gives_each_input_its_own_type(tmp_path: Path) -> None:
    skip_without_extra(CASES["onnxruntime"])
    whole = Whole(Choice(f"{__name__}:Scaled"), f"{__name__}:clip_and_lengths")
    hand_over(Case(whole, SMALL), 0, tmp_path / "model.onnx", None, {}, exporter="torchscript")
    words = [sys.executable, "model.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_file_of_weights_is_named_after_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights used to be taken from the next file if their own file's new name was the old name of that file.

    On a full disk the weights of an earlier export were removed, or they were replaced and its model was not.
    """
    onnx = pytest.importorskip("onnx")
    weights = [onnx.numpy_helper.from_array(torch.full((2, 2), number).float().numpy(), name)
               for number, name in enumerate(("first", "model.onnx.data"))]  # fmt: skip
    folder = tmp_path / "export"
    folder.mkdir()
    exported = onnx.helper.make_model(onnx.helper.make_graph([], "graph", [], [], weights))
    onnx.save_model(
        exported, folder / onnx_file.FILE, save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0
    )
    program = {tmp_path / "model.py": b"program"}
    paths = _write(folder, tmp_path / "model.onnx", {}, program)
    assert [path.name for path in paths] == ["model.onnx", "model.onnx.data", "model.onnx.data1", "model.py"]
    tensors = onnx.load(paths[0]).graph.initializer
    assert [float(onnx.numpy_helper.to_array(tensor).mean()) for tensor in tensors] == [0.0, 1.0]

    before, write_rest = {path: path.read_bytes() for path in paths}, files._write_rest

    def fill_disk(descriptor: int, data: bytes) -> None:
        if data == b"new program":
            os.write(descriptor, data[:4])
            raise OSError(errno.ENOSPC, "full")
        write_rest(descriptor, data)

    monkeypatch.setattr(files, "_write_rest", fill_disk)
    for name in ("model", "other"):
        with pytest.raises(StoreError, match=rf"{name}\.py: cannot be written \(full\)"):
            _write(folder, tmp_path / f"{name}.onnx", {"of": "today"}, {tmp_path / f"{name}.py": b"new program"})
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (
            {"nothing": torch.zeros(1)},
            r"^weights\.pt: are not the weights of .* but nothing: it must be what torch\.save",
        ),
        ({"epoch": 3, "state_dict": {}}, "but epoch, state_dict: it must be"),
        ({"epoch": 3, "state": {0: {}}, 1: 2}, "but epoch, state, 1: it must be"),
        ({"actor.weight": torch.zeros(1)}, "are not the weights of .*: Error"),
        (torch.zeros(1), "holds a Tensor: it must be"),
        (Path("/"), "cannot be read as weights .*: it must be"),
        (None, "weights.pt: cannot be read .No such file or directory.$"),
    ],
)
def test_weights_of_another_model_are_refused(
    kept: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if kept is not None:
        torch.save(kept, "weights.pt")
    judging = case(architecture=own("Judging"), clip=SMALL)
    with pytest.raises(ConvbenchError, match=message):
        _load(build(judging, 0, "cpu"), Path("weights.pt"), judging)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_weights_of_a_wrapped_model_load_into_the_plain_model(prefix: str, tmp_path: Path) -> None:
    """Weights of a compiled model, or of one trained on several GPUs, used to be refused as another model's."""
    judging = case(architecture=own("Judging"), clip=SMALL)
    trained, other = build(judging, 7, "cpu"), build(judging, 0, "cpu")
    torch.save({prefix + name: weight for name, weight in trained.state_dict().items()}, tmp_path / "weights.pt")
    _load(other, tmp_path / "weights.pt", judging)
    torch.testing.assert_close(other.state_dict(), trained.state_dict())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_in_a_checkpoint_of_a_training_load_if_there_is_one_set_of_them(prefix: str, tmp_path: Path) -> None:
    judging = case(architecture=own("Judging"), clip=SMALL)
    trained, other = build(judging, 7, "cpu"), build(judging, 0, "cpu")
    weights = {prefix + name: weight for name, weight in trained.state_dict().items()}
    optimizer = torch.optim.Adam(trained.parameters()).state_dict()
    checkpoint = {"epoch": 3, "optimizer": optimizer, "model": weights, "config": {"lr": 1.0}}
    torch.save(checkpoint, tmp_path / "weights.pt")
    _load(other, tmp_path / "weights.pt", judging)
    torch.testing.assert_close(other.state_dict(), trained.state_dict())
    torch.save(checkpoint | {"ema": weights}, tmp_path / "two.pt")
    with pytest.raises(ConvbenchError, match="but epoch, optimizer, model, config: it must be"):
        _load(other, tmp_path / "two.pt", judging)
