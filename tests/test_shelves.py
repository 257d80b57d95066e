"""Test the rules for every plug-in of a model or its call, exact counts of the shipped ones, and how to add one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from convbench import suite
from convbench.core.errors import ConvbenchError, Impossible
from convbench.core.record import Case, Choice, Clip, Features, Finding, Parts, Recurrent, Scalar
from convbench.core.registry import SHELVES, Plugin, Registry, backbones, reducers, scenarios, variants
from convbench.core.traits import FP32, VariantTraits, dtype, impossible, missing_modules, of_variant
from convbench.measure.comparison.first_call import open_case
from convbench.measure.counts import dispatched
from convbench.measure.counts.counted import macs_by_stage
from convbench.measure.preflight import preflight
from convbench.models.network import build
from convbench.models.subject import assemble
from convbench.suite.options import signature

TESTS = Path(__file__).parent
REDUCERS = [plugin.name for plugin in reducers]
BACKBONES = [plugin.name for plugin in backbones]
SIZE = 48  # a multiple of 16, which conv1x1-avg-k needs
MAPS = [Features(32, 64, 64), Features(7, 5, 9), Features(48, 1, 1), Features(3, 11, 11)]
FRAMES = [(3, 64, 64), (1, 50, 71), (4, 84, 84)]


def reducer(name: str, features: Features, lstm_input: int | None = SIZE, **options: Scalar) -> nn.Module:
    """Return the reducer, or skip the test if it reports that it cannot exist for this map."""
    try:
        return reducers.get(name).build(features, lstm_input, **options)
    except Impossible as reason:
        assert len(str(reason)) > 20
        pytest.skip(str(reason))


def maps(features: Features, count: int = 2) -> torch.Tensor:
    return torch.rand(count, *features, generator=torch.Generator().manual_seed(0))


def counts(module: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[torch.Size, int, int]:
    """Return the output's shape, the parameters and the MACs for one input of this shape, counted on meta."""
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        built = module()
        output = built(torch.empty(1, *shape))
    return output.shape[1:], sum(p.numel() for p in built.parameters()), counter.get_total_flops() // 2


# --- Every reducer ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", MAPS, ids=str)
@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_gives_the_same_shape_on_meta_and_cpu(name: str, features: Features) -> None:
    module = reducer(name, features)
    vectors = module(maps(features))
    assert (vectors.dim(), len(vectors)) == (2, 2)
    assert torch.isfinite(vectors).all()
    (size,), params, _ = counts(lambda: reducers.get(name).build(features, SIZE), features)
    assert (size, params) == (vectors.shape[1], sum(p.numel() for p in module.parameters()))


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_has_a_free_size_or_follows_the_map(name: str) -> None:
    features = Features(6, 12, 12)
    sizes = [reducer(name, features, size)(maps(features)).shape[1] for size in (16, 32, 480)]
    try:
        own = reducers.get(name).build(features, None)(maps(features)).shape[1]
    except Impossible as reason:
        assert "give it an lstm_input" in str(reason)
        assert sizes == [16, 32, 480]
    else:
        assert sizes == [own] * 3


@pytest.mark.parametrize("features", MAPS, ids=str)
@pytest.mark.parametrize("name", REDUCERS)
def test_memory_format_and_batch_do_not_change_a_reducers_output(name: str, features: Features) -> None:
    module, frames = reducer(name, features).eval(), maps(features, 3)
    expected = module(frames)
    last = frames.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module(last), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(module(frames[1:2]), expected[1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_learns_and_lets_the_backbone_learn(name: str) -> None:
    features = Features(3, 11, 11)
    module, frames = reducer(name, features), maps(features).requires_grad_()
    vectors = module(frames)
    assert vectors.requires_grad, "the vectors must depend on the maps by differentiable operators"
    vectors.square().sum().backward()
    gradients = [frames.grad, *(parameter.grad for parameter in module.parameters())]
    assert all(gradient is not None and torch.isfinite(gradient).all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("name", REDUCERS)
def test_a_reducer_works_in_bfloat16(name: str) -> None:
    features = Features(7, 5, 9)
    module, frames = reducer(name, features).eval(), maps(features)
    expected = module(frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(module(frames).float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(module.bfloat16()(frames.bfloat16()).float(), expected, rtol=0.05, atol=0.05)


# --- Every backbone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_gives_equal_maps_in_any_memory_format(name: str, frame: tuple[int, ...]) -> None:
    module, frames = backbones.get(name).build(frame[0]).eval(), maps(Features(*frame))
    with torch.inference_mode():
        expected = module(frames)
        last = module.to(memory_format=torch.channels_last)(frames.contiguous(memory_format=torch.channels_last))
    assert (expected.dim(), len(expected)) == (4, 2)
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)
    shape, params, _ = counts(lambda: backbones.get(name).build(frame[0]).eval(), frame)
    assert (shape, params) == (expected.shape[1:], sum(p.numel() for p in module.parameters()))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_learns_and_works_in_bfloat16(name: str) -> None:
    module, frames = backbones.get(name).build(3), maps(Features(3, 64, 64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = module.eval()(frames)
    output = module.eval()(frames)
    torch.testing.assert_close(lowered.float(), output, rtol=0.1, atol=0.1)
    output.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_shipped_backbone_ends_with_a_relu(name: str) -> None:
    output = backbones.get(name).build(3).eval()(maps(Features(3, 64, 64)) - 0.5)
    assert output.min() == 0 < output.max()


def test_the_blocks_of_impala_and_resnet_add_to_their_input() -> None:
    frames = maps(Features(3, 16, 16)) - 0.5
    impala, resnet = backbones.get("impala").build(3, widths="4-5"), backbones.get("resnet").build(3, widths="4").eval()
    with torch.no_grad():
        for name, parameter in (*impala.named_parameters(), *resnet.named_parameters()):
            if "body.3." in name or "body.4." in name:  # the last layer of a block
                parameter.zero_()
    without_blocks = nn.Sequential(impala[0], impala[1], impala[4], impala[5], nn.ReLU())
    torch.testing.assert_close(impala(frames), without_blocks(frames))
    torch.testing.assert_close(resnet(frames), resnet[0](frames))


# --- Every variant and scenario ---------------------------------------------------------------------------------------


def tiny(scenario: str, *variant: Choice) -> Case:
    return Case(Parts(Choice("conv"), Choice("gap"), rnn=Recurrent("lstm", 8)), Clip(2, 3, 3, 8, 8), variant, scenario)


def is_quick(traits: VariantTraits) -> bool:
    """Whether a variant runs in this process in no time: it compiles nothing and needs no other process or runtime."""
    return not (traits.compiles or traits.builds or traits.last or traits.environment)


@pytest.mark.parametrize("scenario", [plugin.name for plugin in scenarios])
@pytest.mark.parametrize("name", [plugin.name for plugin in variants if is_quick(of_variant(plugin.name))])
def test_a_variant_gives_the_output_of_eager_in_the_number_type_that_it_declares(name: str, scenario: str) -> None:
    case = tiny(scenario, Choice(name))
    if impossible(case) or missing_modules(of_variant(name).modules):
        pytest.skip(f"{name} cannot run here in {scenario}")
    subject, opening = open_case(case, 0)
    doubts = [item.code for item in opening if isinstance(item, Finding) and item.level == "warning"]
    assert not doubts, "the variant spoils its inputs or its output"
    computed = subject.number_type
    assert computed == FP32 or computed == dtype(case), f"declare @declares(VariantTraits(dtype={computed!r}))"


@pytest.mark.parametrize("name", [plugin.name for plugin in scenarios])
def test_a_scenario_can_be_called_again_and_costs_the_macs_that_are_counted(name: str) -> None:
    call = assemble(tiny(name), 0).run
    first, second = (list(tensors(call())) for _ in range(2))
    assert first, "the call must return what the model returned, which is compared with eager's"
    assert [tensor.shape for tensor in first] == [tensor.shape for tensor in second]
    assert all(torch.isfinite(tensor).all() for tensor in first)
    assert macs_by_stage(tiny(name)) == dispatched.count(assemble(tiny(name), 0, "meta")).macs, (
        "MACs are counted with one and two frames: each further frame must cost the same"
    )


def tensors(output: object) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor))


# --- How a plug-in describes itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shelf", "plugin"),
    [(shelf, plugin) for shelf in SHELVES for plugin in shelf],
    ids=lambda value: getattr(value, "kind", getattr(value, "name", "")),
)
def test_a_plugin_has_a_summary_line_and_typed_options_with_defaults(shelf: Registry, plugin: Plugin) -> None:
    parts_of_a_model = shelf in (reducers, backbones)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*" if parts_of_a_model else r"\w+(-\w+)*", plugin.name)
    assert re.fullmatch(r"\S.{10,150}[.:;)\w]", plugin.summary), "its docstring begins with a line for `convbench list`"
    if not shelf.has_options:
        return
    untyped = [name for name, parameter in plugin.options.items() if parameter.annotation is parameter.empty]
    assert not untyped, "a suite checks an option by its annotation"
    options = signature(shelf, plugin.name)
    assert options.required == set() or not parts_of_a_model
    for option, default in options.defaults.items():
        if not callable(default):  # which only Python can give
            assert options.option(option).validate_python(default) == [default], "the default is not what is annotated"


# --- Exact counts -----------------------------------------------------------------------------------------------------

BIG, DEEP = Features(32, 64, 64), Features(512, 7, 7)
TABLE: list[tuple[str, dict[str, Scalar], int | None, Features, int, int, int]] = [
    ("flatten", {}, None, BIG, 131_072, 0, 0),
    ("gap", {}, None, BIG, 32, 0, 0),
    ("gmp", {}, None, BIG, 32, 0, 0),
    ("gem", {}, None, BIG, 32, 1, 0),
    ("avg-k", {"k": 4}, None, BIG, 512, 0, 0),
    ("fc", {}, 128, BIG, 128, 16_777_344, 16_777_216),
    ("hybrid", {}, 64, BIG, 64, 2_112, 2_048),
    ("conv1x1-avg-k", {"k": 4}, 128, BIG, 128, 264, 1_048_576),
    ("spatial-softmax", {}, None, BIG, 64, 0, 262_144),
    ("spatial-softmax", {"keypoints": 16}, None, BIG, 32, 528, 2_228_224),
    ("attention", {"heads": 4}, None, BIG, 128, 132, 1_048_576),
    ("gdconv", {}, None, BIG, 32, 131_104, 131_072),
    ("random-projection", {}, 128, BIG, 128, 0, 16_777_216),
    ("flatten", {}, None, DEEP, 25_088, 0, 0),
    ("gap", {}, None, DEEP, 512, 0, 0),
    ("gmp", {}, None, DEEP, 512, 0, 0),
    ("gem", {}, None, DEEP, 512, 1, 0),
    ("avg-k", {"k": 4}, None, DEEP, 8_192, 0, 0),
    ("fc", {}, 128, DEEP, 128, 3_211_392, 3_211_264),
    ("hybrid", {}, 64, DEEP, 64, 32_832, 32_768),
    ("conv1x1-avg-k", {"k": 4}, 128, DEEP, 128, 4_104, 200_704),
    ("spatial-softmax", {}, None, DEEP, 1_024, 0, 50_176),
    ("spatial-softmax", {"keypoints": 16}, None, DEEP, 32, 8_208, 402_976),
    ("attention", {"heads": 4}, None, DEEP, 2_048, 2_052, 200_704),
    ("gdconv", {}, None, DEEP, 512, 25_600, 25_088),
    ("random-projection", {}, 128, DEEP, 128, 0, 3_211_264),
]


@pytest.mark.parametrize(("name", "options", "lstm_input", "features", "size", "params", "macs"), TABLE)
def test_a_reducer_costs_what_its_closed_form_says(name, options, lstm_input, features, size, params, macs) -> None:
    """Closed forms in C, N = H*W and D: gdconv has CN+C parameters and CN MACs, attention hC+h and 2hCN, ..."""
    cost = counts(lambda: reducers.get(name).build(features, lstm_input, **options), features)
    assert cost == ((size,), params, macs)


RESNET18 = {"widths": "64-128-256-512", "stem": 7, "pool": True}
KNOWN: list[tuple[str, dict[str, Scalar], tuple[int, ...], tuple[int, ...], int, int | None]] = [
    ("conv", {}, (3, 64, 64), (32, 64, 64), 896, 3_538_944),
    ("nature", {}, (1, 84, 84), (64, 7, 7), 71_840, 5_279_744),
    ("nature", {}, (4, 84, 84), (64, 7, 7), 77_984, 7_737_344),
    ("impala", {}, (4, 84, 84), (32, 11, 11), 97_744, 53_231_616),
    ("strided", {"widths": "32-32-32-32"}, (1, 42, 42), (32, 3, 3), 28_064, 1_656_864),
    (
        "strided",
        {"widths": "32-64-128-256", "kernels": "5-3-3-3", "padding": 0},
        (3, 256, 342),
        (256, 14, 20),
        390_912 - 960,  # the published model has batch norm after every convolution
        320_360_256,
    ),
    ("stack", {"layers": "c16k2-k2-c32k2-c64k2"}, (3, 7, 7), (64, 1, 1), 10_544, 23_296),
    ("resnet", RESNET18, (3, 224, 224), (512, 7, 7), 11_176_512, 1_813_561_344),
    ("resnet", RESNET18, (3, 76, 76), (512, 3, 3), 11_176_512, None),
]


@pytest.mark.parametrize(("name", "options", "frame", "shape", "params", "macs"), KNOWN)
def test_a_backbone_matches_its_published_counts(name, options, frame, shape, params, macs) -> None:
    """The counts are those of the published code; torchvision's ResNet-18 has 512,000 MACs more in its classifier."""
    cost = counts(lambda: backbones.get(name).build(frame[0], **options).eval(), frame)
    assert cost[:2] == (shape, params)
    assert macs in (None, cost[2])


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("flatten", {}, lambda x: x.flatten(1)),
        ("gap", {}, lambda x: x.mean((2, 3))),
        ("gmp", {}, lambda x: x.amax((2, 3))),
        ("gem", {}, lambda x: (x**3).mean((2, 3)) ** (1 / 3)),
        ("gem", {"p": 1.0}, lambda x: x.mean((2, 3))),
        ("gem", {"p": 60.0}, lambda x: (x.double() ** 60).mean((2, 3)).float() ** (1 / 60)),
        ("avg-k", {"k": 2}, lambda x: x.unflatten(3, (2, 3)).unflatten(2, (2, 2)).mean((3, 5)).flatten(1)),
    ],
)
def test_a_reducer_without_weights_computes_its_formula(name, options, expected) -> None:
    frames = maps(Features(3, 4, 6))
    torch.testing.assert_close(reducer(name, Features(3, 4, 6), **options)(frames), expected(frames))


def test_spatial_softmax_gives_the_place_of_each_peak() -> None:
    """First x, from left to right, then y, from top to bottom, both from -1 to 1."""
    frames = torch.zeros(1, 3, 4, 5)
    for channel, (row, column) in enumerate(((0, 0), (3, 4), (1, 3))):
        frames[0, channel, row, column] = 100.0
    places = reducer("spatial-softmax", Features(3, 4, 5))(frames)
    torch.testing.assert_close(places, torch.tensor([[-1.0, -1.0, 1.0, 1.0, 0.5, -1 / 3]]))


def test_attention_gives_the_content_of_the_cell_that_a_head_scores_highest() -> None:
    features = Features(2, 4, 5)
    module, frames = reducer("attention", features, heads=3), maps(features)
    with torch.no_grad():
        module.score.bias.zero_()
        module.score.weight.copy_(torch.tensor([[0.0, 0.0], [1e6, 0.0], [0.0, -1e6]])[..., None, None])
    cells = frames.flatten(2)
    expected = [
        torch.cat([mean.mean(1), mean[:, mean[0].argmax()], mean[:, mean[1].argmin()]]) for mean in cells.unbind()
    ]
    torch.testing.assert_close(module(frames), torch.stack(expected))


def test_a_global_depthwise_convolution_of_equal_weights_is_gap() -> None:
    features = Features(3, 4, 5)
    module, frames = reducer("gdconv", features), maps(features)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(1 / 20 if name.endswith("weight") else 0.0)
    torch.testing.assert_close(module(frames), frames.mean((2, 3)))


def test_a_random_projection_keeps_lengths_on_average() -> None:
    features = Features(8, 8, 8)
    module, frames = reducer("random-projection", features, 1024), maps(features, 64) - 0.5
    ratios = module(frames).square().sum(1) / frames.square().sum((1, 2, 3))
    assert 0.95 < ratios.mean() < 1.05
    torch.testing.assert_close(module(2 * frames), 2 * module(frames))


@pytest.mark.parametrize("name", ["fc", "hybrid", "conv1x1-avg-k", "gdconv"])
def test_an_activation_is_the_only_difference_between_two_reducers(name: str) -> None:
    features = Features(8, 4, 4)
    plain, active = (reducer(name, features, 16, activation=activation) for activation in (False, True))
    chance = torch.Generator().manual_seed(0)
    for parameter, other in zip(plain.parameters(), active.parameters(), strict=True):
        parameter.data.copy_(other.data.normal_(generator=chance))
    frames = maps(features) - 0.5
    assert plain(frames).min() < 0
    if name != "conv1x1-avg-k":  # its activation stands before the mean, so the outputs differ where it acts
        torch.testing.assert_close(active(frames), plain(frames).relu())
    else:
        torch.testing.assert_close(active(frames), nn.Sequential(plain[0], nn.ReLU(), *plain[1:])(frames))


def test_options_change_what_they_name() -> None:
    features = Features(8, 6, 6)
    with_relu = reducer("fc", features, 16, activation=True)(maps(features) - 0.5)
    assert with_relu.min() == 0
    assert [m.out_features for m in reducer("fc", features, 16, hidden="64-32") if isinstance(m, nn.Linear)] == [
        64,
        32,
        16,
    ]
    assert reducer("spatial-softmax", features, 137, keypoints=32, linear=True)(maps(features)).shape == (2, 137)
    assert reducer("avg-k", features, k=6)(maps(features)).equal(maps(features).flatten(1))
    stacked = backbones.get("stack").build(2, layers="c4k3x1s2x1p1x0-k2x1s1")
    assert stacked(torch.zeros(1, 2, 9, 5)).shape == (1, 4, 4, 5)


@pytest.mark.parametrize(
    ("build_it", "reason"),
    [
        (lambda: reducers.get("avg-k").build(Features(8, 6, 9), None, k=7), "use k from 1 to 6"),
        (lambda: reducers.get("conv1x1-avg-k").build(Features(8, 6, 6), 50, k=3), "use 45 or 54"),
        (lambda: reducers.get("fc").build(Features(8, 6, 6), None), "give it an lstm_input"),
        (lambda: reducers.get("fc").build(Features(8, 6, 6), 8, hidden="a-b"), "write it as 16-32-64"),
        (lambda: backbones.get("stack").build(3, layers="c8-x2"), "'x2' in 'c8-x2' is not a layer"),
        (lambda: backbones.get("strided").build(3, widths="8-16", kernels="3-3-3"), "3 kernels for 2 widths"),
    ],
)
def test_an_impossible_plugin_gives_the_reason(build_it, reason) -> None:
    with pytest.raises(ConvbenchError, match=re.escape(reason)):
        build_it()


# --- Plug-ins of a user and new plug-ins ------------------------------------------------------------------------------


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(TESTS / "plugins")
    yield
    sys.modules.pop("needs_option", None)


@pytest.mark.usefixtures("plugins")
def test_plugins_by_import_path_run_from_suite_to_model(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("""
matrix:
  backbone: {name: needs_option:closed, channels: [2, 5]}
  reducer: needs_option:columns
  clip: 1x2x3x9x11
""")
    small, large = preflight(suite.load(str(path)).cases, available_bytes=2**30).cases
    assert (small.architecture.lstm_input, large.architecture.lstm_input) == (2 * 9, 5 * 9)
    assert large.architecture.reducer == Choice("needs_option:columns")
    output, _ = build(large, 0, "cpu")(torch.zeros(1, 2, 3, 9, 11))
    assert output.shape == (1, 2, 128)


NEW = '''
"""Mean and maximum side by side."""

import torch
from torch import nn

from convbench.core.registry import reducers


class MeanMax(nn.Module):
    def forward(self, maps):
        return torch.cat((maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))), dim=1)


@reducers.register("mean-max")
def mean_max(features, lstm_input):
    """GAP and GMP side by side: D = 2C."""
    return MeanMax()
'''
NEWCOMER = f"""
import sys
import convbench.plugins.reducers
convbench.plugins.reducers.__path__.append(sys.argv[1])

import pytest
from convbench import suite
from convbench.models.network import build
from convbench.measure.preflight import resolve
from convbench.core.registry import reducers

print(*(plugin.name + ": " + plugin.summary for plugin in reducers), sep="\\n")
(case,) = suite.load(sys.argv[1] + "/new.yaml").cases
print(resolve(case).id, sum(p.numel() for p in build(case, 0, "cpu").parameters()))
entries = suite.schema()["$defs"]["reducer"]["anyOf"]
print([entry["description"] for entry in entries if entry.get("const") == "mean-max"])
here = ["{Path(__file__)}", "-k", "mean-max", "-p", "no:cacheprovider"]
schema = ["{TESTS / "test_suite.py"}::test_the_committed_schema_is_the_printed_schema"]
sys.exit(pytest.main(here) or pytest.main([*schema, "-p", "no:cacheprovider"]))
"""


def test_adding_a_reducer_takes_one_file(tmp_path: Path) -> None:
    """A reducer of one file is listed, runs in a suite, is completed by editors and must pass these tests."""
    (tmp_path / "mean_max.py").write_text(NEW)
    (tmp_path / "new.yaml").write_text("matrix: {reducer: mean-max, clip: 1x2x3x8x8}")
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", NEWCOMER, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=TESTS.parent,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "mean-max: GAP and GMP side by side: D = 2C." in ran.stdout.splitlines()
    assert "conv/mean-max/64/lstm128/1x2x3x8x8/eager/inference/cpu 100224" in ran.stdout.splitlines()
    assert "['GAP and GMP side by side: D = 2C.']" in ran.stdout.splitlines()
    assert re.search(r"^1[0-9] passed", ran.stdout, re.MULTILINE), ran.stdout
