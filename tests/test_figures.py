"""Every registered figure: draws any run, keeps its marks, repeats its bytes; and the scales in closed form."""

import io
import itertools
import math
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
import records
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from matplotlib.textpath import TextPath

from convbench.analysis import table
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.history.course import Course
from convbench.analysis.history.series import RunValue, Series
from convbench.analysis.results import part_of_call, results
from convbench.core import metrics
from convbench.core.record import Case, Choice, Clip, Reading, Record, Recurrent, Visit, Whole
from convbench.core.registry import figures
from convbench.core.statistics import Interval
from convbench.report.drawing import course, log_axes, ratios, style
from convbench.report.drawing.bars import Margins, bars
from convbench.report.drawing.labels import label
from convbench.report.page.payload import payload
from convbench.report.page.view import view

RUNS = {
    "default": records.default_records,
    "tried": records.tried_records,
    "trials alone": lambda: [record for record in records.tried_records() if record.case.trial],
    "one seed": lambda: [records.record(), records.lesson(0.5)],
    "all dead": lambda: [records.record(), records.lesson(0.125, flag="dead_run")],
    "empty": list,
    "failed": lambda: [records.failed(records.case())],
    "static": lambda: [records.record(records.case(name), samples=0) for name in ("gap", "flatten")],
    "one": lambda: [records.record()],
    "few samples": lambda: [records.record(samples=2), records.record(records.case("fc", 8), samples=2)],
    "whole": lambda: [records.record(Case(Whole(Choice("mypkg.net:build"))))],
    "cuda": lambda: [records.record(records.case(name, device="cuda:0")) for name in ("gap", "gmp")],
    "zero latency": lambda: [records.record(latency=1e-300)],
    "hostile": lambda: [records.record(Case(records.parts(Choice("$x^</svg>\x00\n" + "é" * 500))), latency=1e-3)],
    "threads": lambda: [
        replace(records.record(replace(records.case(name), threads=count)), conditions={"threads": count})
        for name in ("gap", "gmp") for count in (1, 2)
    ],
    "runtimes": lambda: [
        replace(record, readings=(*record.readings, *([Reading(metrics.LOAD, (1.0,))] if record.case.variant else [])))
        for name in ("gap", "gmp") for variant in ("eager", "onnxruntime", "openvino")
        for record in [records.record(records.case(name, variant=variant))]
    ],
    "reference": lambda: [
        replace(record, readings=(*record.readings, Reading(metrics.REFERENCE, (1e-3,))))
        for record in map(records.record, map(records.case, ("gap", "gmp", "gem")))
    ],
}  # fmt: skip
NAMES = [plugin.name for plugin in figures]
COSTS = {"by-size", "memory-by-kind", "reducers", "stages", "trade-off"}
SIZES = {"curve", "variants"}
QUALITY = {"quality-by-size", "quality-probe"}
DRAWN = {
    "default": COSTS | SIZES, "tried": COSTS | SIZES | QUALITY | {"quality-cost"}, "trials alone": QUALITY,
    "empty": set(), "failed": set(), "static": COSTS - {"reducers"}, "whole": COSTS - {"by-size"},
    "threads": COSTS | {"threads"}, "runtimes": COSTS | {"runtimes", "variants"}, "reference": COSTS | {"machine"},
}  # fmt: skip
"""The figures that a run has; ``COSTS`` if nothing is listed."""
LISTED = COSTS.union(*DRAWN.values())
"""convbench's figures. A new one is one file: it need not be listed here, and is held to the other rules."""
MARKED = dict.fromkeys(("by-size", "curve", "reducers", "trade-off", "variants"), "default")
MARKED |= {"threads": "threads", "runtimes": "runtimes"}
"""The figures whose marks a page links to its rows, each with a run that has it."""


@pytest.fixture(scope="module")
def default():
    case_results = results(
        [*records.default_records(), *(record for record in records.tried_records() if record.case.trial)]
    )
    return case_results, {name: list(figures.get(name).build(case_results)) for name in NAMES}


def svg(drawing):
    target = io.BytesIO()
    style.save(drawing.figure, target, "svg")
    return target.getvalue().decode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("run", RUNS)
def test_any_run_can_be_drawn(name, run):
    case_results = results(RUNS[run]())
    drawings = list(figures.get(name).build(case_results))
    if name in LISTED:
        assert bool(drawings) == (name in DRAWN.get(run, COSTS))
        assert any(drawing.marks for drawing in drawings) == bool(drawings and name in MARKED)
    for drawing in drawings:
        assert drawing.title
        assert "How to read this" in drawing.caption
        assert re.fullmatch(r"[\w-]+", drawing.name)
        assert all(0 <= i < len(case_results) for rows in drawing.marks.values() for i in rows)


def test_figures_of_a_default_run_have_unique_names(default):
    assert {name for name in LISTED if not default[1][name]} == {"machine", "threads", "runtimes"}
    names = [drawing.name for drawings in default[1].values() for drawing in drawings]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", MARKED)
def test_each_listed_mark_is_drawn_once(name, default):
    run = MARKED[name]
    drawing = default[1][name][0] if run == "default" else next(figures.get(name).build(results(RUNS[run]())))
    text = svg(drawing)
    assert all(drawing.marks.values())
    for part, rows in drawing.marks.items():
        group = text[text.index(f'<g id="{part}"') :]
        assert group[: group.index("\n   </g>")].count("<use ") == len(rows)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_results_give_the_same_bytes(name, default):
    run = {"machine": "reference", "threads": "threads", "runtimes": "runtimes"}.get(name)
    case_results = results(RUNS[run]()) if run else default[0]
    first, second = (next(iter(figures.get(name).build(case_results)), None) for _ in range(2))
    assert first or name not in LISTED
    assert not first or svg(first) == svg(second)


def test_costs_are_drawn_against_size_and_pairwise(default):
    assert len(default[1]["by-size"]) == 5
    assert len(default[1]["trade-off"]) == 10


@pytest.mark.parametrize(
    ("run", "pairs"),
    [
        ("default", ["latency-memory", "latency-params", "latency-flops", "latency-cold", "memory-params",
                     "memory-flops", "memory-cold", "params-flops", "params-cold", "flops-cold"]),
        ("static", ["memory-params", "memory-flops", "memory-cold", "params-flops", "params-cold", "flops-cold"]),
    ],
)  # fmt: skip
def test_trade_offs_have_latency_upwards_then_memory(run, pairs):
    drawings = list(figures.get("trade-off").build(results(RUNS[run]())))
    assert [drawing.name for drawing in drawings] == [f"trade-off-{pair}" for pair in pairs]
    for drawing in drawings:
        assert drawing.axes.xs == drawing.axes.ys == drawings[0].axes.xs
        assert drawing.figure.axes[0].get_xlabel() == f"{drawing.axes.x.title} · lower is better"


def test_trials_are_not_drawn_in_cost_figures(default):
    plain = results(records.default_records())
    for name in ("by-size", "trade-off", "stages", "variants"):
        before = [(drawing.name, drawing.marks) for drawing in figures.get(name).build(plain)]
        assert before == [(drawing.name, drawing.marks) for drawing in default[1][name]]


def test_read_outs_are_told_apart_by_options_and_clip():
    """Both were named ``fc 64``, and the drawings of two clips had one title."""
    cases = [records.case(name, 64) for name in ("fc", "fc(activation=true)")]
    small = replace(cases[0], clip=Clip(1, 8, 1, 32, 32))
    drawn = list(figures.get("quality-probe").build(results(records.probed(0.5, 0.5, of=of) for of in (*cases, small))))
    assert re.findall(r">(fc[^<]* 64)<", svg(drawn[0])) == ["fc 64", "fc(activation=true) 64"]
    assert [drawing.title.rpartition(", ")[2] for drawing in drawn] == ["clip 1x16x3x64x64", "clip 1x8x1x32x32"]


def test_each_task_has_a_panel_and_its_own_chart(default):
    (by_size,) = default[1]["quality-by-size"]
    text = svg(by_size)
    for words in ("identity: test accuracy", "direction: test accuracy", "Latency of a call", "chance"):
        assert words in text
    assert [drawing.title.partition(":")[0] for drawing in default[1]["quality-cost"]] == ["identity", "direction"]


def test_each_configuration_shows_its_probability_on_the_front(default):
    identity = svg(default[1]["quality-cost"][0])
    assert re.search(r"gmp 32, front over 99 %", identity)
    assert re.search(r"fc 8, front under 1 %", identity)
    assert "flatten" not in identity


def test_memory_sets_mark_sizes_and_counts_for_the_front():
    def identity(run_records):
        drawings = figures.get("quality-cost").build(results(run_records))
        return next(drawing for drawing in drawings if drawing.title.startswith("identity"))

    plain = records.quality_records()
    drawing = identity(plain)
    assert drawing.title == "identity: accuracy against latency of a call and peak memory"
    sizes = [float(mark.get_sizes()[0]) for mark in drawing.figure.axes[0].collections]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 5 * sizes[0]
    assert re.search(r"spatial-softmax 64, front under 1 %", svg(drawing))
    frugal = [
        replace(record, readings=(*(r for r in record.readings if r.metric.name != "cpu_peak_tensor_bytes"),
                               records.reading("cpu_peak_tensor_bytes", 2**20)))
        if record.case.scenario == "inference" and "softmax" in record.case.id else record
        for record in plain
    ]  # fmt: skip
    assert re.search(r"spatial-softmax 64, front over 99 %", svg(identity(frugal)))
    unknown = [replace(record, readings=tuple(r for r in record.readings if r.metric.name != "cpu_peak_tensor_bytes"))
               for record in plain]  # fmt: skip
    assert identity(unknown).title == "identity: accuracy against latency of a call"
    assert "smaller mark" not in identity(unknown).caption


def test_an_architecture_without_a_sound_run_has_no_point():
    def drawn(flag):
        tried = [records.lesson(0.9, of=records.case("fc", size), flag=flag) for size in (32, 64)]
        return svg(next(figures.get("quality-by-size").build(results(tried))))

    assert drawn(None).count("PathCollection") == 2
    assert "PathCollection" not in drawn("dead_run")


def test_marks_are_hollow_where_seeds_failed_or_collapsed():
    lost = {32: [], 64: [records.failed(records.lesson(seed=9, of=records.case("fc", 64)).case)],
            128: [records.lesson(0.1, seed=9, of=records.case("fc", 128), flag="dead_run")]}  # fmt: skip
    tried = [records.lesson(0.9, seed=seed, of=records.case("fc", size)) for size in lost for seed in range(2)]
    (drawing,) = figures.get("quality-by-size").build(results([*tried, *itertools.chain(*lost.values())]))
    marks = sorted(drawing.figure.axes[0].collections, key=lambda mark: mark.get_offsets()[0][0])
    hollow = [to_rgb(mark.get_facecolor()[0][:3]) == to_rgb(style.PAPER) for mark in marks]
    assert hollow == [False, True, True]


def test_quality_by_size_uses_costs_of_the_same_clip():
    """Quality on longer clips was drawn above the latencies of the shorter clips."""
    tried = []
    for frames in (8, 16):
        for size in (32, 64):
            of = records.case("fc", size, clip=Clip(frames=frames))
            tried += [records.lesson(0.9, of=of), records.record(of, latency=frames * 1e-3)]
    captions = [drawing.caption for drawing in figures.get("quality-by-size").build(results(tried))]
    for caption, frames in zip(captions, (8, 16), strict=True):
        assert f"cost, without variants, on clip 1x{frames}x3x64x64." in caption


@pytest.mark.parametrize("measured", [set(), {"macs", "flops"}], ids=["none", "of macs alone"])
def test_quality_without_a_cost_to_draw_does_not_mention_cost(measured):
    """A run with ``--metrics macs`` had an empty panel of parameters."""
    models = [records.case("fc", size) for size in (32, 64)]
    tried = [records.lesson(0.9, seed=seed, of=model) for model in models for seed in range(2)]
    costs = map(records.record, models if measured else ())
    tried += [replace(cost, readings=tuple(r for r in cost.readings if r.metric.name in measured)) for cost in costs]
    [drawing] = figures.get("quality-by-size").build(results(tried))
    assert drawing.title == "Quality against LSTM input size"
    assert "cost" not in drawing.caption


def test_a_single_size_is_not_drawn_against_sizes():
    assert not [*figures.get("quality-by-size").build(results([records.lesson(0.9), records.lesson(0.8, seed=1)]))]


def test_optimizer_and_compiler_graphs_have_their_own_times():
    step = replace(
        records.record(records.case(scenario="train")), readings=(records.reading("latency_s_optimizer", 1e-3),)
    )
    compiled = replace(
        records.record(records.case(variant="compile")), readings=(records.reading("latency_s_graphs", 2e-3),)
    )
    case_results = results([*records.default_records(), step, compiled])
    pictures = {drawing.name: svg(drawing) for drawing in figures.get("stages").build(case_results)}
    assert "1 ms" in pictures["stages-latency_s-optimizer"]
    assert ">compiler's graphs<" in pictures["stages-latency_s-graphs"].replace("&apos;", "'")


def test_no_stage_time_is_drawn_twice():
    """For trainings alone, the first figure has all stage times; compiled cases have the optimizer's time too."""

    def timed(variant, *stages):
        case = records.case(scenario="train", variant=variant)
        return replace(records.record(case), readings=tuple(records.reading(f"latency_s_{s}", 1e-3) for s in stages))

    def names(*run_records):
        return [
            drawing.name for drawing in figures.get("stages").build(results(run_records)) if "latency" in drawing.name
        ]

    eager, compiled = timed("eager", "optimizer"), timed("compile", "graphs", "optimizer")
    assert names(eager) == ["stages-latency_s"]
    assert names(compiled) == ["stages-latency_s"]
    assert names(eager, compiled) == ["stages-latency_s", "stages-latency_s-graphs"]


@pytest.mark.parametrize(
    ("stages", "end"), [(0.4e-3, "1.00 ms (sum 400 µs)"), (0.97e-3, "1.00 ms"), (1.4e-3, "1.00 ms (sum 1.40 ms)")]
)
def test_stages_that_do_not_sum_to_the_call_are_noted(stages, end):
    record = records.record(latency=1e-3, samples=0)
    timed = replace(
        record, readings=(records.reading("latency_s", *[1e-3] * 9), records.reading("latency_s_lstm", stages))
    )
    drawings = {drawing.name: drawing for drawing in figures.get("stages").build(results([timed]))}
    drawing = drawings["stages-latency_s"]
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == [end]
    assert ("do not sum to the call" in drawing.caption) == ("sum" in end)


def test_a_stages_time_is_its_share_of_the_stated_latency():
    """The stage was timed in one visit, during which the machine was twice as slow as in the others.

    The figure allowed for that, and ``results.csv`` did not.
    """
    whole, lstm = (
        records.reading("latency_s", *[1e-3] * 8, *[2e-3] * 4),
        records.reading("latency_s_lstm", *[1.5e-3] * 4),
    )
    record = replace(
        records.record(samples=0),
        visits=tuple(Visit(number) for number in range(3)),
        readings=(replace(whole, visits=(4, 4, 4)), replace(lstm, visits=(0, 0, 4))),
    )
    (result,) = results([record])
    assert part_of_call(result, metrics.LATENCY.part("lstm")) == pytest.approx(0.75 * result.latency.median)
    assert table.row_of(result)["latency_s_lstm"] == pytest.approx(0.75e-3)
    assert result.latency.median == pytest.approx(1e-3)


def test_the_memory_of_a_training_by_stage_sums_to_its_peak():
    """The optimizer's state, a kind of memory, was drawn as a stage too: 516 MiB stood beside a peak of 387 MiB."""
    stages = {"backbone": 1.0, "reducer": 256.0, "lstm": 2.0, "other": 128.8}
    kinds = {"weights": 64.5, "gradients": 64.5, "optimizer": 129.0, "temporaries": 129.8}
    parts = [records.reading(f"cpu_peak_tensor_bytes_{name}", 2**20 * size) for name, size in (stages | kinds).items()]
    peak = records.reading("cpu_peak_tensor_bytes", 2**20 * sum(stages.values()))
    assert sum(stages.values()) == pytest.approx(sum(kinds.values()))
    case_results = results([Record(records.case("fc", 128, scenario="train"), "ok", (peak, *parts))])
    (drawing,) = figures.get("stages").build(case_results)
    (by_kind,) = figures.get("memory-by-kind").build(case_results)
    texts = [[text.get_text() for text in chart.figure.axes[0].texts] for chart in (drawing, by_kind)]
    assert texts == [["388 MiB"], ["388 MiB"]]
    assert "optimizer" not in svg(drawing)


def test_memory_by_kind_has_the_pick_and_the_largest_others():
    cases = [records.case("fc", 8 * (number + 1)) for number in range(20)]
    timed = [records.record(of, latency=1e-3 * (number + 1)) for number, of in enumerate(cases)]
    (drawing,) = figures.get("memory-by-kind").build(results(timed))
    names = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert names == [f"fc {size:,}" for size in (8, *range(48, 161, 8))]


def test_of_several_sizes_the_stages_are_of_the_one_nearest_to_128():
    sizes = (8, 100, 512)
    timed = [records.record(records.case("fc", size), latency=1e-3 * n) for n, size in enumerate(sizes, start=1)]
    drawing = next(iter(figures.get("stages").build(results(timed))))
    assert [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()] == ["fc 100"]


@pytest.mark.parametrize(
    ("cases", "row"),
    [
        ([records.case("fc", 8), records.case("fc", 64)], "a row is a size, all else alike"),
        ([records.case("fc", 8), records.case("gap")], "a row is a reducer at its fastest, or a pick by cost"),
        ([Case(Whole(Choice("net:build")))], "a row is a model, all else alike"),
    ],
)
def test_the_rows_of_the_decision_are_named(cases, row):
    timed = [records.record(of, latency=1e-3) for of in cases]
    (drawing,) = figures.get("reducers").build(results(timed))
    assert row in drawing.caption


def test_a_part_too_thin_to_see_is_not_in_the_legend():
    """Every time by stage named a head, which no model had: it was the time of nothing, a microsecond."""
    readings = [records.reading(f"latency_s{part}", seconds)
                for part, seconds in (("", 10e-3), ("_backbone", 6e-3), ("_lstm", 4e-3), ("_head", 1e-6))]  # fmt: skip
    (drawing,) = figures.get("stages").build(results([replace(records.record(), readings=tuple(readings))]))
    assert [text.get_text() for text in drawing.figure.axes[0].get_legend().get_texts()] == ["backbone", "LSTM"]


def test_the_sizes_of_models_without_layer_norm_are_not_those_of_all():
    """The figure left out the task's best configuration, which has a LayerNorm, and did not say so."""
    tried = [
        records.lesson(0.8, seed=seed, of=records.case(name, parts={"layer_norm": norm}))
        for name, norm in (("gap", False), ("spatial-softmax", False), ("gap", True))
        for seed in range(2)
    ]
    (drawing,) = figures.get("quality-by-size").build(results(tried))
    assert drawing.title.endswith(", conv, lstm128 without LayerNorm, clip 1x16x3x64x64")


def test_a_call_by_stage_has_the_digits_of_its_interval():
    """The bar read 253 µs, the table 250 µs."""
    calls = records.reading("latency_s", *[2.1e-4] * 9, *[2.534e-4] * 9, *[3e-4] * 9)
    timed = replace(records.record(samples=0), readings=(calls, records.reading("latency_s_lstm", 2.5e-4)))
    (drawing,) = figures.get("stages").build(results([timed]))
    assert [text.get_text() for text in drawing.figure.axes[0].texts] == ["250 µs"]


@pytest.mark.parametrize("end", [970 * 2**10, 22.8 * 2**20, 3.2 * 2**20, 700.0, 2.9, 767 * 2**20])
def test_labels_of_bytes_below_bars_leave_room_between_them(end):
    """Beside long texts, "512 KiB" touched "768 KiB"."""
    case_results = results([records.record(records.case(name), samples=0) for name in ("gap", "gmp")])
    axes = bars({result: {"weights": end} for result in case_results}, {"weights": ("weights", "#555555")},
                ["970 KiB, predicted +0.1 %"] * 2, Margins(140, -0.7, 4), "B")  # fmt: skip
    axes.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(boxes) >= 2
    assert all(right.x0 - left.x1 > 5 for left, right in itertools.pairwise(boxes))


def test_labels_below_bars_have_the_same_decimals():
    """They were "0", "2.5 ms", "5 ms"."""
    (result,) = results([records.record(samples=0)])
    axes = bars({result: {"lstm": 7.4e-3}}, {"lstm": ("LSTM", "#555555")}, ["7.4 ms"], Margins(140, -0.7, 4), "s")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2.5 ms", "5.0 ms"]


@pytest.mark.parametrize("minutes", [1, 24 * 60])
def test_a_course_has_round_sizes_and_dates_that_do_not_overlap(minutes):
    """Ticks were at 4.768 MiB, and the times of runs on one day overlapped."""
    starts = [str(np.datetime64("2026-11-22T12:00") + minutes * run) for run in range(12)]
    values = tuple([5.0 * 2**20] * 7 + [9.6 * 2**20] * 5)
    points = tuple(RunValue("r", f"{start}Z", "", False, size) for start, size in zip(starts, values, strict=True))
    series = Course(Series("gap", "e1", "p", points), values, values)
    axes = course.draw(series, metrics.CPU_PEAK, "gap", "gap").figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{size} MiB" for size in range(5, 11)]
    axes.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert len(boxes) >= 3
    assert all(right.x0 - left.x1 > 5 for left, right in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("values", "unit", "texts"),
    [
        ((1.95e-3, 2e-3, 2.05e-3, 2.1e-3), "s", ["1.95 ms", "2.00 ms", "2.05 ms", "2.10 ms"]),
        ((2e-3, 3e-3), "s", ["2 ms", "3 ms"]),
        ((980e-6, 1e-3, 1.02e-3), "s", ["980 µs", "1.00 ms", "1.02 ms"]),
        ((1.5 * 2**40, 20_000 * 2**40), "B", ["1.5 TiB", "2e+04 TiB"]),
        ((0.95, 0.975, 1.0), "share", ["95.0 %", "97.5 %", "100.0 %"]),
        ((-0.05, 1e-17, 0.05), "points", ["-5", "0", "5"]),
    ],
)
def test_the_ticks_of_a_linear_axis_have_the_same_decimals(values, unit, texts):
    assert log_axes.even_labels(values, unit) == texts


@pytest.mark.parametrize(("cell", "crossover"), [("lstm", "6,784"), ("gru", "9,088")])
def test_figures_by_size_name_the_cell(cell, crossover):
    """In a run of GRUs they said "LSTM = conv FLOPs" and "LSTM input size"."""
    name = cell.upper()
    models = [records.case("fc", size, parts={"rnn": Recurrent(cell)}) for size in (2_048, 4_096)]
    run_records = [record for of in models for record in (records.record(of), records.lesson(0.9, of=of))]
    case_results = results(run_records)
    by_size, curve, quality, stages = (
        next(figures.get(figure).build(case_results)) for figure in ("by-size", "curve", "quality-by-size", "stages")
    )
    (probed,) = figures.get("quality-probe").build(results([records.probed(0.5, 0.5, of=models[0])]))
    assert f"the number is the {name} input size" in probed.caption
    assert f"with its {name} input size" in stages.caption
    assert name in [text.get_text() for text in stages.figure.axes[0].get_legend().get_texts()]
    assert f"{name} = conv FLOPs at D = {crossover}" in svg(by_size)
    assert f"At the dashed size D the {name} takes" in by_size.caption
    for drawing in (by_size, curve, quality):
        assert f"{name} input size" in drawing.title
        assert drawing.figure.axes[-1].get_xlabel() == f"{name} input size"
    data = payload(records.run_of(run_records), case_results)
    assert (data["cell"], data["axes"][0]["words"]) == (name, f"{name} input size")


def test_static_metrics_alone_leave_no_empty_latency_chart():
    case_results = results(RUNS["static"]())
    assert [drawing.axes.y.option for drawing in figures.get("by-size").build(case_results)] == [
        "params",
        "flops",
        "memory",
        "cold",
    ]


def test_every_axis_states_its_better_direction(default):
    for drawing in default[1]["trade-off"]:
        assert svg(drawing).count("lower is better") == 2


def test_every_built_in_reducer_has_a_unique_look():
    looks = [style.look(name) for name in style.BUILT_IN]
    assert len(set(looks)) == len(looks)
    assert {marker for _, marker in looks}.isdisjoint(style.FREE_MARKERS)


def test_a_users_reducer_looks_the_same_in_every_process():
    assert style.look("mypkg.pool:build") == ("#0f5a87", "d")
    assert style.look("mypkg.pool:other") == ("#4b1e1e", "8")


@pytest.mark.parametrize("count", [2, 11, 36])
def test_users_models_on_a_page_do_not_look_alike(count):
    """Of seven models on a page, two had the same colour and mark in four of ten cases."""
    names = [f"mypkg.net:model{number}" for number in range(count)]
    with style.distinguish(["gap", *reversed(names)]):
        looks = {name: style.look(name) for name in ("gap", *names)}
    assert len(set(looks.values())) == count + 1
    assert len({colour for colour, _ in looks.values()}) == min(count + 1, len(style.HUES))
    assert looks["gap"] == style.look("gap")
    own_markers = [marker for name, (_, marker) in looks.items() if name != "gap"]
    assert len(set(own_markers)) == min(count, len(style.FREE_MARKERS)), "colours alone told them apart"
    with style.distinguish(["gap", *names]):
        assert looks == {name: style.look(name) for name in ("gap", *names)}, "their order changes nothing"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_stages_differ_in_lightness(scheme):
    """In the dark page, reducer and LSTM had the same grey for readers who see no colour."""
    css = resources.files("convbench.report.page").joinpath("assets/style.css").read_text("utf-8")
    lines = re.findall(r"--backbone: .*", css)
    hues = dict(re.findall(r"--(\w+): (#\w+);", lines[scheme == "dark"]))
    assert scheme == "dark" or hues == style.STAGE_HUES
    paper = np.array(to_rgb("#171c22" if scheme == "dark" else "#ffffff"))

    def light(rgb):
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05

    levels = {stage: light(np.array(to_rgb(hue))) for stage, hue in hues.items()}
    for stages in (("backbone", "reducer", "lstm", "other"), ("lstm", "graphs", "other")):
        assert all(max(pair) / min(pair) > 1.2 for pair in pairwise(sorted(levels[stage] for stage in stages)))
    assert all(max(level, light(paper)) / min(level, light(paper)) >= 3 for level in levels.values())


def test_more_models_than_looks_share_some():
    names = [f"mypkg.net:model{number}" for number in range(50)]
    with style.distinguish(names):
        assert len({style.look(name) for name in names}) == len(style.HUES) * len(style.FREE_MARKERS)


def test_a_model_has_its_usual_look_outside_of_the_page():
    usual = style.look("mypkg.pool:build")
    with style.distinguish(["gap", "mypkg.pool:build"]):
        assert style.look("mypkg.pool:build") != usual, "gap has its colour"
    assert style.look("mypkg.pool:build") == usual


SIGHTS = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "no green": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
}
"""Linear red, green and blue as seen by readers without one kind of cone (Machado 2009)."""


def linear(colour):
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    cones = np.array([(0.4122, 0.5363, 0.0514), (0.2119, 0.6807, 0.1074), (0.0883, 0.2817, 0.6300)])
    mixed = np.array([(0.2105, 0.7936, -0.0041), (1.9780, -2.4286, 0.4506), (0.0259, 0.7828, -0.8087)])
    return mixed @ np.cbrt(np.clip(cones @ rgb, 0, None))


def palettes():
    css = resources.files("convbench.report.page").joinpath("assets/style.css").read_text("utf-8")
    papers, hues = re.findall(r"--paper: (#\w{6})", css), re.findall(r"--s\d+: (#\w{6})", css)
    assert tuple(hues[:12]) == style.HUES
    return [(papers[0], hues[:12]), (papers[1], hues[12:])]


@pytest.mark.parametrize("sight", SIGHTS)
def test_twelve_colours_stay_distinct_for_colour_blind_readers(sight):
    for _, hues in palettes():
        colours = np.array([oklab(np.clip(np.array(SIGHTS[sight]) @ linear(hue), 0, 1)) for hue in hues])
        apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.eye(len(hues))
        assert apart.min() > 0.08, sight


def test_hues_contrast_with_their_background():
    def luminance(colour):
        return float(np.array((0.2126, 0.7152, 0.0722)) @ linear(colour)) + 0.05

    for paper, hues in palettes():
        contrasts = [luminance(hue) / luminance(paper) for hue in hues]
        assert min(max(ratio, 1 / ratio) for ratio in contrasts) >= 3


def test_the_mark_of_many_ratios_is_their_median():
    many = [Interval(1 + i / 10, 1.0, 3.0) for i in range(14)]
    axes = ratios.draw({"gap": many, "fc": many[:2]}, ratios.ends(many), 1.65, "ratio")
    gap, fc = (places.get_offsets()[:, 0].tolist() for places in axes.collections if places.get_gid() != "noise")
    assert gap == pytest.approx([1.65])
    assert fc == pytest.approx([1.0, 1.1])


def test_bars_share_one_scale_and_an_overlong_bar_is_cut():
    names = ("gap", "gmp", "gem", "spatial-softmax", "flatten")
    drawing = next(figures.get("stages").build(results([records.record(records.case(name)) for name in names])))
    axes = drawing.figure.axes[0]
    ends = [max(bar.get_x() + bar.get_width() for bar in axes.patches if int(bar.get_y() + 0.5) == row)
            for row in range(len(names))]  # fmt: skip
    wholes = sorted(records.counts(records.case(name))["params"] for name in names)
    assert ends == wholes
    assert axes.get_xlim()[1] == wholes[3]
    assert [text.get_text() for text in axes.texts][-1] == "→ 67.2 M"
    assert "cut" in drawing.caption


@given(st.floats(1e-9, 1e12), st.floats(1.0001, 1e9), st.sampled_from(["s", "B", "1", "size"]))
def test_ticks_are_few_and_within_the_axis(low, stretch, unit):
    high = low * stretch
    ticks = log_axes.ticks(low, high, unit)
    assert all(low * (1 - 1e-9) <= tick <= high * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(ticks)
    assert 1 <= len(ticks) <= 24


@given(st.floats(1e-9, 1e9), st.floats(0.3, 0.9), st.sampled_from([3, 5]))
def test_a_small_number_of_ticks_is_well_spaced(low, decades, most):
    """On an axis to 460 µs, 100 µs and 150 µs were printed over each other, and there was no tick to their right."""
    ticks = log_axes.ticks(low, low * 10**decades, "s", most)
    assert 2 <= len(ticks) <= most + 1
    gaps = [math.log10(after / before) for before, after in pairwise(ticks)]
    assert min(gaps) > 0.9 * decades / most


def test_the_dot_plot_of_a_short_span_has_round_ticks():
    assert log_axes.ticks(71e-6, 460e-6, "s", max_ticks=3) == pytest.approx([1e-4, 2e-4])


@given(st.lists(st.floats(1e-9, 1e15), min_size=1))
def test_axis_limits_lie_beyond_all_values(values):
    low, high = log_axes.limits(values)
    assert low < min(values) <= max(values) < high


@pytest.mark.parametrize(("value", "unit", "text"), [
    (5e-3, "s", "5 ms"), (2e-5, "s", "20 µs"), (64 * 2**20, "B", "64 MiB"), (1e7, "1", "10 M"), (4096, "size", "4,096"),
    (1.5, "×", "1.5×"), (1e9, "FLOP", "1 G"),
])  # fmt: skip
def test_a_tick_is_labelled_in_its_unit_with_a_prefix(value, unit, text):
    assert log_axes.label(value, unit) == text


def test_a_marker_keeps_its_area():
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d", style.marker_path("s"))]
    assert max(numbers) - min(numbers) == pytest.approx(math.sqrt(style.marker_area("s")), abs=0.1)


def test_importing_the_figure_registry_loads_neither_torch_nor_matplotlib():
    code = "import sys, convbench.report.drawing; print({'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_drawing_imports_neither_torch_nor_pyplot():
    code = (
        "import sys; from convbench.core.registry import figures; list(figures); import convbench.report.page.run; "
        "print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_disturbed_minute_appears_in_the_machine_figure():
    def at(minute, reference):
        readings = (*records.record().readings, records.reading("reference_s", *[reference] * 5))
        return replace(records.record(records.case("fc", 8 + minute)), readings=readings,
                       started=f"2026-11-22T12:{minute:02}:00Z")  # fmt: skip

    case_results = results([at(minute, 40e-3 if minute in (4, 5) else 1.3e-3) for minute in range(9)])
    (drawing,) = figures.get("machine").build(case_results)
    assert drawing.title == "The machine during the run: 2 of 9 visits disturbed"
    assert svg(drawing).count('id="disturbed-0"') == 1
    (quiet,) = figures.get("machine").build([result for result in case_results if result.lstm_input not in (12, 13)])
    assert quiet.title == "The machine during the run: no visit disturbed"


@pytest.mark.parametrize(("step", "unit"), [(1, "Seconds"), (60, "Minutes"), (3600, "Hours"), (86_400, "Days")])
def test_the_machine_figures_axis_has_a_unit_that_fits(step, unit):
    """A run that was resumed after two weeks had an axis up to 20000 minutes."""

    def at(number):
        start = datetime(2026, 11, 12, tzinfo=UTC) + timedelta(seconds=step * number)
        readings = (*records.record().readings, records.reading("reference_s", 1.3e-3))
        return replace(records.record(records.case("fc", 8 + number)), readings=readings, started=start.isoformat())

    (drawing,) = figures.get("machine").build(results([at(number) for number in range(4)]))
    assert f"{unit} since the first visit" in svg(drawing)


def test_each_reducer_has_one_row_that_marks_ties():
    cases = [records.record(records.case("gap"), latency=1e-3), records.record(records.case("gem"), latency=1.01e-3),
             records.record(records.case("fc", 8), latency=3e-3), records.record(records.case("fc", 32), latency=4e-3),
             records.record(records.case("fc", 8, variant="compile"), latency=1e-4)]  # fmt: skip
    (drawing,) = figures.get("reducers").build(results(cases))
    assert drawing.marks == {"marks-0": [0], "marks-1": [1], "marks-2": [2]}
    assert svg(drawing).count(" tied<") == 2


def test_plot_and_table_show_pick_and_fastest_of_a_reducer():
    """Of three tied sizes the smallest was advised, but only the fastest was shown."""
    seconds = {8: 1.02e-3, 32: 1e-3, 128: 1.01e-3}
    run_records = [records.record(records.case("fc", size), latency=time) for size, time in seconds.items()]
    run_records.append(records.record(records.case("gap"), latency=3e-3))
    case_results = results(run_records)
    assert headline_of(case_results).pick.lstm_input == 8
    (drawing,) = figures.get("reducers").build(case_results)
    assert drawing.marks == {"marks-0": [1], "marks-1": [0], "marks-2": [3]}
    ranking = view(records.run_of(run_records), case_results)["ranking"]
    assert [(row["lstm_input"], row["pick"]) for row in ranking] == [("32", ""), ("8", "pick"), ("32", "")]


@pytest.mark.parametrize(
    "name",
    [
        "gap 32",
        "a_package_of_mine.models.of_the_year:WideWideWideNetwork",
        "$\\m{",
        "W" * 60,
        pytest.param("n" * 100_000, id="long"),
    ],
)
def test_a_long_name_is_shortened_to_its_width(name):
    shown = style.fit(name, 114, 10)
    assert TextPath((0, 0), shown.replace("$", "S"), size=10).get_extents().width <= 114
    assert shown.endswith(name[-12:]) if ":" in name else shown[:6] == name[:6]


@pytest.mark.parametrize(("second", "is_joined"), [((0.9, 0.5), [False, True]), ((0.9, 0.9), [False, False])])
def test_a_label_that_is_as_near_to_another_mark_is_joined_to_its_own_by_a_line(second, is_joined):
    """Two marks of equal height: the label of the right one lay above the left one, which it seemed to name."""
    axes = style.canvas()
    label(axes, [(0.5, 0.5), second], ["spatial-softmax 64, front under 1 %"] * 2)
    assert [text.arrow_patch is not None for text in sorted(axes.texts, key=lambda text: text.xy)] == is_joined


def test_labels_cover_no_line_no_mark_and_no_label():
    """In the report of the default suite, "spatial-softmax" lay on a line and "gap, gmp" on marks."""
    axes = style.canvas()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    lines = [[(0.0, 0.5), (0.5, 0.52), (1.0, 0.55)], [(0.0, 0.2), (0.5, 0.48), (1.0, 0.9)], [(0.5, 0.3), (0.5, 0.7)]]
    for line in lines:
        axes.plot(*zip(*line, strict=True))
    places = [(0.5, 0.5), (0.52, 0.47), (0.48, 0.53), (0.5, 0.44)]
    axes.scatter(*zip(*places, strict=True))
    label(axes, places, ["spatial-softmax", "gap, gmp", "gem", "gdconv"])
    renderer = axes.figure.canvas.get_renderer()
    for text in axes.texts:
        text.update_positions(renderer)
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    drawn = [line.get_path().transformed(axes.transData) for line in axes.lines]
    assert not any(line.intersects_bbox(box, filled=False) for line in drawn for box in boxes)
    assert [box.count_contains(axes.transData.transform(places)) for box in boxes] == [0] * 4
    assert [box.count_overlaps(boxes) for box in boxes] == [1] * 4


@pytest.mark.parametrize("across", [0.2, 0.5, 0.9])
def test_a_label_too_long_for_either_side_of_its_mark_stays_in_the_figure(across):
    """The label "fc(activation=true) 32 on conv with lstm128, ..." was cut off at the edge of the figure."""
    axes = style.canvas()
    label(axes, [(across, 0.5)], ["fc(activation=true) 32 on conv(channels=64) with lstm128, front under 1 %"])
    (box,) = [text.get_window_extent() for text in axes.texts]
    assert (box.x0 >= 0, box.x1 <= axes.figure.bbox.x1) == (True, True)


def test_a_metric_of_extreme_values_has_figures():
    """`report --format svg` ended with "math range error" for a probe of one's own that gave 1e300."""
    score = records.Metric("score", "1", "higher")
    extreme = [
        replace(record, readings=(Reading(score, (number,)),))
        for record in map(records.record, map(records.case, ("gap", "gmp", "fc")))
        for number in [{"gap": 1e300, "gmp": 2.0, "fc": 1e-300}[record.case.architecture.reducer.name]]
    ]
    assert any("score" in drawing.name for drawing in figures.get("by-size").build(results(extreme)))


def test_byte_ticks_in_a_narrow_span_are_round_in_mib():
    places = log_axes.ticks(15 * 2**20, 21 * 2**20, "B")
    assert [log_axes.label(place, "B") for place in places] == ["16 MiB", "18 MiB", "20 MiB"]


@pytest.mark.parametrize(("low", "high"), [(0.8e6, 1.6e6), (3e5, 4.5e5)])
def test_byte_ticks_below_a_unit_are_round_in_the_smaller_unit(low, high):
    """An axis was labelled 819.2 KiB, 921.6 KiB, 1 MiB."""
    places = log_axes.ticks(low, high, "B")
    assert len(places) >= 2
    assert all(place % 2**14 == 0 for place in places)


@pytest.mark.parametrize(("name", "axis"), [("by-size", "y"), ("trade-off", "y"), ("curve", "y")])
def test_an_axis_of_latencies_holds_the_whole_intervals(name, axis):
    """The bars of a noisy case ended at the edge of the axes, as if its interval did."""
    noisy = [
        replace(
            records.record(records.case("fc", size), samples=0),
            visits=tuple(Visit(number) for number in range(3)),
            readings=(replace(records.reading("latency_s", 1e-3, 5e-3, 2e-3), visits=(1, 1, 1)),
                      *records.record(records.case("fc", size), samples=0).readings),
        )
        for size in (8, 64)
    ]  # fmt: skip
    case_results = results(noisy)
    low, high = (end for end in case_results[0].latency[1:])
    drawing = next(iter(figures.get(name).build(case_results)))
    bottom, top = getattr(drawing.figure.axes[0], f"get_{axis}lim")()
    assert bottom < low < high < top


def test_a_legend_of_two_rows_reads_in_the_order_of_the_bars():
    """It read backbone, LSTM, head, other, and then reducer in a second row."""
    words = ("backbone", "reducer", "LSTM", "head", "other")
    (result,) = results([records.record()])
    looks = {word: (word, style.HUES[number]) for number, word in enumerate(words)}
    axes = bars({result: dict.fromkeys(words, 1.0)}, looks, ["5"], Margins(right=80, legend=-0.5, columns=4), "1")
    axes.figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in axes.get_legend().get_texts()}
    assert sorted(boxes, key=lambda word: (-round(boxes[word].y0 / 10), boxes[word].x0)) == list(words)
