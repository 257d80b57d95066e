"""Test that any model that plain torch runs is measured; expected numbers are closed forms worked by hand."""

from __future__ import annotations

import asyncio
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import field
import pytest
import records
import torch
import torch.ao.nn.quantized as nnq
from torch import nn

import convbench
from convbench.analysis import results
from convbench.core import errors
from convbench.core.errors import CaseFailed, ConvbenchError
from convbench.core.record import Case, Choice, Clip, Finding, Parts, Protocol, Reading, Record, Whole
from convbench.core.registry import probes
from convbench.measure import attempts, harness, probing, progress, side
from convbench.measure.counts import dispatched
from convbench.measure.counts.counted import macs_by_stage
from convbench.measure.memory import allocations
from convbench.measure.memory.prediction import predict
from convbench.models import network, subject, values, weights
from convbench.plugins.probes import crosscheck
from convbench.plugins.probes.stages import hidden_stages, split_by_hooks
from convbench.report.words import answer as words

PROTOCOL = Protocol(max_warmup=0.0, max_time=0.001, min_samples=2)
COUNTS = ["params", "macs", "crosscheck"]
CLIP = Clip(3, 8, 3, 32, 32)
CONV = 24 * 6 * 15 * 15 * 27
"""MACs of the convolution of ``field.Base`` on 24 frames."""
LSTM = 24 * 4 * 20 * (6 + 20)
OF_CLOCKS = {"interval_wide", "not_steady", "page_faults", "busy_machine"}
"""Findings that few and short samples cause, whatever the model."""
pytestmark = pytest.mark.filterwarnings("ignore")


def case(name: str, clip: Clip = CLIP, scenario: str = "inference", variant: tuple = (), **whole) -> Case:
    name, _, how = name.partition("/")
    key = {"packed": "cell", "heads": "kind"}.get(name, "how")
    return Case(Whole(Choice(f"field:{name}", ((key, how),) if how else ()), **whole), clip, variant, scenario)


def measured(case: Case, metrics: list[str]) -> Record:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return harness.measure(case, PROTOCOL, metrics)


def value(record: Record, name: str) -> float:
    return record.samples(name)[0]


def codes(record: Record) -> set[str]:
    return {finding.code for finding in record.findings}


def finding(record: Record, code: str) -> Finding:
    return next(candidate for candidate in record.findings if candidate.code == code)


# --- Number types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "variant", "expected"),
    [
        ("float32", (), "fp32"),
        ("bfloat16", (), "bf16"),
        ("float16", (), "fp16"),
        ("float64", (), "fp64"),
        ("float64", (Choice("channels_last"),), "fp64"),
        ("bfloat16", (Choice("half"),), "fp16"),
    ],
)
@pytest.mark.parametrize("metrics", [["params"], ["latency"]])
def test_a_model_is_grouped_by_its_own_number_type(kind, variant, expected, metrics):
    """This holds whether or not the model is called; a variant that lowers the type decides."""
    record = measured(case(f"Typed/{kind}", SMALL, variant=variant), metrics)
    assert results.group(record).dtype == expected
    assert results.dtype(replace(record, conditions={})) == ("fp16" if variant and expected == "fp16" else "fp32")


def test_the_number_type_is_that_of_most_bytes():
    model = field.Base()
    model.rnn.to(torch.float64)
    assert weights.number_type(model) == torch.float64
    assert weights.number_type(torch.jit.freeze(torch.jit.script(field.Base().bfloat16().eval()))) == torch.bfloat16
    assert weights.number_type(torch.nn.ReLU()) == torch.float32


@pytest.mark.parametrize("variant", [(), (Choice("autocast", (("dtype", "fp16"),)),)])
def test_a_float16_model_is_trained_in_float16(variant):
    """torch does not unscale gradients that are float16 themselves."""
    record = measured(case("Typed/float16", SMALL, "train", variant), ["latency"])
    assert results.group(record).dtype == "fp16"


# --- Counts -----------------------------------------------------------------------------------------------------------

OFF_META = {"not_on_meta"}
ONCE = {"counted_once"}


@pytest.mark.parametrize(
    ("model", "params", "macs", "doubts"),
    [
        ("reads/item", 2408, CONV + LSTM, OFF_META),
        ("reads/if", 2408, CONV + LSTM, OFF_META),
        ("reads/nonzero", 2408, CONV + LSTM, OFF_META),
        ("reads/mask", 2408, CONV + LSTM, OFF_META),
        ("reads/numpy", 2408, CONV + LSTM, OFF_META),
        ("reads/distribution", 2408, CONV + LSTM, OFF_META),
        ("reads/on cpu", 2408, CONV + LSTM, set()),
        ("lazy", 2408, CONV + LSTM, set()),
        ("Late", 2408, CONV + LSTM, set()),
        ("Dropped", 2408, CONV + LSTM, set()),
        ("Unreached", 2408, CONV + LSTM, set()),
        ("LearnedState", 2448, CONV + LSTM, set()),
        ("normed/new", 2488, CONV + LSTM, set()),
        ("normed/old", 2488, CONV + LSTM, set()),
        ("wrapped/script", 2408, CONV + LSTM, ONCE),
        ("wrapped/part", 2408, CONV + LSTM, ONCE),
        ("wrapped/trace", 2408, CONV + LSTM, ONCE | OFF_META),
        ("wrapped/compile", 2408, CONV + LSTM, set()),
        ("wrapped/compile in place", 2408, CONV + LSTM, set()),
        ("wrapped/compile forward", 2408, CONV + LSTM, set()),
        ("wrapped/parallel", 2408, CONV + LSTM, set()),
        ("wrapped/quantised", 2408, CONV + LSTM, ONCE | OFF_META),
        ("wrapped/frozen", 2408, CONV + LSTM, ONCE | OFF_META),
        ("wrapped/optimised", 2408, LSTM, ONCE | OFF_META | {"uncounted_operators"}),
        ("wrapped/exported", 2408, CONV + LSTM, set()),
        ("Listed", 2240, CONV + LSTM, ONCE),
        ("Works/gradient", 2408, 3 * CONV + LSTM, ONCE | {"not_in_inference_mode"}),
        ("Works/needs gradients", 2408, 2 * (CONV + LSTM), {"not_in_inference_mode"}),
        ("Works/threads", 2408, CONV + LSTM, ONCE),
        ("Works/sparse", 2408, CONV + LSTM + 20 * 24, OFF_META | ONCE),
        ("Works/vmap", 2408, CONV + LSTM, set()),
        ("Works/jvp", 2408, 3 * CONV + LSTM, set()),
        ("Works/later", 2408, CONV + LSTM, set()),
        ("Yields", 2408, CONV + LSTM, set()),
        ("Waits", 2408, CONV + LSTM, set()),
        ("FrozenTrunk", 2408, CONV + LSTM, set()),
        ("Constant", 3248, CONV + LSTM + 24 * 2 * 400, OFF_META),
        ("Spells", 2408, CONV + LSTM, OFF_META),
    ],
)
def test_every_model_that_runs_is_counted(model, params, macs, doubts):
    record = measured(case(model), COUNTS)
    assert (value(record, "params"), value(record, "macs")) == (params, macs)
    assert codes(record) - {"name_stages"} == doubts


@pytest.mark.parametrize(("how", "products"), [("scaled", 0), ("closure", 2 * 2408)])
def test_a_model_that_makes_its_own_training_step_is_measured(how, products):
    """A failed attempt in inference mode leaves tensors in the scaler, and a profiler's mark is around LBFGS's step."""
    record = measured(case(f"Steps/{how}", SMALL), COUNTS)
    step_macs = value(measured(case("Base", SMALL, "train"), ["macs"]), "macs")
    assert value(record, "macs") == step_macs + products, "LBFGS multiplies two pairs of gradients and directions"
    assert codes(record) & {"not_in_inference_mode", "counted_once", "not_counted"} == ONCE | {"not_in_inference_mode"}


@pytest.mark.parametrize(("how", "scenario"), [("depth", "inference"), ("depth", "train"), ("training", "train")])
def test_random_work_is_reported(how, scenario):
    """The MACs of stochastic depth are those of the layers that were drawn."""
    record = measured(case(f"ByChance/{how}", scenario=scenario), COUNTS)
    assert record.samples("adds") and not codes(record) & {"counted_once", "counts_disagree"}
    drawn = finding(record, "random_work").data
    for macs in drawn["macs"], drawn["other"]:
        assert macs > CONV
        assert (macs - CONV) % LSTM == 0
    assert drawn["macs"] != drawn["other"]
    assert "random_work" not in codes(measured(case("ByChance/numbers", scenario=scenario), COUNTS))


def test_training_macs_of_a_random_depth_come_from_one_draw():
    """One frame and two frames used to draw different depths; a line through both gave any number, even negative."""
    drawn = Case(Parts(Choice("field:deep"), Choice("gap")), SMALL, scenario="train")
    stem, block = 6 * 32 * 32 * 4 * 27, 6 * 32 * 32 * 4 * 36
    counted = set()
    for seed in range(3):
        random.seed(seed)
        before = random.getstate()
        record = measured(drawn, COUNTS)
        assert random.getstate() == before
        assert "random_work" in codes(record) and "counts_disagree" not in codes(record)
        counted.add(value(record, "macs_backbone"))
    (macs,) = counted
    assert (macs - 2 * stem) % (3 * block) == 0 < macs - 2 * stem


@pytest.mark.parametrize("inputs", ["field:lengths", "field:listed_lengths", None])
@pytest.mark.parametrize(
    ("cell", "a_step"),
    [("lstm", 6000), ("gru", 3 * 20 * (6 + 20 + 20 + 20)), ("rnn", 20 * (6 + 20 + 20 + 20))],
)
def test_a_packed_sequence_costs_its_own_steps(cell, a_step, inputs):
    model = case(f"packed/{cell}", inputs=inputs)
    if inputs is None:
        options = (("cell", cell), ("inside", True))
        model = replace(model, architecture=replace(model.architecture, model=Choice("field:packed", options)))
    record = measured(model, COUNTS)
    assert value(record, "macs") == CONV + 15 * a_step
    assert value(record, "macs_lstm") == 15 * a_step
    assert codes(record) - {"name_stages"} == OFF_META


def test_a_model_that_fails_on_meta_lacks_only_a_prediction():
    record = measured(case("reads/if"), [])
    assert all(record.samples(name) for name in ("latency_s", "cpu_peak_tensor_bytes", "latency_s_lstm", "macs_lstm"))
    assert not record.samples("predicted_peak_bytes")
    assert "values of tensors" in finding(record, "not_predicted").data["reason"]


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("wrapped/quantised", "its layers are quantised while it is built"),
        ("Works/onednn", "its tensors in oneDNN's layout"),
        ("Works/jagged", "its jagged tensors"),
        ("Works/nested", "its nested tensors"),
        ("wrapped/compile in place", "a model whose own code compiles it"),
        ("wrapped/compile forward", "a model whose own code compiles it"),
        ("Works/own class", "its code makes tensors of a class of its own"),
        ("wrapped/trace", "it is traced while it is built"),
        ("wrapped/loaded", "its program is loaded with its values"),
        ("wrapped/loaded export", "its program is loaded or exported with its values"),
        ("wrapped/distributed", "DistributedDataParallel sends the values of its weights"),
    ],
)
def test_the_reason_for_a_missing_prediction_is_given(model, why):
    field.saved_programs()
    with pytest.raises(CaseFailed, match=why):
        predict(case(model))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("model", "doubts"),
    [
        ("Works/gradient", {"not_in_inference_mode"}),
        ("Works/needs gradients", {"not_in_inference_mode"}),
        ("Works/threads", {"own_threads", "not_predicted"}),
        ("Works/sparse", {"not_on_meta", "not_predicted"}),
        ("Works/sparse rows", {"not_on_meta", "not_predicted"}),
        ("Works/vmap", set()),
        ("Works/jvp", set()),
        ("Works/later", set()),
        ("Yields", set()),
        ("Unreached", set()),
        ("wrapped/frozen", {"not_on_meta", "not_predicted"}),
        ("wrapped/exported", set()),
    ],
)
def test_every_model_that_runs_has_time_and_memory(model, doubts):
    record = measured(case(model, SMALL if "wrapped" not in model else CLIP), ["latency", "memory", "prediction"])
    peak = value(record, "cpu_peak_tensor_bytes")
    assert record.samples("latency_s")
    assert value(record, "cpu_peak_tensor_bytes_weights") >= 4 * 2408
    assert codes(record) - OF_CLOCKS == doubts
    if "not_predicted" not in doubts:
        assert value(record, "predicted_peak_bytes") == pytest.approx(peak, rel=0.05)


def test_a_list_is_all_arguments_or_the_only_argument():
    record = measured(case("Paths", inputs="field:views"), COUNTS)
    assert value(record, "macs") == CONV * 10 // 8 + LSTM
    assert measured(case("Packed", inputs="field:listed_clips"), ["params"]).status == "ok"


@pytest.mark.parametrize("how", ["compiled", "parallel", "averaged", "traced"])
@pytest.mark.parametrize(("kind", "inputs"), [("dict", "observed"), ("list", "listed_clips")])
def test_a_torch_wrapper_takes_its_models_inputs(kind, inputs, how):
    enclosed = Whole(Choice("field:enclosed", (("how", how), ("kind", kind))), f"field:{inputs}")
    arguments = subject.assemble(Case(enclosed, SMALL), 0).inputs
    assert len(arguments.args) == 1
    assert arguments.kwargs == {}


def test_a_mapping_without_a_truth_value_can_be_the_inputs():
    taken = [
        subject.assemble(Case(Whole(Choice(f"field:{name}"), "field:undecided"), SMALL), 0).inputs
        for name in ("ReadsFirst", "ReadsBoth")
    ]
    assert [(len(inputs.args), list(inputs.kwargs)) for inputs in taken] == [(1, []), (0, ["image", "speed"])]


@pytest.mark.parametrize(
    "inputs", ["observed", "named_observation", "observation", "indexed_observation", "plain_observation"]
)
def test_a_dictionary_tuple_or_object_can_be_the_only_argument(inputs):
    record = measured(case("Observes", inputs=f"field:{inputs}"), COUNTS)
    assert value(record, "macs") == CONV + LSTM
    assert codes(record) == {"name_stages"}
    if inputs == "observed":
        with pytest.raises(TypeError, match="unexpected keyword argument 'image'"):
            subject.assemble(Case(Whole(Choice("wild:DictModel"), "field:observed"), SMALL), 0).call()


def no_clip():
    return torch.ones(1)


def test_a_function_of_inputs_that_takes_no_clip_is_refused_in_words():
    with pytest.raises(ConvbenchError, match="test_field:no_clip must take one argument, the clip"):
        subject.assemble(case("Base", inputs=f"{__name__}:no_clip"), 0)


@pytest.mark.parametrize(
    ("how", "macs"),
    [
        ("encoder", 16 * 16 * 4 + 2 * 16 * 32 + 2 * 8 * 16),
        ("padded", 2 * (16 * 16 * 4 + 2 * 16 * 32 + 2 * 8 * 16)),
        ("sdpa", 2 * 8 * 16),
        ("mha", 16 * 16 * 4 + 2 * 8 * 16),
        ("dead", 4 * 16),
        ("query", 16 + 16),
        ("product", 16 + 1),
        ("codes", 40 * 16),
        ("few codes", 4 * 16),
    ],
)
def test_both_counters_agree_on_attention_and_unreturned_results(how, macs):
    record = measured(case(f"Attention/{how}"), COUNTS)
    assert value(record, "macs") == CONV + 24 * (4 * 16 * (6 + 16) + macs)
    assert codes(record) == {"name_stages"}


def test_a_custom_operator_is_named_and_counted_by_its_formula():
    clip = Clip(2, 4, 3, 16, 16)
    record = measured(case("Own", clip), COUNTS)
    assert value(record, "macs") == 8 * 4 * 8 * (64 + 8)
    doubt = finding(record, "uncounted_operators").data
    assert doubt["operators"] == ("field::proj",)
    assert doubt["share"] == 64 * 768 / value(record, "params")
    trained = measured(case("Own", clip, "train"), ["macs"])
    assert finding(trained, "uncounted_operators").data == doubt  # its gradient uses products that are counted
    known = measured(case("Own", clip, flops=(("field::proj", "field:proj_flops"),)), COUNTS)
    assert value(known, "macs") == 8 * (4 * 8 * (64 + 8) + 64 * 768)
    assert codes(known) == {"name_stages"}


def test_a_check_reports_which_operators_the_macs_omit():
    """Three quarters of the work, unknown to any counter, used to look like a saving of three quarters."""
    told = {name: side.counts(case(name, Clip(2, 4, 3, 16, 16)), 0)["not counted"] for name in ("Own", "Heavy")}
    assert told == {"Own": "field::proj", "Heavy": "nothing"}


def test_no_headline_calls_a_partly_counted_model_smallest():
    clip = Clip(2, 4, 3, 16, 16)
    partly, wholly = (measured(case(name, clip), COUNTS) for name in ("Own", "Heavy"))
    trained = measured(case("Own", clip, "train"), COUNTS)
    assert value(partly, "params") < value(wholly, "params")
    answer = words.answer(records.run_of([partly, wholly, trained]), [partly, wholly, trained])
    assert answer.startswith("Smallest: field:Heavy")
    assert "The FLOPs of field:Own, eager are a lower bound: no counter knows field::proj (up to 95 %" in answer
    alone = words.answer(records.run_of([partly]), [partly])
    assert alone.startswith("Fewest parameters: field:Own, eager, with 51.5 k parameters and at least ")


def test_a_condition_counts_its_longer_branch_and_still_runs_afterwards():
    """torch's counter added both branches, and a trace that failed left the model unable to run."""
    model, vectors = field.Branches(), torch.randn(4, 8)
    assert convbench.count(model, vectors).macs == (1 + 2) * 4 * 8 * 8
    with torch.no_grad():
        assert model(vectors).shape == (4, 8)


def test_a_live_module_is_counted_the_same_way():
    counted = convbench.count(field.Packed(inside=True), torch.randn(3, 8, 3, 32, 32))
    assert counted.second == counted.macs
    assert counted.module("rnn").macs == 15 * 4 * 20 * (6 + 20 + 20 + 20)
    assert counted.module("cnn").macs == CONV


def test_an_uncalled_lazy_layer_has_no_parameters_yet():
    counted = convbench.count(field.Unreached().eval(), torch.randn(3, 8, 3, 32, 32))
    assert (counted.params, counted.macs, counted.second) == (2408, CONV + LSTM, CONV + LSTM)
    record = measured(case("Unreached", scenario="train"), [*COUNTS, "phases"])
    assert (value(record, "params"), codes(record) & {"no_gradient", "not_counted"}) == (2408 + 210, set())


def test_a_live_count_states_its_gaps():
    partly = convbench.count(field.Own(), torch.randn(2, 4, 3, 16, 16))
    assert partly.uncounted == ("field::proj",)
    share = f"{100 * partly.uncounted_share:.0f} %"
    assert f"not counted: field::proj; they alone read {share} of the parameters" in repr(partly)
    once = convbench.count(field.wrapped("part"), torch.randn(3, 8, 3, 32, 32))
    assert (once.macs, once.second) == (CONV + LSTM, None)
    assert "counted once: " in repr(once)


def test_a_call_slow_on_meta_is_counted_once_for_real(monkeypatch):
    devices = []
    monkeypatch.setattr(crosscheck, "DRAWS", 0)

    def count(case_subject, count=dispatched.count):
        devices.append(case_subject.device)
        return count(case_subject)

    monkeypatch.setattr(dispatched, "count", count)
    usual = measured(case("Cells", SMALL), [*COUNTS, "prediction"])
    assert devices == ["meta"]
    monkeypatch.setattr(probing, "SECONDS_ON_META", 0.0)
    slow = measured(case("Cells", SMALL), [*COUNTS, "prediction"])
    assert devices == ["meta", "cpu"]
    assert codes(slow) - codes(usual) == {"slow_on_meta"}
    for name in ("params", "macs", "macs_lstm", "predicted_peak_bytes"):
        assert value(slow, name) == value(usual, name)


def test_a_tensor_kept_by_model_code_is_a_real_one():
    """The tensor used to be kept from the call on meta, and met real tensors in the next call."""
    field.ramp.cache_clear()
    record = measured(case("Keeps"), [*COUNTS, "latency", "prediction"])
    assert (value(record, "params"), value(record, "macs")) == (2408, CONV + LSTM)
    assert record.samples("latency_s")
    field.ramp.cache_clear()
    assert side.counts(case("Keeps"), 0)["macs"] == CONV + LSTM
    assert side.compared(case("Keeps"), 0)[0].device == "cpu"


MEAN_AT_IMPORT = """
import torch
from torch import nn

MEAN = torch.tensor([0.4, 0.5, 0.6])[:, None, None]

class Net(nn.Conv2d):
    def __init__(self, channels=3):
        super().__init__(channels, 4, 3)

    def forward(self, frames):
        return super().forward(frames.flatten(0, -4) - MEAN)

class Follows(Net):
    def forward(self, frames):
        return nn.Conv2d.forward(self, frames - MEAN.to(frames.device))

def loss(output):
    return (output * MEAN.sum()).sum()
"""


@pytest.fixture
def new_module(tmp_path, monkeypatch, request):
    """The name of a module that makes a tensor at import, and that no test has imported."""
    name = "".join(letter for letter in request.node.name if letter.isalnum())
    (tmp_path / f"{name}.py").write_text(MEAN_AT_IMPORT)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("scenario", ["inference", "train"])
def test_a_tensor_made_at_import_has_values(new_module, scenario):
    """Modules were imported while meta was torch's device, so that the mean of a model's images had no values."""
    model = Case(Whole(Choice(f"{new_module}:Net"), loss=f"{new_module}:loss"), SMALL, scenario=scenario)
    assert measured(model, [*COUNTS, "latency"]).samples("latency_s")


def test_a_part_moves_a_tensor_made_at_import_to_its_input(new_module):
    clip = Clip(1, 2, 3, 8, 8)
    follows = Case(Parts(Choice(f"{new_module}:Follows"), Choice("gap")), clip)
    assert measured(follows, ["latency"]).samples("latency_s")
    with pytest.raises(errors.Impossible, match=r"meta! \(.*\.py:\d+\); .*\.to\(frame\.device\)$"):
        measured(replace(follows, architecture=Parts(Choice(f"{new_module}:Net"), Choice("gap"))), ["latency"])


@pytest.mark.parametrize("how", ["trace", "quantised"])
def test_a_check_counts_models_that_cannot_be_built_on_meta(how):
    """``run`` measured them, and ``check`` called them invalid: tensors without values were traced or quantised."""
    assert side.counts(case(f"wrapped/{how}"), 0)["macs"] == CONV + LSTM


def test_shape_metrics_are_reported_even_if_the_first_call_fails(monkeypatch):
    told = []
    monkeypatch.setattr(progress, "_listeners", [lambda known: told.extend(known.known)])
    with pytest.raises(CaseFailed, match="differs from eager's output"):
        measured(Case(Whole(Choice("wild:Unsteady")), SMALL, (Choice("channels_last"),)), ["params", "latency"])
    assert "params" in {result.metric.name for result in told if isinstance(result, Reading)}


def test_a_kept_meta_tensor_fails_with_advice():
    field.ramp.cache_clear()
    kept = Case(Parts(Choice("conv"), Choice("field:keeps_reducer")), SMALL)
    record = attempts.attempt(kept, lambda kept: measured(kept, ["latency"]))
    assert record.failure.message.endswith(attempts.KEPT_TENSOR)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(2, 2), (1, 2)),
        (nn.Conv1d(1, 1, 1), (1, 1, 1)),
        (nn.LayerNorm(2), (2,)),
        (nn.LSTMCell(2, 2), (1, 2)),
        (nn.LSTM(2, 2), (1, 2)),
    ],
)
def test_mixed_number_types_fail_with_advice(layer, shape, dtype):
    """One example is a first state that the model makes with torch.zeros, in the variant half."""
    with pytest.raises((RuntimeError, ValueError)) as failed:
        layer.to(dtype)(torch.zeros(shape))
    assert attempts.explain(failed.value).message.endswith(attempts.TWO_TYPES)


def test_a_state_of_another_number_type_fails_with_advice():
    """This is an LSTM in bfloat16 that keeps its state in an attribute, on a CPU that computes in bfloat16."""
    error = RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive.")
    assert attempts.explain(error).message.endswith(attempts.TWO_TYPES)


def test_two_lower_number_types_fail_with_advice():
    """The variant half changes the weights of a model that computes in bfloat16 by itself."""
    with pytest.raises(RuntimeError) as failed:
        nn.Conv1d(1, 1, 1, dtype=torch.half)(torch.ones(1, 1, 2, dtype=torch.bfloat16))
    assert attempts.explain(failed.value).message.endswith(attempts.TWO_TYPES)
    single = RuntimeError("\"conv\" not implemented for 'Half' on meta, nor for 'Half' on this CPU")
    assert not attempts.explain(single).message.endswith(attempts.TWO_TYPES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA answers")
def test_code_that_asks_for_cuda_without_a_gpu_fails_with_advice():
    """It was "Torch not compiled with CUDA enabled" only, of a captioning model whose first token calls .cuda()."""
    with pytest.raises((AssertionError, RuntimeError)) as failed:
        torch.zeros(1).cuda()
    assert attempts.explain(failed.value).message.endswith(attempts.NEEDS_CUDA)


@pytest.mark.parametrize("layer", [nn.LSTM(2, 2), nn.GRU(2, 2)])
def test_a_quantised_layer_without_a_batch_fails_with_advice(layer):
    """It was "input must have 3 dimensions, got 2" only, of a model that runs in eager."""
    frames = torch.zeros(4, 2)
    assert layer(frames)[0].shape == (4, 2)
    quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {type(layer)}, dtype=torch.qint8)
    with pytest.raises(RuntimeError) as failed:
        quantised(frames)
    assert attempts.explain(failed.value).message.endswith(attempts.UNBATCHED)
    assert quantised(frames.unsqueeze(1))[0].shape == (4, 1, 2)


def test_sizes_that_stay_symbolic_fail_with_advice():
    """torch 2.13 cannot compile the training of a convolution with dynamic=True; the record had its raw error."""

    class InductorError(RuntimeError):
        """A fault of torch's compiler, by the name of torch's class."""

    error = InductorError("TypeError: cannot determine truth value of Relational: 3*s0**2 < 3*s0")
    assert attempts.explain(error).message.endswith(attempts.SYMBOLIC)
    assert not attempts.explain(InductorError("no C++ compiler")).message.endswith(attempts.SYMBOLIC)


def test_a_model_exported_for_other_sizes_fails_with_advice():
    model = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)).module()
    with pytest.raises(AssertionError) as failed:
        model(torch.zeros(3, 2))
    assert attempts.explain(failed.value).message.endswith(attempts.OTHER_SIZES)


@pytest.mark.parametrize("training", [False, True])
def test_a_part_made_by_export_keeps_no_other_from_its_mode(training):
    """torch stops at the first part without modes: a dropout behind it was measured as in training."""
    part = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)).module()
    model = nn.Sequential(nn.Sequential(part, nn.Dropout()), nn.Dropout())
    for dropout in (model[0][1], model[1]):
        dropout.training = not training
    assert network.in_mode(model, training=training) is model
    assert [model.training, model[0][1].training, model[1].training] == [training] * 3


def test_an_error_in_a_scripted_module_gives_its_cause():
    """It was "The following operation failed in the TorchScript interpreter."."""
    with pytest.raises(torch.jit.Error) as failed:
        field.scripted_core()(torch.zeros(1, 2, 3))
    assert "Error: input.size(-1) must be equal to input_size. Ex" in attempts.explain(failed.value).message


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (
            "RuntimeError: RuntimeError: two devices\n\nAt:\n  net.py(3): forward",
            "two devices",
        ),  # was "net.py(3): forward"
        ("RuntimeError: \n", "in a scripted module, at return torch.layer_norm("),  # was "RuntimeError:"
        ("no type", "in a scripted module, at return torch.layer_norm("),
    ],
)
def test_a_failed_script_gives_its_cause_or_its_code(end, cause):
    frames = (
        "Traceback of TorchScript (most recent call last):\n  return torch.layer_norm(\n  ~~~~~~~~ <--- HERE\n    x)\n"
    )
    assert errors.line_of(RuntimeError(f"{errors.FAILED_SCRIPT}\n{frames}{end}")) == cause


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_frames_of_whole_numbers_fail_with_advice(dtype):
    """Cameras and games give bytes."""
    with pytest.raises(RuntimeError) as failed:
        nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2, dtype=dtype))
    assert attempts.explain(failed.value).message.endswith(attempts.TWO_TYPES)


@pytest.mark.parametrize("inputs", ["numpy_clips", "python_clips"])
def test_a_variant_is_compared_on_the_clip_of_eager(inputs):
    """On another clip every output, even zeros, was no further off than eager by chance."""
    wrong = case("Vanishing", SMALL, variant=(Choice("channels_last"),), inputs=f"field:{inputs}")
    with pytest.raises(CaseFailed, match="differs from eager's output"):
        measured(wrong, ["latency"])


def test_a_models_seed_also_seeds_numpy_and_python():
    first, again, other = (network.build(case("Drawn"), seed, "cpu").scale for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("scenario", ["inference", "train"])
def test_weights_that_no_seed_decides_are_named(scenario):
    """The variant was blamed: "differs from eager's output". A parameter of a public model was left uninitialised."""
    with pytest.raises(
        CaseFailed, match=r"built with the same seed have different weights in scale, so .* torch\.empty"
    ):
        measured(case("Unfilled", SMALL, scenario, variant=(Choice("channels_last"),)), ["latency"])


# --- Suspicious models and outputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", [(), (Choice("channels_last"),)])
def test_a_model_that_writes_into_its_inputs_is_reported(variant):
    assert "inputs_changed" in codes(measured(case("Writes", SMALL, variant=variant), ["latency"]))
    assert "inputs_changed" not in codes(measured(case("Base", SMALL, variant=variant), ["latency"]))
    live = convbench.measure(field.Writes(), torch.ones(1, 2, 3, 8, 8), protocol=PROTOCOL)
    assert "inputs_changed" in {finding.code for finding in live.findings}


@pytest.mark.parametrize("variant", ["eager", "channels_last", "autocast"])
def test_nan_in_an_output_is_reported_and_equals_nan(variant):
    chosen = () if variant == "eager" else (Choice(variant),)
    some = replace(
        case("NoNumber", SMALL, variant=chosen), architecture=Whole(Choice("field:NoNumber", (("frames", 1),)))
    )
    record = measured(some, ["latency"])
    assert finding(record, "not_a_number").data == {"share": 1 / 3, "part": "output"}


def test_outputs_of_only_nan_cannot_be_compared():
    whole = Whole(Choice("field:NoNumber", (("frames", 3),)))
    with pytest.raises(CaseFailed, match="cannot be compared with eager's output: all its numbers are NaN"):
        measured(replace(case("NoNumber", SMALL, variant=(Choice("channels_last"),)), architecture=whole), ["latency"])
    training = replace(case("NoNumber", SMALL, "train"), architecture=whole)
    assert finding(measured(training, ["latency"]), "not_a_number").data["part"] == "loss and gradients"
    with pytest.raises(CaseFailed, match="NaN"):
        measured(replace(training, variant=(Choice("channels_last"),)), ["latency"])


def test_numpy_arrays_are_compared_like_tensors():
    with pytest.raises(CaseFailed, match="differs from eager's output"):
        measured(case("VanishingArrays", SMALL, variant=(Choice("channels_last"),)), ["latency"])


@pytest.mark.parametrize("variant", [(), (Choice("channels_last"),)])
def test_a_quantised_output_is_compared_by_its_real_values(variant):
    assert measured(case("Quantised", SMALL, variant=variant), ["latency"]).status == "ok"


@pytest.mark.parametrize("model", ["normed/new", "normed/old", "Flattens"])
def test_weights_that_each_call_computes_are_quantised(model):
    """torch refused layers with weight norm, spectral norm or pruning, and models that flatten an LSTM's weights."""
    record = measured(case(model, SMALL, variant=(Choice("int8"),)), ["latency"])
    assert record.samples("latency_s")
    assert 0 < value(record, "parity_relative") < 0.1


def test_a_model_of_convolutions_alone_is_quantised_with_fixed_ranges():
    """It used to fail for want of a layer to quantise dynamically."""
    static = (Choice("int8", (("method", "static"),)),)
    record = measured(case("Convolves", SMALL, variant=static, stages=(("backbone", "cnn"),)), ["latency"])
    assert 0 < value(record, "parity_relative") < 0.1


def test_a_live_model_with_a_quantised_output_is_measured():
    assert convbench.measure(field.Quantised(), torch.ones(1, 2, 3, 8, 8), protocol=PROTOCOL).samples


@pytest.mark.parametrize("kind", [nnq.Embedding, nnq.EmbeddingBag])
def test_the_weight_of_a_quantised_embedding_is_counted(kind):
    embedding = kind(10, 4)
    offsets = [torch.tensor([0])] if kind is nnq.EmbeddingBag else []
    assert weights.weights_bytes(embedding) == 10 * 4
    assert convbench.count(embedding, torch.tensor([1, 2]), *offsets).params == 10 * 4


def test_a_part_of_a_tensor_that_is_no_tensor_has_no_bytes():
    """Every model of FSDP failed at its mesh of devices."""
    assert values.stored_bytes(field.Distributed(torch.ones(3))) == values.held_bytes([torch.ones(3)])


def test_shared_storage_counts_once():
    base, wide = (weights.weights_bytes(model) for model in (field.Base(), field.Wide()))
    assert wide == base + 4
    assert measured(case("Wide", SMALL), ["latency"]).status == "ok"
    assert convbench.count(field.Wide(), torch.ones(3, 8, 3, 32, 32)).second == CONV + LSTM
    views = subject.assemble(case("Paths", SMALL, inputs="field:same_views"), 0)
    assert views.inputs.bytes == 4 * 2 * 3 * 3 * 32 * 32


def test_any_mapping_can_be_the_keyword_arguments():
    assert value(measured(case("Base", inputs="field:mapped_observation"), COUNTS), "macs") == CONV + LSTM


def test_the_forward_pass_of_a_training_is_counted_once(monkeypatch):
    counted = []
    monkeypatch.setattr(crosscheck, "DRAWS", 0)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # captures, and builds nothing

    def count(case_subject, count=dispatched.count):
        counted.append(case_subject.case.scenario)
        return count(case_subject)

    monkeypatch.setattr(dispatched, "count", count)
    measured(case("Base", SMALL, "train", (Choice("compile"),)), [*COUNTS, "compile"])
    assert sorted(counted) == ["inference", "train"]


# --- Stages -----------------------------------------------------------------------------------------------------------

SMALL = Clip(2, 3, 3, 32, 32)
PARTS = (("backbone", "cnn"), ("lstm", "core"))


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ("Used/method", PARTS),
        ("Used/inner", PARTS),
        ("Used/direct", PARTS),
        ("Used/alias", PARTS),
        ("Used/scripted", PARTS),
        ("Used/scripted call", PARTS),
        ("Used/alias", (("backbone", "policy.cnn"), ("lstm", "policy.core"))),
        ("Used/method", (("backbone", "."), ("lstm", "core.rnn"))),
    ],
)
def test_a_stage_gets_its_macs_and_time_however_used(model, stages):
    record = measured(case(model, SMALL, stages=stages), ["params", "macs", "crosscheck", "stages"])
    assert [value(record, f"macs_{stage}") for stage in ("backbone", "lstm", "other")] == [145_800, 174_336, 0]
    assert [value(record, f"params_{stage}") for stage in ("backbone", "lstm", "other")] == [112, 29_120, 0]
    assert min(*record.samples("latency_s_backbone"), *record.samples("latency_s_lstm")) > 0
    assert not codes(record) & {"counts_disagree", "stages_unseen", "name_stages"}


def test_macs_of_threads_land_in_their_stage():
    record = measured(case("Works/threads", stages=(("backbone", "cnn"), ("lstm", "rnn"))), ["macs", "stages"])
    assert [value(record, f"macs_{stage}") for stage in ("backbone", "lstm", "other")] == [CONV, LSTM, 0]
    assert value(record, "latency_s_backbone") > 0


@pytest.mark.parametrize("stages", [(), (("lstm", ""),), (("lstm", "."),)])
def test_the_whole_model_can_be_a_stage(stages):
    record = measured(case("root", SMALL, stages=stages), COUNTS)
    assert value(record, "macs_lstm") == 591_360
    assert codes(record) == set()


def test_a_shared_weight_counts_once_in_stages_of_several_modules():
    stages = (("backbone", "conv1"), ("backbone", "conv2"), ("lstm", "up"), ("lstm", "down"), ("head", "head"))
    record = measured(case("Two", Clip(1, 2, 3, 8, 8), stages=stages), COUNTS)
    assert value(record, "macs_backbone") == 2 * (36 * 4 * 27 + 16 * 4 * 36)
    assert value(record, "macs_lstm") == 2 * 2 * 4 * 8 * (4 + 8)
    assert value(record, "params_head") == 16 * 16 + 16
    assert value(record, "params_other") == 16
    assert codes(record) == set()


def test_training_macs_of_looped_cells_belong_to_their_stage():
    stages = (("backbone", "cnn"), ("head", "head"), ("lstm", "cell"))
    counted = macs_by_stage(case("Cells", SMALL, "train", stages=stages))
    assert counted == {"backbone": 291_600, "reducer": 0, "lstm": 522_496, "head": 288, "other": 0}


def test_stage_hooks_do_not_recompile_a_models_compiled_parts():
    compilations = []

    def backend(graph, _inputs):
        compilations.append(graph)
        return graph

    compiled = subject.assemble(case("Base", SMALL), 0)
    compiled.model.vectors = torch.compile(compiled.model.vectors, backend=backend)
    compiled.call()
    before = len(compilations)
    for _ in range(2):
        split_by_hooks(compiled)
    assert len(compilations) == before > 0


def test_entered_stages_are_seen_and_an_unknown_one_is_refused():
    record = measured(case("Used/inner", SMALL, stages=(("lstm", "core"), ("head", "cnn.0"))), ["macs"])
    assert "stages_unseen" not in codes(record)
    unused = measured(case("Late", SMALL, stages=(("lstm", "rnn"), ("backbone", "cnn"))), ["macs"])
    assert value(unused, "macs_lstm") == 6 * 4 * 20 * 26
    with pytest.raises(CaseFailed, match="no submodule 'rn'; did you mean 'rnn'"):
        measured(case("Late", SMALL, stages=(("lstm", "rn"),)), ["macs"])


def test_stages_of_a_scripted_model_are_found_and_not_seen():
    record = measured(case("wrapped/script", SMALL, stages=(("backbone", "cnn"), ("lstm", "rnn"))), COUNTS)
    assert finding(record, "stages_unseen").data == {"stages": ("backbone", "lstm")}
    assert value(record, "params_backbone") == 168


@pytest.mark.parametrize(("how", "hidden"), [("compile", ("backbone",)), ("compile in place", ("backbone",)), ("", ())])
def test_a_stage_inside_the_users_compiled_code_has_no_time(how, hidden):
    """Its time was 0 s beside its MACs, and was drawn."""
    compiled = subject.assemble(case(f"wrapped/{how or 'plain'}", SMALL, stages=(*PARTS[:1], ("lstm", "rnn"))), 0)
    assert hidden_stages(compiled, [{"lstm": 1e-3, "other": 1e-3}]) == hidden


def test_a_stage_that_the_call_never_enters_is_reported():
    record = measured(case("Beside", SMALL, stages=(("backbone", "cnn"), ("head", "decoder"))), ["macs"])
    assert finding(record, "stages_unseen").data == {"stages": ("head",)}
    assert (value(record, "macs_backbone"), value(record, "macs_head")) == (6 * 6 * 15 * 15 * 27, 0)


# --- Outputs, training, streaming -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "tuple",
        "dataclass",
        "named",
        "nested",
        "packed",
        "distribution",
        "slots",
        "future",
        "complex",
        "sparse",
        "rows",
        "empty",
    ],
)
def test_outputs_of_any_kind_are_compared_and_trained(kind):
    assert measured(case(f"heads/{kind}", SMALL, variant=(Choice("eager"),)), ["reference"]).status == "ok"
    record = measured(case(f"heads/{kind}", SMALL, "train"), ["phases"])
    names = {"packed": ("value.weight", "value.bias"), "empty": ("action.weight", "action.bias")}.get(kind, ())
    assert tuple(finding(record, "no_gradient").data["names"]) == names if names else codes(record) == set()


@pytest.mark.parametrize("model", ["FrozenTrunk", "Yields", "Works/threads"])
def test_unusual_models_are_trained(model):
    record = measured(case(model, SMALL, "train"), ["latency", "phases"])
    assert record.samples("latency_s")
    assert codes(record) - OF_CLOCKS == set()


def test_a_model_without_inference_is_counted_and_captured_in_training():
    record = measured(case("TrainsOnly", SMALL, "train", (Choice("compile"),)), [*COUNTS, "compile"])
    assert codes(record) - OF_CLOCKS == {"name_stages"}
    conv, lstm = 2 * CONV // 4, LSTM // 4  # of 6 frames instead of 24
    assert value(record, "flops_captured") == conv / (conv + lstm)  # torch.compile leaves an LSTM as it is


def test_a_graph_breaks_on_meta_as_it_does_elsewhere():
    """With torch's meta device as the default, dynamo also breaks at Tensor.unflatten."""
    compiled = case("Base", SMALL, variant=(Choice("compile"),))
    torch._dynamo.reset()
    found = list(probes.get("compile").build(subject.assemble(compiled, 0), PROTOCOL))
    (reason,) = next(result.data["reasons"] for result in found if isinstance(result, Finding))
    assert "LSTM" in reason


@pytest.mark.parametrize(
    "architecture",
    [
        Whole(Choice("field:ByChance", (("how", "training"),))),
        Parts(Choice("conv"), Choice("field:reads_in_training"), 32),
    ],
)
def test_a_failed_capture_does_not_fail_the_case(architecture):
    """The case used to fail with torch's message about meta tensors, although the user has none."""
    compiled = Case(architecture, SMALL, (Choice("compile"),), "train")
    found = list(probes.get("compile").build(subject.assemble(compiled, 0), PROTOCOL))
    known = {getattr(result, "code", None) or result.metric.name for result in found}
    assert known >= ({"graphs"} if isinstance(architecture, Whole) else {"not_captured"})


def test_a_custom_loss_is_minimised_and_unused_parameters_are_reported():
    record = measured(case("heads", SMALL, "train", loss="field:action_loss"), ["phases"])
    assert finding(record, "no_gradient").data["names"] == ("value.weight", "value.bias")


@pytest.mark.parametrize("how", ["quantised", "cut", "leaf", "loss"])
def test_a_training_that_trains_nothing_is_refused(how):
    """It was timed as a training, which it won: all its work was a forward pass."""
    with pytest.raises(CaseFailed, match="none of its parameters gets a gradient"):
        measured(
            case(f"TrainsNothing/{how}", SMALL, "train", loss="field:own_loss" if how == "loss" else None), ["latency"]
        )


def test_a_gradient_that_a_hook_takes_away_counts():
    """Each parameter has an optimizer of its own, as torch's tutorial has it, and the finding named them all."""
    record = measured(case("StepsInHooks", SMALL, "train"), ["latency", "phases"])
    assert record.samples("latency_s")
    assert codes(record) - OF_CLOCKS == set()


def test_a_model_with_its_own_state_streams_by_step():
    streaming = case("OwnState", SMALL, "streaming", step="field:step")
    record = measured(streaming, [*COUNTS, "latency"])
    assert value(record, "macs") == 2 * (6 * 15 * 15 * 27 + 4 * 20 * 26)
    assert record.samples("latency_s")
    assert not codes(record) & {"counts_disagree", "uneven_work"}


class TakesPartsOfState(field.Base):
    def forward(self, x, hidden, cell=None):
        return self.rnn(self.vectors(x), (hidden[0], cell))


def test_a_model_that_streams_otherwise_fails_with_advice():
    """The error of its own code did not say how it was called, nor how to change that."""
    streaming = Case(Whole(Choice(f"{__name__}:TakesPartsOfState")), SMALL, scenario="streaming")
    record = attempts.attempt(streaming, lambda streaming: measured(streaming, ["latency"]))
    assert record.failure.message.startswith("TypeError: 'NoneType' object is not subscriptable (test_field.py:")
    assert record.failure.message.endswith(attempts.STREAMED)


def shapes(model, frame, state):
    parts = vars(frame) if isinstance(frame, SimpleNamespace) else frame
    return {name: tuple(tensor.shape) for name, tensor in parts.items()}, state


def test_a_step_gets_one_frame_of_each_temporal_input():
    """The goal, which is the longest input, used to be cut, and every call got the whole video."""
    streaming = case("Base", Clip(2, 16, 3, 32, 32), "streaming", inputs="field:guided", step=f"{__name__}:shapes")
    run = subject.assemble(streaming, 0).run
    for _ in range(9):
        assert run()[0] == {"video": (2, 1, 3, 32, 32), "goal": (2, 512), "anchors": (5, 8)}


def test_a_step_gets_one_frame_of_an_object():
    """It used to get all frames at once."""
    streaming = case("Observes", SMALL, "streaming", inputs="field:plain_observation", step=f"{__name__}:shapes")
    assert subject.assemble(streaming, 0).run()[0] == {"image": (2, 1, 3, 32, 32), "speed": (1,)}


def test_modules_outside_of_the_stages_are_named():
    """It named the stages, too."""
    record = measured(case("Used/inner", SMALL, stages=(("head", "cnn.0"),)), ["macs"])
    assert finding(record, "name_stages").data["modules"] == ("core",)
    record = measured(case("Used/alias", SMALL, stages=(("lstm", "policy.core"),)), ["macs"])
    assert finding(record, "name_stages").data["modules"] == ("cnn", "policy.cnn")


@pytest.mark.parametrize("batch", [2, 16])
def test_a_step_gets_one_word_of_time_first_inputs(batch):
    """It was refused: the time axis was looked for in the first state, because that has more axes than the words."""
    streaming = case("Base", Clip(batch, 16, 3, 8, 8), "streaming", inputs="field:tokens", step=f"{__name__}:shapes")
    assert subject.assemble(streaming, 0).run()[0] == {"words": (1, batch), "state": (1, batch, 8)}


@pytest.mark.parametrize("batch", [2, 16])
def test_a_step_gets_one_frame_of_time_first_inputs(batch):
    """torch's recurrent layers expect time first by default. It used to be refused, or the state was cut like a clip.

    If there were as many clips as frames, each clip was taken for a frame.
    """
    clip = Clip(batch, 16, 3, 32, 32)
    streaming = case("Base", clip, "streaming", inputs="field:time_first", step=f"{__name__}:shapes")
    run = subject.assemble(streaming, 0).run
    for _ in range(17):
        assert run()[0] == {"video": (1, batch, 3, 32, 32), "done": (1, batch), "state": (2, batch, 8)}


def single_frame(clip):
    return torch.randn(clip.batch, clip.channels, clip.height, clip.width)


@pytest.mark.parametrize("factory", ["field:two_cameras", f"{__name__}:single_frame"])
def test_a_step_without_a_temporal_input_is_refused(factory):
    """Each step used to get the whole clip, so its latency was that of a clip; a frame was cut by channels."""
    streaming = case("OwnState", Clip(2, 4, 3, 32, 32), "streaming", inputs=factory, step="field:step")
    with pytest.raises(ConvbenchError, match=r"no input is a tensor .* of the clip's batch of 2"):
        subject.assemble(streaming, 0).run()


def test_work_that_varies_from_frame_to_frame_is_reported():
    """The MACs of the second frame, which was skipped, used to stand for all frames: 0, without a word."""
    skipping = case("Base", SMALL, "streaming", step="field:skip_every_second_frame")
    macs = 2 * (6 * 15 * 15 * 27 + 4 * 20 * 26)
    assert finding(measured(skipping, COUNTS), "uneven_work").data == {"macs": 0, "other": macs}


def remember(model, frame, state):
    seen = frame if state is None else torch.cat((state, frame), 1)
    return model(seen), seen


def recall(model, frame, state):
    """Keep a window of two frames."""
    output, seen = remember(model, frame, state)
    return output, seen[:, -2:].clone()


def show(model, frame, state):
    """Keep the last frame for a picture too."""
    output, seen = recall(model, frame, state)
    model.shown = frame + 0
    return output, seen


@pytest.mark.parametrize("step", ["recall", "show"])
def test_a_streams_peak_includes_the_state_that_it_carries(step):
    """The state of a ConvLSTM, a fifth of its peak, used to be missing, and what a step keeps on the model."""
    streaming = case("Base", SMALL, "streaming", step=f"{__name__}:{step}")
    case_subject = subject.assemble(streaming, 0)
    case_subject.call(), case_subject.call()
    lives = allocations.holdings(case_subject).values()
    assert sum(life.bytes for life in lives if life.holder[0] == "activations") == 2 * 2 * 3 * 32 * 32 * 4
    assert predict(streaming).peak == allocations.timeline_of(case_subject).peak


@pytest.mark.parametrize("how", ["constant", "object", "cache", "state", "hook", "cycle"])
def test_the_peak_includes_what_the_model_keeps_between_calls(how):
    """A recurrent U-Net's cached first states, a twentieth of its peak, were in the prediction only.

    What the next call replaces, such as the map that a hook keeps for Grad-CAM, was in neither.
    """
    keeping = case("Stores/" + how, SMALL)
    case_subject = subject.assemble(keeping, 0)
    case_subject.call(), case_subject.call()
    peak, base = predict(keeping).peak, predict(case("Base", SMALL))
    assert peak == allocations.timeline_of(case_subject).peak
    maps, both = 4 * 6 * 6 * 15 * 15, 2 * field.Stores.BYTES  # what is kept is made before the last one is released
    replaced = {"state": base.resident + both, "hook": base.resident + maps + both}
    assert peak == replaced.get(how, base.peak + field.Stores.BYTES)
    base, training = (predict(case(name, SMALL, "train")) for name in ("Base", "Stores/" + how))
    assert training.resident - base.resident == (0 if how == "cycle" else field.Stores.BYTES)


@pytest.mark.parametrize(("step", "grows"), [("remember", True), ("recall", False)])
def test_a_state_that_grows_while_timed_is_reported(step, grows):
    record = measured(case("Base", SMALL, "streaming", step=f"{__name__}:{step}"), ["latency"])
    assert ("state_grows" in codes(record)) is grows


def test_the_body_of_a_torch_loop_is_counted():
    """``scan``, ``while_loop`` and ``map`` lacked MACs: "no implementation found for 'torch.ops.higher_order.scan'"."""
    record = measured(case("Scans", SMALL), COUNTS)
    recurrent = 2 * 3 * 80 * 20
    assert value(record, "macs") == value(measured(case("Base", SMALL), COUNTS), "macs") - recurrent
    assert not {"not_counted", "uncounted"} & codes(record)


def test_a_model_that_cannot_be_counted_is_still_measured():
    record = measured(case("Asserts", SMALL), [*COUNTS, "latency"])
    assert record.samples("latency_s") and value(record, "params") == 2408
    assert not record.samples("macs")
    assert finding(record, "not_counted").data["reason"].startswith("torch's counter cannot follow the call: ")
    assert "counted_once" not in codes(record)


def test_a_failing_model_with_state_reports_its_first_error():
    """It must not be the error of a second attempt, which meets the state that the first attempt left."""
    with pytest.raises(TypeError, match="unsupported ScalarType BFloat16"):
        measured(case("Remembers", SMALL, variant=(Choice("autocast"),)), ["latency"])


# --- Memory, names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", ["inference", "train"])
@pytest.mark.parametrize(
    "model",
    [
        "Base",
        "Bytes",
        "Doubles",
        "Late",
        "lazy",
        "LearnedState",
        "Attention/encoder",
        "Cells",
        "Two",
        "Residual",
        "Resized",
        "moved",
        "Beside",
        "Constant",
        "Tokens",
    ],
)
def test_the_peak_of_a_users_model_is_predicted(model, scenario):
    model_case = case(model, CLIP, scenario, inputs="field:frames" if model == "Bytes" else None)
    case_subject = subject.assemble(model_case, 0)
    case_subject.call(), case_subject.call()
    share = predict(model_case).peak / allocations.timeline_of(case_subject).peak
    assert abs(share - 1) < (0.05 if scenario == "inference" else 0.1)


def test_cases_that_differ_in_anything_have_different_ids():
    plain = case("Base")
    others = [{"inputs": "field:clips"}, {"stages": (("lstm", "rnn"),)}, {"loss": "field:action_loss"},
              {"step": "field:step"}, {"flops": (("field::proj", "field:proj_flops"),)}]  # fmt: skip
    assert plain.id == "field:Base/3x8x3x32x32/eager/inference/cpu"
    assert len({plain.id, *(case("Base", **other).id for other in others)}) == 6


def test_a_coroutine_is_awaited_inside_a_running_loop():
    async def forward():
        return torch.ones(2)

    async def notebook():
        return values.settle([forward()])

    with ThreadPoolExecutor(1) as thread:  # a browser's event loop may run in this thread
        (output,) = thread.submit(asyncio.run, notebook()).result()
    assert torch.equal(output, torch.ones(2))
