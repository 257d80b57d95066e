"""Test the view of runtimes on invented runs: changed prices, crossed rankings, and when an export has paid off."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import records

from convbench.analysis.costs.runtimes import _inverse, runtimes, turn
from convbench.analysis.results import Result, results
from convbench.core import metrics
from convbench.core.record import Reading
from convbench.core.registry import figures
from convbench.core.statistics import Interval
from convbench.report.drawing.labels import spread
from convbench.report.page.run import write
from convbench.report.words import runtimes as words

MILLISECONDS = {
    ("gap", None, "eager"): 10.0,
    ("fc", 128, "eager"): 40.0,
    ("hybrid", 64, "eager"): 12.0,
    ("gap", None, "onnxruntime"): 2.0,
    ("fc", 128, "onnxruntime"): 2.6,
    ("hybrid", 64, "onnxruntime"): 1.0,
}


def timed_results(times=MILLISECONDS, export: float = 7.0, load: float = 1.0) -> list[Result]:
    """Return results with these medians; results of a runtime also have the seconds of export and loading."""
    run_records = []
    for (reducer, size, variant), milliseconds in times.items():
        record = records.record(records.case(reducer, size, variant=variant), latency=milliseconds * 1e-3)
        more = (Reading(metrics.EXPORT, (export,)), Reading(metrics.LOAD, (load,))) if variant != "eager" else ()
        run_records.append(replace(record, readings=(*record.readings, *more)))
    return results(run_records)


def test_a_price_is_relative_to_the_fastest_eager_model() -> None:
    (view,) = runtimes(timed_results())
    assert view.base.case.architecture.reducer.name == "gap"
    assert view.runtimes == ("eager", "onnxruntime")
    prices = {(p.runtime, p.result.series): p.over_base.median for p in view.prices}
    assert prices["eager", "fc"] == pytest.approx(4.0, rel=0.03)
    assert prices["onnxruntime", "fc"] == pytest.approx(1.3, rel=0.03)
    assert prices["onnxruntime", "gap"] == 1.0


def test_the_base_is_a_model_that_another_runtime_ran() -> None:
    """If the fastest model in eager had not been exported, the figure used to have one runtime, eager."""
    times = {key: value for key, value in MILLISECONDS.items() if key != ("gap", None, "onnxruntime")}
    (view,) = runtimes(timed_results(times))
    assert view.base.case.architecture.reducer.name == "hybrid"
    assert view.runtimes == ("eager", "onnxruntime")
    assert {price.result.series for price in view.of("onnxruntime")} == {"hybrid", "fc"}
    only_elsewhere = {("gap", None, "eager"): 1.0, ("fc", 128, "eager"): 2.0, ("hybrid", 64, "onnxruntime"): 1.0}
    assert runtimes(timed_results(only_elsewhere)) == []


def test_the_sentence_names_the_largest_change_of_price() -> None:
    (view,) = runtimes(timed_results())
    eager, there = turn(view)
    assert (eager.result.series, there.runtime) == ("fc", "onnxruntime")
    sentence = words.sentence(view)
    assert sentence.startswith("In onnxruntime fc, LSTM input 128 costs 1.3")
    assert "gap, LSTM input 32; in eager it costs 4.0×" in sentence


@pytest.mark.parametrize("times", [MILLISECONDS, dict(reversed(MILLISECONDS.items()))], ids=["faster first", "last"])
def test_a_pair_whose_order_surely_reverses_crosses(times) -> None:
    (view,) = runtimes(timed_results(times))
    (crossing,) = view.crossings
    assert (crossing.faster.series, crossing.slower.series, crossing.runtime) == ("gap", "hybrid", "onnxruntime")
    assert crossing.at_home.high < 1 < crossing.ratio.low
    assert "gap, LSTM input 32 is faster than hybrid, LSTM input 64 in eager" in words.crossings(view)


def test_models_equally_fast_in_a_runtime_do_not_cross() -> None:
    level = {**MILLISECONDS, ("hybrid", 64, "onnxruntime"): 2.01}
    (view,) = runtimes(timed_results(level))
    assert view.crossings == ()
    assert words.crossings(view).startswith("The models keep eager's order")


@pytest.mark.parametrize(("eager", "elsewhere"), [(10.8, 1.0), (12.0, 1.9)])
def test_an_order_within_a_tie_does_not_cross(eager, elsewhere) -> None:
    """One of many pairs has two small ratios that chance reversed, as in any two runs."""
    tie = {**MILLISECONDS, ("hybrid", 64, "eager"): eager, ("hybrid", 64, "onnxruntime"): elsewhere}
    (view,) = runtimes(timed_results(tie))
    assert view.crossings == ()


@pytest.mark.parametrize(("most", "words_of_it"), [(None, "The ranking crosses: gap, "), (24, "")])
def test_with_many_models_no_equal_order_is_claimed(monkeypatch, most, words_of_it) -> None:
    """With more than 24 models an equal order used to be claimed without a comparison."""
    if most:
        monkeypatch.setattr("convbench.analysis.costs.runtimes.MOST_MODELS", most)
    slow = {("fc", size, "eager"): 40.0 + size for size in range(1, 25)}
    (view,) = runtimes(timed_results({**MILLISECONDS, **slow}))
    assert words.crossings(view).startswith(words_of_it)
    assert ("ranking" in words.sentence(view)) is bool(words_of_it)
    assert "eager's order" not in words.sentence(view) + words.crossings(view)


def test_payback_is_export_and_load_time_over_savings_per_call() -> None:
    (view,) = runtimes(timed_results())
    assert view.paid_after["onnxruntime"] == pytest.approx((8 / 0.0374, 8 / 0.011, 8 / 0.008), rel=0.05)
    slower = {**MILLISECONDS, ("gap", None, "onnxruntime"): 11.0}
    (view,) = runtimes(timed_results(slower))
    assert view.paid_after["onnxruntime"][2] == math.inf
    assert re.search(
        r"pay off after 2\d\d to \d{3} calls in onnxruntime \(never for 1 of 3 models\)\.$", words.sentence(view)
    )


def test_an_export_that_never_pays_off_is_reported() -> None:
    slower = {**MILLISECONDS, **{key: 50.0 for key in MILLISECONDS if key[2] == "onnxruntime"}}
    (view,) = runtimes(timed_results(slower))
    assert words.payback(view) == "Exporting and loading never pay off in onnxruntime."
    fast = {(reducer, size, "openvino"): 1.0 for reducer, size, how in MILLISECONDS if how == "eager"}
    (view,) = runtimes(timed_results({**slower, **fast}))
    assert re.fullmatch(
        r"Exporting and loading pay off after 2\d\d to \d{3} calls in openvino; they never pay off in onnxruntime\.",
        words.payback(view),
    )


def test_one_runtime_or_one_model_gives_no_view() -> None:
    eager = {key: value for key, value in MILLISECONDS.items() if key[2] == "eager"}
    assert runtimes(timed_results(eager)) == []
    assert runtimes(timed_results({key: value for key, value in MILLISECONDS.items() if key[0] == "gap"})) == []
    assert list(figures.get("runtimes").build(results(records.default_records()))) == []


ELSEWHERE = {
    ("gap", None, "onnxruntime"): 2.0, ("gap", None, "openvino"): 3.0,
    ("fc", 128, "onnxruntime"): 2.6, ("fc", 128, "openvino"): 9.0,
}  # fmt: skip


def test_runtimes_are_compared_without_eager() -> None:
    """Without an eager case no figure and no sentence compared the runtimes."""
    (view,) = runtimes(timed_results(ELSEWHERE))
    assert (view.home, view.runtimes, view.crossings) == ("onnxruntime", ("onnxruntime", "openvino"), ())
    text = words.sentence(view)
    assert text.startswith("No latency in eager to compare with: gap, LSTM input 32 is fastest in onnxruntime, with 1.")
    assert re.search(r"takes 1\.\d\d× \[.*\] its time in openvino\. In openvino fc, LSTM input 128 costs 3", text)
    assert text.endswith("keep the order that they have in onnxruntime in every runtime, as far as this run can tell.")
    (drawing,) = figures.get("runtimes").build(timed_results(ELSEWHERE))
    assert drawing.caption.startswith(text)
    assert [text.get_text() for text in drawing.figure.axes[0].texts[1:]] == ["gap 32", "fc 128"]


def test_the_page_says_the_runtimes_sentence_once(tmp_path) -> None:
    """It stood in the answer and again in the figure's caption."""
    run_records = [result.record for result in timed_results()]
    page = write(records.run_of(run_records), run_records, tmp_path / "index.html").read_text("utf-8")
    assert page.count("pay off after") == 1 and "Each line is a model" in page


def test_one_model_in_two_runtimes_is_compared_without_eager() -> None:
    failed = records.failed(records.case("gap"))
    timed = timed_results({key: value for key, value in ELSEWHERE.items() if key[0] == "gap"})
    (view,) = runtimes([*timed, *results([failed])])
    assert [price.runtime for price in view.slower] == ["onnxruntime", "openvino"]
    assert words.sentence(view).endswith("its time in openvino.")


def test_number_types_are_compared_apart_without_eager() -> None:
    """int8 in a runtime is not the same model as fp32 in another."""
    times = {("gap", None, "onnxruntime"): 2.0, ("gap", None, "int8+onnxruntime"): 1.0}
    assert runtimes(timed_results(times)) == []


def test_situations_are_never_mixed() -> None:
    streamed = records.record(records.case("fc", 8, scenario="streaming"), latency=1e-5)
    (view,) = runtimes([*timed_results(), *results([streamed])])
    assert all(price.result.case.scenario == "inference" for price in view.prices)


def test_the_figure_has_a_line_per_model_and_a_caption() -> None:
    (drawing,) = figures.get("runtimes").build(timed_results())
    assert drawing.name == "runtimes-inference-cpu"
    assert drawing.caption.startswith("In onnxruntime fc")
    assert sorted(map(len, drawing.marks.values())) == [2, 2, 2]


def test_overlapping_labels_are_moved_apart_as_little_as_needed() -> None:
    assert spread([50.0, 10.0, 10.0, 12.0], gap=10.0) == pytest.approx(
        [50.0, 10 + 2 / 3 - 10, 10 + 2 / 3, 10 + 2 / 3 + 10]
    )
    assert spread([0.0, 100.0], gap=10.0) == [0.0, 100.0]
    assert spread([], gap=10.0) == []


def test_labels_stay_beside_the_plot_if_they_fit() -> None:
    assert spread([1.0, 1.0, 60.0], gap=10.0, ends=(0.0, 100.0)) == [0.0, 10.0, 60.0]
    assert spread([99.0, 98.0, 5.0], gap=10.0, ends=(0.0, 100.0)) == [100.0, 90.0, 5.0]
    assert spread([5.0, 5.0, 5.0], gap=10.0, ends=(0.0, 15.0)) == [0.0, 10.0, 20.0]


def test_a_ratio_of_the_faster_to_the_slower_is_the_inverse_of_the_other():
    assert _inverse(Interval(2.0, 1.6, 4.0)) == (0.5, 0.25, 0.625)
    assert _inverse(Interval(2.0, -math.inf, 4.0)) == (0.5, 0.25, math.inf)
