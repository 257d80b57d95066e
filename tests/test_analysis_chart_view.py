"""Test which results are shown first and which points form a curve."""

from dataclasses import replace

import records
from matplotlib.text import Text

from convbench.analysis.costs.chart_view import curves, initial_view
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.costs.likeness import likeness, one_variant
from convbench.analysis.results import results
from convbench.core.record import Case, Choice, Whole
from convbench.core.registry import figures
from convbench.report.page.payload import payload


def joined(*cases):
    return curves(results([records.record(case) for case in cases]))


def test_sizes_of_a_free_reducer_make_a_curve():
    assert joined(records.case("fc", 8), records.case("fc", 32), records.case("hybrid", 8)) == [0, 0, None]


def test_sizes_set_by_the_feature_map_form_no_curve():
    assert joined(records.case("gap", channels=8), records.case("gap"), records.case("gmp")) == [None, None, None]


def test_a_free_reducer_has_a_curve_for_each_backbone():
    cases = [records.case("fc", size, channels) for channels in (8, 32) for size in (16, 64)]
    assert joined(*cases) == [0, 0, 1, 1]


def test_each_variant_has_its_own_curve():
    cases = [records.case("fc", size, variant=how) for how in ("eager", "compile") for size in (16, 64)]
    assert joined(*cases) == [0, 0, 1, 1]


def test_the_first_view_varies_only_reducer_and_size():
    case_results = results(records.default_records())
    first = initial_view(case_results)
    assert first.values == {
        "device": "cpu", "clip": "1x16x3x64x64", "scenario": "inference", "variant": "eager", "backbone": "conv",
        "rnn": "lstm128", "layer_norm": "0", "environment": "e1",
    }  # fmt: skip
    assert len({likeness(result) for result in case_results if result in first}) == 1
    assert len({result.series for result in case_results if result in first}) == 12


def test_the_first_view_has_one_stated_number_of_threads():
    """The view used to have both numbers of threads: two lines of the same name for each reducer."""
    found = [
        replace(records.record(replace(records.case("fc", size), threads=threads)), conditions={"threads": threads})
        for threads in (2, 1)
        for size in (16, 64)
    ]
    case_results = results(found)
    first = initial_view(case_results)
    assert first.values["threads"] == "2"
    assert [result.group.threads for result in case_results if result in first] == [2, 2]
    (drawing,) = figures.get("curve").build(case_results)
    assert drawing.title == "Latency by LSTM input size: conv, eager, inference, 2 threads"
    assert [len(rows) for rows in drawing.marks.values()] == [2]


def test_the_first_view_of_a_merge_shows_one_machine():
    """One figure used to show times of two machines, in two lines of the same name and colour."""
    case_results = results(
        [
            records.record(records.case("fc", size), environment=machine)
            for machine, sizes in (("e1", (16, 64, 256)), ("e2", (8, 32)))
            for size in sizes
        ]
    )
    assert [result in initial_view(case_results) for result in case_results] == [True] * 3 + [False] * 2
    (drawing,) = figures.get("curve").build(case_results)
    assert [len(rows) for rows in drawing.marks.values()] == [3]
    data = payload(records.run_of([]), case_results)
    assert data["filters"] == ["environment"]
    assert data["opening"]["environment"] == "e1"


def test_a_single_timed_size_gives_no_line():
    timed, untimed = records.record(records.case("fc", 16)), records.record(records.case("fc", 64))
    untimed = replace(untimed, readings=tuple(r for r in untimed.readings if r.metric.name != "latency_s"))
    assert list(figures.get("curve").build(results([timed, untimed]))) == []


def test_models_are_ranked_within_one_variant():
    """Only one size of fc is compiled. Across variants, fc 512 in eager would be ranked against a compiled fc 8."""
    cases = [records.case(name, size) for name, size in (("gap", None), ("fc", 8), ("fc", 512))]
    compiled = [records.case("gap", variant="compile"), records.case("fc", 8, variant="compile")]
    answer = headline_of(results([records.record(case) for case in (*cases, *compiled)]))
    assert {contender.result.case.variant_name for contender in answer.ranking} == {"eager"}
    assert len(answer.ranking) == 3


def test_the_variant_that_most_reducers_have_is_compared():
    cases = [records.case("gap", variant="compile"), records.case("fc", 8, variant="compile"), records.case("fc", 8)]
    members = results([records.record(case) for case in cases])
    assert {result.case.variant_name for result in one_variant(members)} == {"compile"}
    assert one_variant([]) == []


def test_a_run_without_measurements_has_no_first_view():
    assert initial_view(results([records.failed(records.case())])) is None


def test_a_users_own_model_is_in_view_beside_the_reducers():
    """The view used to require a backbone, which such a model lacks, so the model was in no chart."""
    own = records.record(Case(Whole(Choice("net:build"))))
    case_results = results([*(records.record(records.case(name)) for name in ("gap", "fc")), own])
    assert [result in initial_view(case_results) for result in case_results] == [True, True, True]


def test_layer_norm_does_not_give_two_lines_one_name():
    cases = [records.case("fc", size, parts={"layer_norm": norm}) for norm in (False, True) for size in (16, 64)]
    case_results = results([records.record(case) for case in cases])
    (drawing,) = figures.get("curve").build(case_results)
    assert [len(rows) for rows in drawing.marks.values()] == [2]


def test_a_reducer_with_other_options_has_its_own_label():
    cases = [records.case(name, size) for name in ("fc", "fc(activation=true)") for size in (16, 64)]
    (drawing,) = figures.get("curve").build(results([records.record(case) for case in cases]))
    said = {text.get_text() for text in drawing.figure.findobj(Text)}
    assert {"fc", "fc(activation=true)"} <= said
