"""Units for people and the sentences of reports."""

import ast
import io
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import records
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from rich.console import Console

import convbench
from convbench.analysis.choice.by_budget import answer_within, by_cost
from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.candidates import Why
from convbench.analysis.choice.recommendation import Ask, Doubt, Reason
from convbench.analysis.costs.chart_view import initial_view
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.quality.qualities import by_task, qualities
from convbench.analysis.results import result as result_of
from convbench.analysis.results import results
from convbench.core import findings as codes
from convbench.core import metrics, visits
from convbench.core.record import (
    FACTS,
    Case,
    Choice,
    Clip,
    Disturbance,
    Failure,
    Finding,
    Protocol,
    Reading,
    Recurrent,
    Visit,
    Whole,
)
from convbench.core.registry import figures
from convbench.core.scales import percent
from convbench.core.statistics import Interval
from convbench.core.text import inside as inside_sentence
from convbench.report.export import latex, summary
from convbench.report.page import rows, svg
from convbench.report.page.view import view
from convbench.report.terminal.advice import Advice
from convbench.report.terminal.table import ResultTable
from convbench.report.words import abstention, advice, findings, names, numbers, quality, units
from convbench.report.words.answer import answer, cautions, confidence, sentences
from convbench.report.words.budget import by_task as budget_of_task
from convbench.report.words.budget import fitting, limit_text
from convbench.report.words.first_lines import UNORDERED, decision
from convbench.report.words.next_runs import NextRun, command, next_runs

INF = float("inf")


@pytest.mark.parametrize(("make", "value", "text"), [
    (units.seconds, 0.0031, "3.10 ms"), (units.seconds, 0.9996e-3, "1.00 ms"), (units.seconds, 61, "1.02 min"),
    (units.seconds, 0, "0 ns"), (units.seconds, None, "–"), (units.seconds, INF, "–"),
    (units.count, 83_840, "83.8 k"), (units.count, 999, "999"), (units.count, 999.9, "1.00 k"), (units.count, 0, "0"),
    (units.seconds, 0.0009995, "1.00 ms"), (units.seconds, 9.995e-7, "1.00 µs"), (units.seconds, 0.00099949, "999 µs"),
    (units.size, 2**23, "8.00 MiB"), (units.size, 1000, "1,000 B"), (units.flops, 115_867_648, "116 MFLOP"),
    (units.factor, 5.647, "5.6×"), (units.factor, 1.036, "1.04×"), (units.factor, 201.7, "202×"),
    (units.factor, None, "–"), (units.interval, Interval(3.1e-3, 3.05e-3, 3.21e-3), "3.10 ms [3.05, 3.21]"),
        (units.interval, Interval(3.14e-3, 1.29e-3, 4.99e-3), "3.1 ms [1.3, 5.0]"),
        (units.median, Interval(3.14e-3, 1.29e-3, 4.99e-3), "3.1 ms"), (units.median, Interval(0.996, 0.5, 2), "1.0 s"),
        (units.median, Interval(3.14e-3, 3e-3, 3.3e-3), "3.14 ms"), (units.factor, Interval(1.234, 0.9, 1.6), "1.2×"),
        (units.speedup, Interval(118.4, 61.2, 190.7), "120× [61, 190]"), (units.factor, Interval(118, 61, 190), "120×"),
        (units.median, None, "–"),
        (units.interval, Interval(9.86e-4, 9.41e-4, 1.03e-3), "986 µs [941, 1030]"),
    (units.speedup, Interval(15_220, 14_500, 16_000), "15,200× [14500, 16000]"),
    (units.interval, Interval(3.1e-3, -INF, INF), "3.10 ms [too few samples]"), (units.interval, None, "–"),
    (units.speedup, Interval(2.9, 2.7, 3.1), "2.90× [2.70, 3.10]"), (units.speedup, Interval(2.9, -INF, INF), "2.9×"),
    (units.percent, 0.0021, "0.21 %"), (units.percent, 1, "100 %"), (units.percent, 0.9949, "99 %"),
    (units.percent, 0.9951, "99.5 %"), (units.percent, 0.99996, "99.996 %"), (units.percent, 1.04, "104 %"),
    (units.percent, 1 + 1e-9, "100 %"), (lambda value: units.cell(value, metrics.LATENCY), 3.1e-3, "3.10 ms"),
    (lambda value: units.cell(value, metrics.FRAMES_PER_S), 2500.0, "2.50 k"),
    (units.ratio, (1.0524, 1.031, 1.074), "1.052 [1.031, 1.074]"),
    (units.ratio, (1.01, 0.0, INF), "1.010 (too few pairs for an interval)"),
    (units.ratio, (1.01, 0.98, INF), "1.010 (too few pairs for an interval)"), (units.count, 1000.5, "1.00 k"),
    (units.count, 5.0, "5"),
    (units.bounds, Interval(3.1e-3, 3.05e-3, 3.21e-3), "3.05, 3.21"), (units.bounds, None, "–"),
    (lambda value: units.human(value, "page"), 5.0, "5 page"), (lambda value: units.human(value, "page"), INF, "–"),
    (lambda value: units.human(value, "1"), 1e300, "1.00e+285 P"), (units.count, 3e-300, "3.00e-300"),
    (lambda value: units.human(value, "1"), 2.5, "2.50"), (lambda value: units.human(value, "mJ"), 4e4, "40.0 k mJ"),
    (numbers.likely, 0.58, "58 %"), (numbers.likely, 0.995, "over 99 %"), (numbers.likely, 1.0, "over 99 %"),
    (numbers.likely, 0.99, "99 %"), (numbers.likely, 0.012, "1 %"), (numbers.likely, 0.0, "under 1 %"),
    (numbers.points, -0.013, "1.3 points"), (numbers.points, 0.0101, "1.0 point"), (numbers.signed, -0.0004, "+0.0"),
])  # fmt: skip
def test_a_number_has_three_digits_and_a_prefix(make, value, text):
    assert make(value) == text


@pytest.mark.parametrize(
    ("unit", "smallest", "largest"),
    [("B", "B", "TiB"), ("FLOP", "", "T"), ("s", "ns", "Ps"), ("page", "page", "P page")],
)
def test_an_axis_has_the_prefixes_of_its_unit(unit, smallest, largest):
    scales = units.tick_scale(unit)
    assert (scales[0][1], scales[-1][1]) == (smallest, largest)
    assert [factor for factor, _ in scales] == sorted(factor for factor, _ in scales)


def test_costs_are_those_measured_and_the_requested_cost():
    measured = replace(
        records.record(), readings=tuple(records.reading(name, value) for name, value in (("latency_s", 3.1e-3),
        ("params", 74_200.0), ("cpu_peak_tensor_bytes", 8.02 * 2**20), ("flops", 1.16e8))),
    )  # fmt: skip
    assert numbers.costs(result_of(measured)) == "3.10 ms a call, 74.2 k parameters, 8.02 MiB, 116 MFLOP"
    for lost, text in (
        (0, "74.2 k parameters, 8.02 MiB, 116 MFLOP"), (1, "3.10 ms a call, 8.02 MiB, 116 MFLOP"),
        (2, "3.10 ms a call, 74.2 k parameters, 116 MFLOP"), (3, "3.10 ms a call, 74.2 k parameters, 8.02 MiB"),
    ):  # fmt: skip
        partly = replace(measured, readings=measured.readings[:lost] + measured.readings[lost + 1 :])
        assert numbers.costs(result_of(partly)) == text


def test_each_cost_has_its_superlative_and_its_name_as_a_limit():
    asked = {name: (numbers.cheapest(Ask(cheapest=name)), numbers.limit_name(Ask().metrics[name])) for name in
             ("latency", "params", "memory", "flops", "frames_per_s")}  # fmt: skip
    assert asked == {
        "latency": ("fastest", "latency"), "params": ("smallest", "parameters"),
        "memory": ("smallest in memory", "peak memory"), "flops": ("cheapest in FLOPs", "FLOPs"),
        "frames_per_s": ("lowest in frames/s", "frames/s"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("title", "inside"), [("Peak memory", "peak memory"), ("MACs", "MACs"), ("GPU energy", "GPU energy")]
)
def test_a_title_inside_a_sentence_keeps_its_abbreviations(title, inside):
    assert inside_sentence(title) == inside


@given(st.floats(1e-12, 1e15))
def test_digits_keep_three_significant_figures(value):
    text = units.digits(value)
    assert "e" not in text
    assert float(text.replace(",", "")) == pytest.approx(value, rel=5.1e-3)


@pytest.mark.parametrize(("value", "text"), [(math.nan, "nan"), (-math.inf, "-inf"), (1.797e308, "1.80e+308")])
def test_a_number_that_is_not_finite_has_a_text(value, text):
    """A stored run may hold it, as protocol.target: its report ended in a traceback."""
    assert units.digits(value) == text
    assert units.percent(value).endswith(" %")


def test_the_answer_of_a_default_run_matches_the_golden_text():
    """Every number of the text follows from the factory's closed forms and fixed latencies."""
    cases = {
        "gap": (records.case("gap", variant="compile"), 2.0e-3), "eager": (records.case("gap"), 6e-3),
        "soft": (records.case("spatial-softmax", variant="compile"), 2.1e-3),
        "fc": (records.case("fc", 128, variant="compile"), 9e-3),
    }  # fmt: skip
    run_records = [records.record(case, samples=201, latency=time) for case, time in cases.values()]
    text = answer(records.run_of(run_records), [*run_records, records.failed(records.case("gem"))])
    assert text.startswith("Take gap, LSTM input 32, compile on the conv backbone: 2.")
    for part in (
        "83.8 k parameters and 116 MFLOP, the fewest parameters among 2 whose latency on this machine is statistically",
        "Also tied with the fastest: spatial-softmax, LSTM input 64.",
        "Confidence: low (one process a case: how much processes differ is not known).",
        "gap discards where things are; if position matters, the cheapest that keeps it is spatial-softmax",
        "fc, LSTM input 128 costs 5.6× the FLOPs, 202× the parameters and 4.",
        "Below an LSTM input of 6,784 the convolution dominates the FLOPs",
        "making it pays off after at most",
        "Cost only: quality was not run, so no optimum is claimed; quality=probe or quality=train runs it.",
        "4 of 5 cases measured, 1 failed.",
    ):
        assert part in text


def test_the_answer_abstains_without_results():
    failed = [records.failed(records.case())]
    assert answer(records.run_of(failed), failed) == "Nothing was measured of 1 case: 1 failed."
    assert answer(records.run_of([]), []) == "Nothing was measured of 0 cases."


def test_the_answer_says_that_latency_was_not_measured():
    run_records = [records.record(records.case(name), samples=0) for name in ("gap", "flatten")]
    text = answer(records.run_of(run_records), run_records)
    assert text.startswith("Smallest on the conv backbone: gap, LSTM input 32, eager, with 83.8 k parameters")
    assert "latency was not measured" in text


def test_an_unfinished_run_says_what_is_missing():
    run_records = [records.record()]
    run = records.run_of(run_records, planned=(run_records[0].case.id, "b", "c"))
    assert "1 of 3 cases measured, 2 not run yet." in answer(run, run_records)


def test_cases_of_which_only_facts_are_known_are_not_measured():
    """After Ctrl-C in the first round, "8 of 8 cases measured" stood under an answer about the three timed ones."""
    facts = replace(records.record(records.case("gmp"), samples=0), visits=(Visit(FACTS),))
    run_records = [visited("gap", 1e-3, 1e-3), facts, records.failed(records.case("fc"))]
    run = records.run_of(run_records, planned=tuple(record.case.id for record in run_records))
    assert run.open_ids(run_records) == [facts.case.id]
    assert answer(run, run_records).endswith("1 of 3 cases measured, 1 failed, 1 not timed yet.")
    steps = next_runs(run, results(run_records), headline_of(results(run_records)))
    assert steps[0] == NextRun("1 planned case was not timed yet", resume=True)


def test_later_seeds_do_not_hide_cases_not_yet_run():
    trained = [records.lesson(seed=seed, rate=rate) for seed in (0, 1) for rate in (5e-4, 2e-3)]
    later = [records.lesson(seed=seed) for seed in (2, 3)]
    run_records = [records.record(), *trained, *later]
    plan = (records.case("fc", 128).id, *(record.case.id for record in [records.record(), *trained]))
    run = records.run_of(run_records, planned=plan, later=tuple(record.case.at_any_rate.id for record in later))
    assert "1 case measured, 6 trainings, 1 not run yet." in answer(run, run_records)
    assert next_runs(run, results(run_records), headline_of(results(run_records)))[0].resume
    assert "1 case measured, 5 trainings, 2 not run yet." in answer(run, run_records[:-1])


def test_another_situation_is_named_by_its_differences_from_the_answer():
    """A page of int8 and fp16 called three cases the fastest in "inference, cpu, clip 1x8x1x32x32"."""
    latencies = (("gap", "eager", 3e-3, "fp32"), ("flatten", "eager", 5e-3, "fp32"), ("gmp", "int8", 1e-3, "int8"))
    run_records = [
        replace(record, conditions=record.conditions | {"dtype": dtype})
        for name, how, seconds, dtype in latencies
        for record in [records.record(records.case(name, variant=how), latency=seconds)]
    ]
    run_records.append(records.record(records.case("gap", scenario="streaming"), latency=1e-4))
    text = answer(records.run_of(run_records), run_records)
    assert "Fastest in int8: gmp, LSTM input 32, int8 (999 µs a call)." in text
    assert "Fastest in streaming: gap, LSTM input 32, eager (100 µs a call)." in text
    assert "takes 1.66×" in text
    assert text.count("1.66×") == 1, "the dearest is the next: its time used to appear twice"


def test_times_from_another_machine_of_a_merged_run_name_it():
    """The answer said "fastest in clip 1x8x3x64x64" without the machine, under a table headed as this machine's."""
    here = [records.record(records.case(name), latency=3e-3) for name in ("gap", "gmp", "gem")]
    clip = records.case("gap", clip=Clip(frames=8))
    run_records = [*here, records.record(clip, latency=1e-3, environment="e2")]
    run = records.run_of(run_records, environments={"e1": {}, "e2": {}})
    text = answer(run, run_records)
    assert "LSTM input 32, eager on the conv backbone on clip 1x16x3x64x64 in environment e1: " in text
    assert "on this machine" not in text, "there are two"
    assert "Fastest on clip 1x8x3x64x64 in environment e2: gap" in text
    assert " · 1 other environment · " in view(run, results(run_records))["place"]
    assert " on clip 1x16x3x64x64 in environment e1 at " in view(run, results(run_records))["decision"]
    assert "environment" in [column.key for column in rows.columns(results(run_records))]
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(ResultTable(run_records))
    assert "clip 1x8x3x64x64, fp32, environment e2" in out.getvalue()


def test_another_lstm_or_own_model_is_a_separate_situation():
    """gap with another LSTM, three times as fast, was in no sentence, and "fastest" was claimed for every LSTM."""
    small = {"rnn": Recurrent(hidden=64)}
    run_records = [records.record(records.case(name), latency=6e-3 * factor)
                   for name, factor in (("gap", 1), ("gmp", 2), ("flatten", 3))]  # fmt: skip
    run_records += [records.record(records.case(name, parts=small), latency=2e-3) for name in ("gap", "gmp")]
    run_records.append(records.record(Case(Whole(Choice("net:build"))), latency=1e-3))
    text = answer(records.run_of(run_records), run_records)
    assert "Fastest on the conv backbone with lstm128 on this machine: gap" in text
    assert re.search(r"Fastest with lstm64: g[am]p, LSTM input 32, eager \([^)]* a call\), tied with 1 other\.", text)
    assert "Fastest of your own models: net:build, eager (" in text
    assert re.search(
        r"in one ranking \(eager, inference, the same clip\): fastest is net:build; gap, LSTM input 32 on conv with "
        r"lstm64 takes [12]\.\d\d× \[[^]]*\] its time; gap, LSTM input 32 on conv with lstm128 takes [56]\.\d\d× "
        r"\[[^]]*\] its time\. They are different networks",
        text.replace("gmp, LSTM input 32 on conv with lstm64", "gap, LSTM input 32 on conv with lstm64"),
    )


@pytest.mark.parametrize("more", [{"clip": Clip(1, 8, 3, 64, 64)}, {"scenario": "train"}, {"variant": "compile"}])
def test_own_models_are_ranked_with_ours_only_if_called_alike(more):
    own = replace(records.case("gap", **more), architecture=Whole(Choice("net:build")))
    run_records = [records.record(case) for case in (records.case("gap"), records.case("gmp"), own)]
    assert "in one ranking" not in answer(records.run_of(run_records), run_records)


@pytest.mark.parametrize(("how", "also", "where"), [
    ({}, {}, ""), ({}, {"scenario": "streaming"}, ""), ({"scenario": "training"}, {}, " in training"),
    ({"device": "cuda:0"}, {"device": "cpu"}, " on cuda:0"), ({}, {"channels": 8}, " on conv"),
    ({}, {"clip": Clip(frames=8)}, " on clip 1x16x3x64x64"),
    ({"scenario": "training"}, {"clip": Clip(frames=8)}, " in training on clip 1x16x3x64x64"),
])  # fmt: skip
def test_the_decision_names_its_scenario_device_and_clip(how, also, where):
    """A training step, or the time on one of several devices, clips or backbones, used to be called just "a call"."""
    cases = [records.case("gap", **{"scenario": "inference", **how}), records.case("fc", 128, **how)]
    cases += [records.case("gap", **{**how, **also})] if also else []
    run_records = [records.record(of, latency=3e-3 * (1 + i)) for i, of in enumerate(cases)]
    title = decision(headline_of(results(run_records)), ())
    assert title.startswith(f"Fastest{where}: gap at LSTM input 32, "), title
    assert where.replace(" on conv", " on the conv backbone") in answer(records.run_of(run_records), run_records)


def test_the_decision_names_its_number_of_threads():
    def timed(name, threads, seconds):
        of = replace(records.case(name), threads=threads)
        return replace(records.record(of, latency=seconds), conditions={"threads": threads})

    run_records = [
        timed(name, count, seconds / count) for name, seconds in (("gap", 4e-3), ("gmp", 8e-3)) for count in (1, 4)
    ]
    assert decision(headline_of(results(run_records)), ()).startswith("Fastest with 1 thread: gap at LSTM input 32, ")
    assert "Fastest with 4 threads: gap" in answer(records.run_of(run_records), run_records)


def test_situations_without_a_sentence_are_counted():
    sizes = (128, 256, 64, 32, 16, 8)
    run_records = [records.record(records.case("gap", parts={"rnn": Recurrent(hidden=size)})) for size in sizes]
    text = answer(records.run_of(run_records), run_records)
    assert text.count("Fastest with lstm") == 3
    assert "The table of cases has 2 more situations." in text


def test_low_confidence_names_the_uncertainty_of_the_pick():
    """This used to read "low (at least 3 processes a case, each contender tied or told apart)"."""
    run_records = [visited("gap", 1e-3, 2e-3, 0.5e-3), visited("flatten", 90e-3, 91e-3, 89e-3)]
    text = answer(records.run_of(run_records), run_records)
    assert re.search(r"Confidence: low \(the pick is known to ±\d+ % only, at least 3 processes a case\)", text)
    run = records.run_of(run_records, protocol=Protocol(visits=3))
    steps = next_runs(run, results(run_records), headline_of(results(run_records)))
    assert steps[0].until_sure and steps[0].why.startswith("the pick is known to ±"), (
        "a low confidence names its remedy"
    )


def test_cautions_are_counted_in_one_line_with_details():
    shaky = [records.record(records.case(name), findings=(Finding("not_steady", data={"change": 0.1}),))
             for name in ("gap", "gmp")]  # fmt: skip
    text = answer(records.run_of(shaky), shaky)
    assert text.count("Read with care: 2 cases with no steady state.") == 1
    assert cautions(results(shaky)) == ("Read with care: 2 cases with no steady state.", []), "said once"
    faults = Finding("page_faults", data={"faults_per_call": 6112.0, "system_share": 0.85, "allocator": "glibc"})
    shaky[0] = replace(shaky[0], findings=(faults,))
    assert cautions(results(shaky)) == (
        "Read with care: 2 cases have a caution.",
        ["1 case with time lost to page faults", "1 case with no steady state"],
    )


def visited(name, *seconds, disturbed="", **more):
    """Return a record with a visit on one thread for each of these seconds."""
    record = records.record(records.case(name, **more), samples=0)
    latency = Reading(metrics.LATENCY, seconds, (1,) * len(seconds))
    rounds = tuple(Visit(number, disturbed=disturbed) for number in range(len(seconds)))
    notes = (Finding("withheld", data={"reason": disturbed, "visits": 3, "threads": 1}),) if disturbed else ()
    readings = (*(reading for reading in record.readings if reading.metric.name != latency.metric.name), latency)
    return replace(record, readings=readings, visits=rounds, findings=notes, conditions={"threads": 1})


@pytest.mark.parametrize(("seconds", "is_reordered"), [((1.3e-3, 3e-3, 2.6e-3), True), ((3e-3, 6e-3, 3e-3), False)])
def test_tables_say_that_factors_order_cases_otherwise_than_latencies_do(seconds, is_reordered):
    """Of two rows, the slower one had the lower factor, without a word: 12.5 ms 1.01×, 12.6 ms 0.986×."""
    run_records = [
        visited("gap", 1e-3, 2e-3, 1e-3), visited("fc", 2.2e-3, 1.3e-3, 2.6e-3), visited("gmp", *seconds),
    ]  # fmt: skip
    run, out = records.run_of(run_records), io.StringIO()
    Console(file=out, width=200).print(ResultTable(run_records))
    remarks = (numbers.PAIRED, numbers.PAIRED, numbers.PAIRED.replace("×", "$\\times$"))
    texts = (out.getvalue(), summary.markdown(run, run_records), latex.latex(run, run_records))
    assert [remark in text for remark, text in zip(remarks, texts, strict=True)] == [is_reordered] * 3


def test_differences_over_several_processes_give_high_confidence():
    run_records = [visited("gap", 1e-3, 1.01e-3, 0.99e-3), visited("flatten", 2e-3, 2.02e-3, 1.99e-3)]
    text = answer(records.run_of(run_records), run_records)
    assert text.startswith("Fastest on the conv backbone on this machine: gap, LSTM input 32, eager, with 1.00 ms [")
    assert " a call with 1 thread, " in text
    assert "Confidence: high (at least 3 processes a case, each contender tied or told apart)." in text
    assert "takes 2.00× [1." in text


def test_each_size_of_one_reducer_has_a_row():
    """For a suite of sizes, the table and the figure had a single row, tied with rows that were not shown."""
    sizes = [records.record(records.case("fc", size), latency=1e-3 * (1 + i)) for i, size in enumerate((8, 32, 128))]
    shown = view(records.run_of(sizes), results(sizes))
    assert (shown["ranked"], [row["lstm_input"] for row in shown["ranking"]]) == (
        "The sizes, fastest first", ["8", "32", "128"],
    )  # fmt: skip
    (drawing,) = figures.get("reducers").build(results(sizes))
    assert len(drawing.marks) == 3
    assert "a row is a size" in drawing.caption


def test_the_quality_pick_is_marked_and_the_cost_pick_labelled():
    """Beside "take gap after LayerNorm" the page said "Take gap", and marked that row as the pick."""
    run_records = records.quality_records(tasks=("direction",))
    case_results, run = results(run_records), records.run_of(run_records)
    (pick,) = [answer.pick.result for answer in quality.recommend(case_results)]
    headline = headline_of(case_results)
    assert pick.case.id != headline.pick.case.id
    marked = [row["reducer"] for row in view(run, case_results)["ranking"] if row["pick"]]
    assert marked == [names.reducer(pick)]
    text = answer(run, run_records)
    assert "By cost alone: fastest on the conv backbone" in text
    assert "Take " not in text
    assert "Fastest on" not in text


def test_ties_are_not_called_dearer_in_time_or_equal_counts():
    """A tied reducer used to be said to cost "1.00× the FLOPs, 1.20× the parameters and 0.989× the time"."""
    tied = [visited("gap", 2e-3, 2e-3, 2e-3), visited("spatial-softmax", 2e-3, 2.01e-3, 1.99e-3)]
    text = answer(records.run_of(tied), tied)
    assert "spatial-softmax, LSTM input 64 costs 1.20× the parameters of the pick. " in text
    dear = [visited("gap", 2e-3, 2e-3, 2e-3), visited("spatial-softmax", 4e-3, 4e-3, 4e-3)]
    dear.insert(1, visited("gem", 3e-3, 3e-3, 3e-3))
    assert "costs 1.20× the parameters and 2.0× the time of the pick. " in answer(records.run_of(dear), dear)


def test_a_case_never_measured_undisturbed_is_withheld_with_its_reason():
    run_records = [visited("gap", 1e-3, 1.01e-3, 0.99e-3), visited("flatten", 1e-5, 1e-5, 1e-5, disturbed="busy")]
    text = answer(records.run_of(run_records), run_records)
    assert text.startswith("On this machine, gap, LSTM input 32, eager on the conv backbone needs 1.00 ms")
    assert "1 case was never measured undisturbed (busy): withheld, in no ranking or comparison." in text
    assert "Confidence: medium" in text


def test_a_fully_disturbed_run_reports_it_and_the_remedy():
    """The report used to claim that latency was not measured, and to advise training."""
    run_records = [visited(name, 1e-3, 1e-3, 1e-3, disturbed="busy") for name in ("gap", "flatten")]
    case_results, run = results(run_records), records.run_of(run_records, protocol=Protocol(visits=3))
    headline = headline_of(case_results)
    assert decision(headline, ()) == "Smallest of 2: gap at LSTM input 32; no latency was measured undisturbed."
    assert "latency was not measured" not in answer(run, run_records)
    assert "no latency was measured undisturbed" in fitting(answer_within(case_results, {}))
    steps = next_runs(run, case_results, headline)
    assert (steps[0].why, steps[0].until_sure) == ("some cases have too few undisturbed visits", True)


def test_a_trained_run_answers_task_by_task():
    run_records = records.tried_records()
    lines = sentences(records.run_of(run_records), results(run_records), quality.recommend(results(run_records)))
    text = " ".join(lines)
    assert any(line.startswith("identity: gmp, LSTM input 32, compile (sure). Accuracy 92.0 % ") for line in lines)
    assert any(line.startswith("direction: spatial-softmax, LSTM input 64, compile (sure). ") for line in lines)
    assert "Cost only" not in text
    assert "if position matters" not in text
    assert lines[-1] == "13 cases measured, 196 trainings, 6 linear read-outs, 1 failed."


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([8], ["fc at LSTM input 8 after LayerNorm: ", "fc, LSTM input 8 after LayerNorm, eager on the conv backbone"]),
        ([8, 9], ["tie after LayerNorm at", "Take fc, LSTM input 8 after LayerNorm, eager on the conv backbone: "]),
    ],
)
def test_a_layer_norm_in_the_name_is_not_repeated_beside_it(sizes, words):
    """A run with and without LayerNorm read "gap at LSTM input 32 after LayerNorm after LayerNorm: 6.40 ms a call"."""
    models = [*((size, {"layer_norm": True}) for size in sizes), (10, {})]
    run_records = [records.record(records.case("fc", size, parts=norm), latency=1e-3) for size, norm in models]
    headline = headline_of(results(run_records))
    texts = (decision(headline, ()), answer(records.run_of(run_records), run_records))
    assert all(part in text for part, text in zip(words, texts, strict=True)), texts


@pytest.mark.parametrize(
    ("metric", "value", "limit", "words"),
    [
        (metrics.LATENCY, 1.0032e-3, 1.001e-3, "1.003 ms (the limit is 1.001 ms)"),
        (metrics.LATENCY, 1.003, 1.0, "1.003 s (the limit is 1 s)"),
        (metrics.PARAMS, 83_841, 83_840, "83.841 k (the limit is 83.840 k)"),
        (metrics.MEMORY, 2**25, 2**24, "32.0 MiB (the limit is 16.0 MiB)"),
        (metrics.LATENCY, 1 + 1e-15, 1.0, "1.00 s (the limit is 1 s)"),
    ],
)
def test_a_missed_limit_does_not_read_like_the_value_that_misses_it(metric, value, limit, words):
    """ "Nearest: latency 1.00 ms (the limit is 1.00 ms)", for 1.003 and 1.001 ms."""
    assert words in abstention.nearest([(metric, value, limit)])


def test_options_and_normalisation_are_part_of_the_name():
    normed = records.record(records.case("gap", parts={"layer_norm": True}))
    assert decision(headline_of(results([normed])), []).startswith("gap at LSTM input 32 after LayerNorm: ")
    activated = records.choice("fc(activation=true)")
    models = [records.parts("fc", 64), records.parts(activated, 64), records.parts("fc", 64, layer_norm=True)]
    assert names.labels([*models, records.parts("gap")]) == [
        "fc 64", "fc(activation=true) 64", "fc 64 LayerNorm", "gap 32"
    ]  # fmt: skip
    texts = {row.cells[0] for row in rows.first_rows(results([normed, records.record()]))}
    assert texts == {"gap", "gap + LayerNorm"}


def test_a_backbone_and_lstm_shared_by_all_picks_appear_once():
    models = {hidden: records.case("gap", parts={"rnn": Recurrent(hidden=hidden)}) for hidden in (64, 256)}
    run_records = [records.record(of, latency=hidden * 1e-5) for hidden, of in models.items()]
    run_records += [
        records.lesson({64: 0.8, 256: 0.4}[hidden] + 0.002 * seed, task, seed, of=models[hidden])
        for task in ("identity", "direction")
        for hidden in models
        for seed in range(5)
    ]
    text = decision(headline_of(results(run_records)), recommendations(run_records, Ask()))
    assert text.count("lstm64") == 1
    assert text.endswith("(sure); all on conv with lstm64.")


def test_the_lstm_is_named_if_models_differ_only_in_it():
    """One of two LSTMs was advised as "gap, LSTM input 32, eager", and tasks with different picks seemed to agree."""
    reached = {("identity", 64): 0.9, ("identity", 256): 0.8, ("direction", 64): 0.3, ("direction", 256): 0.8}
    models = {hidden: records.case("gap", parts={"rnn": Recurrent(hidden=hidden)}) for hidden in (64, 256)}
    run_records = [records.record(of, latency=hidden * 1e-5) for hidden, of in models.items()]
    run_records += [
        records.lesson(mean + 0.002 * ((3 * seed + hidden // 64) % 5), task, seed, of=models[hidden])
        for (task, hidden), mean in reached.items()
        for seed in range(5)
    ]
    answers = recommendations(run_records, Ask())
    first, second = ("gap, LSTM input 32 on conv with lstm64", "gap, LSTM input 32 on conv with lstm256")
    assert advice.sentences(answers[0])[0] == f"identity: {first}, eager (sure)."
    assert advice.differences(answers).endswith(f": identity: {first}, eager; direction: {second}, eager.")
    assert decision(headline_of(results(run_records)), answers).startswith(
        "Identity: take gap at LSTM input 32 on conv with lstm64, "
    )
    of_task = next(iter(by_task(qualities(run_records)).values()))
    assert quality.task(of_task)[0].startswith(f"Highest mean test accuracy: {first}, ")
    screen = Console(file=io.StringIO(), width=200)
    screen.print(Advice(answers))
    assert f"{second}, eager  " in screen.file.getvalue()
    assert names.labels([of.architecture for of in models.values()]) == [
        "gap 32 on conv with lstm64", "gap 32 on conv with lstm256"
    ]  # fmt: skip
    task_row = "| gap | conv, lstm64 | 32 | "
    assert task_row in summary.markdown(records.run_of(run_records), run_records)


def test_a_task_on_two_clips_has_two_names_and_costs():
    """Both were headed "identity", and the longer clips were judged by the latencies of the shorter clips."""
    run_records = []
    for frames in (8, 16):
        for number, name in enumerate(("gap", "gmp")):
            of = records.case(name, clip=Clip(frames=frames))
            run_records += [
                records.lesson(0.9 - 0.3 * number + 0.01 * seed, "identity", seed, of=of) for seed in range(5)
            ]
            run_records.append(records.record(of, latency=frames * 1e-3, conditions={"threads": frames // 8}))
    answers = recommendations(run_records, Ask())
    assert [answer.pick.result.case.clip.frames for answer in answers] == [8, 16]
    run, case_results = records.run_of(run_records), results(run_records)
    for text in (answer(run, run_records), decision(headline_of(case_results), answers)):
        assert "dentity on 1x8x3x64x64: " in text
        assert "dentity on 1x16x3x64x64: " in text
    titles = [task["title"] for task in view(run, case_results)["quality"]["tasks"]]
    assert titles == ["identity on 1x8x3x64x64", "identity on 1x16x3x64x64"]
    drawn = [drawing.title for drawing in figures.get("quality-cost").build(case_results)]
    assert [title.partition(":")[0] for title in drawn] == titles
    places = "1x8x3x64x64, cpu with 1 thread and 1x16x3x64x64, cpu with 2 threads, "
    basis = quality.basis(answers)
    assert f"costs of a call on a clip {places}" in basis
    assert basis in sentences(run, case_results, answers), "the page says it too"


def test_a_probed_run_claims_no_optimum():
    run_records = [
        records.record(),
        records.probed(0.13, 0.67),
        records.probed(0.98, 0.5, of=records.case("avg-k(k=4)")),
    ]
    text = answer(records.run_of(run_records), run_records)
    assert (
        "position best from avg-k(k=4), LSTM input 512 (R² 0.98), class best from gap, LSTM input 32 (67.0 %)" in text
    )
    assert "not what training would reach" in text
    assert "Quality was probed, not trained, so no optimum is claimed" in text


def test_a_tasks_sentences_claim_only_what_its_seeds_show():
    def of(name, *accuracies):
        return [
            records.lesson(accuracy, "identity", seed, of=records.case(name))
            for seed, accuracy in enumerate(accuracies)
        ]

    def task_text(*runs):
        ((_, task_qualities),) = by_task(qualities([record for run in runs for record in run])).items()
        return " ".join(quality.task(task_qualities))

    assert "With so few seeds in common no two configurations can be told apart." in task_text(
        of("gap", 0.9), of("gmp", 0.5)
    )
    assert "Too few seeds to say" not in task_text(of("gap", 0.9, 0.91), of("gmp", 0.5, 0.51))
    assert "Every other" not in task_text(of("gap", 0.9, 0.91))
    single = task_text(of("gap", 0.998), of("gmp", 0.36))
    assert "Too few seeds to say whether as good or worse: gmp, LSTM input 32." in single
    assert "tied" not in single
    noisy = task_text(of("gap", 0.9, 0.7, 0.8), of("gmp", 0.7, 0.8, 0.85))
    assert "Highest mean test accuracy: gap, LSTM input 32, 80 % [55, 100], 3 seeds (chance 10.0 %)." in noisy
    assert "Statistically tied with it: gmp, LSTM input 32." in noisy
    clear = task_text(of("gap", 0.9, 0.7, 0.8), of("gmp", 0.5, 0.31, 0.4))
    assert "Every other configuration can be told from it." in clear
    assert "With 3 seeds a difference of" in clear
    uneven = task_text(of("gap", 0.9, 0.88, 0.89), of("gmp", 0.7, 0.71), of("gem", 0.5))
    assert "With 2 to 3 seeds a difference of" in uneven
    assert "Too few seeds to say whether as good or worse: gem, LSTM input 32." in uneven
    assert "Every other configuration" not in uneven
    equal = task_text(of("gap", 0.9, 0.7), of("gmp", 0.7, 0.9), of("gem", 0.7, 0.8))
    assert "2 seeds (chance 10.0 %); as high: gmp, LSTM input 32." in equal
    dead = task_text([records.lesson(0.1, "identity", seed, flag="dead_run") for seed in range(2)])
    assert dead == "No run was sound: every one collapsed or failed."


@pytest.mark.parametrize(("other", "place"), [(0.9, "No other has a higher"), (0.8, "It has the highest")])
def test_a_shared_highest_mean_is_not_the_picks_alone(other, place):
    """The answer read "It has the highest mean accuracy" above a table whose best was another configuration."""
    pairs = (("gap", 0.9, 1e-3), ("gmp", other, 2e-3), ("gem", 0.5, 3e-3))
    run_records = [records.record(records.case(name), latency=seconds) for name, _, seconds in pairs]
    noise = (0.002, -0.002, 0.0, 0.001, -0.001)
    run_records += [
        records.lesson(mean + noise[seed - turn], "identity", seed, of=records.case(name))
        for turn, (name, mean, _) in enumerate(pairs)
        for seed in range(5)
    ]
    (answer,) = quality.recommend(results(run_records))
    assert f"{place} mean accuracy" in " ".join(advice.sentences(answer))


def test_the_factor_compares_the_variants_of_a_single_model():
    """A table of one model in several runtimes read 1.00× in every row, and opened with one of its rows."""

    def table(*pairs):
        run_records = [
            records.record(records.case(name, variant=how), samples=9, latency=seconds) for name, how, seconds in pairs
        ]
        out = io.StringIO()
        Console(file=out, width=120, color_system=None).print(ResultTable(run_records))
        return run_records, out.getvalue()

    single = (("gap", "eager", 4e-3), ("gap", "compile", 2e-3), ("gap", "onnxruntime", 1e-3))
    run_records, text = table(*single)
    assert [round(row.factor.median) for row in rows.entries(results(run_records))] == [1, 2, 4]
    assert "in the same variant" not in text
    assert "variant" not in initial_view(results(run_records)).values
    assert not headline_of(results(run_records)).has_rivals
    several_records, text = table(*single, ("gmp", "eager", 8e-3))
    assert [round(row.factor.median) for row in rows.entries(results(several_records))] == [1, 1, 1, 2]
    assert "× is the latency over that of the fastest case in the same variant." in text
    assert initial_view(results(several_records)).values["variant"] == "eager"


def test_a_table_without_latencies_says_that_they_are_withheld():
    """A table of withheld cases had no column of latencies and gave no reason."""
    out = io.StringIO()
    withheld = [visited(name, 1e-3, disturbed="busy", scenario="train") for name in ("gap", "gmp")]
    Console(file=out, width=200, color_system=None).print(ResultTable([visited("gap", 1e-3), *withheld]))
    titles = [line for line in out.getvalue().splitlines() if line.startswith("conv, ")]
    assert [title.endswith("; latencies withheld, as no visit was undisturbed") for title in titles] == [True, False]


def test_equally_small_models_are_counted_in_the_decision():
    counts = [records.record(records.case(name), samples=0) for name in ("gap", "gmp")]
    case_results = results(counts)
    said = decision(headline_of(case_results), ())
    assert said == "Smallest of 2: gap at LSTM input 32 (1 other is as small); latency was not measured."


FINDINGS = {
    "not_steady": {"change": 0.05}, "interval_wide": {"relative": 0.04, "target": 0.01},
    "page_faults": {"faults_per_call": 6112.0, "system_share": 0.85, "allocator": "glibc"},
    "counts_disagree": {"stage": "lstm", "meta": 1_310_720, "traced": 0}, "counted_once": {"reason": "TypeError: no"},
    "not_counted": {"reason": "no"}, "not_captured": {"reason": "RuntimeError: no"},
    "uncounted_operators": {"operators": ("aten::fft", "aten::sort"), "share": 0.9}, "nothing_compiled": {},
    "name_stages": {"share": 0.5, "modules": ("cnn",)}, "stages_unseen": {"stages": ("lstm",)},
    "stages_compiled": {"stages": ("backbone",)},
    "not_on_meta": {"reason": "RuntimeError: no data"}, "no_gradient": {"params": 5, "names": ("value.weight",)},
    "busy_machine": {"load": 4.2, "cores": 2, "threads": 2}, "stages_do_not_add_up": {"stages": 2e-3, "whole": 3e-3},
    "predicted_at_full_length": {},
    "not_predicted": {"reason": "an operator without shapes"},
    "not_profiled": {"reason": "no permission"}, "trace_bounded": {"steps": 3, "wanted": 10, "bytes_per_step": 4e5},
    "dead_run": {"share": 1.0}, "unconverged": {"rise": 0.04},
    "test_clips_known": {"known": 3, "clips": 9}, "clips_of_two_labels": {"clips": 2},
    "clips_unscaled": {"largest": 255.0},
    "throttled": {"reasons": ("power cap",)}, "foreign_process": {"pids": ("12", "13")},
    "folds_into_lstm": {"lstm_input": 32, "params_saved": 18496}, "low_rank": {"rank": 128, "lstm_input": 131072},
    "graph_breaks": {"reasons": ("nn.LSTM",)}, "opaque_engine": {"engine": "onnxruntime"},
    "withheld": {
        "threads": 2, "visits": 6, "disturbed_cause": "other-processes", "disturbed_amount": 0.3,
        "disturbed_threads": 2,
    },
    "stages_by_runtime": {"engine": "onnxruntime"}, "frames_are_no_clip": {"largest": 0.4}, "random_output": {},
    "two_way_stream": {},
    "two_speeds": {"fast": 1e-3, "slow": 2e-3}, "visit_failed": {"reason": "crash: killed by SIGSEGV"},
    "state_grows": {"before": 4096, "after": 65536},
    "own_threads": {}, "slow_on_meta": {}, "inputs_changed": {}, "not_a_number": {"share": 0.25, "part": "output"},
    "ill_conditioned": {"relative": 0.19},
    "random_work": {"macs": 4e6, "other": 2e6},
    "uneven_work": {"macs": 4e6, "other": 2e6},
    "not_in_inference_mode": {"mode": "with gradients", "reason": "RuntimeError: no gradient"},
}  # fmt: skip


@pytest.mark.parametrize("code", FINDINGS)
def test_every_finding_has_a_sentence_with_its_data(code):
    text = findings.sentence(Finding(code, data=FINDINGS[code]))
    assert text.endswith(".")
    assert not text.startswith(code)
    assert "{" not in text


@pytest.mark.parametrize("value", [None, 5, -1.5, "x", True, ["x"], {}])
def test_a_damaged_run_has_some_sentence_for_every_finding(value):
    """The reason of a prediction that failed was taken for a text, so that a stored number had no page."""
    damaged = [Finding(code, data=dict.fromkeys(data, value)) for code, data in FINDINGS.items()]
    assert all(map(findings.sentence, damaged))


SINGULARS = {
    "test_clips_known": ({"known": 1, "clips": 5}, "1 of 5 test clips equals, pixel"),
    "clips_of_two_labels": ({"clips": 1}, "1 clip of its task occurs under"),
    "no_gradient": ({"params": 1, "names": ("scale",)}, "1 parameter got"),
    "foreign_process": ({"pids": ("12",)}, "Another process used the device meanwhile: 12."),
    "stages_unseen": ({"stages": ("lstm", "head")}, "the stages lstm, head: their time"),
    "folds_into_lstm": ({"lstm_input": 32, "params_saved": 1}, "1 fewer parameter."),
    "withheld": ({"threads": 2, "visits": 1, "reason": "busy"}, "with 2 threads its only visit was disturbed (busy)."),
    "busy_machine": ({"load": 4.2, "cores": 1, "threads": 2}, "load 4.2 on 1 core)"),
}


@pytest.mark.parametrize("code", SINGULARS)
def test_nouns_and_verbs_of_findings_agree_with_their_number(code):
    data, part = SINGULARS[code]
    assert part in findings.sentence(Finding(code, data=data))


def test_a_quantity_of_one_is_in_the_singular():
    texts = [units.quantity(value, "parameter") for value in (0, 1, 1.0, 2, 83_840, None)]
    assert [text.removesuffix(" parameters") for text in texts] == [
        "0",
        "1 parameter",
        "1 parameter",
        "2",
        "83.8 k",
        "–",
    ]


@pytest.mark.parametrize(("cell", "start"), [("lstm", "Below an LSTM input of 6,784"), ("gru", "Below a GRU input of")])
def test_the_crossover_names_the_cell(cell, start):
    cases = [records.case(*model, parts={"rnn": Recurrent(cell)}) for model in (("gap",), ("fc", 128))]
    run_records = [records.record(case) for case in cases]
    assert start in answer(records.run_of(run_records), run_records)


def test_every_finding_of_the_catalogue_has_a_sentence():
    assert set(findings._SENTENCES) == codes.CATALOGUE


def test_every_finding_in_the_code_uses_a_catalogue_constant():
    """A code written as a literal may be mistyped, and its finding would be shown without a sentence."""
    arguments = [
        (path.name, node.args[0])
        for path in Path(findings.__file__).parents[2].rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding" and node.args
    ]
    assert arguments
    literals = [place for place in arguments if not isinstance(place[1], ast.Name)]
    assert literals == [], "name these codes in core/findings.py"
    assert {argument.id for _, argument in arguments} == {code.upper() for code in codes.CATALOGUE}


@pytest.mark.parametrize("change", [math.inf, None])
def test_a_warm_up_of_one_window_has_its_own_sentence(change):
    """This used to read "not_steady (change=None)", and an infinite percentage raised OverflowError."""
    said = findings.sentence(Finding("not_steady", data={"change": change}))
    assert said == (
        "Warm-up ended before two windows of calls could be compared. Its latency may include some warm-up: raise "
        "protocol.max_warmup."
    )


def test_every_sentence_is_tested():
    assert set(FINDINGS) == set(findings._SENTENCES)


@pytest.mark.parametrize("code", ["withheld", "busy_machine"])
def test_sentences_about_gpu_cases_do_not_mention_host_threads(code):
    finding = Finding(code, data=FINDINGS[code])
    assert "2 threads" in findings.sentence(finding)
    text = findings.sentence(finding, "cuda:0")
    assert "thread" not in text
    assert text.endswith(".")
    assert "None" not in text


@pytest.mark.parametrize("code", ["folds_into_lstm", "low_rank", "dead_run"])
def test_a_finding_names_the_cell(code):
    """A reducer before a GRU was said to fold into the LSTM."""
    text = findings.sentence(Finding(code, data=FINDINGS[code]), cell="GRU")
    assert "GRU" in text and "LSTM" not in text
    assert text == findings.sentence(Finding(code, data=FINDINGS[code])).replace("an LSTM", "a GRU").replace(
        "LSTM", "GRU"
    )


@pytest.mark.parametrize("code", ["folds_into_lstm", "low_rank"])
def test_only_a_wholly_linear_reducer_is_called_linear(code):
    """Records of earlier versions do not say whether the whole reducer is linear."""
    texts = [findings.sentence(Finding(code, data={**FINDINGS[code], "whole": whole})) for whole in (True, False)]
    assert texts[0].startswith("The reducer is linear")
    assert texts[1].startswith("The reducer ends in a linear layer")
    assert findings.sentence(Finding(code, data=FINDINGS[code])) == texts[1]


def test_unknown_codes_and_missing_data_are_still_shown():
    assert findings.sentence(Finding("new_thing", data={"x": 1})) == "new_thing (x=1)"
    assert findings.sentence(Finding("new_thing")) == "new_thing"
    assert findings.sentence(Finding("throttled")) == "throttled"
    assert findings.sentence(Finding("folds_into_lstm", data={"lstm_input": "?", "params_saved": 1})).startswith(
        "folds"
    )


@pytest.mark.parametrize(("half", "latency"), [(0.1e-3, "3.14 ms"), (1e-3, "3.1 ms")])
def test_a_wide_interval_leaves_a_latency_fewer_digits_and_a_memory_its_own(half, latency):
    values = {metrics.LATENCY: 3.14159e-3, metrics.MEMORY: 8.02 * 2**20}
    interval = Interval(3.14159e-3, 3.14159e-3 - half, 3.14159e-3 + half)
    result = SimpleNamespace(latency=interval, value=values.get)
    assert [numbers.cost(result, metric) for metric in values] == [latency, "8.02 MiB"]


def test_a_failure_is_its_kind_and_its_message():
    assert findings.failure(Failure("timeout", "300 s")) == "timeout: 300 s"
    assert findings.failure(None) == "no reason was recorded"


def test_the_decision_names_ties_and_a_position_preserving_reducer():
    models = {"gap": 2.0e-3, "spatial-softmax": 2.1e-3, "flatten": 9e-3}
    case_results = results(
        [records.record(records.case(name), samples=201, latency=time) for name, time in models.items()]
    )
    sentence = decision(headline_of(case_results), [])
    assert sentence.startswith(("Two reducers tie at 2.0", "Two reducers tie at 1.9"))
    placed = "spatial-softmax at LSTM input 64 if position matters."
    assert sentence.endswith(f"; take gap at LSTM input 32 for the fewest parameters, or {placed}")
    slow = records.record(records.case("fc", 8), latency=9e-3)
    alone = results([records.record(records.case("gap"), latency=2e-3), slow])
    assert decision(headline_of(alone), []).startswith("Fastest: gap at LSTM input 32, ")
    tasks = results(records.tried_records())
    assert decision(headline_of(tasks), quality.recommend(tasks)).startswith(
        "Identity: take gmp at LSTM input 32 in compile, "
    )
    assert decision(headline_of([]), []) == ""


@pytest.mark.parametrize(("seconds", "why"), [
    ({"gap": 2.1e-3, "gmp": 2.0e-3}, "take gmp at LSTM input 32, the fastest of equal size"),
    ({"gap": 2.0e-3, "spatial-softmax": 2.1e-3}, "take gap at LSTM input 32 for the fewest parameters"),
    ({"gap": 2.1e-3, "gmp": 2.0e-3, "spatial-softmax": 2.0e-3},
     "take gmp at LSTM input 32, the fastest of the two with the fewest parameters"),
    ({"gap": 2.0e-3, "spatial-softmax": 2.1e-3, "random-projection": 2.0e-3},
     "take gap at LSTM input 32 for the fewest parameters (frozen controls aside)"),
])  # fmt: skip
def test_the_stated_reason_for_picking_among_ties_is_true(seconds, why):
    """The reason was "for the fewest parameters" even if all had equally many, or if a control had fewer."""
    sizes = {"random-projection": 8}
    run_records = [
        records.record(records.case(name, sizes.get(name)), samples=201, latency=time) for name, time in seconds.items()
    ]
    case_results = results(run_records)
    assert f"; {why}" in decision(headline_of(case_results), [])
    merit = why.partition("32, ")[2] or why.partition(" for ")[2]
    answered = answer(records.run_of(run_records), run_records)
    assert f", {merit} among {len(seconds)} whose latency on this machine is statistically tied" in answered
    assert f"{why.partition(' at ')[0]}, LSTM input 32{why.partition('32')[2]} (" in fitting(
        answer_within(case_results, {})
    )


def test_the_decision_names_the_variant_that_speeds_up_the_pick():
    """Only a gain above the spread of processes counts: the compiled twin's factor of three, not a twentieth."""
    seconds = {"gap": 6.0e-3, "fc": 9.0e-3}
    run_records = [records.record(records.case(name), samples=201, latency=time) for name, time in seconds.items()]
    compiled = records.case("gap", variant="compile")
    fast = results([*run_records, records.record(compiled, samples=201, latency=2e-3)])
    sentence = decision(headline_of(fast), [])
    assert re.search(r"if position matters\. In compile, gap takes (2\.0\d|1\.9\d) ms\.$", sentence)
    text = " ".join(sentences(records.run_of(run_records), fast, []))
    assert re.search(r"In compile it takes (2\.0\d|1\.9\d) ms \[[^]]*\]\.", text)
    assert re.search(r"compile is (3\.0\d|2\.9\d)× \[[^]]*\] as fast as eager\b", text)
    assert text.count("as fast as eager") == text.count("as fast") == 1, "the same ratio was said twice"
    hardly = results([*run_records, records.record(compiled, samples=201, latency=5.7e-3)])
    assert decision(headline_of(hardly), []).endswith(" if position matters.")
    assert headline_of(hardly).quickest is None


def test_the_decision_names_another_model_that_a_variant_makes_fastest():
    """If the pick was not measured in that variant, the first screen did not mention the fastest case at all."""
    eager = {"gap": 6.0e-3, "fc": 9.0e-3, "spatial-softmax": 8e-3}
    run_records = [records.record(records.case(name), samples=201, latency=time) for name, time in eager.items()]
    compiled = [
        records.record(records.case(name, size, variant="compile"), samples=201, latency=time)
        for name, size, time in (("spatial-softmax", 64, 2e-3), ("fc", 128, 2.02e-3), ("random-projection", 8, 2e-3))
    ]
    case_results = results([*run_records, *compiled])
    assert re.search(
        r"Faster in compile: spatial-softmax at LSTM input 64, (2\.0\d|1\.9\d) ms\.$",
        decision(headline_of(case_results), []),
    )
    text = " ".join(sentences(records.run_of([r.record for r in case_results]), case_results, []))
    assert re.search(
        r"Faster: spatial-softmax, LSTM input 64, compile, with .* ms.*: (3\.0\d|2\.9\d)× .*as fast as the pick\.", text
    )


def test_budgets_fall_back_to_other_variants_then_the_nearest_miss():
    """If no eager model fitted, the answer was only "None of 3 models fits", although two compiled models did."""
    eager = {"gap": 6.0e-3, "fc": 9.0e-3, "spatial-softmax": 8e-3}
    run_records = [records.record(records.case(name), samples=201, latency=time) for name, time in eager.items()]
    compiled = [
        records.record(records.case(name, variant=variant), samples=201, latency=time)
        for name, variant, time in (("fc", "compile", 3e-3), ("fc", "channels_last", 7e-3), ("gap", "compile", 2e-3))
    ]
    case_results = results([*run_records, *compiled])
    assert fitting(answer_within(case_results, {"latency": 5e-3})).startswith(
        "None of 3 models fits in eager; in other variants 2 of 2 fit. Fastest: gap, LSTM input 32, compile ("
    )
    assert fitting(answer_within(case_results, {"latency": 7e-3})).startswith(
        "1 of 3 models fits. Fastest: gap, LSTM input 32 ("
    )
    nothing = answer_within(case_results, {"latency": 1e-3})
    assert (nothing.pick, nothing.number) == (None, 0)
    assert re.fullmatch(
        r"None of 3 models fits\. Nearest: latency (2\.0\d|1\.9\d) ms \(the limit is 1\.00 ms\)\.",
        fitting(nothing),
    )


def test_a_budgets_answer_says_of_which_situation_it_is():
    """ "3 of 3 models fit" was said of a run with six: the others were on another clip."""
    run_records = [
        records.record(records.case(name, clip=Clip(frames=frames)), latency=1e-3 * frames * factor)
        for name, factor in (("gap", 1), ("fc", 2), ("flatten", 3))
        for frames in (16, 8)
    ]
    text = fitting(answer_within(results(run_records), {}))
    assert text.startswith("3 of 3 models on clip 1x16x3x64x64 fit. Fastest: gap, LSTM input 32 (")
    text = fitting(answer_within(results(run_records), {"latency": 1e-4}))
    assert text.startswith("None of 3 models on clip 1x16x3x64x64 fits. Nearest: ")


@pytest.mark.parametrize(
    ("own", "ours", "said"),
    [
        ("ab", ["gap"], "2 of 2 models of your own fit, 2 of them"),
        ("a", ["gap", "fc"], "2 of 2 models on conv with lstm128 fit, 2 of them"),
        ("ab", [], "2 of 2 models fit, 2 of them"),
    ],
)
def test_a_budgets_answer_says_whose_models_it_counts(own, ours, said):
    """ "1 of 1 model fits" was said of a run with a user's own model and one of ours."""
    cases = [*(Case(Whole(Choice(f"net:{name}"))) for name in own), *map(records.case, ours)]
    case_results = results([records.record(case, latency=2e-3) for case in cases])
    assert fitting(answer_within(case_results, {"latency": 1.0})).startswith(said)
    untimed = results([records.record(case, samples=0) for case in cases])
    assert fitting(answer_within(untimed, {"memory": 2.0**40})).startswith(f"{said.partition(',')[0]}. Smallest: ")


def test_without_limits_models_are_counted_and_not_fitted():
    """ "2 of 2 models fit" stood beside "nothing is ranked", though no limit was given."""
    bare = [replace(records.record(records.case(name), samples=0), readings=(records.reading("macs", 1e6),))
            for name in ("gap", "gmp")]  # fmt: skip
    answer = answer_within(results(bare), {})
    assert fitting(answer, is_limited=False) == f"2 models. {UNORDERED}"
    assert fitting(answer) == f"2 of 2 models fit. {UNORDERED}"


def test_the_sliders_agree_with_advise_at_every_limit():
    """If nothing fitted, all cells named the first cell's limits: "the limit is 7.00 MiB" without a limit of memory."""
    seconds = {"gap": 6.0e-3, "fc": 9.0e-3, "spatial-softmax": 8e-3, "flatten": 20e-3}
    case_results = results([records.record(records.case(name), latency=time) for name, time in seconds.items()])
    grid = by_cost(case_results)
    nothing_fits = 0
    for latency, row in zip(grid.limits["latency"], grid.answers, strict=True):
        for memory, cell in zip(grid.limits["memory"], row, strict=True):
            limits = {"latency": latency, "memory": memory}
            limits = {name: limit for name, limit in limits.items() if math.isfinite(limit)}
            assert cell == answer_within(case_results, limits)
            nothing_fits += not cell.pick
    assert nothing_fits > len(grid.answers)


def test_a_variants_gain_refers_to_the_headlines_scenario():
    """The sentence took the scenario with the greatest gain and did not name it."""
    seconds = {"inference": (10e-3, 8e-3), "streaming": (1e-3, 0.25e-3)}
    run_records = [
        records.record(records.case("gap", variant=how, scenario=scenario), samples=201, latency=time)
        for scenario, times in seconds.items()
        for how, time in zip(("eager", "channels_last"), times, strict=True)
    ]
    assert re.search(r"channels_last is 1\.2\d× .*as fast as eager\.", answer(records.run_of(run_records), run_records))
    streamed = run_records[2:]
    assert re.search(r"channels_last \(streaming\) is (4\.0\d|3\.9\d)× .*as fast as eager\.",
                     answer(records.run_of(streamed), streamed))  # fmt: skip
    slower = [*run_records[:1], records.record(run_records[1].case, latency=12e-3), *streamed]
    assert "No variant was faster than eager." in answer(records.run_of(slower), slower)


def test_a_variants_gain_counts_models_at_the_headlines_threads():
    """Two models on one thread and on two gave "median of 4 models" below a headline for one thread."""
    seconds = {1: (10e-3, 5e-3), 2: (6e-3, 1e-3)}
    run_records = [
        replace(
            records.record(replace(records.case(name, variant=how), threads=threads), samples=201, latency=time),
            conditions={"threads": threads},
        )
        for name in ("gap", "fc")
        for threads, times in seconds.items()
        for how, time in zip(("eager", "compile"), times, strict=True)
    ]
    said = answer(records.run_of(run_records), run_records)
    assert re.search(r"compile is (2\.0\d?|1\.9\d)× as fast \(median of 2 models, ", said)
    variants = view(records.run_of(run_records), results(run_records))["variants"]
    assert [(variant["place"], variant["cases"]) for variant in variants] == [
        ("inference, cpu, 2 threads", "2"), ("inference, cpu, 1 thread", "2"),
    ]  # fmt: skip
    names = [drawing.name for drawing in figures.get("variants").build(results(run_records))]
    assert names == ["variant-compile-inference-cpu-2-threads", "variant-compile-inference-cpu-1-thread"]


def test_missing_open_or_unrequested_results_become_next_commands():
    run_records = [records.record(records.case(name)) for name in ("gap", "gmp")]
    run = records.run_of(run_records, planned=("a", "b", "c"))
    steps = next_runs(run, results(run_records), headline_of(results(run_records)))
    assert [(step.resume, step.overrides) for step in steps] == [
        (True, ""), (False, "protocol.visits=3"), (True, "quality=train"),
    ]  # fmt: skip
    again, *_, train = (command(run, step, "reports/x") for step in steps)
    assert again == "convbench run suites/default.yaml --resume --out reports/x"
    assert train == "convbench run suites/default.yaml quality=train --resume --out reports/x"
    run = records.run_of(run_records, command="convbench.run('mine.yaml')")
    assert command(run, NextRun("open", resume=True, until_sure=True), "x") == (
        "convbench.run('mine.yaml', resume=True, until_sure=True, out='x')"
    )
    assert next_runs(run, [], headline_of([])) == [NextRun("2 planned cases were not run yet", resume=True)]
    unlike = {"hosts": {"shard 1": "e1", "shard 2": "e2"}, "environments": {"e1": {}, "e2": {}}}
    assert next_runs(replace(run, **unlike), [], headline_of([])) == [], "no machine is of both kinds"


def test_a_pick_that_loses_its_time_to_page_faults_asks_for_an_allocator():
    """The remedy stood among the cautions only; with it, the same model may be several times as fast."""
    faults = Finding("page_faults", data={"faults_per_call": 9e3, "system_share": 0.64, "allocator": "glibc"})
    run_records = [replace(visited("gap", 1e-3, 1e-3, 1e-3), findings=(faults,)), visited("gmp", 2e-3, 2e-3, 2e-3)]
    run = records.run_of(run_records, command="convbench run x variant=eager", protocol=Protocol(visits=3))
    case_results = results(run_records)
    step, _ = next_runs(run, case_results, headline_of(case_results))
    assert step.why == "page faults take 64 % of the pick's time, which another allocator may save"
    assert command(run, step, "x") == (
        "convbench run x 'variant=[eager,allocator(malloc=glibc-arena)]' --out x-variant-eager-allocator"
    )
    narrow = replace(run, command="convbench run x --only '*/eager/*'")
    assert [step.overrides for step in next_runs(narrow, case_results, headline_of(case_results))] == ["quality=train"]
    tried = results([*run_records, visited("gmp", 1e-3, 1e-3, 1e-3, variant="allocator")])
    assert [step.overrides for step in next_runs(run, tried, headline_of(tried))] == ["quality=train"]


def test_a_run_without_results_says_what_to_do():
    """Its page had no next step."""
    run_records = [records.failed(records.case(name)) for name in ("gap", "gmp")]
    run = records.run_of(run_records)
    (step,) = next_runs(run, results(run_records), headline_of([]))
    assert step.why == "every case failed: mend the reasons below, then run it again"
    assert command(run, step, "reports/x") == "convbench run suites/default.yaml --out reports/x-again"
    mixed = results([*run_records, records.record(records.case("gem"))])
    assert step not in next_runs(run, mixed, headline_of(mixed))


def test_an_open_task_asks_for_seeds_before_latencies():
    """The page of an open task advised only to settle a tie of latencies, by the command that also trains."""
    gap, fc = records.case("gap"), records.case("fc", 8)
    run_records = [visited("gap", 1e-3, 1.2e-3, 0.9e-3), visited("fc", 1e-3, 1.3e-3, 1.1e-3, lstm_input=8)]
    run_records += [records.lesson(0.5 + 0.1 * seed, seed=seed, of=of) for of in (gap, fc) for seed in (0, 1)]
    answers, run = quality.recommend(results(run_records)), records.run_of(run_records, protocol=Protocol(visits=3))
    steps = next_runs(run, results(run_records), headline_of(results(run_records)), answers)
    assert [(step.why, step.until_sure) for step in steps] == [("more seeds would settle direction", True)]


@pytest.mark.parametrize(
    ("flag", "failure", "named"), [("unconverged", False, True), ("dead_run", False, True), (None, True, False)]
)
def test_a_task_that_needs_longer_training_names_the_run(flag, failure, named):
    """The page of a provisional pick, whose models were still learning, had a command only for the other task."""
    lessons = [
        records.lesson(0.1 if flag == "dead_run" else 0.8, "identity", seed, of=records.case(name), flag=flag)
        for name in ("gap", "gmp")
        for seed in range(3)
    ]
    lessons = [records.failed(lesson.case) if failure else lesson for lesson in lessons]
    run_records = [visited("gap", 1e-3, 1e-3, 1e-3), visited("gmp", 9e-3, 9e-3, 9e-3), *lessons]
    answers, run = quality.recommend(results(run_records)), records.run_of(run_records, protocol=Protocol(visits=3))
    steps = next_runs(run, results(run_records), headline_of(results(run_records)), answers)
    longer = [step for step in steps if step.overrides == "training.steps=1400"]
    assert [step.why for step in longer] == ["longer training may settle identity"] * named
    if named:
        assert command(run, longer[0], "reports/x").endswith("training.steps=1400 --out reports/x-steps-1400")


@pytest.mark.parametrize(
    ("environments", "hosts", "resumes"),
    [
        (("e1",), {"shard 1": "e1"}, True),
        (("e1", "e2"), {"host-a": "e1", "host-b": "e2"}, True),
        (("e1", "e2"), {"shard 1": "e1", "shard 2": "e2"}, False),
    ],
)
def test_only_a_run_merged_from_shards_of_unlike_machines_cannot_be_resumed(environments, hosts, resumes):
    single = [visited("gap", 1e-3, 1e-3, 1e-3)]
    run = records.run_of(single, planned=(single[0].case.id, "another"), hosts=hosts,
                         environments={name: {} for name in environments})  # fmt: skip
    steps = next_runs(run, results(single), headline_of(results(single)))
    assert ("1 planned case was not run yet" in [step.why for step in steps]) == resumes


def test_only_an_answer_that_seeds_would_settle_asks_for_seeds():
    run_records = [*records.quality_records(tasks=["direction"]), *records.quality_records(1, ["identity"])]
    answers = quality.recommend(results(run_records))
    steps = next_runs(records.run_of(run_records), results(run_records), headline_of(results(run_records)), answers)
    assert steps[0].why == "more seeds would settle identity"


def test_cases_that_are_missing_come_before_seeds():
    run_records = records.quality_records(1, ["identity"])
    run = records.run_of(run_records, planned=("another", *(record.case.id for record in run_records)))
    answers = quality.recommend(results(run_records))
    reasons = [step.why for step in next_runs(run, results(run_records), headline_of(results(run_records)), answers)]
    assert reasons[0] == "1 planned case was not run yet"
    assert not any("more seeds" in reason for reason in reasons)


def test_a_name_has_options_only_among_others_that_differ_in_them():
    activated = records.record(records.case("fc(activation=true)", 64), latency=1e-3)
    for other, name in (("gap", "fc"), ("fc", "fc(activation=true)")):
        rivals = [activated, records.record(records.case(other, 64), latency=9e-3)]
        assert decision(headline_of(results(rivals)), ()).startswith(f"Fastest: {name} at LSTM input 64, ")


def test_an_own_model_is_named_with_its_options_in_its_fastest_variant():
    models = [Whole(Choice("net:build", (("k", k),))) for k in (1, 2)]
    run_records = [records.record(Case(model), latency=1e-3 * (i + 1)) for i, model in enumerate(models)]
    run_records.append(records.record(Case(models[0], variant=records.variant("compile")), latency=1e-4))
    assert " In compile, net:build(k=1) takes " in decision(headline_of(results(run_records)), ())


@pytest.mark.parametrize(
    ("known", "costs"), [((True, True), "5.6× the FLOPs and 202×"), ((True, False), "202×"), ((False, True), "202×")]
)
def test_the_price_of_the_largest_model_leaves_out_flops_that_are_a_lower_bound(known, costs):
    models = [records.record(latency=1e-3), records.record(records.case("fc", 128), latency=9e-3)]
    unknown = Finding("uncounted_operators", data=FINDINGS["uncounted_operators"])
    run_records = [
        replace(record, findings=(unknown,) * (not flag)) for record, flag in zip(models, known, strict=True)
    ]
    text = answer(records.run_of(run_records), run_records)
    assert f"fc, LSTM input 128 costs {costs} the parameters of the pick" in text
    assert ("at least 116 MFLOP" in text) == (not known[0])


@pytest.mark.parametrize(("rates", "words"), [((2e-3,), "Only one learning rate"), ((2e-3, 8e-3), "was chosen on")])
def test_a_task_says_how_its_learning_rate_was_chosen(rates, words):
    trained = [records.lesson(0.9, seed=seed, rate=rate) for seed in range(2) for rate in rates]
    text = quality.tuning(qualities(trained))
    assert words in text
    assert ("a better rate may lie beyond: gap, LSTM input 32 (" in text) == (len(rates) > 1)


@pytest.mark.parametrize(("name", "value", "text"), [
    ("memory", 2**26, "64MiB"), ("latency", 5e-3, "5ms"), ("latency", 3e-4, "300us"),
])  # fmt: skip
def test_a_limit_reads_as_the_command_line_takes_it(name, value, text):
    assert limit_text(name, value) == text


def test_the_slider_has_the_pick_of_a_task_and_its_accuracy():
    (task, _) = quality.recommend(results(records.quality_records()))
    assert budget_of_task(task) == " ".join(advice.sentences(task)[:2])
    assert "Accuracy" in budget_of_task(task)


@pytest.mark.parametrize(("slow", "is_paid"), [(2e-3, True), (9.01e-3, False)])
def test_making_a_variant_pays_off_only_if_it_does_for_every_model(slow, is_paid):
    times = {("gap", "eager"): 5e-3, ("gap", "compile"): 1e-3, ("gmp", "eager"): 9e-3, ("gmp", "compile"): slow}
    run_records = [records.record(records.case(name, variant=how), latency=time) for (name, how), time in times.items()]
    text = answer(records.run_of(run_records), run_records)
    assert " as fast (median of 2 models, " in text
    assert re.search(r"In compile it takes [^:]+: [^:]+ as fast\.", text)
    assert answer(records.run_of(run_records), run_records[:2]).count(" as fast") == 1  # of one model, it is said once
    assert ("making it pays off after at most" in text) == is_paid


def test_the_time_of_the_largest_model_is_over_that_of_the_pick_and_not_of_the_fastest():
    times = {"spatial-softmax": 1e-3, "gap": 1.05e-3, "fc": 9e-3}
    run_records = [records.record(records.case(name), latency=time) for name, time in times.items()]
    text = answer(records.run_of(run_records), run_records)
    assert text.startswith("Take gap")
    assert re.search(r"fc, LSTM input 32 costs .* and 8\.[4-7]× the time of the pick\.", text)


def test_many_ties_are_counted_in_digits():
    run_records = [records.record(records.case("fc", size), latency=1e-3) for size in range(8, 8 + 13)]
    assert decision(headline_of(results(run_records)), ()).startswith("13 sizes of fc tie at ")
    assert decision(headline_of(results(run_records[:12])), ()).startswith("Twelve sizes of fc tie at ")


def test_a_head_is_part_of_what_surrounds_a_reducer():
    headed = result_of(records.record(records.case(parts={"head": 10, "layer_norm": True})))
    assert names.around_reducer(headed) == "conv, lstm128 after LayerNorm, head of 10"
    assert names.around_reducer(result_of(records.record())) == "conv, lstm128"


def test_the_reason_of_a_withheld_case_is_not_that_of_another_finding():
    notes = (Finding("not_predicted", data={"reason": "no shapes"}), Finding("nothing_compiled"))
    run_records = [visited("gap", 1e-3, 1e-3), visited("gmp", 2e-3, 2e-3, disturbed="busy")]
    run_records[1] = replace(run_records[1], findings=(*notes, *run_records[1].findings))
    assert "1 case was never measured undisturbed (busy): " in answer(records.run_of(run_records), run_records)


def test_a_reducer_that_keeps_positions_is_named_without_counts_too():
    timed = [
        records.record(records.case(name), latency=time) for name, time in (("gap", 1e-3), ("spatial-softmax", 2e-3))
    ]
    latencies = [
        replace(record, readings=tuple(r for r in record.readings if r.metric.name == "latency_s")) for record in timed
    ]
    text = answer(records.run_of(latencies), latencies)
    assert re.search(r"the cheapest that keeps it is spatial-softmax, LSTM input 64, eager \([\d.]+ ms\)\.", text)


def test_one_model_is_not_called_the_fastest():
    """The page of a single case read "Fastest: gap" and advised to train each."""
    single = [visited("gap", 1e-3, 1e-3, 1e-3)]
    run, headline = records.run_of(single, protocol=Protocol(visits=3)), headline_of(results(single))
    assert decision(headline, ()) == "gap at LSTM input 32: 1.00 ms a call."
    assert "astest" not in answer(run, single) and "optimum" not in answer(run, single)
    assert next_runs(run, results(single), headline) == []
    elsewhere = [*single, visited("gap", 1e-4, 1e-4, 1e-4, scenario="streaming")]
    assert next_runs(run, results(elsewhere), headline_of(results(elsewhere))) == []
    counts = [records.record(samples=0)]
    assert decision(headline_of(results(counts)), ()).startswith("gap at LSTM input 32: 83.8 k parameters; latency")


@pytest.mark.parametrize(
    ("more", "place"), [({"variant": "onnxruntime"}, "onnxruntime"), ({"scenario": "train"}, "training")]
)
def test_the_decision_names_the_runtime_and_training(more, place):
    """A page of runtimes alone did not say in which of them its pick was the fastest."""
    pair = [visited("gap", 1e-3, 1e-3, 1e-3, **more), visited("flatten", 9e-3, 9e-3, 9e-3, **more)]
    assert decision(headline_of(results(pair)), ()).startswith(f"Fastest in {place}: gap at LSTM input 32, 1.00 ms")


@pytest.mark.parametrize(
    ("shares", "form", "text"),
    [
        ([0.873], {}, "87.3 %"),
        ([0.053, 0.853], {}, "5.3 to 85.3 %"),
        ([0.1], {"places": 0}, "10 %"),
        ([0.013], {"signed": True}, "+1.3 %"),
        ([-1e-5], {"signed": True}, "+0.0 %"),
    ],
)
def test_a_share_in_per_cent(shares, form, text):
    assert percent(*shares, **form) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        ("5.60 ms", "6.10 ms", "5.60 to 6.10 ms"), ("1.03×", "1.05×", "1.03 to 1.05×"), ("2", "3", "2 to 3"),
        ("900 MiB", "1.00 GiB", "900 MiB to 1.00 GiB"), ("1 %", units.MISSING, f"1 % to {units.MISSING}"),
    ],
)  # fmt: skip
def test_a_range_names_its_unit_once(low, high, text):
    assert units.extent(low, high) == text


def test_no_share_is_written_without_a_space():
    """The gate wrote "2.0%", the pages "10 %"."""
    files = Path(convbench.__file__).parent.rglob("*.py")
    assert [file.name for file in files if re.search(r":[+z.\d]*%\}", file.read_text())] == []


def test_no_gain_in_the_median_is_not_no_gain():
    """The answer read "No variant was faster than eager" above a table with a model that was."""
    pairs = {"gap": 0.5, "gem": 1.5, "flatten": 1.5}
    run_records = [
        visited(name, *[seconds] * 3, variant=how)
        for name, ratio in pairs.items()
        for how, seconds in (("eager", 1e-3), ("channels_last", ratio * 1e-3))
    ]
    assert "No variant was faster than eager in the median of its models." in answer(
        records.run_of(run_records), run_records
    )


def test_a_left_out_configuration_is_named_with_its_normalisation():
    """Two configurations were both called gap 32."""
    plain, normed = records.case("gap"), records.case("gap", parts={"layer_norm": True})
    run_records = [records.record(of) for of in (plain, normed)]
    run_records += [records.lesson(0.5, seed=0, of=of) for of in (plain, normed)]
    (task,) = recommendations(run_records, Ask())
    assert "Left out: gap 32, gap 32 after LayerNorm (fewer than 2 sound seeds)." in " ".join(advice.sentences(task))


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Disturbance("shared-cores", 1, 2), "its 2 threads shared 1 core"),
        (Disturbance("quota", 1.5, 2), "its 2 threads had used up the container's quota of 1.5 processors"),
        (Disturbance("other-processes", 0.29, 2), "other processes had a core for 29 % of the time"),
        (Disturbance("host", 0.06), "the host took 6 % of the time"),
        (Disturbance("slow-machine", 2.0), "the reference workload took 2.0× as long"),
        ("the host took 6 % of the time", "the host took 6 % of the time"),
    ],
    ids=str,
)
def test_what_disturbed_a_visit_is_said_from_its_numbers_and_as_older_versions_stored_it(cause, words):
    assert findings.disturbance(cause) == words
    visit = Visit(0, disturbed=cause)
    assert TypeAdapter(Visit).validate_json(TypeAdapter(Visit).dump_json(visit)) == visit
    withheld = visits._withheld_finding([visit], records.record())
    assert f" ({words}). " in findings.sentence(withheld)


def test_the_reason_of_a_withheld_case_does_not_change_between_processes():
    """Terminal and page gave different reasons for one case: they took any of the commonest."""
    reasons = [f"other processes had a core for {share} % of the time" for share in range(30, 90)]
    disturbed_visits = [Visit(number, disturbed=reason) for number, reason in enumerate(reasons)]
    assert visits._withheld_finding(disturbed_visits, records.record()).data["reason"] == reasons[0]


def test_whole_models_are_called_models_and_not_reducers():
    models = [records.record(Case(Whole(Choice(name))), latency=time) for name, time in (("a:b", 2e-3), ("c:d", 2e-3))]
    whole, run = results(models), records.run_of(models)
    assert decision(headline_of(whole), []).startswith("Two models tie at ")
    (drawing,) = figures.get("reducers").build(whole)
    assert drawing.title.startswith("Latency by model: whole models, ")
    assert "a row is a model, all else alike" in drawing.caption
    assert all("each bar is one model, split" in bars.caption for bars in figures.get("stages").build(whole))
    page, text = view(run, whole), summary.markdown(run, models)
    assert page["kind"] == "model"
    assert not page["sized"], "they have no LSTM input size that convbench knows"
    assert "### The models, fastest first\n\n| Model | " in text
    alone = view(run, results([records.record()]))
    assert alone["kind"] == "reducer"
    assert alone["ranked"] == "Each reducer at its fastest"
    sizes = [Case(Whole(Choice("a:b", (("hidden", size),)))) for size in (32, 64)]
    assert decision(headline_of(results([records.record(of, latency=2e-3) for of in sizes])), []).startswith(
        "Two models tie at "
    )
    others = [Case(Whole(Choice("c:d", (("hidden", size),)))) for size in (32, 64)]
    four = results([records.record(of, latency=2e-3) for of in (*sizes, *others)])
    assert decision(headline_of(four), []).startswith("Four models tie at "), "not two, as there are names"


def test_own_models_have_rows_and_names_by_differing_options():
    """Two own models shared one row, its name was cut to the paths of its inputs, and the second mark was not drawn.

    Sentences and tables named each model with all its options, and only one of the two had a bar by stage.
    """
    shared = {"inputs": "net:inputs", "stages": (("backbone", "cnn"), ("lstm", "rnn"))}
    models = [Whole(Choice("net:build", (("classes", 37), ("hidden", size))), **shared) for size in (64, 256)]
    whole = results([records.record(Case(model), latency=2e-3) for model in models])
    headline = headline_of(whole)
    assert [contender.result.case.architecture for contender in headline.by_series] == models
    assert "take net:build(hidden=" in decision(headline, [])
    assert names.labels(models) == ["net:build(hidden=64)", "net:build(hidden=256)"]
    assert names.labels(models[:1]) == ["net:build"]
    assert [names.model(result) for result in whole] == names.labels(models)
    assert {row.cells[0] for row in rows.first_rows(whole)} == set(names.labels(models))
    assert names.model(result_of(whole[0].record)).startswith("net:build(classes=37,hidden=64,inputs="), "of no run"
    (stages, *_) = figures.get("stages").build(whole)
    assert {label.get_text() for label in stages.figure.axes[0].get_yticklabels()} == set(names.labels(models))
    (drawing,) = figures.get("reducers").build(whole)
    drawn = svg.inline(drawing, "reducers")
    for row, _ in enumerate(models):
        assert f'<marker id="reducers-mmarks-{row}"' in drawn
        assert f'data-part="marks-{row}" class="marks" points="' in drawn


def test_the_headlines_position_pick_is_in_figure_and_table():
    """The headline named avg-k at one size, but the figure and the table showed avg-k only at its fastest size."""
    cases = {records.case("gap"): 2e-3, records.case("fc", 8): 2.01e-3, records.case("fc", 512): 2e-3}
    case_results = results([records.record(of, samples=201, latency=time) for of, time in cases.items()])
    headline = headline_of(case_results)
    assert decision(headline, []).endswith("or fc at LSTM input 8 if position matters.")
    assert {contender.result.lstm_input for contender in headline.by_series} == {32, 8, 512}


def test_a_crowded_figure_draws_the_pick_and_counts_hidden_models():
    alike = [records.record(Case(Whole(Choice("net:build", (("k", k),)))), latency=2e-3) for k in range(25)]
    light = replace(alike[-1], readings=(records.reading("params", 1), records.reading("latency_s", *[2.1e-3] * 9)))
    many = results([*alike[:-1], light])
    (drawing,) = figures.get("reducers").build(many)
    assert len(drawing.marks) == 21
    assert "a row is a model (4 more in the table), all else alike" in drawing.caption
    assert [24] in drawing.marks.values(), "the pick, the slowest of those tied"


def test_possibly_slower_models_are_counted_within_the_tie():
    """Three tied models were followed by "3 more may be tied or not", which meant the same three."""
    alike = {"gap": (2.0e-3, 2.2e-3), "gmp": (2.1e-3, 2.4e-3), "gem": (2.0e-3, 2.5e-3)}
    case_results = results([visited(name, *times) for name, times in alike.items()])
    headline = headline_of(case_results)
    assert len(headline.tied) == 3
    assert f", {headline.confidence.open} of those tied may be slower" in confidence(headline, [])


def test_a_pick_tied_with_the_fastest_says_how_slow_it_may_be():
    """At 3 % noise, three in ten picks are over 10 % slower than the fastest. Only the table's interval told that."""
    light = visited("gap", 2.1e-3, 2.4e-3)
    headline = headline_of(results([light, *(visited(name, 2.0e-3, 2.2e-3) for name in ("fc", "hybrid"))]))
    (pick,) = (contender for contender in headline.ranking if contender.result is headline.pick)
    assert pick.result.series == "gap"
    assert headline.confidence.most == pick.factor.high > 1.1
    words = confidence(headline, [])
    assert f"the pick may take up to {pick.factor.high:.2f}× as long as the fastest" in words
    certain = replace(headline, confidence=headline.confidence._replace(most=1.1))
    assert "the pick may take" not in confidence(certain, [])


def test_a_run_of_whole_models_is_not_advised_to_train():
    """The page advised quality=train, which such a suite refuses."""
    models = [records.record(Case(Whole(Choice(name)))) for name in ("shop:net", "shop:slim")]
    run, whole = records.run_of(models), results(models)
    assert "quality=train" not in {step.overrides for step in next_runs(run, whole, headline_of(whole))}
    text = answer(run, models)
    assert "quality=" not in text
    assert "optimum is claimed; a whole model of your own has no head that could be exchanged for a task's." in text
    both = [*models, records.record()]
    assert "quality=train" in {step.overrides for step in next_runs(run, results(both), headline_of(results(both)))}
    assert "quality=train runs it" in answer(run, both)


def test_a_single_visit_run_suggests_more_visits_next():
    """Resuming a run of single visits does not add visits."""
    case_results = results([visited("gap", 1e-3), visited("gmp", 1e-3)])
    run = records.run_of([result.record for result in case_results])
    assert next_runs(run, case_results, headline_of(case_results))[0].overrides == "protocol.visits=3"
    several = replace(run, protocol=replace(run.protocol, visits=3))
    assert next_runs(several, case_results, headline_of(case_results))[0].until_sure
    page = view(run, case_results)
    assert (page["visits"], page["assumed"]) == ([1], "15 %")


def test_a_case_with_one_disturbed_visit_is_not_ranked():
    """On disk, readings of a suite of single visits do not say which samples belong to which visit."""

    def single(name, seconds, stolen):
        of = visited(name, seconds)
        readings = (*of.readings, Reading(metrics.STEAL, (stolen,)))
        return replace(of, readings=tuple(replace(reading, visits=()) for reading in readings))

    stored = visits.join_visits([single("flatten", 1e-5, stolen=0.9), single("gap", 1e-3, stolen=0.0)])
    assert [result.latency is None for result in results(stored)] == [True, False]
    assert headline_of(results(stored)).pick.series == "gap"


def test_without_parameters_the_fastest_tied_model_is_picked():
    models = {"spatial-softmax": 1e-3, "gap": 1.01e-3}
    timed = [visited(name, seconds, seconds, seconds) for name, seconds in models.items()]
    uncounted = [replace(r, readings=tuple(x for x in r.readings if x.metric.name == "latency_s")) for r in timed]
    case_results = results(uncounted)
    headline = headline_of(case_results)
    assert (len(headline.tied), headline.pick.series) == (2, "spatial-softmax")
    assert "take spatial-softmax at LSTM input 64." in decision(headline, [])
    said = answer(records.run_of(uncounted), uncounted)
    assert ", the fastest among 2 whose latency" in said
    assert "–" not in said
    assert "take spatial-softmax, LSTM input 64 (" in fitting(answer_within(case_results, {}))


def test_without_latency_nothing_is_tied():
    sized = [replace(records.record(records.case(name)), visits=()) for name in ("gap", "fc")]
    untimed = [replace(r, readings=tuple(x for x in r.readings if x.metric.name != "latency_s")) for r in sized]
    text = answer(records.run_of(untimed), untimed)
    assert "latency was not measured" in text
    assert "Tied" not in text


def test_without_latency_and_parameters_nothing_is_called_smallest():
    kept = [records.record(records.case(name)) for name in ("gap", "fc")]
    weighed = [replace(r, readings=(records.reading("cpu_peak_bytes", 1e6),), visits=()) for r in kept]
    headline = headline_of(results(weighed))
    assert decision(headline, []) == "Neither latency nor parameters were measured, so nothing is ranked."
    text = answer(records.run_of(weighed), weighed)
    assert text.startswith("Neither latency nor parameters were measured")
    assert "mallest" not in text


@pytest.mark.parametrize(
    ("size", "options", "noun"), [(65, (), "sizes"), (64, (("activation", True),), "configurations")]
)
def test_a_tie_within_a_reducer_is_of_sizes_only_if_they_differ(size, options, noun):
    """FC with and without an activation, both of 64 units, were two sizes of fc."""
    pair = records.case("fc", 64), records.case(Choice("fc", options), size)
    tied = [records.record(of, latency=2e-3) for of in pair]
    assert decision(headline_of(results(tied)), []).startswith(f"Two {noun} of fc tie at ")


def test_a_range_across_two_units_names_both():
    timed = [visited("gap", 0.98, 0.98, 0.98), visited("gmp", 1.02, 1.02, 1.02)]
    assert decision(headline_of(results(timed)), []).startswith("Two reducers tie at 980 ms to 1.02 s; ")


def test_a_run_of_trainings_alone_reports_no_cost():
    lesson = records.lesson(0.9)
    text = answer(records.run_of([lesson]), [lesson])
    assert text.endswith("No cost was measured: 0 cases measured, 1 training.")


def test_the_commonest_reason_is_named_and_unknown_threads_are_not():
    spoilt = [visited(name, 1e-5, disturbed=why) for name, why in (("fc", "once"), ("gem", "busy"), ("gmp", "busy"))]
    streamed = records.record(records.case("gap", scenario="streaming"))
    text = answer(records.run_of(spoilt), [visited("gap", 1e-3, 1e-3, 1e-3), *spoilt, streamed])
    assert "3 cases were never measured undisturbed (for example, busy)" in text
    assert "Fastest in streaming: gap" in text
    assert "None" not in text


def test_models_with_few_shared_seeds_show_no_infinite_points():
    cases = records.case("gap"), records.case("gmp")
    seeds = dict(zip(cases, ((0, 1), (1, 2)), strict=True))
    few = [records.lesson(0.8 + seed / 100, seed=seed, of=of) for of in cases for seed in seeds[of]]
    (told,) = quality.recommend(results([*few, *(records.record(of) for of in cases)]))
    screen = Console(width=160, record=True, file=io.StringIO())
    screen.print(Advice([told]))
    assert "inf" not in screen.export_text()
    narrow = Console(width=40, file=io.StringIO())
    narrow.print(Advice([told]))
    text = narrow.file.getvalue()
    assert "    accuracy: " in text and "runner-up" not in text  # a table this narrow would break words between letters


@pytest.mark.parametrize(("words", "codes"), [(advice.DOUBTS, Doubt), (advice.WHY, Why), (abstention.ABSTAINS, Reason)])
def test_every_doubt_and_reason_of_an_answer_has_words(words, codes):
    assert set(words) == set(get_args(codes))
