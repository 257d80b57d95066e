"""Suites: what YAML text becomes, and that all mistakes are reported at once, each at its place."""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import sys
import tracemalloc
import warnings
from collections.abc import Sequence
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from torch import nn

from convbench import suite
from convbench.core import registry, traits
from convbench.core.errors import ConvbenchError, SuiteError, Unavailable
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Recurrent, Training, Whole
from convbench.models import network, variants
from convbench.runs import user_code
from convbench.suite.axes import AXES, ClipLayout, RecurrentLayout
from convbench.suite.axis_values import Choices
from convbench.suite.layout import TrainingLayout
from convbench.suite.source import value_of

TESTS = Path(__file__).parent
BAD = TESTS / "suites_bad"
SUITES = TESTS.parent / "suites"


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TESTS / "plugins")


@pytest.fixture
def cases(tmp_path: Path) -> Any:
    """Return a function that loads YAML text and returns its cases."""

    def load(text: str, *overrides: str) -> tuple[Case, ...]:
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        return suite.load(str(path), overrides).cases

    return load


def mistakes(source: str, overrides: Sequence[str] = ()) -> str:
    with pytest.raises(SuiteError) as caught:
        suite.load(source, overrides)
    return str(caught.value)


def parts(case: Case) -> Parts:
    assert isinstance(case.architecture, Parts)
    return case.architecture


def reducers(sweep: Sequence[Case]) -> list[str]:
    return [str(parts(case).reducer) for case in sweep]


# --- What YAML becomes ------------------------------------------------------------------------------------------------


def test_article_is_the_four_models_of_the_article() -> None:
    conv, rnn = Choice("conv"), Recurrent("lstm", 128)
    expected = {
        Case(Parts(conv, Choice(reducer), size, rnn), Clip(1, 16, 3, 64, 64))
        for reducer, size in (("flatten", None), ("gap", None), ("fc", 128), ("hybrid", 64))
    }
    assert set(suite.load("article").cases) == expected


def test_every_axis_multiplies_with_the_variant_innermost(cases: Any) -> None:
    sweep = cases("""
matrix:
  variant: [eager, compile]
  scenario: [inference, streaming]
  backbone: [conv, {name: conv, channels: [8, 16]}]
  reducer: [gap, {name: avg-k, k: [2, 4]}, fc(activation=true)]
  lstm_input: [null, 7]
  rnn: [lstm64, {hidden: [32, 128], bidirectional: true}]
  layer_norm: [false, true]
  head: [null, 10]
  clip: [2x4x1x9x11, {batch: [1, 3]}]
""")
    assert len(sweep) == len(set(sweep)) == 2 * 2 * 3 * 4 * 2 * 3 * 2 * 2 * 3
    assert [case.variant for case in sweep[:4]] == [(), (Choice("compile"),)] * 2
    assert parts(sweep[0]) == Parts(Choice("conv"), Choice("gap"), None, Recurrent("lstm", 64))
    last = sweep[-1]
    assert parts(last).reducer == Choice("fc", (("activation", True),))
    assert parts(last).backbone == Choice("conv", (("channels", 16),))
    assert parts(last).rnn == Recurrent("lstm", 128, bidirectional=True)
    assert (parts(last).layer_norm, parts(last).head, parts(last).lstm_input) == (True, 10, 7)
    assert (last.clip, last.scenario) == (Clip(batch=3), "streaming")


def test_one_thread_is_named_in_no_case(cases: Any) -> None:
    assert [case.threads for case in cases("matrix: {reducer: gap, threads: [1, 2, all]}")] == [None, 2, "all"]


def test_all_spellings_of_a_plugin_are_one_case(cases: Any) -> None:
    text = "[gap, {name: gap}, avg-k, avg-k(k=4), {name: avg-k, k: 4}, 'avg-k( k = 4 )']"
    assert reducers(cases(f"matrix: {{reducer: {text}}}")) == ["gap", "avg-k"]


def test_default_options_are_left_out_of_an_id(cases: Any) -> None:
    (case,) = cases(
        "matrix: {reducer: gem(p=3), backbone: {name: conv, channels: 32}, variant: allocator(malloc=glibc-arena)}"
    )
    assert case.id == "conv/gem/map/lstm128/1x16x3x64x64/allocator/inference/cpu"


def test_a_text_option_takes_a_bare_number(cases: Any) -> None:
    (case,) = cases("matrix: {reducer: {name: fc, hidden: 1024}, backbone: strided(kernels=3), lstm_input: 8}")
    assert parts(case).reducer == Choice("fc", (("hidden", "1024"),))
    assert parts(case).backbone == Choice("strided")


@pytest.mark.parametrize("sizes", ["1024-64-32", "1024-12-10", "2026-11-24"])
def test_a_value_that_looks_like_a_date_is_text(tmp_path: Path, sizes: str) -> None:
    """Layer sizes and the name of a nightly run can look like dates."""
    path = tmp_path / "suite.yaml"
    path.write_text(f"name: {sizes}\nmatrix: {{reducer: [{{name: fc, hidden: {sizes}}}, gap], lstm_input: 8}}\n")
    fc = Choice("fc", (("hidden", sizes),))
    loaded = suite.load(str(path))
    assert (loaded.name, parts(loaded.cases[0]).reducer) == (sizes, fc)
    for override in (f"reducer=fc(hidden={sizes})", f"reducer={{name: fc, hidden: {sizes}}}"):
        (case,) = suite.load(str(path), [override, f"name={sizes}-b"]).cases
        assert parts(case).reducer == fc
    assert suite.load(str(path), ["reducer=fc", f"reducer.hidden={sizes}", f"name={sizes}"]).cases[0] == case
    data = {"name": sizes, "matrix": {"reducer": {"name": "fc", "hidden": sizes}, "lstm_input": 8}}
    assert suite.from_data(data).source == data
    for mark in ("\x85", "\u2028", "\t", "\r\n", "é"):  # the first was written bare and read as a space
        named = {**data, "description": f"a{mark}b"}
        assert suite.from_data(named).source == named


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"matrix": {"reducer": ["gap", "gpa"]}}, "suite: matrix.reducer[1]: unknown 'gpa'; did you mean 'gap'?"),
        ({"matrix": {"reducer": "gpa"}}, "suite: matrix.reducer: unknown 'gpa'; did you mean 'gap'?"),
        (
            {"matrix": {"reducer": "gap"}, "include": [{"reducer": "gmp"}, {"reducer": "gmp", "rnn": {"hidden": "a"}}]},
            "suite: include[1].rnn.hidden: 'a' is not a whole number",
        ),
        ({"matrix": {"reducer": "gap"}, "clips": 1}, "suite: unknown key 'clips'; did you mean 'flops'?"),
        (
            {"matrix": {"reducer": "gap"}, "metrics": ["params", ""]},
            f"suite: metrics[1]: unknown ''; known: {min(plugin.name for plugin in registry.probes)}, ",
        ),
        ({"matrix": {"reducer": "gap", "scenario": ""}}, "suite: matrix.scenario: unknown ''; known: inference, "),
        ({"matrix": [{"reducer": "gap"}]}, "suite: matrix: a list is not a mapping of keys to values; a list of them "),
    ],
)
def test_a_mistake_in_data_is_named_by_its_keys(data, line):
    """It was named by line and column of a YAML text that nobody had seen."""
    with pytest.raises(SuiteError, match=f"^{re.escape(line)}"):
        suite.from_data(data)


def test_data_that_is_nested_too_deeply_is_refused() -> None:
    data: list[Any] = []
    for _ in range(20_000):
        data = [data]
    with pytest.raises(SuiteError, match=r"a suite is plain data .* maximum recursion depth exceeded"):
        suite.from_data({"matrix": {"reducer": "gap"}, "x-deep": data})


def test_a_mapping_in_place_of_a_word_is_refused(cases: Any) -> None:
    """The message used to be "quality: unknown a mapping; known: 'none', 'probe' or 'train'"."""
    with pytest.raises(SuiteError, match="quality: a mapping is none of 'none', 'probe' or 'train'"):
        cases("quality: {mode: train}")


def test_a_whole_number_may_be_written_with_an_exponent(cases: Any) -> None:
    """1e3 used to be refused: "1000.0 is not a whole number"."""
    (case,) = cases("matrix: {reducer: avg-k(k=1e0), clip: {frames: 1e1}, lstm_input: null}", "clip.batch=2e0")
    assert (case.clip, parts(case).reducer) == (Clip(2, 10), Choice("avg-k", (("k", 1),)))
    numbers = list(map(value_of, ("1e3", "1e-3", "1.5e3", "1.0")))
    assert [(type(number), number) for number in numbers] == [(int, 1000), (float, 1e-3), (float, 1500.0), (float, 1.0)]


def test_a_section_with_only_comments_counts_as_absent(cases: Any) -> None:
    text = "matrix: {reducer: gap}\n"
    empty = "".join(f"{key}:\n" for key in ("include", "exclude", "protocol", "training", "metrics", "description"))
    assert cases(text + empty) == cases(text)
    jsonschema.validate(YAML(typ="safe").load(text + empty), suite.schema())


def test_an_override_sets_a_key_of_a_section_with_only_comments(cases: Any) -> None:
    """It used to be refused: the section is not a mapping."""
    text = "matrix: {reducer: gap}\n"
    assert cases("matrix:\n", "reducer=gap") == cases(text)
    assert cases("matrix: {reducer: gap, clip: }\n", "clip.frames=3") == cases(text, "clip.frames=3")
    for section, override in (("training", "training.batch=3"), ("protocol", "protocol.visits=1")):
        assert cases(f"{text}{section}:\n", override, "quality=probe") == cases(text, override, "quality=probe")


def test_a_training_that_is_listed_twice_is_one_case(cases: Any) -> None:
    text = "matrix: {reducer: gap}\nquality: train\ntraining: {learning_rates: RATES, controls: CONTROLS, seeds: 1}\n"
    once = text.replace("RATES", "[0.001]").replace("CONTROLS", "[frame-shuffle]")
    twice = text.replace("RATES", "[0.001, 0.001]").replace("CONTROLS", "[frame-shuffle, frame-shuffle]")
    assert cases(twice) == cases(once)


def test_variants_are_applied_in_the_order_of_writing(cases: Any) -> None:
    text = "[channels_last+compile(mode=max-autotune), [compile(mode=max-autotune), channels_last]]"
    tuned, last = Choice("compile", (("mode", "max-autotune"),)), Choice("channels_last")
    assert [case.variant for case in cases(f"matrix: {{reducer: gap, variant: {text}}}")] == [
        (last, tuned),
        (tuned, last),
    ]


def test_option_lists_inside_a_chain_of_variants_multiply(cases: Any) -> None:
    sweep = cases(
        "matrix: {reducer: gap, variant: [[{name: allocator, malloc: [glibc-arena, glibc]}, "
        "{name: autocast, dtype: [bf16, fp16]}]]}"
    )
    names = [case.variant_name for case in sweep]
    assert names == [
        "allocator+autocast",
        "allocator+autocast(dtype=fp16)",
        "allocator(malloc=glibc)+autocast",
        "allocator(malloc=glibc)+autocast(dtype=fp16)",
    ]


@given(
    st.builds(
        Recurrent,
        st.just("lstm"),
        st.integers(9, 999),
        st.integers(1, 9),
        st.booleans(),
        st.integers(0, 8),
    )
)
def test_the_text_of_a_recurrent_stage_is_read_back_unchanged(rnn: Recurrent) -> None:
    assert list(RecurrentLayout.model_validate(str(rnn)).shape()) == [rnn]


@given(st.builds(Clip, *[st.integers(1, 999)] * 5))
def test_the_text_of_a_clip_is_read_back_unchanged(clip: Clip) -> None:
    assert list(ClipLayout.model_validate(str(clip)).shape()) == [clip]


def test_a_users_own_model_is_a_case_per_option(cases: Any) -> None:
    (small, large) = cases("""
matrix:
  model: {name: needs_option:model, size: [4, 8], inputs: needs_option:build, stages: {lstm: rnn, backbone: cnn}}
  clip: 1x2x3x8x8
""")
    assert small.architecture == Whole(
        Choice("needs_option:model", (("size", 4),)), "needs_option:build", (("backbone", "cnn"), ("lstm", "rnn"))
    )
    assert large.architecture.model == Choice("needs_option:model", (("size", 8),))


def test_an_id_names_the_stated_defaults_of_a_users_code(cases: Any) -> None:
    """A default may differ between commits, and a check used to compare the two models under one name."""
    pooled, own = cases("matrix: {reducer: [avg-k(k=4), 'needs_option:columns(scale=1.0)']}")
    assert [str(case.architecture.reducer) for case in (pooled, own)] == ["avg-k", "needs_option:columns(scale=1.0)"]


@pytest.mark.parametrize("key", ["loss: 'math:prod'", "step: 'math:prod'", "flops: {'shop::proj': 'math:prod'}"])
def test_keys_for_a_users_model_need_a_model(cases: Any, key: str) -> None:
    assert cases(f"{{{key}, matrix: {{reducer: gap}}, include: [{{model: needs_option:model}}]}}")
    name = key.partition(":")[0]
    with pytest.raises(SuiteError, match=f"suite.yaml:1:2: {name} is for the model: of a suite, and this suite has"):
        cases(f"{{{key}, matrix: {{reducer: gap}}}}")


def layered(*, sizes: list[int] | None = None, kernel: int | tuple[int, int] = 3) -> None:
    """A factory with one option that must be a list and another that may be a number."""


def test_an_option_that_must_be_a_list_is_refused(cases: Any) -> None:
    sweep = cases(f"matrix: {{model: {{name: '{__name__}:layered', kernel: [3, 5], sizes: null}}}}")
    assert [dict(case.architecture.model.options) for case in sweep] == [
        {"kernel": 3, "sizes": None},
        {"kernel": 5, "sizes": None},
    ]
    for sizes in ("[16, 32]", "[[16, 32]]", "16"):
        with pytest.raises(SuiteError, match="sizes: takes a list, and a list in a suite is a sweep: let the factory"):
            cases(f"matrix: {{model: {{name: '{__name__}:layered', sizes: {sizes}}}}}")


class Pool(Enum):
    MEAN = "mean"
    CELL = nn.LSTM


class Width(IntEnum):
    SMALL = 16


def enumerated(*, pool: Pool = Pool.MEAN, width: Width | None = None) -> nn.Module:
    return nn.Linear(width or 1, 1) if pool is Pool.CELL else nn.Identity()


def test_a_word_of_an_enumeration_becomes_its_member(cases: Any) -> None:
    """The factory used to get the text, which is no member, and silently took the other way."""
    sweep = cases(f"matrix: {{model: {{name: '{__name__}:enumerated', pool: [MEAN, CELL], width: [null, SMALL]}}}}")
    options = [dict(case.architecture.model.options) for case in sweep]
    assert options == [{"pool": p, "width": w} for p in ("mean", "CELL") for w in (None, 16)]
    assert [type(network.build(case, 0, "cpu")) for case in sweep] == 2 * [nn.Identity] + 2 * [nn.Linear]
    excluded = f"[{{model: {{name: '{__name__}:enumerated', pool: mean}}}}]"
    text = f"{{matrix: {{model: {{name: '{__name__}:enumerated', width: [16, null]}}}}, exclude: {excluded}}}"
    with pytest.raises(SuiteError, match="exclude: leaves nothing"):
        cases(text)
    for pool in ("meen", "LSTM", "1"):
        with pytest.raises(SuiteError, match=f"pool: unknown '?{pool}'?; known: 'mean' or 'CELL'"):
            cases(f"matrix: {{model: {{name: '{__name__}:enumerated', pool: {pool}}}}}")


@pytest.mark.parametrize(("value", "kind"), [("{a: 1}", "a mapping"), ("[[1, 2]]", "a list of lists")])
def test_a_nested_option_is_refused_with_advice(cases: Any, value: str, kind: str) -> None:
    with pytest.raises(SuiteError, match=f"note: takes one value, not {kind}: let the factory take"):
        cases(f"matrix: {{reducer: gap, backbone: {{name: needs_option:anything, note: {value}}}}}")


def test_a_file_can_name_a_scenario_and_a_probe(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("{metrics: ./needs_option.py:build, matrix: {reducer: gap, scenario: ./needs_option.py:build}}")
    loaded = suite.load(str(path))
    assert (loaded.metrics, loaded.cases[0].scenario) == (("needs_option:build",), "needs_option:build")


def test_submodules_of_a_sequential_are_named_by_their_numbers(cases: Any) -> None:
    stages = "{backbone: [0, 1], lstm: 2, head: '3.10'}"
    (case,) = cases(f"matrix: {{model: {{name: needs_option:model, size: 4, stages: {stages}}}}}")
    assert case.architecture.stages == (("backbone", "0"), ("backbone", "1"), ("head", "3.10"), ("lstm", "2"))
    with pytest.raises(SuiteError, match="in quotes if they have dots between numbers"):
        cases("matrix: {model: {name: needs_option:model, size: 4, stages: {head: 3.10}}}")


def test_a_factory_with_keywords_takes_any_option(cases: Any) -> None:
    (case,) = cases("matrix: {reducer: gap, backbone: {name: needs_option:anything, channels: 5, note: x}}")
    assert parts(case).backbone.options == (("channels", 5), ("note", "x"))


def test_protocol_metrics_and_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "my suite.yaml"
    path.write_text("matrix: {reducer: gap}\nprotocol: {max_time: 2, seed: 7}\nmetrics: [macs, params, macs]\n")
    loaded = suite.load(str(path), ["protocol.seed=8"])
    assert (loaded.name, loaded.path, loaded.text) == ("my suite", str(path), path.read_text())
    assert loaded.protocol == Protocol(seed=8, max_time=2.0, max_warmup=0.1, visits=3, training=Training(rate_seeds=2))
    assert (loaded.metrics, loaded.overrides) == (("macs", "params"), ("protocol.seed=8",))


def test_yaml_anchors_and_merges_are_followed(cases: Any) -> None:
    sweep = cases("""
matrix:
  reducer: fc
  rnn: [&small {hidden: 32, layers: 2}, {<<: *small, hidden: 64}]
  lstm_input: &sizes [8, 16]
  head: *sizes
""")
    assert {(str(parts(c).rnn), parts(c).lstm_input, parts(c).head) for c in sweep} == {
        (rnn, size, head) for rnn in ("lstm32x2", "lstm64x2") for size in (8, 16) for head in (8, 16)
    }


# --- include and exclude ----------------------------------------------------------------------------------------------


def sizes(sweep: Sequence[Case]) -> list[tuple[str, int | None]]:
    return [(str(parts(case).reducer), parts(case).lstm_input) for case in sweep]


def test_include_extends_matching_cases_and_adds_the_others(cases: Any) -> None:
    sweep = cases("""
matrix: {reducer: [gap, fc], variant: [eager, compile]}
include:
  - {reducer: [fc, hybrid], lstm_input: [8, 16]}
""")
    assert sizes(sweep) == [
        ("gap", None),
        ("gap", None),
        ("fc", 8),
        ("fc", 8),
        ("fc", 16),
        ("fc", 16),
        ("hybrid", 8),
        ("hybrid", 16),
    ]
    assert [case.variant_name for case in sweep] == ["eager", "compile"] * 3 + ["eager"] * 2


def test_include_follows_the_documented_example_of_ci_matrices(cases: Any) -> None:
    """GitHub's documentation has this example: animal = rnn, fruit = reducer, color = head, shape = layer_norm."""
    sweep = cases("""
matrix: {reducer: [gap, gmp], rnn: [lstm1, lstm2]}
include:
  - {head: 1}
  - {head: 2, rnn: lstm1}
  - {reducer: gap, layer_norm: true}
  - {reducer: gem}
  - {reducer: gem, rnn: lstm1}
""")
    rows = {(str(parts(c).reducer), str(parts(c).rnn), parts(c).head, parts(c).layer_norm) for c in sweep}
    assert rows == {
        ("gap", "lstm1", 2, True),
        ("gap", "lstm2", 1, True),
        ("gmp", "lstm1", 2, False),
        ("gmp", "lstm2", 1, False),
        ("gem", "lstm1", None, False),
    }


def test_include_values_are_values_and_exclude_values_are_patterns(cases: Any) -> None:
    matrix = "matrix: {reducer: [{name: avg-k, k: [2, 8]}, gap]}\n"
    assert reducers(cases(matrix + "include: [{reducer: avg-k}]")) == ["avg-k(k=2)", "avg-k(k=8)", "gap", "avg-k"]
    assert reducers(cases(matrix + "exclude: [{reducer: avg-k}]")) == ["gap"]
    assert reducers(cases(matrix + "exclude: [{reducer: {name: avg-k, k: [4, 8]}}]")) == ["avg-k(k=2)", "gap"]


def test_exclude_must_match_every_key_and_knows_defaults(cases: Any) -> None:
    matrix = """
matrix: {reducer: [gap, avg-k], rnn: {hidden: [8, 16], bidirectional: [false, true]}, variant: [eager, compile]}
"""
    assert len(cases(matrix + "exclude: [{reducer: gap, variant: compile}]")) == 12
    assert len(cases(matrix + "exclude: [{rnn: {hidden: 8}}]")) == 8
    assert len(cases(matrix + "exclude: [{reducer: avg-k(k=4)}]")) == 8
    assert len(cases(matrix + "exclude: [{variant: channels_last+compile}]")) == 16
    assert len(cases(matrix + "exclude: [{clip: {frames: 16}, reducer: gap}]")) == 8
    assert len(cases(matrix + "exclude: [{clip: {frames: 4}}]")) == 16


def test_exclude_compares_only_its_keys_and_skips_whole_models(cases: Any) -> None:
    projected = "matrix: {reducer: gap, rnn: {hidden: 512, proj_size: [0, 256]}}\nexclude: [{rnn: {proj_size: 256}}]"
    assert [str(parts(case).rnn) for case in cases(projected)] == ["lstm512"]
    text = "matrix: {model: needs_option:model, variant: [eager, compile]}\nexclude: [{rnn: lstm128, variant: compile}]"
    assert [case.variant_name for case in cases(text)] == ["eager", "compile"]


def test_exclude_compares_only_the_stated_settings_of_a_users_model(cases: Any) -> None:
    name, inputs = "name: 'needs_option:model'", "inputs: 'needs_option:build'"
    lstm, cnn = (f"{{{name}, {inputs}, stages: {{lstm: {stage}}}}}" for stage in ("rnn", "cnn"))
    for entry, count in ((lstm, 2), (f"{{{name}, {inputs}}}", 1), (f"{{{name}, inputs: 'wild:time_major'}}", 3)):
        text = f"matrix: {{model: [{lstm}, {cnn}, 'needs_option:model']}}\nexclude: [{{model: {entry}}}]"
        assert len(cases(text)) == count


@pytest.mark.parametrize(
    ("axis", "text"),
    [
        ("reducer", "matrix: {variant: [eager, compile]}\ninclude: [{reducer: gap}]\nexclude: [{reducer: gap}]"),
        (
            "lstm_input",
            "matrix: {head: 3}\ninclude: [{reducer: fc, lstm_input: 8}]\nexclude: [{lstm_input: 8}]",
        ),
        ("layer_norm", "matrix: {reducer: gap}\ninclude: [{layer_norm: true}]\nexclude: [{layer_norm: false}]"),
    ],
)
def test_exclude_of_an_axis_that_only_include_sets_is_refused(cases: Any, axis: str, text: str) -> None:
    """It would remove nothing or, through the axis's default, everything."""
    with pytest.raises(SuiteError, match=f"exclude: the matrix has no {axis}, and include comes after exclude: leave"):
        cases(text)


def test_exclude_compares_a_chain_of_variants_link_by_link(cases: Any) -> None:
    variants = ["eager", "int8", "int8+onnxruntime", "int8+compile"]
    for excluded in variants:
        text = f"matrix: {{reducer: gap, variant: [{', '.join(variants)}]}}\nexclude: [{{variant: {excluded}}}]"
        assert [case.variant_name for case in cases(text)] == [name for name in variants if name != excluded]


def test_an_entry_without_parts_extends_every_model_of_the_matrix(cases: Any) -> None:
    models = "{name: needs_option:model, size: [4, 8]}"
    sweep = cases(f"matrix: {{model: {models}}}\ninclude: [{{threads: 2}}]")
    assert [(str(case.architecture), case.threads) for case in sweep] == [
        ("needs_option:model(size=4)", 2), ("needs_option:model(size=8)", 2),
    ]  # fmt: skip
    sweep = cases(f"matrix: {{model: {models}}}\ninclude: [{{reducer: gap, threads: 2}}]")
    assert [type(case.architecture) for case in sweep] == [Whole, Whole, Parts]


def untyped(how=1):  # type: ignore[no-untyped-def]
    """Return what it is given."""
    return how


def test_one_as_an_integer_a_fraction_and_true_are_three_values(cases: Any, tmp_path: Path) -> None:
    """They were one case, and 1 and its text were two cases of one name, whose results would have been joined."""
    model = f"{{name: '{__name__}:untyped', how: [1, 1.0, true, x, 1, true]}}"
    sweep = cases(f"matrix: {{model: {model}}}")
    assert [str(case.architecture).partition("how=")[2] for case in sweep] == ["1)", "1.0)", "true)", "x)"]
    assert len(set(sweep)) == len({case.id for case in sweep}) == 4
    excluded = f"[{{model: {{name: '{__name__}:untyped', how: true}}}}]"
    assert len(cases(f"{{matrix: {{model: {model}}}, exclude: {excluded}}}")) == 3
    (tmp_path / "namesakes.yaml").write_text(f"matrix: {{model: {{name: '{__name__}:untyped', how: [1, '1']}}}}")
    assert "2 different cases are called " in mistakes(str(tmp_path / "namesakes.yaml"))


def test_true_is_not_left_out_for_a_default_of_one() -> None:
    """The plug-in on a shelf was built with its default instead, and shared one case with it."""
    choices = Choices("net", {"how": [1, True, 1.0, 2]}, {"how": 1})
    assert list(map(str, choices)) == ["net", "net(how=true)", "net", "net(how=2)"]


def test_include_brings_back_what_was_excluded(cases: Any) -> None:
    text = "matrix: {reducer: [gap, fc]}\nexclude: [{reducer: fc}]\ninclude: [{reducer: fc, lstm_input: 8}]"
    assert sizes(cases(text)) == [("gap", None), ("fc", 8)]


def test_a_matrix_without_reducer_applies_to_every_entry(cases: Any) -> None:
    sweep = cases("""
matrix: {variant: [eager, compile], rnn: lstm8}
include:
  - {reducer: gap}
  - {reducer: fc, lstm_input: [4, 8]}
  - {model: needs_option:model}
""")
    assert [case.id.partition("/1x16")[0] for case in sweep[::2]] == [
        "conv/gap/map/lstm8",
        "conv/fc/4/lstm8",
        "conv/fc/8/lstm8",
        "needs_option:model",
    ]
    assert [case.variant_name for case in sweep] == ["eager", "compile"] * 4


def test_a_model_never_mixes_with_parts(cases: Any) -> None:
    sweep = cases("matrix: {reducer: gap, clip: 1x2x3x8x8}\ninclude: [{model: needs_option:model, variant: compile}]")
    assert [case.id for case in sweep] == [
        "conv/gap/map/lstm128/1x2x3x8x8/eager/inference/cpu",
        "needs_option:model/1x2x3x8x8/compile/inference/cpu",
    ]
    sweep = cases("matrix: {model: needs_option:model}\ninclude: [{reducer: gap}]")
    assert [type(case.architecture) for case in sweep] == [Whole, Parts]


def test_variants_of_one_model_stand_together(cases: Any) -> None:
    text = "matrix: {reducer: [gap, fc], variant: eager}\ninclude: [{reducer: [gap, fc], variant: compile}]"
    assert [(r, case.variant_name) for r, case in zip(reducers(cases(text)), cases(text), strict=True)] == [
        ("gap", "eager"),
        ("gap", "compile"),
        ("fc", "eager"),
        ("fc", "compile"),
    ]


# --- Overrides --------------------------------------------------------------------------------------------------------

OVERRIDABLE = """
matrix: {reducer: [gap, avg-k(k=2)], clip: [1x4x3x8x8, {frames: 8}], variant: [eager, compile]}
include: [{reducer: fc, lstm_input: 8, variant: channels_last}]
"""


def test_a_bare_axis_is_set_wherever_it_appears(cases: Any) -> None:
    assert {case.variant_name for case in cases(OVERRIDABLE, "variant=eager")} == {"eager"}
    assert {case.clip.batch for case in cases(OVERRIDABLE, "clip.batch=[2, 3]")} == {2, 3}
    assert sizes(cases(OVERRIDABLE, "lstm_input=5", "variant=eager", "clip=1x1x1x1x1"))[-1] == ("fc", 5)
    assert {parts(case).head for case in cases(OVERRIDABLE, "head=3")} == {3}


def test_a_dotted_key_is_set_in_the_matrix_only(cases: Any) -> None:
    sweep = cases(OVERRIDABLE, "matrix.variant=[eager]", "matrix.reducer=gap")
    assert {case.variant_name for case in sweep} == {"eager", "channels_last"}
    assert cases(OVERRIDABLE, "include=[]", "matrix.clip.frames=2")[-1].clip.frames == 2


def test_an_override_sets_an_option_inside_a_plugins_text(cases: Any) -> None:
    text = "matrix: {reducer: avg-k(k=2), backbone: [conv, conv(channels=8)]}"
    assert reducers(cases(text, "reducer.k=[3, 5]", "backbone=conv")) == ["avg-k(k=3)", "avg-k(k=5)"]
    assert [str(parts(case).backbone) for case in cases(text, "backbone.channels=16")] == ["conv(channels=16)"]
    (wide,) = cases("matrix: {reducer: gap, rnn: bilstm64, clip: 1x2x3x8x8}", "rnn.hidden=32", "clip.frames=4")
    assert (str(parts(wide).rnn), str(wide.clip)) == ("bilstm32", "1x4x3x8x8")


@pytest.mark.parametrize(
    ("rates", "seeds", "rate_seeds"), [([1e-3, 2e-3], 3, 2), ([1e-3, 2e-3], 2, 0), ([1e-3], 3, 0), ([1e-3, 1e-3], 3, 0)]
)
def test_a_learning_rate_is_chosen_if_there_are_several_and_further_seeds(
    rates: list[float], seeds: int, rate_seeds: int
) -> None:
    layout = TrainingLayout.model_validate({"learning_rates": rates, "seeds": seeds, "rate_seeds": 2})
    assert layout.build().rate_seeds == rate_seeds


def test_a_positional_parameter_is_refused_as_an_option(cases: Any) -> None:
    """The message for ``def plain(features, lstm_input, k=3)`` used to be "no option 'k': it takes none"."""
    message = r"no option 'k': options are keyword-only parameters, so write \*, before its k"
    with pytest.raises(SuiteError, match=message):
        cases("matrix: {reducer: plugins.needs_option:plain(k=2)}")


def test_a_list_in_parentheses_multiplies_like_one_in_a_mapping(cases: Any) -> None:
    """The list used to be cut at its commas, and the message said that conv had no option '16]'."""
    sweep = cases("matrix: {reducer: gap}", "variant=compile(rnn=[true, false], mode=reduce-overhead)+channels_last")
    assert [case.variant_name for case in sweep] == [
        "compile(mode=reduce-overhead,rnn=true)+channels_last",
        "compile(mode=reduce-overhead)+channels_last",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("varient=eager", "unknown key 'varient'; did you mean 'variant'?"),
        ("max_time=1", "unknown key 'max_time'; did you mean 'protocol.max_time'?"),
        ("visits=1", "unknown key 'visits'; did you mean 'protocol.visits'?"),
        ("batch=4", "unknown key 'batch'; did you mean 'training.batch' or 'clip.batch'?"),
        ("device=cuda", "unknown key 'device': give it on the command line, as --device cuda"),
        (
            "extends=default",
            "unknown key 'extends': a suite is one file: change another by key=value on the command line, or copy it",
        ),
        ("protocol.timeout=5x", "protocol.timeout: 5x: not a time: write 90s, 5m or 1h"),
        ("protocol.max_tim=1", "protocol: unknown key 'max_tim'; did you mean 'max_time'?"),
        ("protocol.max_time=fast", "protocol.max_time: 'fast' is not a number"),
        ("variant=eagre", "variant: unknown 'eagre'; did you mean 'eager'?"),
        (
            "variant=threads(n=2)",
            "variant: threads are an axis of their own and no variant: write threads: [1, 2, all]",
        ),
        ("clip.frames=0", "clip.frames: 0 is too small: at least 1"),
        ("threads=0", "threads: 0 is not a number of threads: write a whole number of at least 1, or all"),
        ("protocol.budget=5x", "protocol.budget: 5x: not a time: write 90s, 5m or 1h"),
        (f"name={'a' * 101}", f"name: '{'a' * 56}... is too long: at most 100 letters"),
        ("clip.frames.of=2", "matrix.clip.frames is not a mapping: give it whole"),
        ("reducer=[]", "reducer: is empty: give at least one value, or leave the key out"),
        (
            "macs",
            (
                "write it as key=value without spaces, such as variant=eager or protocol.max_time=0.2; several metrics "
                "are --metrics params,macs, several patterns --only gap --only fc"
            ),
        ),
        ("matrix..x=1", "write it as key=value without spaces, such as variant=eager or protocol.max_time=0.2"),
        ("variant=[eager", "the value '[eager' is not YAML: in a shell, quote a value with blanks"),
        ("VARIANT=eager", "unknown key 'VARIANT'; did you mean 'variant'?"),
        (
            "protocol.max_time=1s",
            "protocol.max_time: '1s' is not a number: write it without a unit (times are in seconds)",
        ),
        (
            "reducer=avg-k(k=2,4)",
            "reducer: '4' is not written as option=value; several values are a list, option=[a,b]",
        ),
        ("reducer=avg-k(k=2,k=4)", "reducer: 'k' is given twice; several values are a list, option=[a,b]"),
        ("lstm_input=64,256", "lstm_input: '64,256' is not a whole number (a list is written as lstm_input=[64,256])"),
        ("lstm_input=", "has no value: write lstm_input=null if none is meant"),
        ("variant.0=eager", "an entry of a list cannot be set by its number: give the whole list"),
        (
            "training.steps=5",
            "training: 5 steps are fewer than 7 checkpoints: write steps: 7 or more, or fewer checkpoints",
        ),
    ],
)
def test_a_bad_override_has_its_own_message(override: str, message: str) -> None:
    assert mistakes("article", [override]) == f"override {override!r}: {message}"


def test_an_option_of_one_of_several_variants_cannot_be_set() -> None:
    """The message used to be about the value in the file: ``unknown 'int8+onnxruntime'``."""
    override = "variant.method=static"
    message = f"override {override!r}: matrix.variant is not a mapping: give it whole"
    assert mistakes("article", ["variant=int8+onnxruntime", override]) == message


def test_a_bare_axis_is_set_in_entries_that_lack_it(cases: Any) -> None:
    assert {case.scenario for case in suite.load("default", ["scenario=train"]).cases} == {"train"}
    text = "matrix: {reducer: gap}\ninclude: [{reducer: fc, lstm_input: 8}]\n"
    assert [case.clip.frames for case in cases(text, "clip.frames=[2,4]")] == [2, 4, 2, 4]


def test_cases_added_by_include_are_counted_before_they_are_made(cases: Any) -> None:
    text = "matrix: {reducer: gap}\ninclude: [{reducer: fc, lstm_input: [%s]}]\n"
    heads = ",".join(map(str, range(1, 3001)))
    with pytest.raises(SuiteError, match="15,000 cases are more than 10,000"):
        cases(text % "1,2,3,4", f"head=[{heads}]")


def test_mistakes_of_file_and_overrides_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    lines = mistakes("tag.yaml", ["head=0", "varient=eager"]).splitlines()
    assert len(lines) == len((BAD / "tag.txt").read_text().splitlines()) + 2
    assert [line.partition(" ")[0] for line in lines][-2:] == ["override", "override"]


# --- Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "matrix:\n  reducer: gap\n   rnn: lstm8\n",
            ("3:7: not YAML: mapping values are not allowed here: "
            "indent all keys of a mapping alike, and quote text that has a colon in it"),
        ),
        (
            "matrix:\n  reducer:\n  - gap\n clip: 1x2x3x8x8\n",
            ("4:2: not YAML: while parsing a block mapping, expected <block end>, but found '<block mapping start>': "
            "indent all keys of a mapping, or all entries of a list, alike"),
        ),
        (
            "matrix:\n  reducer:\n  – gap\n",
            ("4:1: not YAML: while scanning a simple key, could not find expected ':': "
            "a key ends with a colon, an entry of a list begins with '- '"),
        ),
        ("matrix: {reducer: 'gap\n}", "1:19: not YAML: while scanning a quoted scalar, found unexpected end of stream"),
        (
            "[matrix]\nreducer = 'gap'\n",
            ("2:1: not YAML: expected '<document start>', but found text: "
            "a suite is one mapping, such as matrix: {reducer: gap}"),
        ),
        ("matrix:\n  reducer:gap\n", ("2:3: matrix: 'reducer:gap' is not a mapping of keys to values: "
        "put a space after the colon")),
        ("matrix:\n", "1:1: needs a reducer (or a model)"),
        (
            "matrix:\n  reducer:\n  rnn: lstm8\n",
            "2:3: reducer: null is not a plug-in: write a name, an import path or {name: ..., <options>}",
        ),
        ("matrix: {reducer: GAP}", "1:19: reducer: unknown 'GAP'; did you mean 'gap'?"),
        (
            "matrix:\n  reducer: gap, fc\n",
            "2:12: reducer: 'gap, fc' is not written as name or name(option=value) (a list is written as [gap, fc])",
        ),
        (
            "matrix: {model: my net.py:build}",
            ("1:17: model: 'my net.py:build' is not written as name or name(option=value); a path with a space is a "
            "mapping: {name: 'my net.py:build'}"),
        ),
        ("matrix: {reducer: {avg-k: {k: 4}}}", "1:19: reducer: needs a name: {name: avg-k, <options>}"),
        ("matrix: {model: {name: [a:f, b:f], stages: {lstm: rnn}}}", ("1:24: model.name: a list is not the name of a "
         "plug-in: for several, write a list of mappings, each with a name and its options")),
        ("matrix: {reducer: gap, clip: [1, 16, 3, 32, 32]}", ("1:30: clip: a list of numbers is not a clip: "
         "write 1x16x3x32x32 (batch, frames, channels, height, width)")),
        ("matrix: {reducer: gap, clip: [8, 16]}", ("1:30: clip: a list of numbers is not a clip: "
         "write 1x16x3x64x64 (batch, frames, channels, height, width)")),
        ("matrix: {model: ./net.py}", ("1:17: model: './net.py' is not an import path: "
         "name its function, too: ./net.py:function")),
        ("matrix: {scenario: inference(steps=2)}",
         "1:20: scenario: 'inference(steps=2)': a scenario takes no options: write inference"),
        ("x-a: &a gap\nx-b: &a gpa\nmatrix: {reducer: *a}", "2:6: reducer: unknown 'gpa'; did you mean 'gap'?"),
    ],
)  # fmt: skip
def test_a_common_mistake_in_yaml_has_its_place_and_a_remedy(text, message, tmp_path, monkeypatch, recwarn) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(text)
    assert mistakes("s.yaml") == f"s.yaml:{message}"
    assert not recwarn.list, "an anchor that is used again is no warning"


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_mistake_is_reported_at_its_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    assert mistakes(path.name) + "\n" == path.with_suffix(".txt").read_text()


def test_counting_a_million_cases_takes_little_memory() -> None:
    mistakes(str(BAD / "names.yaml"))
    tracemalloc.start()
    assert "1,000,000 cases" in mistakes(str(BAD / "million.yaml"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6


def test_sweeps_of_more_cases_than_len_allows_are_counted(cases: Any) -> None:
    many = list(range(1, 601))
    matrix = {"reducer": "fc", "lstm_input": many, "head": many, "clip": dict.fromkeys(ClipLayout.model_fields, many)}
    with pytest.raises(SuiteError, match="27,993,600,000,000,000,000 cases"):
        cases(json.dumps({"matrix": matrix}) + "\n")


def test_ten_thousand_cases_are_accepted_and_more_are_refused(cases: Any) -> None:
    sizes = list(range(1, 101))
    swept = {"reducer": ["gap", "fc"], "lstm_input": sizes}
    matrix = swept | {"layer_norm": [False, True], "clip": {"frames": sizes[:25]}}

    def cases_with(entry: dict[str, Any]) -> tuple[Case, ...]:
        return cases(json.dumps({"matrix": matrix, "include": [entry]}))

    assert len(cases_with(swept | {"head": 7})) == 10_000
    with pytest.raises(SuiteError, match="20,000 cases"):
        cases_with(swept | {"head": [7, 8]})
    with pytest.raises(SuiteError, match=r"include: 10,001 cases are more"):
        cases_with({"reducer": "fc", "lstm_input": 101, "head": 7})


def test_a_file_that_is_no_suite_says_why(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"matrix:\n  reducer: caf\xe9\n")
    (tmp_path / "large.yaml").write_bytes(b"# " + b"x" * 2**20)
    (tmp_path / "deep.yaml").write_text("[" * 1000)
    (tmp_path / "nul.yaml").write_bytes(b"matrix:\n  reducer: \x00")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    says = {
        "": "is a directory: name a YAML file in it",
        "latin.yaml": "is not UTF-8 text (line 2, byte 0xe9)",
        "large.yaml": "is larger than 1 MiB: this is not a suite",
        "pipe.yaml": "is a pipe or a device, and a suite is read more than once: write it to a file",
        "absent.yaml": "no such file",
        "circle.yaml": "a link that leads nowhere",
        "article.yml": "no such file; the shipped suite of that name is run as 'article'",
    }
    for name, message in says.items():
        assert mistakes(str(tmp_path / name)) == f"{tmp_path / name}: {message}"
    assert mistakes(str(tmp_path / "deep.yaml")).endswith("is nested too deeply")
    assert "nul.yaml:2:12: not YAML: unacceptable character #x0000" in mistakes(str(tmp_path / "nul.yaml"))


def test_a_file_without_read_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("matrix: {reducer: gap}")
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(Path, "open", Mock(side_effect=denied))
    assert mistakes(str(path)) == f"{path}: cannot be read: Permission denied"


def test_a_shipped_suite_is_suggested_by_name() -> None:
    assert mistakes("").startswith("no suite is named: name a YAML file, or one that is shipped (article, claims, ")
    assert mistakes("defualt").startswith("no suite 'defualt'; did you mean 'default'? (shipped: article, claims, ")


def test_a_windows_file_with_a_byte_order_mark_loads(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_bytes("matrix:\r\n  reducer: gap\r\n".encode("utf-8-sig"))
    assert len(suite.load(str(path)).cases) == 1


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_any_text_is_a_suite_or_a_reported_mistake(text: str | bytes) -> None:
    path = TESTS.parent / ".pytest_cache" / "any.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode("utf-8", "replace") if isinstance(text, str) else text)
    assert mistakes(str(path))


SECTIONS = ["matrix", "include", "exclude", "protocol", "metrics", "name"]
KEYS = [*SECTIONS, *AXES, "hidden", "proj_size", "frames", "seed", "stages", "inputs", "k"]
SCALARS = st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.sampled_from(["gap", "fc", "eager", "x"])
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(SECTIONS), TREES, max_size=4))
def test_any_tree_of_known_words_loads_or_reports_a_mistake(tree: Any) -> None:
    path = TESTS.parent / ".pytest_cache" / "tree.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(tree).replace("NaN", ".nan").replace("Infinity", ".inf"))
    try:
        assert suite.load(str(path)).cases
    except SuiteError as error:
        assert str(error)


# --- What ships -------------------------------------------------------------------------------------------------------


def test_the_expected_suites_are_shipped() -> None:
    assert set(suite.shipped_suites()) == {
        "article",
        "claims",
        "claims-dials",
        "default",
        "deploy",
        "gpu",
        "presets",
        "quality",
        "quality-full",
        "smoke",
        "train",
        "variants",
    }


@pytest.mark.parametrize("name", sorted(suite.shipped_suites()))
def test_a_shipped_suite_fits_the_schema_and_carries_its_line(name: str) -> None:
    path = suite.shipped_suites()[name]
    loaded = suite.load(name)
    assert (loaded.name, loaded.text) == (name, path.read_text())
    assert loaded.description
    assert loaded.text.startswith("# yaml-language-server: $schema=./convbench.schema.json\n")
    jsonschema.validate(YAML(typ="safe").load(path), suite.schema())


def test_the_default_suite_asks_the_articles_question_of_every_reducer() -> None:
    from convbench.core.registry import reducers as shelf

    sweep = suite.load("default").cases
    ours = Path(suite.__file__).parents[1]  # Another test of this worker may have registered more.
    own = [plugin.name for plugin in shelf if ours in Path(inspect.getfile(plugin.build)).parents]
    assert len(own) == len([*(ours / "plugins/reducers").glob("[!_]*.py")]) >= 12
    for reducer in own:
        mine = [case for case in sweep if parts(case).reducer.name == reducer]
        assert {case.variant_name for case in mine} == {"eager", "channels_last", "compile", "channels_last+compile"}, (
            f"name {reducer} in suites/default.yaml"
        )
        swept = {(parts(c).backbone, parts(c).reducer, parts(c).lstm_input) for c in mine}
        assert len(swept) >= 3
    assert {case.scenario for case in sweep} == {"inference", "streaming"}


def test_the_presets_have_their_models_lstm_input_and_maps() -> None:
    from convbench.measure.preflight import resolve
    from convbench.models.network import feature_shape

    text = suite.shipped_suites()["presets"].read_text()
    names = [
        line.split()[1].rstrip(":") for line in text.splitlines() if line.startswith("  # ") and line[4:].find(": ") > 0
    ]
    sweep = suite.load("presets").cases
    rows = {}
    for name, case in zip([n for n in names if "-" in n], sweep, strict=True):
        model, clip = parts(resolve(case)), case.clip
        maps = feature_shape(model.backbone, clip.channels, clip.height, clip.width)
        rows[name] = (str(maps), model.lstm_input, str(model.rnn))
    assert rows == {
        "article-64": ("32x64x64", 128, "lstm128"),
        "ucf-crnn": ("256x14x20", 512, "lstm512x3"),
        "resnet-gap-512": ("2048x7x7", 512, "bilstm256x2"),
        "gap-2048": ("2048x4x4", 2048, "lstm2048"),
        "nature-512": ("64x7x7", 512, "lstm128"),
        "impala-257": ("32x11x11", 257, "lstm256"),
        "a3c-flat-288": ("32x3x3", 288, "lstm256"),
        "minigrid-64": ("64x1x1", 64, "lstm64"),
        "robomimic-137": ("512x3x3", 137, "lstm400x2"),
        "ocr-crnn": ("512x1x1", 512, "bilstm256x2"),
        "ds2-1312": ("32x41x1", 1312, "bilstm1024x5"),
        "crdnn-2560": ("256x10x1", 2560, "bilstm1024x4"),
        "rsna-6144": ("6144x8x8", 6144, "bilstm2048x2"),
    }


# --- The JSON Schema --------------------------------------------------------------------------------------------------


def test_the_committed_schema_is_the_printed_schema() -> None:
    """A new plug-in on a shelf only warns, because adding a plug-in adds one file."""
    committed, schema = json.loads((SUITES / "convbench.schema.json").read_text()), suite.schema()
    shelves = ("backbone", "reducer", "variant", "scenario", "probe", "task")
    for shelf in shelves:
        old, new = committed["$defs"].pop(shelf)["anyOf"], schema["$defs"].pop(shelf)["anyOf"]
        named = [entry for entry in old if "pattern" not in entry]
        assert [entry for entry in named if entry not in new] == []
        if old != new:
            warnings.warn(f"new {shelf}: run `convbench schema > suites/convbench.schema.json`", stacklevel=1)
    assert committed == schema


def test_an_unknown_name_says_how_to_bring_a_plug_in_of_ones_own() -> None:
    """A plug-in that ran yesterday was only "unknown" if ``--plugins`` was forgotten."""
    with pytest.raises(ConvbenchError, match=r"to use your own reducer, import its module first \(--plugins MODULE\)$"):
        registry.reducers.get("zzz")


def test_a_failed_import_of_a_shelf_is_no_suite_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong TORCH_LOGS, torch's message used to stand in the last of many lines, one for each plug-in."""
    monkeypatch.setattr(registry.reducers, "get", Mock(side_effect=ValueError("Invalid log settings: nonsense")))
    with pytest.raises(Unavailable, match="the reducers cannot be imported: ValueError: Invalid log settings"):
        suite.load("article")


def test_the_schema_refuses_unknown_options_in_a_reducers_text() -> None:
    validator = jsonschema.Draft202012Validator(suite.schema())
    texts = ("gap(k=2)", "avg-k(2)", "avg-k(z=1)", "fc(activation=true, z=1)", "avg-k(k=2")
    assert not [text for text in texts if validator.is_valid({"matrix": {"reducer": text}})]


@pytest.mark.parametrize("name", ["names", "types", "ranges", "list"])
def test_the_schema_refuses_what_loading_refuses(name: str) -> None:
    yaml = YAML(typ="safe")
    validator = jsonschema.Draft202012Validator(suite.schema())
    assert not validator.is_valid(yaml.load(BAD / f"{name}.yaml"))


@pytest.mark.parametrize(
    "matrix",
    [
        "{reducer: gap, rnn: [bilstm256x2, {hidden: [1, 2]}], clip: [1x1x1x1x1, {frames: [4, 8]}]}",
        "{reducer: [avg-k(k=2), {name: avg-k, k: [2, 4]}, math:pi, {name: needs_option:anything, z: [1]}]}",
        "{reducer: gap, variant: [channels_last+compile(mode=default), [allocator, {name: compile, rnn: true}]]}",
        "{model: {name: needs_option:model, size: [1, 2], stages: {lstm: rnn}}, scenario: streaming}",
        "{model: {name: needs_option:model, size: 1, stages: {backbone: [0, conv], lstm: 2}}}",
        "{reducer: gap, scenario: ./models/net.py:build}",
        "{reducer: [gap(), 'avg-k (k=[2, 4])', 'fc( hidden=8-4, activation=true )'], lstm_input: 8, variant: eager()}",
        "{reducer: {name: fc, hidden: [64, 32-16]}, backbone: {name: strided, widths: 8}, lstm_input: 8}",
        "{reducer: gap, variant: [channels_last + compile, 'channels_last+mypkg.variants:pruned(share=0.5)']}",
        "{model: ['./models/net.py:build', 'my-net.py:build', 'a/b-c/net.py:Net.build(k=3)']}",
    ],
)
def test_the_schema_accepts_every_way_of_writing(matrix: str) -> None:
    jsonschema.validate({"matrix": YAML(typ="safe").load(matrix)}, suite.schema())


def test_the_schema_accepts_a_budget_only_with_a_known_unit() -> None:
    validator = jsonschema.Draft202012Validator(suite.schema())
    budgets = {budget: validator.is_valid({"protocol": {"budget": budget}}) for budget in (300, "5m", "1.5 h", "5x", 0)}
    assert budgets == {300: True, "5m": True, "1.5 h": True, "5x": False, 0: False}


def test_a_reregistered_plugin_is_judged_by_its_new_options() -> None:
    from convbench.core.registry import Registry
    from convbench.suite.options import signature

    shelf = Registry("reducer", "convbench.plugins.reducers")
    for name in ("old", "new"):
        exec(f"def cell(*, {name}: int = 1): ...", space := {"__name__": "cell"})
        shelf.register("cell")(space["cell"])
        assert set(signature(shelf, "cell").options) == {name}


def test_the_schema_completes_and_describes_a_reducer() -> None:
    entries = suite.schema()["$defs"]["reducer"]["anyOf"]
    assert any(entry.get("const") == "gap" and "Mean of each channel" in entry["description"] for entry in entries)
    (avg_k,) = [e for e in entries if e.get("properties", {}).get("name", {}).get("const") == "avg-k"]
    assert avg_k["properties"]["k"]["default"] == 4
    assert avg_k["additionalProperties"] is False


def test_the_schema_refuses_an_unknown_task() -> None:
    validator = jsonschema.Draft202012Validator(suite.schema())
    tasks = [
        "identity",
        {"name": "identity", "train_clips": [8, 16]},
        "my.clips:pairs",
        "identty",
        {"name": "identity", "clips": 3},
    ]
    assert [validator.is_valid({"training": {"tasks": task}}) for task in tasks] == [True, True, True, False, False]


CROSSED = "matrix: {reducer: gap, variant: [eager, onnxruntime], scenario: [inference, train]}"


@registry.declares(traits.VariantTraits(scenarios=("inference", "streaming")))
def untrainable(subject: object) -> object:
    """Raise an error for training."""
    return subject


@registry.declares(traits.VariantTraits(unsuited=lambda _, level: f"level {level} is too high" if level > 1 else ""))
def levelled(subject: object, *, level: int) -> object:
    """Run in a level."""
    return subject


@pytest.mark.parametrize("variant", ["onnxruntime", f"{__name__}:untrainable"])
def test_an_impossible_combination_of_the_matrix_is_left_out_and_kept_with_its_reason(
    tmp_path: Path, variant: str
) -> None:
    """ONNX Runtime times training used to stop the whole suite with exit code 2, and later a user's own variant did."""
    path = tmp_path / "crossed.yaml"
    path.write_text(CROSSED.replace("onnxruntime", variant))
    loaded = suite.load(str(path))
    names = [(case.variant_name, case.scenario) for case in loaded.cases]
    assert names == [("eager", "inference"), (variant, "inference"), ("eager", "train")]
    assert list(loaded.impossible.values()) == [
        f"variant {variant} cannot be used in scenario train: use scenario: inference or streaming"
    ]


@pytest.mark.parametrize(
    ("variants", "left_out", "reason"),
    [
        ("{name: int8, method: [dynamic, static], calibration: 16}", 1, "dynamic has no ranges to find from clips"),
        ("{name: int8, method: [torchao, static], clips: 'a:b'}", 1, "torchao has no ranges to find from clips"),
        ("'int8(method=[dynamic,static,torchao])+openvino'", 2, "OpenVINO cannot run a dynamically quantised model"),
        ("'int8(method=[dynamic,static,torchao])+onnxruntime'", 1, "torchao quantises for torch only"),
        ("'half(dtype=[fp16,bf16])+onnxruntime'", 1, "ONNX Runtime has no bfloat16"),
        ("{name: onnxruntime, exporter: [dynamo, torchscript], any_batch: [true, false]}", 1, "any_batch needs"),
        (f"'{__name__}:levelled(level=[1,2])'", 1, "level 2 is too high"),
    ],
)
def test_options_of_the_matrix_that_do_not_fit_are_left_out_before_anything_is_measured(
    tmp_path: Path, variants: str, left_out: int, reason: str
) -> None:
    """Their cases used to fail one by one in the middle of the run."""
    path = tmp_path / "options.yaml"
    for matrix, include in (("reducer: gap, ", ""), ("", "include: [{reducer: gap}]")):
        path.write_text(f"matrix: {{{matrix}variant: [eager, {variants}]}}\n{include}")
        loaded = suite.load(str(path))
        assert len(loaded.impossible) == left_out
        assert any(reason in text for text in loaded.impossible.values())
        assert not any(map(traits.impossible, loaded.cases))


@pytest.mark.parametrize("variant", ["onnxruntime", "openvino", "tensorrt", "int8", "int8(method=static)+openvino"])
def test_projections_are_left_out_where_a_variant_cannot_have_them(cases: Any, variant: str) -> None:
    text = f"matrix: {{reducer: gap, rnn: [lstm32, lstm32p8], variant: [eager, '{variant}', half, aot-inductor]}}"
    projected = [case.variant_name for case in cases(text) if case.architecture.rnn.proj_size]
    assert projected == ["eager", "half", "aot-inductor"]


@pytest.mark.parametrize(
    ("text", "overrides", "count"),
    [
        ("matrix: {reducer: gap, variant: 'int8(calibration=16)'}", (), 1),
        ("matrix: {reducer: gap, variant: [eager, int8]}\ninclude: [{variant: 'int8(calibration=16)'}]", (), 1),
        ("matrix: {reducer: gap, variant: [eager, int8]}", ("variant=int8(calibration=16)",), 1),
        (f"{CROSSED}\ninclude: [{{reducer: gap, variant: onnxruntime, scenario: train}}]", (), 1),
        (f"{CROSSED}\ninclude: [{{variant: onnxruntime, scenario: train}}]", (), 1),
        ("matrix: {variant: [eager, onnxruntime], scenario: [inference, train]}\ninclude: [{reducer: gap}]", (), 0),
        ("matrix: {reducer: gap, variant: [eager, onnxruntime], scenario: train}", (), 0),
        ("matrix: {reducer: gap, variant: onnxruntime, scenario: train}", (), 1),
        ("matrix: {reducer: gap, variant: [onnxruntime, int8+onnxruntime], scenario: train}", (), 2),
        (
            "matrix: {reducer: gap, variant: onnxruntime, scenario: train}\ninclude: [{scenario: inference, head: 3}]",
            (),
            1,
        ),
        ("matrix: {reducer: gap, variant: [eager, onnxruntime]}\ninclude: [{scenario: train}]", (), 1),
        (CROSSED, ("variant=onnxruntime", "scenario=train"), 1),
    ],
)
def test_a_written_impossible_case_stays_in_the_suite_as_a_mistake(
    cases: Any, text: str, overrides: Sequence[str], count: int
) -> None:
    assert sum(bool(traits.impossible(case)) for case in cases(text, *overrides)) == count


@pytest.mark.parametrize("trait", ["unsuited", "dtype", "environment"])
def test_a_trait_that_raises_is_reported_with_its_variant(trait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called while a suite is read and a report is made: it ended both in a traceback."""
    monkeypatch.setattr(registry.variants, "_plugins", {plugin.name: plugin for plugin in registry.variants})

    def raises(*_: object, **__: object) -> str:
        raise KeyError("level")

    @registry.variants.register("shop-odd")
    @registry.declares(traits.VariantTraits(**{trait: raises}))
    def _odd(subject: object) -> object:
        return subject

    case = Case(Parts(Choice("conv"), Choice("gap")), variant=(Choice("shop-odd"),))
    ask = {"unsuited": traits.impossible, "dtype": traits.dtype, "environment": variants.process_environment}[trait]
    with pytest.raises(
        ConvbenchError, match=r"^the variant 'shop-odd' raised KeyError: 'level' \(test_suite\.py:\d+\)$"
    ):
        ask(case)


@pytest.mark.parametrize(
    ("text", "is_read_here"),
    [
        ('{"description": "run #5", "matrix": {"model": "net:build"}}', False),
        ("matrix: {model: net:été}\n", False),
        ("matrix: {model: 'net::build'}\n", False),
        ('matrix: {reducer: gap}\nmetrics: ["net:"]\n', False),
        ('matrix: {model: "net\\x3abuild"}\n', False),
        ("# a\rmatrix: {model: net:build}\n", False),
        ("# it's a\rmatrix: {model: net:build}\n", False),
        ("matrix: {reducer: gap}  # or net:build\n# or net:build\ndescription: 'issue#5: a b'\n", True),
        ('{"matrix":{"reducer":"gap"}}', True),
    ],
)
def test_a_suite_that_may_name_a_users_code_is_never_read_here(text, is_read_here, tmp_path, monkeypatch) -> None:
    """Right after a # in quoted text, and with a name that was no ASCII, its modules were imported by the command."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(suite, "load", Mock())
    (tmp_path / "suite.yaml").write_text(text)
    processes = Mock()
    user_code.load(str(tmp_path / "suite.yaml"), [], processes)
    assert (suite.load.called, processes.run.called) == (is_read_here, not is_read_here)
