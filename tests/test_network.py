"""The assembled model: it agrees with the article's code, stages are independent, and linear reducers fold exactly."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from dataclasses import InitVar, dataclass, field, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from wild import Article

from convbench.core.errors import ConvbenchError, Impossible
from convbench.core.record import Case, Choice, Clip, Features, Parts, Recurrent, Whole
from convbench.core.registry import reducers
from convbench.measure.counts.affine import folding_finding, is_affine
from convbench.models import network, subject, values
from convbench.models.inputs import Inputs
from convbench.models.network import ConvReducerRNN, build, convolutional_trunk, feature_shape
from convbench.report.words.findings import sentence

SMALL = Clip(2, 3, 3, 8, 10)


def case(reducer: str = "gap", size: int | None = None, **parts) -> Case:
    options = parts.pop("options", ())
    return Case(Parts(Choice("conv"), Choice(reducer, options), size, **parts), clip=SMALL)


def model(of: Case, seed: int = 0) -> ConvReducerRNN:
    built = build(of, seed, "cpu")
    assert isinstance(built, ConvReducerRNN)
    return built


def test_gap_is_the_articles_gap_model():
    ours, theirs = model(case()), Article()
    theirs.conv1.load_state_dict(ours.backbone[0].state_dict())
    theirs.lstm.load_state_dict(ours.lstm.state_dict())
    clip = torch.randn(2, 3, 3, 8, 10)
    torch.testing.assert_close(ours(clip)[0], theirs(clip))


def test_a_clip_that_is_not_contiguous_gives_the_same_output():
    clip = torch.randn(2, 3, 3, 8, 10).transpose(0, 1)
    reducing = model(case())
    torch.testing.assert_close(reducing(clip), reducing(clip.contiguous()))


@pytest.mark.parametrize("name", [plugin.name for plugin in reducers])
def test_a_reducer_keeps_the_number_type_of_its_maps(name):
    """GeM, which computes in float32, failed in every ``half``: "RNN input dtype does not match weight dtype"."""
    lowered = model(case(name, 16)).bfloat16()
    output, _ = lowered(torch.randn(2, 3, 3, 8, 10, dtype=torch.bfloat16))
    assert output.dtype == torch.bfloat16


def test_each_stage_has_its_own_seed():
    """The same seed gives the same backbone and LSTM with any reducer between them, and the same head with any cell."""
    first, other = model(case("fc", 32, head=5)), model(case("gap", head=5))
    torch.testing.assert_close(first.backbone.state_dict(), other.backbone.state_dict())
    torch.testing.assert_close(first.lstm.state_dict(), other.lstm.state_dict())
    gated = model(case("gap", head=5, rnn=Recurrent("gru")))
    torch.testing.assert_close(first.head.state_dict(), gated.head.state_dict())


def returns_maps(features, lstm_input):
    return nn.Identity()


def returns_one_vector(features, lstm_input):
    return nn.Sequential(nn.Flatten(0), nn.Unflatten(0, (1, -1)))


class Listed(nn.Module):
    """A part that returns a list."""

    def forward(self, frames):
        return [frames]


def returns_list(shape, lstm_input=None):
    return Listed()


def returns_vectors(in_channels):
    return nn.Flatten()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"reducer": "returns_maps"}, r"returns \(2, 32, 8, 10\) for 2 maps of 32x8x10: it must return vectors"),
        ({"reducer": "returns_one_vector"}, r"returns \(1, 5120\) for 2 maps of 32x8x10: it must return vectors"),
        ({"reducer": "returns_list"}, "returns list for 2 maps of 32x8x10: it must return vectors"),
        ({"backbone": "returns_vectors"}, r"returns \(1, 240\) for one frame: it must return maps"),
        ({"backbone": "returns_list"}, "returns list for one frame: it must return maps"),
    ],
)
def test_a_part_that_returns_another_shape_is_refused(parts, words):
    names = {"backbone": Choice("conv"), "reducer": Choice("gap")}
    names |= {kind: Choice(f"{__name__}:{name}") for kind, name in parts.items()}
    with pytest.raises(Impossible, match=words):
        build(Case(Parts(**names), clip=SMALL), 0, "cpu")


def test_the_seed_decides_the_weights():
    same, other = model(case(), 1), model(case(), 2)
    torch.testing.assert_close(model(case(), 1).state_dict(), same.state_dict())
    assert not torch.equal(same.lstm.weight_ih_l0, other.lstm.weight_ih_l0)


MAP = 32 * 80
"""Values in the flattened feature map of ``case``."""


@pytest.mark.parametrize("rnn", [Recurrent("gru", 8), Recurrent("lstm", 8, 2, True, 3), Recurrent(hidden=8, layers=2)])
def test_recurrent_shapes_reach_the_output(rnn):
    width = (rnn.proj_size or rnn.hidden) * (2 if rnn.bidirectional else 1)
    assert subject.assemble(case(rnn=rnn), 0).run()[0].shape == (2, 3, width)
    assert subject.assemble(case(rnn=rnn, head=5), 0).run()[0].shape == (2, 3, 5)


def test_layer_norm_stands_before_the_lstm():
    normed = model(case("flatten", layer_norm=True))
    vectors = normed.reducer(normed.backbone(100 * torch.randn(4, 3, 8, 10)))
    torch.testing.assert_close(vectors.std(dim=1, unbiased=False), torch.ones(4), rtol=1e-3, atol=1e-3)


def test_the_hybrid_folds_into_gap():
    """W_ih' = W_ih W_fc, b_ih' = b_ih + W_ih b_fc is the same function with 18,496 fewer parameters."""
    hybrid, gap = model(case("hybrid", 64)), model(case("gap"))
    fc = hybrid.reducer[-1]
    with torch.no_grad():
        gap.lstm.load_state_dict(hybrid.lstm.state_dict() | {"weight_ih_l0": gap.lstm.weight_ih_l0})
        gap.lstm.weight_ih_l0.copy_(hybrid.lstm.weight_ih_l0 @ fc.weight)
        gap.lstm.bias_ih_l0.copy_(hybrid.lstm.bias_ih_l0 + hybrid.lstm.weight_ih_l0 @ fc.bias)
    clip = torch.randn(2, 3, 3, 8, 10)
    torch.testing.assert_close(hybrid(clip)[0], gap(clip)[0], rtol=0, atol=1e-6)
    finding = folding_finding(hybrid, MAP)
    saved = sum(p.numel() for p in hybrid.parameters()) - sum(p.numel() for p in gap.parameters())
    assert finding is not None
    assert (finding.code, dict(finding.data)) == (
        "folds_into_lstm",
        {"lstm_input": 32, "params_saved": saved, "whole": True},
    )
    assert saved == 18_496


def test_an_activation_or_a_norm_does_not_fold():
    assert folding_finding(model(case("hybrid", 64, options=(("activation", True),))), MAP) is None
    assert folding_finding(model(case("hybrid", 64, layer_norm=True)), MAP) is None


def test_a_narrow_fc_is_a_factorisation():
    finding = folding_finding(model(case("fc", 16)), MAP)
    assert finding is not None
    assert (finding.code, dict(finding.data)) == ("low_rank", {"rank": 16, "lstm_input": 32 * 80, "whole": True})


@pytest.mark.parametrize(
    ("reducer", "options", "code"),
    [
        ("spatial-softmax", (("keypoints", 32), ("linear", True)), "folds_into_lstm"),
        ("fc", (("hidden", "64-32"),), "low_rank"),
    ],
)
def test_a_reducer_ending_in_a_linear_layer_says_so(reducer, options, code):
    finding = folding_finding(model(case(reducer, 137 if code == "folds_into_lstm" else 16, options=options)), MAP)
    assert finding is not None
    assert (finding.code, finding.data["whole"]) == (code, False)
    assert sentence(finding).startswith("The reducer ends in a linear layer")


class Squash(nn.Linear):
    def forward(self, vectors):
        return super().forward(vectors).tanh()


class Skip(nn.Sequential):
    def forward(self, maps):
        vectors = maps.mean((2, 3))
        return vectors.relu() + super().forward(vectors)


def squash(features, lstm_input):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Squash(features.channels, 64))


def skip(features, lstm_input):
    return Skip(nn.Linear(features.channels, features.channels))


@pytest.mark.parametrize("reducer", ["squash", "skip"])
def test_a_subclass_of_linear_or_sequential_is_not_called_linear(reducer):
    of = model(case(f"{__name__}:{reducer}"))
    assert folding_finding(of, MAP) is None
    assert not is_affine(of.reducer)


@pytest.mark.parametrize(("reducer", "size", "rank"), [("gdconv", None, 32), ("random-projection", 16, 16)])
def test_a_linear_reducer_of_other_layers_is_a_factorisation_too(reducer, size, rank):
    finding = folding_finding(model(case(reducer, size)), MAP)
    assert finding is not None
    assert (finding.code, dict(finding.data)) == ("low_rank", {"rank": rank, "lstm_input": MAP, "whole": True})


@pytest.mark.parametrize("reducer", ["gap", "flatten", "gmp", "attention"])
def test_a_pooling_or_nonlinear_reducer_is_no_factorisation(reducer):
    assert folding_finding(model(case(reducer)), MAP) is None


@pytest.mark.parametrize("name", [plugin.name for plugin in reducers])
def test_is_affine_is_right_about_every_reducer(name):
    """f(ax + (1-a)y) = a f(x) + (1-a) f(y) holds for the reducers that are called affine, and for no other."""
    reducer = reducers.get(name).build(Features(4, 8, 8), 32)
    x, y = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    mixed = reducer(0.3 * x + 0.7 * y)
    holds = torch.allclose(mixed, 0.3 * reducer(x) + 0.7 * reducer(y), atol=1e-5)
    assert is_affine(reducer) == holds


def test_a_classifiers_trunk_is_a_backbone():
    classifier = nn.Sequential()
    classifier.add_module("features", nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2)))
    classifier.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    classifier.add_module("flatten", nn.Flatten())
    classifier.add_module("classifier", nn.Sequential(nn.Dropout(), nn.Linear(6, 10)))
    trunk = convolutional_trunk(classifier)
    assert trunk(torch.randn(1, 3, 20, 20)).shape == (1, 6, 4, 4)


def test_a_model_without_a_convolutional_trunk_says_so():
    with pytest.raises(ConvbenchError, match="no convolutional part"):
        convolutional_trunk(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))


@pytest.mark.parametrize("backbone", ["nature", "vgg"])
def test_a_frame_too_small_for_a_backbone_is_refused(backbone):
    with pytest.raises(Impossible, match=f"backbone {backbone} does not take a 3x4x4 frame"):
        feature_shape(Choice(backbone), 3, 4, 4)


class SilentMode(nn.Flatten):
    def eval(self):
        super().train(False)


def silent(features, lstm_input):
    return SilentMode()


class Narrowed(nn.Flatten):
    width = 4

    def forward(self, maps):
        return super().forward(maps)[:, : self.width]


def narrowed(features, lstm_input):
    return Narrowed()


def test_shapes_are_found_anew_once_they_are_forgotten(monkeypatch):
    def size():
        return network.vector_size(Choice(f"{__name__}:narrowed"), Features(6, 4, 4), None)

    assert size() == 4
    monkeypatch.setattr(Narrowed, "width", 5)
    assert size() == 4
    network.forget_shapes()
    assert size() == 5


def test_a_module_whose_eval_returns_nothing_is_built():
    assert model(case(f"{__name__}:silent")).lstm.input_size == MAP


MADE = nn.Sequential(nn.Flatten(2), nn.Linear(240, 4))


@pytest.mark.parametrize(
    "architecture",
    [
        Whole(Choice(f"{__name__}:MADE")),
        Parts(Choice(f"{__name__}:MADE"), Choice("gap"), None),
        Parts(Choice("conv"), Choice(f"{__name__}:MADE"), None),
    ],
    ids=["model", "backbone", "reducer"],
)
def test_a_module_in_place_of_its_factory_is_refused(architecture):
    with pytest.raises(ConvbenchError, match=f"{__name__}:MADE is a module: name a function or class that makes"):
        build(Case(architecture, clip=SMALL), 0, "cpu")


class Ensemble(nn.Module):
    """Layers side by side, called through a skeleton of one layer whose weights are on ``meta``."""

    def __init__(self):
        super().__init__()
        layers = [nn.Linear(240, 4) for _ in range(3)]
        stacked, _ = torch.func.stack_module_state(layers)
        self.weights = nn.ParameterDict({name: nn.Parameter(value.detach()) for name, value in stacked.items()})
        self.skeleton = layers[0].to("meta")

    def forward(self, clip):
        def called(weights):
            return torch.func.functional_call(self.skeleton, weights, (clip.flatten(2),))

        return torch.vmap(called)(dict(self.weights))


def test_a_skeleton_on_meta_stays_on_meta():
    ensemble = build(Case(Whole(Choice(f"{__name__}:Ensemble")), clip=SMALL), 0, "cpu")
    assert ensemble.skeleton.weight.is_meta
    assert ensemble(torch.ones(2, 3, 3, 8, 10)).shape == (3, 2, 3, 4)


def test_clips_with_as_many_frames_as_channels_keep_frames_apart():
    """Three frames of three channels must not be taken for a clip whose channels come before its frames."""
    (stored,) = Inputs((torch.rand(2, 3, 3, 8, 10),)).channels_last(SMALL).args
    assert stored.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    (stored,) = Inputs((torch.rand(2, 3, 5, 8, 10),)).channels_last(SMALL).args
    assert stored.is_contiguous(memory_format=torch.channels_last_3d)


def test_inputs_after_a_packed_sequence_get_the_right_types():
    packed, mask = pack_sequence([torch.zeros(4, 3), torch.zeros(2, 3)]), torch.ones(2, 4)
    lowered = Inputs((packed, mask), {"steps": torch.ones(2)}).with_types_of(
        Inputs((packed.to(torch.float16), mask.half()), {"steps": torch.ones(2, dtype=torch.int32)})
    )
    types = (lowered.args[0].data.dtype, lowered.args[1].dtype, lowered.kwargs["steps"].dtype)
    assert types == (torch.float16, torch.float16, torch.int32)


def test_a_packed_sequence_moves_except_for_its_lengths():
    rows = [torch.zeros(2, 3), torch.zeros(4, 3)]
    packed = values.map_leaves(lambda tensor: tensor.to("meta"), pack_sequence(rows, enforce_sorted=False))
    assert {packed.data.is_meta, packed.sorted_indices.is_meta, packed.unsorted_indices.is_meta} == {True}
    assert not packed.batch_sizes.is_meta


@dataclass
class ModelOutput(OrderedDict):
    """A dictionary with attributes, as in transformers and diffusers, which can only be set one item at a time."""

    hidden: torch.Tensor
    pooled: torch.Tensor | None = None

    def __post_init__(self) -> None:
        for part in fields(self):
            if getattr(self, part.name) is not None:
                self[part.name] = getattr(self, part.name)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)

    def update(self, *_args: Any, **_kwargs: Any) -> None:
        raise Exception("You cannot use ``update`` on a ModelOutput instance.")

    def __reduce__(self) -> tuple[Any, ...]:
        _, _, *remaining = super().__reduce__()
        return type(self), tuple(getattr(self, part.name) for part in fields(self)), *remaining


@dataclass(frozen=True, slots=True)
class State:
    """A state with an attribute of its own and an argument that is no attribute."""

    hidden: torch.Tensor
    action: torch.Tensor = field(init=False)
    size: InitVar[int]

    def __post_init__(self, size: int) -> None:
        object.__setattr__(self, "action", torch.zeros(size))


def test_tensors_of_objects_change_in_a_copy():
    """An attribute that ``__post_init__`` makes lost its value, and tensors of other objects did not change at all."""
    state = State(torch.zeros(1), 1)
    object.__setattr__(state, "action", torch.ones(1))
    agent = SimpleNamespace(states=[state], name="dqn")
    agent.parent = SimpleNamespace(child=agent)
    changed = values.map_leaves(lambda tensor: tensor + 1, agent)
    assert [int(tensor) for tensor in values.tensors(changed.states)] == [1, 2]
    assert [int(tensor) for tensor in values.tensors(agent.states)] == [0, 1]
    assert changed.name is agent.name


def test_tensors_of_a_transformers_output_change_by_item_and_attribute():
    output = ModelOutput(torch.zeros(2))
    changed = values.map_leaves(lambda tensor: tensor + 1, output)
    assert type(changed) is ModelOutput and list(changed) == ["hidden"]
    assert changed.hidden is changed["hidden"]
    assert (changed.hidden.tolist(), output.hidden.tolist(), changed.pooled) == ([1, 1], [0, 0], None)


class Beams(list):
    """A list with an argument of its own."""

    def __init__(self, items, width):
        super().__init__(items)
        self.width = width


def test_a_changed_sequence_keeps_its_longest_length_and_its_attributes():
    """The last frames in a ``deque(maxlen=2)`` grew in an exported model; a list of a user's class raised TypeError."""
    frames = values.map_leaves(torch.clone, deque([torch.zeros(1)] * 2, maxlen=2))
    assert (len(frames), frames.maxlen) == (2, 2)
    beams = values.map_leaves(lambda tensor: tensor + 1, Beams([torch.zeros(1)], width=3))
    assert (type(beams), beams, beams.width) == (Beams, [torch.ones(1)], 3)


def _draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_every_generator_is_seeded_and_those_of_the_users_process_are_restored():
    network.seed_all(1)
    expected = _draw()
    with network.preserve_random_state():
        network.seed_all(1)
        assert _draw() == expected
        network.seed_all(2**63 - 1)
        assert all(value != other for value, other in zip(_draw(), expected, strict=True))
        network.seed_all(1)
    with network.preserve_random_state():
        python, numpy, _ = _draw()
    assert (random.random(), float(np.random.rand())) == (python, numpy) != expected[:2]
