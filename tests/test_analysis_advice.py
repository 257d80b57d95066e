"""The advice: the lightest of the cases that tie with the fastest, and no answer if the data allow none."""

from dataclasses import replace

import records

from convbench.analysis.choice.by_budget import answer_within
from convbench.analysis.costs.headlines import count_noisy, headline_of
from convbench.analysis.costs.ranking import rank
from convbench.analysis.results import results
from convbench.core.record import Case, Choice, Finding, Whole
from convbench.report.words.budget import fitting


def timed(reducer, milliseconds, size=None, **more):
    return records.record(records.case(reducer, size, **more), latency=milliseconds * 1e-3)


def test_the_lightest_of_the_tied_cases_is_picked():
    case_results = results([timed("avg-k(k=4)", 2.0), timed("gap", 2.1), timed("fc", 9.0, 128)])
    headline = headline_of(case_results)
    assert headline.ranking[0].result.series == "avg-k"
    assert headline.pick.series == "gap"
    assert [contender.tied for contender in headline.ranking] == [True, True, False]


def test_the_fastest_of_equally_light_tied_cases_is_picked():
    """The first in the alphabet used to win: of two models of 12 parameters the slower, whose output was NaN."""
    assert headline_of(results([timed("gmp", 2.0), timed("gap", 2.1)])).pick.series == "gmp"
    named = [records.record(Case(Whole(Choice(name))), latency=time) for name, time in (("a:b", 2.1e-3), ("c:d", 2e-3))]
    assert headline_of(results(named)).pick.series == "c:d"


def test_a_model_without_parameters_is_the_lightest():
    bare = timed("avg-k(k=4)", 2.1)
    bare = replace(bare, readings=tuple(
        replace(reading, samples=(0,)) if reading.metric.name == "params" else reading for reading in bare.readings
    ))  # fmt: skip
    assert headline_of(results([timed("gap", 2.0), bare])).pick.series == "avg-k"


def test_an_untimed_model_of_partly_counted_work_is_picked_only_if_there_is_no_other():
    uncounted = (Finding("uncounted_operators", data={"operators": ("aten::fft",), "share": 0.1}),)
    light, heavy = records.record(records.case("gap"), samples=0), records.record(records.case("fc", 128), samples=0)
    assert headline_of(results([light, heavy])).pick.series == "gap"
    assert headline_of(results([replace(light, findings=uncounted), heavy])).pick.series == "fc"
    assert headline_of(results([replace(light, findings=uncounted)])).pick.series == "gap"


def test_of_untimed_models_of_as_many_parameters_the_one_of_fewer_flops_is_picked():
    """The name decided: of two models that keep their weights outside of torch's parameters, the wider was smallest."""

    def own(width, flops):
        case = Case(Whole(Choice("a:b", (("width", width),))))
        return replace(
            records.record(case, samples=0), readings=(records.reading("params", 0), records.reading("flops", flops))
        )

    wide, narrow = own(128, 7e6), own(64, 2e6)
    assert wide.case.id < narrow.case.id
    ranking = rank(results([wide, narrow]))
    assert [contender.result.record for contender in ranking] == [narrow, wide]
    assert headline_of(results([wide, narrow])).pick.record is narrow


def test_a_lighter_but_slower_model_is_not_picked():
    headline = headline_of(results([timed("avg-k(k=4)", 2.0), timed("gap", 2.6)]))
    assert headline.pick.series == "avg-k"


def test_the_cheapest_reducer_that_keeps_positions_is_named_too():
    run_records = [timed("gap", 2.0), timed("spatial-softmax", 2.6), timed("avg-k(k=4)", 2.6), timed("flatten", 50)]
    assert headline_of(results(run_records)).position_pick.series == "spatial-softmax"
    assert headline_of(results([timed("spatial-softmax", 2.0), timed("gap", 2.6)])).position_pick is None


def test_the_frozen_control_is_advised_only_if_it_is_alone():
    run_records = [timed("gap", 2.0), timed("random-projection", 2.1, 8), timed("avg-k(k=4)", 2.2)]
    assert headline_of(results(run_records)).pick.series == "gap"
    assert headline_of(results(run_records)).position_pick.series == "avg-k"
    assert headline_of(results(run_records[1:2])).pick.series == "random-projection"


def test_a_control_that_alone_is_fastest_is_no_pick():
    """A control of one's own that does nothing is the fastest by far, and was advised and exported as the winner."""
    run_records = [timed("random-projection", 1.0, 8), timed("gap", 3.0), timed("fc", 3.1, 32)]
    headline = headline_of(results(run_records))
    assert (headline.pick.series, headline.controls_aside) == ("gap", True)
    assert [contender.result.series for contender in headline.ranking] == ["gap", "fc"]
    assert not headline_of(results(run_records[1:])).controls_aside
    answer = answer_within(results(run_records), {})
    assert (answer.pick.series, answer.number, answer.controls_aside) == ("gap", 3, True)
    assert "tied with the fastest (frozen controls aside): take gap" in fitting(answer)
    only_control = answer_within(results(run_records), {"latency": 2e-3})
    assert (only_control.pick.series, only_control.controls_aside) == ("random-projection", False)


def test_an_untimed_control_is_no_pick_though_only_its_work_is_fully_counted():
    uncounted = (Finding("uncounted_operators", data={"operators": ("aten::fft",), "share": 0.1}),)
    control = records.record(records.case("random-projection", 8), samples=0)
    learner = replace(records.record(records.case("gap"), samples=0), findings=uncounted)
    assert headline_of(results([control, learner])).pick.series == "gap"


def test_without_times_a_model_is_ranked_as_eager():
    run_records = [records.record(records.case("gap", variant=how), samples=0) for how in ("compile", "eager")]
    assert rank(results(run_records))[0].result.case.variant == ()


def test_a_users_own_reducer_is_not_said_to_drop_positions():
    assert headline_of(results([timed("mypkg.pool", 2.0), timed("spatial-softmax", 2.6)])).position_pick is None


def test_each_model_is_ranked_with_its_fastest_variant():
    case_results = results([timed("gap", 8.0), timed("gap", 2.0, variant="compile"), timed("gmp", 3.0)])
    assert [(contender.result.series, contender.result.case.variant_name) for contender in rank(case_results)] == [
        ("gap", "compile"), ("gmp", "eager"),
    ]  # fmt: skip


def test_only_one_backbone_clip_and_scenario_is_ranked():
    here = [timed("gap", 2.0), timed("gmp", 2.1)]
    elsewhere = [timed("gap", 0.5, channels=8), timed("gap", 0.1, scenario="streaming")]
    headline = headline_of(results([*elsewhere, *here]))
    assert {contender.result.series for contender in headline.ranking} == {"gap", "gmp"}
    assert [other.result.case.scenario for other in headline.leaders] == ["inference", "streaming"]


def test_the_fastest_in_other_scenarios_includes_all_variants():
    """A page used to call int8 by torch "fastest" at 950 us, although int8 by ONNX Runtime took 129 us."""
    here = [timed("gap", 2.0), timed("gmp", 2.1)]
    elsewhere = [
        timed(name, milliseconds, scenario="streaming", variant=variant)
        for name, milliseconds, variant in (("gap", 1.0, "eager"), ("gmp", 1.1, "eager"), ("gmp", 0.1, "compile"))
    ]
    fastest = headline_of(results([*here, *elsewhere])).leaders
    assert [(other.result.series, other.result.case.variant_name) for other in fastest] == [("gmp", "compile")]


def test_counts_alone_still_give_an_answer():
    headline = headline_of(results([records.record(records.case(name), samples=0) for name in ("flatten", "gap")]))
    assert (headline.pick.series, headline.timed) == ("gap", False)
    assert headline.dearest.series == "flatten"


def test_without_measurements_there_is_no_advice():
    assert headline_of(results([records.failed(records.case())])).pick is None
    assert headline_of([]).pick is None


def test_whole_models_are_ranked_with_each_other():
    run_records = [
        records.record(Case(Whole(Choice(name))), latency=time) for name, time in (("a:b", 2e-3), ("c:d", 1e-3))
    ]
    assert headline_of(results(run_records)).pick.series == "c:d"


def test_noise_counts_cases_by_finding():
    shaky = replace(records.record(), findings=(Finding("not_steady"), Finding("graph_breaks", "note")))
    assert count_noisy(results([shaky, shaky, records.record()]), {"not_steady", "throttled"}) == {"not_steady": 2}
