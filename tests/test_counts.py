"""Test parameters and MACs: closed forms, the count on meta and the traced count agree exactly."""

from __future__ import annotations

import copy
import random
import re
import runpy
import sys
import warnings
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
import torch.ao.nn.quantized as nnq
import torch.ao.nn.quantized.dynamic as nnqd
from closed_forms import conv_macs, rnn_macs, rnn_params
from torch.utils.flop_counter import FlopCounterMode

from convbench.core.record import Case, Choice, Clip, Finding, Parts, Protocol, Recurrent, Whole
from convbench.core.registry import backbones, reducers, scenarios
from convbench.measure.counts import dispatched, formulas, traced
from convbench.measure.counts.counted import SLOW, macs_by_stage, on_meta_or_reason
from convbench.measure.counts.einsum import contraction_macs
from convbench.measure.live import count as live
from convbench.measure.stages.entries import in_threads
from convbench.models import subject
from convbench.models.inputs import Inputs
from convbench.models.network import build
from convbench.plugins.probes import crosscheck

ARTICLE = {
    ("gap", None): (83_840, 57_933_824),
    ("fc", 128): (16_910_336, 327_155_712),
    ("hybrid", 64): (102_336, 58_228_736),
    ("flatten", None): (67_176_320, 1_131_413_504),
}


def case(reducer: str = "gap", size: int | None = None, backbone: str = "conv", **axes) -> Case:
    parts = {key: axes.pop(key) for key in ("rnn", "layer_norm", "head") if key in axes}
    return Case(Parts(Choice(backbone), Choice(reducer), size, **parts), **axes)


def params(of: Case) -> int:
    return sum(parameter.numel() for parameter in build(of, 0, "meta").parameters())


@pytest.mark.parametrize(("model", "expected"), ARTICLE.items(), ids=lambda value: str(value))
def test_the_articles_models_are_counted_exactly(model, expected):
    model_case = case(*model)
    assert (params(model_case), sum(macs_by_stage(model_case).values())) == expected


def test_the_articles_macs_are_split_by_stage():
    assert macs_by_stage(case("fc", 128)) == {
        "backbone": 56_623_104,
        "reducer": 268_435_456,
        "lstm": 2_097_152,
        "head": 0,
        "other": 0,
    }


def test_counts_match_closed_forms_for_random_recurrent_shapes():
    rng = random.Random(0)
    for _ in range(60):
        cell = rng.choice(("lstm", "gru"))
        hidden = rng.randint(1, 40)
        projection = rng.randint(0, hidden - 1) if cell == "lstm" and rng.random() < 0.5 else 0
        rnn = Recurrent(cell, hidden, rng.randint(1, 3), rng.random() < 0.5, projection)
        size, clip = rng.choice((1, 7, 64, 257, 519)), Clip(rng.randint(1, 3), rng.randint(1, 5), 3, 9, 11)
        model_case = case("hybrid", size, rnn=rnn, clip=clip)
        stages = macs_by_stage(model_case)
        assert stages["lstm"] == rnn_macs(rnn, size, clip.frames, clip.batch), model_case.id
        assert stages["backbone"] == conv_macs(clip.batch * clip.frames, 3, 32, 3, 9, 11), model_case.id
        assert params(model_case) == 896 + 33 * size + rnn_params(rnn, size), model_case.id


@pytest.mark.parametrize("backbone", [plugin.name for plugin in backbones])
@pytest.mark.parametrize("reducer", [plugin.name for plugin in reducers])
def test_the_two_counts_agree_for_every_plugin(backbone, reducer):
    model_case = case(reducer, 64, backbone, clip=Clip(2, 2, 3, 84, 92), head=3, layer_norm=True)
    trace = traced.trace(subject.assemble(model_case, 0))
    assert macs_by_stage(model_case) == trace.macs
    assert trace.unknown_operators == ()


def adds(module, **options):
    """Additions of one call of a module of torch on a clip of 240 numbers."""
    own = Case(Whole(Choice(f"torch.nn:{module}", tuple(options.items()))), clip=Clip(2, 2, 4, 3, 5))
    return traced.trace(subject.assemble(own, 0)).adds


ACTIVATIONS = sorted(set(torch.nn.modules.activation.__all__) - {"MultiheadAttention", "Threshold", "Softmax2d"})


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_additions_of_every_activation_are_counted(activation):
    """Those of ReLU6, Hardswish and others were 0."""
    times = {"Softsign": 3, "Softmin": 2, "Tanhshrink": 2}.get(activation, 1)  # made of as many operators
    options = {"dim": 2} if activation in ("GLU", "LogSoftmax", "Softmax", "Softmin") else {}
    assert adds(activation, **options) == 240 * times // (2 if activation == "GLU" else 1)


def test_the_additions_of_pooling_are_those_of_its_inputs():
    assert adds("AvgPool3d", kernel_size=2) == adds("AdaptiveMaxPool3d", output_size=1) == 240
    pooled, frames = case("gmp", clip=Clip(2, 3, 3, 8, 8)), 2 * 3
    assert traced.trace(subject.assemble(pooled, 0)).adds == frames * (32 * 8 * 8 + 32 * 8 * 8), "ReLU and maxima"


@pytest.mark.parametrize("scenario", ["inference", "train"])
def test_the_first_count_is_the_same_on_a_device(scenario):
    """There oneDNN would run the LSTM as one operator, which torch's counter does not know."""
    model_case = case(clip=Clip(2, 3, 3, 8, 8), scenario=scenario)
    assert dispatched.count(subject.assemble(model_case, 0)).macs == macs_by_stage(model_case)


@pytest.mark.parametrize("reducer", [plugin.name for plugin in reducers])
def test_one_frames_count_times_the_frames_is_the_full_count(reducer):
    """count_meta counts one frame and multiplies. torch's own counter over the whole clip must give the same count."""
    model_case = case(reducer, 64, clip=Clip(3, 5, 3, 12, 12), rnn=Recurrent(bidirectional=True, layers=2))
    case_subject = subject.assemble(model_case, 0, "meta")
    with FlopCounterMode(display=False) as counter:
        case_subject.run()
    assert 2 * sum(macs_by_stage(model_case).values()) == counter.get_total_flops()


def test_streaming_counts_a_single_frame():
    whole, frame = case("gap"), case("gap", scenario="streaming")
    assert sum(macs_by_stage(whole).values()) == 16 * sum(macs_by_stage(frame).values())


def test_a_users_scenario_is_counted_over_its_whole_clip(monkeypatch):
    """One frame and two have one count in it, and so all four frames had that of one."""
    monkeypatch.setattr(scenarios, "_plugins", {plugin.name: plugin for plugin in scenarios})
    scenarios.register("halved")(lambda subject: lambda: subject.without_gradients(subject.inputs.args[0][:, ::2]))
    half, whole = Clip(1, 2, 3, 8, 8), Clip(1, 4, 3, 8, 8)
    assert macs_by_stage(case(clip=whole, scenario="halved")) == macs_by_stage(case(clip=half))
    slow = case(clip=replace(whole, frames=6), scenario="halved")
    assert on_meta_or_reason(slow, 0, seconds=0.0) == SLOW, "2,000 frames took half a minute on meta"
    assert macs_by_stage(slow) == macs_by_stage(case(clip=replace(half, frames=3))), "counted on the real call"


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_a_training_is_counted_that_cannot_train_on_a_single_frame(frames):
    """Batch norm refuses one value per channel, which is all that one frame leaves of 2 x 2 pixels."""
    options = (("batch_norm", True), ("widths", "4"))
    parts = Parts(Choice("strided", options), Choice("gap"), rnn=Recurrent("lstm", 8))
    trained = Case(parts, Clip(1, frames, 1, 2, 2), scenario="train")
    assert macs_by_stage(trained) == dispatched.count(subject.assemble(trained, 0, "meta")).macs


def test_two_counts_that_disagree_are_reported_by_stage(monkeypatch):
    """The traced model's LSTM is replaced, so the two counts differ in this stage alone."""
    model_case = case("gap", clip=Clip(1, 2, 3, 8, 8), rnn=Recurrent("lstm", 128))
    case_subject = subject.assemble(model_case, 0)
    case_subject.model.lstm = torch.nn.LSTM(32, 64, batch_first=True)
    monkeypatch.setattr(crosscheck, "assemble_forward", lambda *_: case_subject)
    findings = [item for item in crosscheck.crosscheck(case_subject, Protocol()) if isinstance(item, Finding)]
    counts = {"meta": 2 * 4 * 128 * (32 + 128), "traced": 2 * 4 * 64 * (32 + 64)}
    assert findings == [Finding("counts_disagree", data={"stage": "lstm", **counts})]


@pytest.mark.parametrize(
    ("model", "inputs", "lstm"),
    [
        ("wild:Article", None, 5 * 512 * (32 + 128)),
        ("wild:CellLoop", "wild:time_major", 5 * 64 * (4 + 16)),
        ("wild:DictModel", "wild:as_dict", 5 * 64 * (9 + 16 + 16 + 16)),
        ("wild:KeepsState", None, 5 * 32 * (3 + 8)),
    ],
)
def test_both_counts_agree_for_the_lstms_of_wild_models(model, inputs, lstm):
    model_case = Case(Whole(Choice(model), inputs), clip=Clip(1, 5, 3, 16, 16))
    assert macs_by_stage(model_case)["lstm"] == lstm
    assert traced.trace(subject.assemble(model_case, 0)).macs == macs_by_stage(model_case)


def test_a_hand_written_cell_is_counted_in_its_named_stage():
    stages = (("backbone", "cnn"), ("lstm", "x"))
    model_case = Case(Whole(Choice("wild:HandWrittenCell"), "wild:channels_first", stages), clip=Clip(2, 5, 3, 16, 16))
    counted = macs_by_stage(model_case)
    assert counted["backbone"] == conv_macs(10, 3, 4, 3, 7, 7)
    assert (counted["lstm"], counted["other"]) == (10 * 4 * 64, 10 * 16 * 64)


def test_counting_a_large_model_takes_no_memory():
    """flatten of a 512x512 map of 256 channels would need 137 GB of LSTM weights. The meta device stores none."""
    model_case = Case(Parts(Choice("conv", (("channels", 256),)), Choice("flatten")), clip=Clip(1, 4, 3, 512, 512))
    assert macs_by_stage(model_case)["lstm"] == 4 * 512 * (256 * 512 * 512 + 128)


def test_variants_do_not_change_the_count():
    model_case = case("attention")
    varied = replace(model_case, variant=(Choice("channels_last"), Choice("compile")))
    assert macs_by_stage(varied) == macs_by_stage(model_case)


def equations(chance: random.Random, count: int):
    """Yield Einstein sums of one to four operands with their shapes: some with diagonals, dots, unit axes, no arrow."""
    sizes = {letter: chance.choice((1, 2, 3, 5)) for letter in "abcdef"}
    for _ in range(count):
        terms = ["".join(chance.sample("abcdef", chance.randint(0, 4))) for _ in range(chance.randint(1, 4))]
        terms[0] += terms[0][:1] if chance.random() < 0.2 else ""
        dots = [chance.randint(0, 2) for _ in terms] if chance.random() < 0.3 else None
        shapes = [[sizes[letter] for letter in term] for term in terms]
        if dots:
            shapes = [[7, 4][2 - own :] + shape for own, shape in zip(dots, shapes, strict=True)]
            terms = [f"...{term}" for term in terms]
        letters = sorted(set("".join(terms)) - {"."})
        output = ("..." if dots else "") + "".join(chance.sample(letters, chance.randint(0, len(letters))))
        yield ",".join(terms) + (f"->{output}" if chance.random() < 0.8 else ""), shapes


def test_einstein_sums_are_counted_like_torchs_counter():
    for equation, shapes in equations(random.Random(0), 300):
        with FlopCounterMode(display=False) as counter:
            torch.einsum(equation, *(torch.empty(shape, device="meta") for shape in shapes))
        assert 2 * contraction_macs(equation, shapes) == counter.get_total_flops(), (equation, shapes)


def test_einstein_sums_along_a_path_are_counted_like_torchs_counter():
    chance = random.Random(0)
    for equation, shapes in equations(chance, 40):
        path = [place for count in range(len(shapes), 1, -1) for place in chance.sample(range(count), 2)] or [0]
        with FlopCounterMode(display=False) as counter:
            torch._VF.einsum(equation, [torch.empty(shape, device="meta") for shape in shapes], path=path)
        assert 2 * contraction_macs(equation, shapes, path) == counter.get_total_flops(), (equation, shapes, path)


def test_a_path_sets_the_order_of_contractions():
    shapes = [(2, 3), (3, 5), (5, 7)]
    assert contraction_macs("ab,bc,cd->ad", shapes) == 2 * 3 * 5 + 2 * 5 * 7
    assert contraction_macs("ab,bc,cd->ad", shapes, (1, 2, 0, 1)) == 3 * 5 * 7 + 2 * 3 * 7


class Queries(torch.nn.Module):
    """A reducer that weighs channels by learned queries, which it mixes once a call."""

    def __init__(self, channels):
        super().__init__()
        self.queries = torch.nn.Parameter(torch.zeros(4, channels))
        self.mix = torch.nn.Linear(channels, channels)

    def forward(self, maps):
        return torch.nn.functional.linear(maps.mean((2, 3)), self.mix(self.queries))


def queries(features, lstm_input):
    return Queries(features.channels)


def test_work_done_once_a_call_is_counted_once():
    model_case = case(f"{__name__}:queries", clip=Clip(2, 5, 3, 8, 8))
    assert macs_by_stage(model_case)["reducer"] == 4 * 32 * 32 + 2 * 5 * 32 * 4


@pytest.mark.parametrize("name", ["linalg_qr", "linalg_householder_product", "_linalg_solve_ex", "_cslt_sparse_mm"])
def test_an_operator_without_a_formula_is_reported(name):
    assert formulas.is_unknown(f"aten::{name}")


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_layers_in_onednns_layout_are_counted():
    frames, weight = torch.ones(1, 4, 5, 5).to_mkldnn(), torch.ones(6, 2, 3, 3).to_mkldnn()
    with FlopCounterMode(display=False, custom_mapping=formulas.formulas(case())) as counter:
        torch.mkldnn_convolution(frames, weight, None, (1, 1), (1, 1), (1, 1), 2)
        torch._C._nn.mkldnn_linear(torch.ones(3, 4).to_mkldnn(), torch.ones(5, 4).to_mkldnn())
    assert counter.get_total_flops() == 2 * (6 * 25 * 2 * 9 + 3 * 4 * 5)


@pytest.mark.parametrize(
    ("layer", "inputs", "name"),
    [
        (torch.nn.MultiheadAttention(8, 2, batch_first=True), 3, "_native_multi_head_attention"),
        (torch.nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), 1, "_transformer_encoder_layer_fwd"),
    ],
)
def test_a_fused_attention_layer_counts_like_its_products(layer, inputs, name):
    counts = []
    for mode in (nullcontext(), dispatched.as_written()):
        with mode, torch.no_grad(), FlopCounterMode(display=False, custom_mapping=formulas.formulas(case())) as counter:
            layer.eval()(*[torch.zeros(3, 5, 8)] * inputs)
        counts.append(counter)
    fused, written = (set(map(str, counter.get_flop_counts()["Global"])) for counter in counts)
    assert fused == {f"aten.{name}"} and "aten.mm" in written
    assert counts[0].get_total_flops() == counts[1].get_total_flops()


class Applied(torch.nn.Module):
    """A module that applies a function of one tensor."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, tensor):
        return self.function(tensor)


def applied(function, *shape):
    return live.count(Applied(function), Inputs((torch.eye(*shape),)))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("linalg_lu", torch.linalg.lu),
        ("linalg_lu_solve", lambda a: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), a)),
        ("linalg_lstsq", lambda a: torch.linalg.lstsq(a, a).solution),
        ("_linalg_det", torch.linalg.det),
        ("_linalg_slogdet", torch.linalg.slogdet),
        ("linalg_ldl_factor_ex", torch.linalg.ldl_factor),
        ("linalg_ldl_solve", lambda a: torch.linalg.ldl_solve(*torch.linalg.ldl_factor(a), a)),
        ("cholesky_solve", lambda a: torch.cholesky_solve(a, a)),
        ("cholesky_inverse", torch.cholesky_inverse),
        ("triangular_solve", lambda a: torch.triangular_solve(a, a).solution),
        ("geqrf", torch.geqrf),
        ("ormqr", lambda a: torch.ormqr(a, a[0], a)),
        ("sparse_sampled_addmm", lambda a: torch.sparse.sampled_addmm(a.to_sparse_csr(), a, a).to_dense()),
    ],
)
def test_decompositions_and_their_solvers_are_reported_as_uncounted(name, function):
    assert f"aten::{name}" in applied(function, 4).uncounted


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_layers_in_onednns_layout_have_one_count_and_a_reason():
    def linear(rows):
        return torch._C._nn.mkldnn_linear(rows.to_mkldnn(), torch.ones(5, 4).to_mkldnn()).to_dense()

    counted = applied(linear, 3, 4)
    assert (counted.macs, counted.second) == (3 * 4 * 5, None)
    assert counted.counted_once == "aten::mkldnn_linear works on tensors whose shapes a trace does not record"


# --- Kinds of products ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda a: a.clone().addmm_(a, a), 5**3),
        (lambda a: a[None].clone().baddbmm_(a[None], a[None]), 5**3),
        (lambda a: a.clone().addbmm_(a.expand(2, 5, 5), a.expand(2, 5, 5)), 2 * 5**3),
        (lambda a: a[0].clone().addmv_(a, a[0]), 5**2),
        (lambda a: torch.nn.functional.linear(a, a[0]), 5**2),
        (lambda a: torch.linalg.matmul(a, a), 5**3),
        (lambda a: torch.addbmm(a[:3, :4], a[:3].expand(2, 3, 5), a[:, :4].expand(2, 5, 4)), 2 * 3 * 5 * 4),
        (lambda a: torch.matmul(a[:3].expand(2, 3, 5), a[:, :4]), 2 * 3 * 5 * 4),
        (lambda a: torch.inner(a, a[:3]), 5 * 3 * 5),
        (lambda a: torch.tensordot(a[:3], a[:, :2], 1), 3 * 5 * 2),
        (lambda a: torch.tensordot(a, a, 2), 5**2),
        (lambda a: torch.vdot(a[0], a[1]), 5),
        (lambda a: torch.nn.functional.pdist(a), 10 * 5),
        (lambda a: torch.nn.functional.pdist(a, 1.0), 0),
        (lambda a: torch.cdist(a, a[:3]), 5 * 3 * 5),
        (lambda a: torch.cdist(a, a[:3], p=1.0), 0),
        (lambda a: torch.nn.functional.conv1d(a[:, None], a[:2, None, :3], padding="same"), 5 * 5 * 2 * 3),
        (lambda a: torch._VF.einsum("ab,bc,cd->ad", (a[:2], a, a), path=(1, 2, 0, 1)), 5**3 + 2 * 5 * 5),
        (
            lambda a: torch.convolution(a[None, None], a[None, None], None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1),
            225,
        ),
        (
            lambda a: torch.convolution(
                a[None, None], a[None, None, :3], None, (1, 1), (1, 1), (1, 1), True, (0,) * 2, 1
            ),
            5**2 * 3 * 5,
        ),
        (lambda a: torch.nn.functional.bilinear(a, a[:, :3], torch.ones(2, 5, 3)), 5 * 2 * (5 + 1) * 3),
        (lambda a: torch.nn.functional.affine_grid(a[:2, :3][None], (1, 1, 4, 7), False), 4 * 7 * 6),
        (lambda a: torch.nn.functional.affine_grid(a[:3, :4][None], (1, 1, 4, 7, 2), False), 4 * 7 * 2 * 12),
    ],
)
def test_both_counts_agree_for_every_way_to_write_a_product(function, macs):
    counted = applied(function, 5)
    assert (counted.macs, counted.second, counted.uncounted) == (macs, macs, ())


@pytest.mark.parametrize(("cell", "gates"), [(torch.nn.LSTMCell, 4), (torch.nn.GRUCell, 3), (torch.nn.RNNCell, 1)])
def test_both_counts_agree_for_a_cell(cell, gates):
    counted = live.count(cell(7, 6), Inputs((torch.ones(2, 7),)))
    assert (counted.macs, counted.second, counted.uncounted) == (macs := 2 * gates * 6 * (7 + 6), macs, ())


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda a: torch.linalg.multi_dot([a, a, a]), 2 * 4**3),
        (lambda a: torch.linalg.matrix_power(a, 3), 2 * 4**3),
        (torch.cov, 4**3),
    ],
)
def test_products_traced_as_one_operator_have_one_count(function, macs):
    counted = applied(function, 4)
    assert (counted.macs, counted.second) == (macs, None)
    assert counted.counted_once.endswith("consists of products that a trace does not record")


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda a: a.to_sparse() @ torch.ones(6, 7), 6 * 7),
        (lambda a: a.to_sparse_csr() @ torch.ones(6, 7), 6 * 7),
        (lambda a: torch.sparse.mm(a.to_sparse(), torch.ones(6, 7)), 6 * 7),
        (lambda a: torch.addmm(torch.ones(6, 7), a.to_sparse(), torch.ones(6, 7)), 6 * 7),
        (lambda a: torch.bmm(a.expand(2, 6, 6).to_sparse(), torch.ones(2, 6, 7)), 2 * 6 * 7),
        (lambda a: a.to_sparse() @ torch.ones(6), 6),
        (lambda a: torch.ones(7, 6) @ a.to_sparse(), 7 * 6),
        (lambda a: torch.nn.functional.linear(torch.ones(7, 6), a.to_sparse_csr()), 7 * 6),
        (lambda a: a.to_sparse_bsr((2, 2)) @ torch.ones(6, 7), 12 * 7),  # blocks around the diagonal
    ],
)
def test_only_stored_elements_of_a_sparse_matrix_are_counted(function, macs):
    counted = applied(function, 6)
    assert (counted.macs, counted.uncounted) == (macs, ())


def test_a_product_of_two_sparse_matrices_is_uncounted():
    assert applied(lambda a: (a.to_sparse() @ a.to_sparse()).to_dense(), 6).uncounted


class Normalised(torch.nn.Module):
    """A convolution whose weight is divided by its norm along two vectors. A given torch product computes the norm."""

    def __init__(self, product):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4, 3, 3, 3))
        self.left, self.right = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(27))
        self.product = product

    def forward(self, maps):
        norm = self.left @ self.product(self.weight.view(4, -1), self.right)
        return torch.nn.functional.conv2d(maps, self.weight / norm)


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.utils.spectral_norm(torch.nn.Conv2d(3, 4, 3)),
        torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(3, 4, 3)),
        *map(Normalised, (torch.mv, torch.matmul, torch.linalg.matmul, torch.nn.functional.linear)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_weights_normalisation_is_in_neither_count(layer):
    counted = live.count(layer, Inputs((torch.ones(2, 3, 8, 8),)))
    assert (counted.macs, counted.second) == (7776, 7776)


@pytest.mark.parametrize(
    ("query", "key", "value", "options"),
    [
        ((1, 4, 5, 8), (2, 4, 7, 8), (2, 4, 7, 8), {}),
        ((5, 8), (2, 4, 7, 8), (2, 4, 7, 8), {}),
        ((2, 4, 5, 8), (1, 1, 7, 8), (2, 4, 7, 8), {}),
        ((2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8), {"enable_gqa": True}),
    ],
)
def test_both_counts_agree_for_attention_with_broadcasting(query, key, value, options):
    def attend(a):
        return torch.nn.functional.scaled_dot_product_attention(
            a.new_ones(query), a.new_ones(key), a.new_ones(value), **options
        )

    counted = applied(attend, 2)
    assert (counted.macs, counted.second) == (2 * 4 * 5 * 7 * (8 + 8), 2 * 4 * 5 * 7 * (8 + 8))


def flops(call, device: str = "cpu") -> int:
    with torch.device(device), FlopCounterMode(display=False, custom_mapping=formulas.formulas(case())) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv1d(8, 12, 3, padding=1),
        torch.nn.Conv1d(8, 8, 3, groups=8),
        torch.nn.Conv2d(8, 12, 3, stride=2, groups=4),
        torch.nn.Conv2d(8, 8, 3, dilation=2, groups=8),
        torch.nn.ConvTranspose2d(8, 12, 3, stride=2),
        torch.nn.ConvTranspose2d(8, 12, 3, stride=2, groups=4),
        torch.nn.Conv3d(8, 8, 3, groups=8),
    ],
    ids=str,
)
def test_each_gradient_of_a_convolution_costs_a_forward_pass(layer):
    """torch's formula ignores the groups in the weight's gradient: it was too large by a factor of the groups."""
    clip = torch.randn(2, 8, *[9] * (layer.weight.dim() - 2))
    forward = flops(lambda: layer(clip))
    assert flops(lambda: layer(clip).sum().backward()) == 2 * forward
    assert flops(lambda: layer(clip.clone().requires_grad_()).sum().backward()) == 3 * forward


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (3, False), (2, True)])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_quantised_recurrent_layers_cost_what_plain_ones_do(cell, layers, bidirectional, packed):
    layer = {"lstm": nnqd.LSTM, "gru": nnqd.GRU}[cell](7, 6, layers, bidirectional=bidirectional)
    clip, macs = torch.zeros(5, 2, 7), rnn_macs(Recurrent(cell, 6, layers, bidirectional), 7, 5, 2)
    if packed:
        clip = torch.nn.utils.rnn.pack_padded_sequence(clip, torch.tensor([5, 3]))
        macs = rnn_macs(Recurrent(cell, 6, layers, bidirectional), 7, 5 + 3, 1)
    assert flops(lambda: layer(clip)) == 2 * macs


@pytest.mark.parametrize(("cell", "gates"), [(nnqd.LSTMCell, 4), (nnqd.GRUCell, 3), (nnqd.RNNCell, 1)])
def test_quantised_cells_cost_what_plain_ones_do(cell, gates):
    layer = cell(7, 6)
    assert flops(lambda: layer(torch.zeros(3, 7))) == 2 * 3 * gates * 6 * (7 + 6)


@pytest.mark.parametrize(
    ("layer", "shape", "outputs"),
    [
        (nnq.Linear(7, 6), (2, 7), 2 * 6),
        (nnq.Conv1d(8, 12, 3), (2, 8, 5), 2 * 12 * 3),
        (nnq.Conv2d(8, 12, 3, groups=4, padding=1), (2, 8, 5, 6), 2 * 12 * 5 * 6),
    ],
    ids=["linear", "conv1d", "conv2d"],
)
def test_quantised_layers_cost_what_plain_ones_do(layer, shape, outputs):
    clip = torch.quantize_per_tensor(torch.zeros(shape), 0.1, 0, torch.quint8)
    assert flops(lambda: layer(clip)) == 2 * outputs * layer.weight()[0].numel()


def test_a_fused_encoder_layer_costs_what_its_layers_do():
    layer, clip = torch.nn.TransformerEncoderLayer(16, 2, 24, batch_first=True).eval(), torch.zeros(3, 8, 16)
    attention = 2 * (3 * 8 * 4 * 16 * 16 + 2 * 3 * 8 * 8 * 16)
    with torch.no_grad():
        assert flops(lambda: layer.self_attn(clip, clip, clip)) == attention
        assert flops(lambda: layer(clip)) == attention + 2 * 2 * 3 * 8 * 16 * 24


def test_training_a_depthwise_reducer_costs_three_forward_passes():
    assert macs_by_stage(case("gdconv", clip=Clip(2, 3, 3, 8, 8), scenario="train"))["reducer"] == 3 * 6 * 32 * 64


def test_a_bilinear_layers_gradients_are_counted_as_torch_computes_them():
    def train():
        first, second = torch.zeros(4, 5, requires_grad=True), torch.zeros(4, 7, requires_grad=True)
        torch.nn.Bilinear(5, 7, 3)(first, second).sum().backward()

    every = 4 * 3 * 5 * 7
    assert flops(train) == flops(train, "meta") == 2 * (every + 4 * 3 * 7 + 3 * every)


def test_only_stored_rows_of_a_jagged_tensor_are_counted():
    rows = torch.nested.nested_tensor([torch.ones(5, 4), torch.ones(3, 4)], layout=torch.jagged)
    counted = live.count(torch.nn.Linear(4, 6), Inputs((rows,)))
    assert (counted.macs, counted.uncounted) == ((5 + 3) * 4 * 6, ())


def test_training_attention_counts_the_same_on_meta_and_cpu():
    def train():
        query, key, value = (torch.zeros(3, 4, size, 8, requires_grad=True) for size in (5, 7, 7))
        torch.nn.functional.scaled_dot_product_attention(query, key, value).sum().backward()

    assert flops(train) == flops(train, "meta") == 3 * 2 * (3 * 4 * 5 * 7 * (8 + 8))


def test_a_compiled_model_is_counted_without_a_warning_of_our_hooks():
    """The user's own warnings stay."""

    class Warns(torch.nn.Linear):
        def forward(self, rows):
            warnings.warn("the user's own", stacklevel=1)
            return super().forward(rows)

    compiled = torch.compile(Warns(3, 4))
    with warnings.catch_warnings(record=True) as records, torch.compiler.set_stance("force_eager"):
        warnings.simplefilter("always")
        with in_threads(nullcontext):
            compiled(torch.zeros(2, 3))
    assert [str(record.message) for record in records] == ["the user's own"]


def test_a_module_that_copies_a_part_of_itself_in_its_call_is_counted():
    """As an ensemble does that calls a skeleton of its members: the hooks on the part could not be copied, and its
    ``forward`` was that of the part itself, with its weights."""

    class Ensemble(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.members = torch.nn.ModuleList(torch.nn.Linear(3, 4) for _ in range(5))

        def forward(self, rows):
            weights, _ = torch.func.stack_module_state(list(self.members))
            skeleton = copy.deepcopy(self.members[0]).to("meta")
            return torch.vmap(lambda own: torch.func.functional_call(skeleton, own, (rows,)))(weights)

    counted = live.count(Ensemble(), Inputs((torch.zeros(2, 3),)))
    assert (counted.macs, counted.module("members").macs) == (5 * 2 * 3 * 4, 5 * 2 * 3 * 4)


def test_both_counts_agree_within_an_autocast_around_them():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        counted = live.count(torch.nn.Linear(3, 4), Inputs((torch.zeros(2, 3),)))
    assert counted.macs == counted.second == 2 * 3 * 4


def test_a_higher_order_operator_with_a_formula_is_counted():
    from torch.nn.attention.flex_attention import flex_attention  # imports the compiler

    counted = applied(lambda a: flex_attention(a[None, None], a[None, None], a[None, None]), 16)
    assert (counted.macs, counted.second, counted.how) == (2 * 16**3, None, "call")


PRODUCT = re.compile(
    r"mm(_|$)|mv(_|$)|conv(?!ert)|(^|[^ie])linear|rnn|lstm|gru|attention|matmul|dot(_|$)|dist(?!rib)|fft_[cr]2|linalg_"
    r"|cholesky|einsum|inner|solve|_eig|svd|(^|_)qr|matrix_exp"
)
NO_PRODUCT = frozenset({
    "_convert_weight_to_int4pack", "_cslt_sparse_mm_search", "_cudnn_rnn_flatten_weight", "_dyn_quant_pack_4bit_weight",
    "_linalg_check_errors", "_thnn_fused_gru_cell", "_thnn_fused_gru_cell_backward", "_thnn_fused_lstm_cell",
    "_thnn_fused_lstm_cell_backward_impl", "dist", "linalg__powsum", "linalg_cross", "linalg_vector_norm",
    "mkldnn_reorder_conv2d_weight", "mkldnn_reorder_conv3d_weight", "upsample_linear1d", "upsample_linear1d_backward",
})  # fmt: skip
"""Operators of torch that compute no product, although their names match ``PRODUCT``."""


def test_every_product_operator_of_torch_is_counted_or_reported():
    counter = FlopCounterMode(display=False, custom_mapping=formulas.formulas(case()))
    known = {formulas.operator(packet).removeprefix("aten::") for packet in counter.flop_registry} | NO_PRODUCT
    silent, composed = set(), set()
    for overload in torch._C._dispatch_get_all_op_names():
        space, _, name = overload.partition(".")[0].partition("::")
        if torch._C._dispatch_has_kernel_for_dispatch_key(overload, "CompositeImplicitAutograd"):
            composed.add(name)
        elif space == "aten" and PRODUCT.search(name) and not formulas.is_unknown(f"aten::{name}"):
            silent.add(name)
    assert silent - composed - known == set()


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("add_relu", False),
        ("hardswish", False),
        ("batch_norm2d_relu", False),
        ("embedding_bag_byte", False),
        ("conv2d_prepack", False),
        ("conv2d_add_relu", True),
        ("linear_tanh", True),
        ("matmul", True),
        ("int4mm_packed_weight_cpu", True),
    ],
)
def test_only_products_among_quantised_operators_are_reported_as_uncounted(name, unknown):
    assert formulas.is_unknown(f"quantized::{name}") == unknown


@torch.library.custom_op("counts::halves", mutates_args=())
def halves(rows: torch.Tensor, *, times: int) -> tuple[torch.Tensor, torch.Tensor]:
    return rows[: len(rows) // 2] * times, rows[len(rows) // 2 :] * times


@halves.register_fake
def _(rows, *, times):
    return rows.new_empty(len(rows) // 2, *rows.shape[1:]), rows.new_empty(len(rows) - len(rows) // 2, *rows.shape[1:])


def halves_flops(rows, *, times, out_shape):
    first, second = out_shape
    return 2 * times * (first[0] + second[0]) * rows[1]


class Halves(torch.nn.Module):
    def forward(self, clip):
        return torch.ops.counts.halves(clip.flatten(1), times=3)


def test_a_users_formula_gets_torchs_arguments_in_both_counts():
    flops = (("counts::halves", f"{__name__}:halves_flops"),)
    own = Case(Whole(Choice(f"{__name__}:Halves"), flops=flops), clip=Clip(4, 2, 1, 3, 3))
    assert macs_by_stage(own)["other"] == 3 * 4 * 18
    assert traced.trace(subject.assemble(own, 0)).macs["other"] == 3 * 4 * 18


def test_counting_works_if_warnings_are_errors(monkeypatch):
    """fvcore warns when it is imported: with pytest's ``filterwarnings = error`` the metric used to be missing."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "fvcore"]:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runpy.run_path(traced.__file__)["trace"]
