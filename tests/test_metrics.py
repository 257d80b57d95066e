"""Test that a metric describes itself: one file adds a metric everywhere, from the probe to the budget of advise."""

from __future__ import annotations

import ast
import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import command
import pytest
import records
from rich.console import Console
from typer.testing import CliRunner

import convbench
from convbench.analysis import table
from convbench.analysis.costs.pareto import fronts
from convbench.analysis.results import result, results, shown_metrics
from convbench.cli.app import app
from convbench.core import metrics
from convbench.core.errors import ConvbenchError
from convbench.core.metric import EVERYWHERE, Metric
from convbench.core.record import Reading
from convbench.core.registry import exports, figures, probes
from convbench.core.storage import store
from convbench.measure import harness
from convbench.report.page import rows
from convbench.report.page import run as page
from convbench.report.page.payload import payload
from convbench.report.terminal.table import ResultTable, line
from convbench.report.words import units

PACKAGE = '''
"""How many frames a joule pays for, as a shop's own power meter says."""

from convbench.core.metric import Metric
from convbench.core.record import Reading

FRAMES = Metric("frames_per_j", "frames/J", "higher", title="Frames a joule",
                description="Frames that a joule pays for, by the shop's meter.")


def meter(subject, protocol):
    """Frames a joule: a fixed power, so that what is measured is known."""
    subject.run()
    size = subject.case.architecture.lstm_input
    yield Reading(FRAMES, (2000.0 / size, 4000.0 / size, 3000.0 / size))
'''
SUITE = """
name: shop
matrix:
  backbone: {name: conv, channels: 8}
  reducer: [gap, avg-k]
  rnn: {hidden: 8}
  clip: {batch: 1, frames: 2, channels: 3, height: 16, width: 16}
metrics: [params, macs, "shop.power:meter"]
protocol: {visits: 1}
"""
ROOMS = Path(convbench.__file__).parent
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Directory and output of a run, in another process, whose suite names a probe in the user's own package."""
    at = tmp_path_factory.mktemp("shop")
    (at / "shop").mkdir()
    (at / "shop" / "__init__.py").touch()
    (at / "shop" / "power.py").write_text(PACKAGE)
    (at / "shop.yaml").write_text(SUITE)
    done = command.convbench("run", "shop.yaml", "--out", "out", "--device", "cpu", cwd=at, path=at)
    assert done.returncode == 0, done.stderr
    return at / "out", done.stdout


@pytest.mark.slow
def test_a_users_probe_reaches_the_csv_and_the_terminal(shop):
    directory, printed = shop
    with (directory / "results.csv").open() as file:
        values = {row["reducer"]: float(row["frames_per_j"]) for row in csv.DictReader(file)}
    assert values == {"gap": 3000 / 8, "avg-k": 3000 / 128}
    heads = next(text.split() for text in printed.splitlines() if text.startswith("reducer"))
    assert heads == ["reducer", "LSTM", "in", "variant", "params", "MACs", "frames", "a", "joule"]
    assert "375 frames/J" in printed
    assert "latency" not in heads


@pytest.mark.slow
def test_a_machine_without_the_package_reports_a_users_metric(shop):
    """This process cannot import the package: everything it knows of the metric comes from the record."""
    directory, _ = shop
    assert "shop" not in sys.modules
    run, run_records = store.load(directory)
    (metric,) = metrics.foreign_metrics(run_records[0].readings)
    assert (metric.title, metric.unit, metric.better) == ("Frames a joule", "frames/J", "higher")
    data = payload(run, results(run_records))
    axis = next(entry for entry in data["axes"] if entry["name"] == "frames_per_j")
    assert (axis["words"], axis["better"], axis["column"]) == ("Frames a joule", "higher", "frames_per_j")
    assert set(data["table"]["frames_per_j"]["text"]) == {"375 frames/J", "23.4 frames/J"}
    assert [fact["words"] for fact in data["facts"]] == ["Frames a joule"]
    text = page.write(run, run_records, directory / "again.html").read_text("utf-8")
    assert text == (directory / "index.html").read_text("utf-8")
    assert "Frames a joule</button>" in text
    assert '<option value="frames_per_j">Frames a joule</option>' in text
    assert "Frames a joule · higher is better" in "".join(map(drawn, results_figures(run_records)))


def results_figures(run_records):
    return figures.get("by-size").build(results(run_records))


def drawn(drawing):
    return " ".join(label.get_text() for label in drawing.figure.axes[0].texts)


def test_a_narrow_terminal_shows_the_columns_of_static_metrics():
    static = [replace(records.record(records.case(name), samples=0)) for name in ("gap", "flatten")]
    static_readings = [tuple(r for r in record.readings if r.metric.name in ("params", "macs")) for record in static]
    run_records = [replace(record, readings=readings) for record, readings in zip(static, static_readings, strict=True)]
    console = Console(width=80, color_system=None, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(ResultTable(run_records))
    heads = console.export_text().splitlines()[1].split()
    assert heads == ["reducer", "LSTM", "in", "variant", "params", "MACs"]


@pytest.fixture
def quality(tmp_path):
    """A stored run with trials, whose costs have frames a joule: 100, 50, 25 and 12.5 by rising latency."""
    directory = tmp_path / "run"
    run_records, joules = records.quality_records(), iter((100.0, 50.0, 25.0, 12.5))
    run_records = [
        record
        if record.case.trial
        else replace(record, readings=(*record.readings, Reading(records.OWN[0], (next(joules),))))
        for record in run_records
    ]
    return records.stored(directory, run_records)


def advise(*arguments):
    done = CliRunner().invoke(app, ["advise", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split()), done.exception


def test_a_budget_is_a_minimum_if_higher_is_better(quality):
    task_options = ("--task", "direction", "--within", "8%")
    assert "direction: spatial-softmax" in advise(quality, *task_options)[1]
    code, out, _ = advise(quality, *task_options, "--budget", "frames_per_j=20frames/J")
    assert (code, "direction: spatial-softmax" in out) == (0, True)
    assert "Of 3 configurations within the budget" in out
    code, out, _ = advise(quality, *task_options, "--budget", "frames_per_j=1k")
    assert code == 3
    assert "Nearest: frames a joule 100 frames/J (the limit is 1.00 k frames/J)" in out


def test_a_generic_budget_works_like_the_named_option(quality):
    named = advise(quality, "--latency", "4.5ms", "--memory", "64MB", "--json")
    assert named[1] == advise(quality, "--budget", "latency=4.5ms", "--budget", "memory=64MB", "--json")[1]
    assert '"frames_per_j": 50.0' in named[1]


def test_budget_flops_means_the_same_as_equal_flops(quality):
    assert advise(quality, "--budget", "flops") == advise(quality, "--equal", "flops")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "latency"), "--budget latency: write it as name=value, such as latency=5ms"),
        (("--budget", "=5ms"), "--budget =5ms: write it as name=value"),
        (("--budget", "latency="), "--budget latency=: write it as name=value"),
        (("--budget", "latencie=5ms"), "--budget latencie: not a metric that advise weighs; did you mean 'latency'?"),
        (("--budget", "frames_per_j=5ms"), "write it as 12, 1.5k or 12frames/J"),
        (("--budget", "latency=5ms", "--latency", "4ms"), "latency has a limit already: give it once"),
        (("--budget", "steps=5"), "--budget steps: not a metric that advise weighs"),
    ],
)
def test_an_invalid_budget_is_refused_in_one_message(quality, arguments, message):
    code, _, error = advise(quality, *arguments)
    assert code == 1 and isinstance(error, ConvbenchError)
    assert message in str(error)


def test_a_front_respects_the_direction():
    better, worse = ({"gap": 10.0, "gmp": 5.0}, {"gap": 5.0, "gmp": 10.0})
    for joules, members in ((better, ["gap"]), (worse, ["gap", "gmp"])):
        case_results = results(
            replace(of, readings=(*of.readings, Reading(records.OWN[0], (joules[of.case.architecture.reducer.name],))))
            for of in (records.record(records.case(name), latency=t) for name, t in (("gap", 1e-3), ("gmp", 2e-3)))
        )
        (front,) = fronts(case_results, metrics.LATENCY, case_results[0].metric("frames_per_j")).values()
        assert [point.series for point in front] == members
    assert fronts(case_results, metrics.LATENCY, metrics.LSTM_INPUT) == {}


def test_exports_include_a_users_metric_if_they_support_its_direction():
    run_records = records.own_records()[:1]
    run = records.run_of(run_records)
    name = run_records[0].case.id
    assert "frames_per_j" in exports.get("bencher").build(run, run_records)[name]
    assert "frames_per_j" in exports.get("pytest-benchmark").build(run, run_records)["benchmarks"][0]["extra_info"]
    assert not any("frames_per_j" in entry["name"] for entry in exports.get("github-action").build(run, run_records))
    lower = replace(run_records[0], readings=(*run_records[0].readings, Reading(Metric("energy_j", "J"), (0.5,))))
    assert any(entry["name"].endswith("/energy_j") for entry in exports.get("github-action").build(run, [lower]))
    assert "frames a joule" in line(run_records[0])


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 0.0, -3.5, 1e300, 1e-300])
def test_any_value_of_a_users_metric_can_be_shown(odd, tmp_path):
    readings = tuple(Reading(replace(metric, unit=unit), (odd,)) for metric, unit in zip(
        records.OWN, ("<b>&\"'", "%", "J"), strict=True))  # fmt: skip
    run_records = [replace(records.record(), readings=(*records.record().readings, *readings))]
    text = page.write(records.run_of(run_records), run_records, tmp_path / "index.html").read_text("utf-8")
    assert "<b>&" not in text
    json.dumps(payload(records.run_of(run_records), results(run_records)), allow_nan=False)
    assert line(run_records[0])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Metric("status", "1"), "convbench has a column"),
        (Metric("latency_s_median", "s"), "convbench has a column"),
        (Metric("params", "J"), "convbench has a column"),
        (Metric("energy", "J", short="latency"), "convbench has a column or option"),
        (Metric("Energy (J)", "J"), "lower-case letters"),
    ],
)
def test_a_metrics_name_that_is_taken_is_refused(metric, message):
    with pytest.raises(ConvbenchError, match=message.replace("(", r"\(")):
        metrics.refuse_clash(metric)


def test_a_metric_declared_with_an_unknown_word_is_refused():
    with pytest.raises(ConvbenchError, match="known: lower, higher, neither"):
        Metric("energy", "J", "up")
    with pytest.raises(ConvbenchError, match="shown: unknown 'tabel'; known: table, page, axes, pin, advise"):
        Metric("energy", "J", shown=("page", "tabel"))


@pytest.mark.parametrize("name", ["lower", "higher"])
def test_a_stored_metric_is_read_back_as_declared(name, tmp_path):
    metric = Metric("energy_j", "J", name, "Energy", "What a call takes.", "E", "last", 4, ("axes",), "energy")
    of = replace(records.record(), readings=(*records.record().readings, Reading(metric, (1.0, 2.0))))
    records.stored(tmp_path / "run", [of])
    (again,) = store.load(tmp_path / "run")[1]
    assert again.readings[-1].metric == metric
    assert result(again).cost("energy") == 2.0
    assert again.samples("params") == of.samples("params")


# --- Every metric that ships ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", metrics.CATALOGUE.values(), ids=lambda metric: metric.name)
def test_every_shipped_metric_has_words_a_unit_and_places(metric):
    assert metric.title
    assert metric.description.endswith(".")
    assert metric.unit in {*units.COUNTED, "s", "B", "frames/s"}
    assert set(metric.shown) <= set(EVERYWHERE)
    for value in (0.0, 0.5, 1.0, 123456.0):
        assert units.cell(value, metric).strip()
        assert units.tick_scale(metric.unit)
    metrics.refuse_clash(metric) if metric not in metrics.DERIVED else None


def test_short_names_of_metrics_are_unique():
    options = [metric.option for metric in metrics.ALL if metric.shown]
    assert len(options) == len(set(options))
    assert len({metric.name for metric in metrics.ALL}) == len(metrics.ALL)


def test_every_reading_of_our_probes_is_in_the_catalogue():
    case = records.case("gap", variant="compile", scenario="train", clip=records.Clip(1, 2, 3, 16, 16))
    static = harness.select(["params", "macs", "prediction"])
    names = {reading.metric for reading in harness.measure(replace(case, variant=()), records.Protocol(
        max_warmup=0.01, max_time=0.01, min_samples=2)).readings}  # fmt: skip
    assert len(static) == 3
    assert len(names) > 30
    assert names <= set(metrics.CATALOGUE.values()), "declare these metrics in core/metrics.py"


def test_every_column_of_a_run_is_documented():
    """Every column of a CSV, except the codes of axes, has its meaning and unit in ``convbench list columns``."""
    documented = {column.name for column in table.columns()}
    runs = [*records.default_records(), *records.tried_records(), records.record(records.case(scenario="streaming"))]
    assert set(table.frame(runs).columns) <= documented
    listed = CliRunner().invoke(app, ["list", "columns"]).output
    assert all(f"  {name} " in listed for name in documented)
    assert tuple(column.name for column in table.columns())[: len(table.COLUMNS)] == table.COLUMNS
    assert "frames_per_j" in {column.name for column in table.columns(records.OWN)}


def test_a_metric_cannot_take_the_name_of_another_column():
    assert set(table.COLUMN_MEANINGS) <= metrics.RESERVED


def test_names_of_metrics_appear_only_in_core_metrics():
    """Names with an underscore appear outside ``core.metrics`` only as data of findings and in what a side reports to
    ``check``."""
    names = {metric.name for metric in metrics.CATALOGUE.values() if "_" in metric.name}
    literals = {}
    for path in ROOMS.rglob("*.py"):
        if path != ROOMS / "core" / "metrics.py":
            tree = ast.walk(ast.parse(path.read_text("utf-8")))
            literals[str(path.relative_to(ROOMS))] = {
                n.value for n in tree if isinstance(n, ast.Constant) and n.value in names
            }
    assert {name: values for name, values in literals.items() if values} == {
        "core/findings.py": {"graph_breaks"}, "report/words/findings.py": {"faults_per_call"},
        "plugins/probes/latency.py": {"faults_per_call"},
        "check/programs/flat_side.py": {"predicted_peak_bytes"},
    }  # fmt: skip


def test_the_page_sorts_by_columns_that_exist():
    case_results = results(records.own_records())
    data = payload(records.run_of([case_result.record for case_result in case_results]), case_results)
    for column in rows.columns(case_results):
        rank = data["table"][column.key]["rank"]
        assert not isinstance(rank, str) or rank in data["columns"]
    assert {axis["column"] for axis in data["axes"]} <= set(data["columns"])


def test_places_decide_where_a_metric_is_shown():
    hidden = replace(records.record(), readings=(Reading(Metric("energy_j", "J", shown=("axes",)), (1.0,)),))
    case_results = [result(hidden)]
    assert "energy_j" in [metric.name for metric in shown_metrics(case_results, "axes")]
    assert "energy_j" not in [metric.name for metric in shown_metrics(case_results, "table")]
    assert table.row_of(result(hidden))["energy_j"] == 1


# --- A stored run -----------------------------------------------------------------------------------------------------


def test_a_stored_run_gives_unchanged_csv_and_lines(tmp_path):
    """The golden files were written by the code from before metrics described themselves.

    Three times of stages differ from it in their last digit, because they are shares of the latency.
    """
    run, run_records = store.load(GOLDEN / "smoke")
    table.write_csv(tmp_path, run_records)
    assert (tmp_path / "results.csv").read_bytes() == (GOLDEN / "smoke" / "results.csv").read_bytes()
    store.start(tmp_path / "again", run)
    for record in run_records:
        store.append(tmp_path / "again", record)
    assert (tmp_path / "again" / "results.jsonl").read_bytes() == (GOLDEN / "smoke" / "results.jsonl").read_bytes()
    assert payload(run, results(run_records))["size"] == len(run_records)


def test_a_probe_that_cannot_be_imported_is_refused():
    with pytest.raises(ConvbenchError, match="cannot import 'nowhere"):
        harness.select(["nowhere:probe"])
    with pytest.raises(ConvbenchError, match="unknown metric 'latencie'; did you mean 'latency'"):
        harness.select(["latencie"])
    assert {plugin.name for plugin in probes} >= {"params", "latency"}
