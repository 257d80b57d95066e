"""Test the plan: it resolves sizes, finds equal configurations and refuses impossible cases before it builds any."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, partial
from math import prod
from unittest.mock import Mock

import pytest
from torch import nn
from wild import Article

from convbench.core.errors import ConvbenchError, Impossible
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Recurrent, Trial, Whole
from convbench.core.registry import reducers, tasks
from convbench.measure import attempts, harness
from convbench.measure.planning import plan
from convbench.measure.preflight import needed_bytes, preflight, resolve
from convbench.models import subject
from convbench.suite import load
from convbench.suite.selection import Selection

GIB = 2**30


def case(reducer: str = "gap", size: int | None = None, clip: Clip | None = None, **options) -> Case:
    return Case(Parts(Choice("conv"), Choice(reducer, tuple(options.items())), size), clip=clip or Clip())


@pytest.mark.parametrize(
    ("model_case", "size"),
    [
        (case("flatten"), 131_072),
        (case("gap", 64), 32),
        (case("fc", 257), 257),
        (case("avg-k", k=3), 288),
        (case("spatial-softmax"), 64),
        (case("attention"), 128),
        (case("conv1x1-avg-k", 128), 128),
        (case("flatten", clip=Clip(1, 2, 3, 33, 17)), 32 * 33 * 17),
    ],
    ids=lambda value: str(value),
)
def test_the_lstm_input_size_is_resolved(model_case, size):
    assert resolve(model_case).architecture.lstm_input == size


def test_map_bound_sizes_collapse_to_one_case():
    plan = preflight([case("gap", 16), case("gap", 64), case("gap")], GIB)
    assert [planned_case.id for planned_case in plan.cases] == [case("gap", 32).id]
    assert plan.equal == {}


def test_unused_sizes_are_listed_with_their_reducers():
    assert preflight([case("gap", 16), case("gmp", 64), case("fc", 16)], GIB).idle_sizes == ((64,), ("gmp",))
    assert preflight([case("gap"), case("gap", 32)], GIB).idle_sizes == ((), ())


def test_only_the_first_of_many_refusals_are_listed():
    with pytest.raises(Impossible) as caught:
        preflight([case("conv1x1-avg-k", size) for size in range(1, 200) if size % 16], GIB)
    assert len(str(caught.value).splitlines()) == 32 and str(caught.value).endswith("... and 157 more")


def test_extreme_pooling_sizes_equal_flatten_and_gap():
    plan = preflight([case("flatten"), case("avg-k", k=64), case("gap"), case("avg-k", k=1)], 8 * GIB)
    assert [planned_case.architecture.reducer.name for planned_case in plan.cases] == ["flatten", "gap"]
    assert [len(others) for others in plan.equal.values()] == [1, 1]


def test_on_a_map_of_one_cell_nothing_is_pooled():
    def small(reducer):
        parts = Parts(Choice("stack", (("layers", "c8k8"),)), Choice(reducer), 16)
        return Case(parts, clip=Clip(1, 2, 3, 8, 8))

    plan = preflight(map(small, ("fc", "hybrid", "flatten", "gap", "gmp")), GIB)
    assert [len(others) for others in plan.equal.values()] == [1, 2]


def test_different_models_of_the_same_size_stay_apart():
    cases = [case("gap"), case("gmp"), case("gem"), case("gdconv"), case("hybrid", 32)]
    assert len(preflight(cases, GIB).cases) == len(cases)


def test_all_impossible_cases_are_reported_together():
    with pytest.raises(Impossible) as refused:
        preflight([case("avg-k", k=100), case("fc"), case("conv1x1-avg-k", 100), case("gap")], GIB)
    message = str(refused.value)
    assert "3 of the suite's cases cannot be built" in message
    assert "k=100 does not fit the 64x64 feature map" in message
    assert "fc has a free output size: give it an lstm_input" in message
    assert "use 96 or 112" in message


def lacks_a_size(*_):
    return {}["size"]


@pytest.mark.parametrize("broken", [case("mine"), replace(case(), trial=Trial(Choice("mine"), 0, 0.1))])
def test_an_error_in_a_users_plugin_names_its_line(broken, monkeypatch):
    for shelf in (reducers, tasks):
        monkeypatch.setattr(shelf, "_plugins", {plugin.name: plugin for plugin in shelf})
        shelf.register("mine")(lacks_a_size)
    with pytest.raises(Impossible, match=r"/cpu.*: KeyError: 'size' \(test_preflight.py:\d+\)$"):
        preflight([broken], GIB)


class AddsUnlike(nn.Module):
    def forward(self, maps):
        return maps.flatten(1) + maps.new_zeros(2, 3)


def test_a_users_part_that_rejects_its_input_names_the_line():
    with pytest.raises(Impossible, match=r"does not take a 32x64x64 feature map: .* \(test_preflight.py:\d+\)$"):
        preflight([case("test_preflight:adds_unlike")], GIB)


def adds_unlike(features, lstm_input):
    return AddsUnlike()


def test_a_part_that_is_no_module_is_refused():
    with pytest.raises(Impossible, match=r"test_preflight:a_number returned int: it must return a torch\.nn\.Module"):
        preflight([case("test_preflight:a_number")], GIB)


def a_number(features, lstm_input):
    return 3


@pytest.mark.parametrize(
    ("size", "free_bytes", "needed", "free"), [(512, GIB, "16.14", "1.00"), (64, GIB * 7 // 32, "0.25", "0.22")]
)
def test_a_model_too_large_for_memory_is_refused_before_building(size, free_bytes, needed, free):
    """In a small container both amounts used to read 0.3 GiB."""
    with pytest.raises(Impossible, match=rf"needs at least {needed} GiB .* {free} GiB are available"):
        preflight([case("flatten", clip=Clip(1, 4, 3, size, size))], free_bytes)


def test_needed_bytes_of_the_articles_flatten_model():
    weights, clip, maps = 67_176_320 * 4, 16 * 3 * 64 * 64 * 4, 16 * 131_072 * 4
    assert needed_bytes(resolve(case("flatten"))) == weights + clip + maps


@pytest.mark.parametrize(
    ("model", "inputs", "reason"),
    [
        ("wild:not_a_module", None, "returned str"),
        ("wild:DictModel", None, "missing 1 required positional argument: 'reward'"),
        ("wild:Article", "wild:a_string", "return a tensor"),
        ("wild:Articel", None, "has no 'Articel'"),
        ("wyld:Article", None, "No module named 'wyld'"),
    ],
)
def test_a_users_broken_model_fails_alone_with_the_reason(model, inputs, reason):
    broken = Case(Whole(Choice(model), inputs), clip=Clip(1, 2, 3, 16, 16))
    sound = Case(Whole(Choice("wild:Article")), clip=Clip(1, 2, 3, 16, 16))
    plan = preflight([broken, sound], GIB)
    measure = partial(harness.measure, protocol=Protocol(), metrics=["params"])
    first, second = (attempts.attempt(case, measure) for case in plan.cases)
    assert first.status == "failed"
    assert re.search(reason, first.failure.message)
    assert second.status == "ok"


def test_streaming_needs_state():
    case = Case(Whole(Choice("wild:Article")), clip=Clip(1, 2, 3, 8, 8), scenario="streaming")
    with pytest.raises(ConvbenchError, match=r"\(frame, state\).*step: "):
        harness.measure(case, Protocol(), ["params"])


def test_shards_on_hosts_with_different_cores_omit_no_case(tmp_path):
    """``all`` means two threads on one host, where another case also has two, and eight threads on the other host."""
    path = tmp_path / "threads.yaml"
    path.write_text("matrix: {reducer: [fc, gap], lstm_input: 64, threads: [1, 2, all]}\n")
    suite = load(str(path))
    for cores in ((2, 8), (8, 2), (1, 8)):
        shards = [plan(suite, "cpu", 8 * GIB, Selection(shard=(at, 2)), of).cases for at, of in enumerate(cores, 1)]
        planned = {(case.architecture.reducer.name, case.threads) for shard in shards for case in shard}
        assert {(name, threads) for name in ("fc", "gap") for threads in (None, 2)} <= planned
        assert {name for name, threads in planned if threads == 8}


@pytest.mark.parametrize(("shards", "costs"), [(1, [70]), (2, [35, 35]), (3, [23, 23, 24])])
def test_shards_cost_about_the_same_whatever_the_order_of_the_cases(shards, costs):
    """A training costs as much as two compiled models or ten plain ones."""
    kinds = {
        "train": (3, 10, {"scenario": "learn", "trial": Trial(Choice("order"), learning_rate=1e-3)}),
        "compile": (6, 5, {"variant": (Choice("compile"),)}),
        "": (10, 1, {}),
    }
    cost_by_case = {
        replace(case("fc", 1000 * place + size), **axes): cost
        for place, (count, cost, axes) in enumerate(kinds.values())
        for size in range(1, count + 1)
    }
    parts = [Selection(shard=(index, shards)).part([*cost_by_case]) for index in range(1, shards + 1)]
    assert sorted(sum(cost_by_case[member] for member in part) for part in parts) == costs
    assert sorted(member.id for part in parts for member in part) == sorted(member.id for member in cost_by_case)
    for index, part in enumerate(parts, start=1):
        assert set(Selection(shard=(index, shards)).part([*cost_by_case][::-1])) == set(part)


@pytest.mark.parametrize(("selection", "models"), [(Selection(), 10), (Selection(only=["*gap*"]), 13)])
def test_a_model_is_built_once_to_plan_it(monkeypatch, selection, models):
    """The names of ten thousand used to take a minute to appear, three times as long. A filter by name builds more."""
    built = Mock(side_effect=subject.assemble)
    monkeypatch.setattr(subject, "assemble", built)
    plan(load("smoke"), "cpu", 2**33, selection)
    assert built.call_count == models


def test_recurrent_options_reach_the_plan():
    rnn = Recurrent("lstm", 8, 1, False, 4)
    model_case = Case(Parts(Choice("conv"), Choice("gap"), rnn=rnn), clip=Clip(1, 2, 3, 8, 8))
    assert preflight([model_case], GIB).cases[0].id == "conv/gap/32/lstm8p4/1x2x3x8x8/eager/inference/cpu"


def frozen(features, lstm_input):
    linear = nn.Linear(prod(features), lstm_input).requires_grad_(False)
    return nn.Sequential(nn.Flatten(), linear)


def test_a_users_reducer_is_never_merged_with_ours():
    clip = Clip(1, 2, 3, 8, 8)
    assert len(preflight([case("fc", 8, clip), case(f"{__name__}:frozen", 8, clip)], GIB).cases) == 2


CELL = """
def cells(features, lstm_input):
    return nn.Sequential(nn.AdaptiveMaxPool2d(side), nn.Flatten(), *(nn.Linear(*sizes) for sizes in layers))
"""


@pytest.fixture
def run_cell(monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs a notebook cell, which registers a reducer with this size and these linear layers."""
    monkeypatch.setattr(reducers, "_plugins", {plugin.name: plugin for plugin in reducers})

    def run(side: int, *layers: tuple[int, int]) -> Case:
        exec(CELL, space := {"__name__": "cell", "nn": nn, "side": side, "layers": layers})
        reducers.register("cells")(space["cells"])
        (planned,) = preflight([case("cells", clip=Clip(1, 2, 3, 8, 8))], GIB).cases
        return planned

    return run


def test_a_reregistered_reducer_has_its_new_size(run_cell):
    """It used to be built and counted with an LSTM of the old reducer's size."""
    sizes, counted = [], []
    for side in (4, 2):
        planned = run_cell(side)
        sizes.append(planned.architecture.lstm_input)
        counted += harness.measure(planned, Protocol(), ["params", "macs"]).samples("macs_lstm")
    assert sizes == [32 * 16, 32 * 4]
    assert counted == [2 * 512 * (size + 128) for size in sizes]


def test_a_reregistered_reducer_gets_a_new_prediction(run_cell):
    plain, wide = (
        harness.measure(run_cell(1, *layers), Protocol(), ["prediction"]).samples("predicted_peak_bytes")[0]
        for layers in ((), ((32, 4096), (4096, 32)))
    )
    assert wide - plain >= 4 * (2 * 32 * 4096)


def loaded(channels):
    """Return a backbone as torch.load does: on the CPU, whatever the default device is."""
    return nn.Sequential(nn.Conv2d(channels, 4, 3, device="cpu"), nn.BatchNorm2d(4, device="cpu"))


def loaded_reducer(features, lstm_input):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features.channels, 5, device="cpu"))


def test_parts_loaded_whole_are_moved_to_the_right_device():
    """The backbone used to be refused as unable to take a frame: its weights were on the CPU, the frame on meta."""
    parts = Parts(Choice(f"{__name__}:loaded"), Choice(f"{__name__}:loaded_reducer"))
    (planned,) = preflight([Case(parts, clip=Clip(1, 2, 3, 8, 8))], GIB).cases
    record = harness.measure(planned, Protocol(), ["params", "macs", "crosscheck"])
    assert record.samples("macs_backbone") == (2 * 36 * 4 * 27,)
    assert record.samples("macs_reducer") == (2 * 4 * 5,)
    assert not record.findings or {finding.code for finding in record.findings} <= {"low_rank", "folds_into_lstm"}


@cache
def kept():
    return Article()


@cache
def kept_reducer(features, lstm_input):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features.channels, 5))


FLATTEN = nn.Flatten()


def kept_without_weights(features, lstm_input):
    return FLATTEN


def test_a_factory_that_returns_its_module_twice_is_refused():
    """The first call moves the module to meta. In the next its weights used to be gone, with a misleading reason."""
    whole = Case(Whole(Choice(f"{__name__}:kept")), clip=Clip(1, 2, 3, 16, 16))
    record = attempts.attempt(whole, partial(harness.measure, protocol=Protocol(), metrics=["params", "reference"]))
    assert record.failure.message.startswith(f"{__name__}:kept returned the same module twice: make a new one at each")
    small = Clip(1, 2, 3, 8, 8)
    with pytest.raises(Impossible, match="kept_reducer returned the same module twice"):
        preflight([case(f"{__name__}:kept_reducer", clip=small)], GIB)
    assert len(preflight([case(f"{__name__}:kept_without_weights", clip=small)], GIB).cases) == 1
