"""Exports are what other tools read: pytest-benchmark compares ours, and its statistics agree."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest
from pytest_benchmark.stats import Stats
from records import case, failed, lesson, probed, reading, record, run_of
from records import stored as put

from convbench.core.metric import Metric
from convbench.core.record import Case, Choice, Reading, Whole
from convbench.core.registry import exports
from convbench.plugins.exports.bencher import LONGEST
from convbench.plugins.exports.pytest_benchmark import stats

FORMATS = {plugin.name: plugin.build for plugin in exports}


@pytest.fixture
def stored_run():
    records = [record(case("gap"), latency=2e-3), record(case("fc", 128), latency=5e-3), failed(case("gem"))]
    return run_of(records), records


@pytest.mark.parametrize("count", [1, 2, 5, 7, 8])
def test_statistics_match_pytest_benchmarks(count):
    samples = [0.0031, 0.0030, 0.0035, 0.0029, 0.0090, 0.0032, 0.0033, 0.0030][:count]
    theirs = Stats()
    for sample in samples:
        theirs.update(sample)
    ours = stats(samples)
    for name in ("min", "max", "mean", "stddev", "median", "iqr", "q1", "q3", "ld15iqr", "hd15iqr", "ops", "total"):
        assert ours[name] == pytest.approx(getattr(theirs, name)), name
    assert ours["outliers"] == theirs.outliers
    assert ours["rounds"] == theirs.rounds


def test_pytest_benchmark_compares_two_exported_runs(stored_run, tmp_path):
    for name in ("0001_a.json", "0002_b.json"):
        (tmp_path / name).write_text(json.dumps(FORMATS["pytest-benchmark"](*stored_run)))
    words = [sys.executable, "-m", "pytest_benchmark", "compare", "0001_a.json", "0002_b.json", "--csv=out.csv"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out.csv").read_text()
    assert "conv/gap/32/lstm128" in table
    assert "conv/fc/128/lstm128" in table
    assert "gem" not in table


def test_pytest_benchmark_gets_the_axes_that_a_case_has(stored_run):
    first, _ = FORMATS["pytest-benchmark"](*stored_run)["benchmarks"]
    assert (first["params"]["reducer"], first["params"]["device"]) == ("gap", "cpu")
    assert None not in first["params"].values()
    assert first["stats"]["iterations"] == 1


def test_github_action_benchmark_gets_a_name_unit_and_value(stored_run):
    entries = {entry["name"]: entry for entry in FORMATS["github-action"](*stored_run)}
    latency = entries["conv/gap/32/lstm128/1x16x3x64x64/eager/inference/cpu/latency"]
    assert (latency["unit"], latency["value"]) == ("ms", pytest.approx(2.0, rel=0.02))
    low, _, high = latency["range"].partition(" to ")
    assert float(low) <= latency["value"] <= float(high)
    memory = entries["conv/gap/32/lstm128/1x16x3x64x64/eager/inference/cpu/memory"]
    assert (memory["unit"], memory["value"]) == ("MiB", 16 + 4 * 83_840 / 2**20)
    assert len(entries) == 4


def test_bencher_gets_nanoseconds_with_bounds(stored_run):
    metrics = FORMATS["bencher"](*stored_run)
    assert len(metrics) == 2
    gap = metrics["conv/gap/32/lstm128/1x16x3x64x64/eager/inference/cpu"]
    assert gap.keys() == {"latency", "memory"}
    assert gap["memory"] == {"value": 16 * 2**20 + 4 * 83_840}
    latency = gap["latency"]
    assert latency["value"] == pytest.approx(2e6, rel=0.02)
    assert latency["lower_value"] <= latency["value"] <= latency["upper_value"]


@pytest.mark.parametrize("letter", ["a", "é", "字"])
def test_names_too_long_for_bencher_are_cut_and_stay_unique(letter):
    """One longer name makes Bencher refuse the whole file."""

    def named(text):
        return record(Case(Whole(Choice("net:build", (("text", text),)))), latency=2e-3)

    fitting = named("a" * (LONGEST - len(named("").case.id)))
    run_records = [named(f"{letter * 1000}x"), named(f"{letter * 1000}y"), fitting]
    names = list(FORMATS["bencher"](run_of(run_records), run_records))
    assert len(names) == 3
    assert fitting.case.id in names
    assert max(len(name.encode()) for name in names) == LONGEST
    assert all(name.startswith("net:build(text=") for name in names)


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_without_results_is_exported_without_error(name):
    document = FORMATS[name](run_of([failed(case())]), [failed(case())])
    assert type(document) in (list, dict, str, bytes)
    assert not document


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_export_fails_and_omitted_cases_are_named(name, tmp_path, in_process):
    lost = failed(case("gem"), "no such layer", "error")
    for folder, of_run in (("bad", [lost]), ("good", [record(case("gap")), lost])):
        directory = put(tmp_path / folder, of_run)
        done = in_process("export", str(directory), "--format", name, "--out", f"{folder}.json", cwd=tmp_path)
        assert done.stderr.startswith(f"left out: {lost.case.id}: error: no such layer\n")
        assert done.returncode == (2 if folder == "bad" else 0)
        assert (tmp_path / f"{folder}.json").exists() is (folder == "good")
    counts = replace(record(case("gap")), readings=(reading("params", 1),))
    done = in_process("export", str(put(tmp_path / "counts", [counts])), "--format", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no case has a latency, or anything else that --format {name} can hold" in done.stderr


def test_a_case_left_out_for_lack_of_latency_is_named(tmp_path, in_process):
    """A withheld case was silently missing from the export that CI keeps."""
    untimed = replace(record(case("gmp")), readings=(reading("params", 1),))
    skipped = failed(case("gem"), status="skipped")
    directory = put(tmp_path / "run", [record(case("gap")), untimed, skipped])
    done = in_process("export", str(directory), "--format", "pytest-benchmark", "--out", "out.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, f"without a latency: {untimed.case.id}\n")


@pytest.mark.parametrize("name", FORMATS)
def test_too_few_samples_export_no_infinite_bound(name):
    run_record = record(samples=3)
    document = json.dumps(FORMATS[name](run_of([run_record]), [run_record]), allow_nan=False)
    assert run_record.case.id in document
    assert "to inf" not in document


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("name", FORMATS)
def test_a_probes_infinite_number_is_not_exported(name, value):
    """pytest-benchmark's file had ``Infinity`` in it, which is not JSON."""
    timed = record()
    scores = [Reading(Metric(f"shop_{end}", "1", title=end), (number,)) for end, number in (("a", value), ("b", 7.5))]
    run_record = replace(timed, readings=(*timed.readings, *scores))
    finite = replace(timed, readings=(*timed.readings, scores[1]))
    document, scored, plain = (FORMATS[name](run_of([each]), [each]) for each in (run_record, finite, timed))
    assert ("7.5" in json.dumps(document, allow_nan=False)) == (scored != plain), "what is finite is exported"


@pytest.mark.parametrize("export", FORMATS.values(), ids=FORMATS)
def test_trials_are_not_exported(export):
    plain = [record(case("gap"), latency=2e-3)]
    assert export(run_of(plain), [lesson(), *plain, probed(0.1, 0.2)]) == export(run_of(plain), plain)


def test_an_export_is_one_function_and_a_broken_one_is_named(tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(exports, "_plugins", {plugin.name: plugin for plugin in exports})

    @exports.register("shop-ids")
    def _ids(run, records):
        """The ids of all cases."""
        return [record.case.id for record in records]

    @exports.register("shop-broken")
    def _broken(run, records):
        return {"run": run}

    @exports.register("shop-text")
    def _text(run, records):
        return "".join(f"{record.case.id};" for record in records)

    @exports.register("shop-bytes")
    def _bytes(run, records):
        return b"PAR1\xff"

    directory = str(put(tmp_path / "run", [record(case("gap"))]))
    assert in_process("export", directory, "--format", "shop-text", cwd=tmp_path).stdout == case("gap").id + ";"
    done = in_process("export", directory, "--format", "shop-bytes", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "convbench: --format shop-bytes is a binary file: add --out FILE\n")
    in_process("export", directory, "--format", "shop-bytes", "--out", "run.parquet", cwd=tmp_path)
    assert (tmp_path / "run.parquet").read_bytes() == b"PAR1\xff"
    assert "  shop-ids          The ids of all cases." in in_process("list", "exports", cwd=tmp_path).stdout
    assert json.loads(in_process("export", directory, "--format", "shop-ids", cwd=tmp_path).stdout) == [case("gap").id]
    done = in_process("export", directory, "--format", "shop-broken", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("convbench: the export 'shop-broken' raised TypeError: ")
    done = in_process("export", directory, "--format", "benchr", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "convbench: unknown export 'benchr'; did you mean 'bencher'?\n")
