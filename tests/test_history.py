"""Test the history of stored runs: index, series and courses of invented stores, and the command's output."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import forked
import invented_runs as invented
import numpy as np
import pytest
import records
from invented_runs import FC, GAP, GMP, commit, day
from typer.testing import CliRunner

import convbench
from convbench.analysis.history import contents, overview
from convbench.analysis.history.course import SLOPE_RUNS, Change, Confirmation, course, is_short, logs_and_shape
from convbench.analysis.history.overview import HistoryQuery
from convbench.analysis.history.series import RunValue, Series, minute, series
from convbench.analysis.history.steps import LEAST_NOISE
from convbench.cli import app
from convbench.core import metrics
from convbench.core.commands import Command
from convbench.core.comparability import fingerprint
from convbench.core.errors import ConvbenchError, Refused, StoreError
from convbench.core.record import Choice, Reading
from convbench.core.statistics import Interval
from convbench.core.storage import index, merging, store
from convbench.core.storage.index import RunEntry
from convbench.report.page import history as page
from convbench.report.words import history as words

GOLDEN = Path(__file__).parent / "golden" / "history.txt"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def point(number: int, value: float, **more) -> RunValue:
    fields = {"run": f"{number:03}", "started": day(number), "commit": commit(number), "dirty": False}
    return RunValue(**(fields | {"value": value, "reference": 3e-4} | more))


def of(*points: RunValue) -> Series:
    return Series("case", "e1", "p", points)


def history_of(folder: Path, *confirmations: Confirmation, **more) -> overview.History:
    return overview.history(HistoryQuery((folder,), **more), confirmations)


def invoke(*words: object):
    return CliRunner().invoke(app, ["history", *map(str, words)])


# --- Series and courses -----------------------------------------------------------------------------------------------


def test_a_change_that_the_reference_shares_is_the_machines():
    speeds = np.exp(0.2 * np.sin(np.arange(40)))
    points = [point(n, 2e-3 * speed, reference=3e-4 * speed) for n, speed in enumerate(speeds)]
    case_course = course(of(*points), metrics.LATENCY)
    assert case_course.changes == ()
    assert np.ptp(logs_and_shape(points)[0]) == pytest.approx(0, abs=1e-9)


def test_a_case_independent_of_the_reference_is_not_corrected():
    rng = np.random.default_rng(0)
    points = [point(n, 2e-3, reference=3e-4 * math.exp(0.1 * rng.standard_normal())) for n in range(40)]
    assert np.ptp(logs_and_shape(points)[0]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("power", "remainder"), [(0.5, 0.0), (1.2, 0.0), (1.5, 0.2)])
def test_a_case_is_corrected_by_the_power_at_which_it_follows_the_reference(power, remainder):
    """The power is at most 1.3."""
    speeds = np.exp(0.1 * np.random.default_rng(0).standard_normal(40))
    points = [point(n, 2e-3 * speed**power, reference=3e-4 * speed) for n, speed in enumerate(speeds)]
    logs, form = logs_and_shape(points)
    assert np.ptp(logs) == pytest.approx(remainder * np.ptp(np.log(speeds)), abs=1e-9)
    assert (form.noise == LEAST_NOISE) == (not remainder)
    nine = logs_and_shape(points[: SLOPE_RUNS - 1])[0]
    assert np.ptp(nine) == pytest.approx(abs(power - 1) * np.ptp(np.log(speeds[:9]))), "too few tell the power"


def test_a_case_that_follows_the_reference_and_chance_is_only_corrected_fully():
    rng = np.random.default_rng(0)
    speeds, luck = np.exp(0.02 * rng.standard_normal((2, 40)))
    points = [point(n, 2e-3 * speed * luck[n], reference=3e-4 * speed) for n, speed in enumerate(speeds)]
    remainder = np.log(2e-3 * luck)
    assert np.ptp(logs_and_shape(points)[0] - remainder) == pytest.approx(0, abs=1e-9)


def test_few_runs_are_assumed_to_follow_the_reference():
    points = [point(n, 2e-3 * (2 if n == 2 else 1), reference=3e-4 * (2 if n == 2 else 1)) for n in range(4)]
    assert np.ptp(logs_and_shape(points)[0]) == pytest.approx(0, abs=1e-9)


def test_values_are_not_corrected_if_a_run_lacks_the_reference():
    points = [point(n, 2e-3 * (n + 1), reference=None if n else 3e-4) for n in range(3)]
    assert np.exp(logs_and_shape(points)[0]) == pytest.approx([2e-3, 4e-3, 6e-3])


def test_a_change_names_the_commits_around_it_and_its_ratio():
    case_course = course(of(*(point(n, 2.2e-3 if n >= 10 else 2e-3) for n in range(20))), metrics.LATENCY)
    (change,) = case_course.changes
    assert (change.before.commit, change.at.commit, change.after.commit) == (commit(9), commit(10), commit(10))
    assert change.ratio.median == pytest.approx(1.1)
    assert change.ratio.low < 1.1 < change.ratio.high
    assert (change.worse, change.word) == (True, "suspected")
    assert case_course.standing == [change]


def test_a_change_for_the_better_does_not_stand():
    case_course = course(of(*(point(n, 2e-3 if n >= 10 else 2.2e-3) for n in range(20))), metrics.LATENCY)
    assert [(change.worse, change.word) for change in case_course.changes] == [(False, "suspected")]
    assert case_course.standing == []


def test_drift_is_the_relative_change_from_the_first_run_to_the_last():
    case_course = course(of(*(point(n, 2e-3 * math.exp(0.1 * n / 19)) for n in range(20))), metrics.LATENCY)
    assert (case_course.changes, case_course.drift) == ((), pytest.approx(math.expm1(0.1), rel=0.01))
    assert (case_course.values[0], case_course.values[-1]) == pytest.approx((2e-3, 2e-3 * math.exp(0.1)))
    assert course(of(*(point(n, 2e-3 * 1.0002**n) for n in range(20))), metrics.LATENCY).drift == 0.0


@pytest.mark.parametrize(
    ("metric", "runs", "short"), [("LATENCY", 5, True), ("LATENCY", 20, False), ("PARAMS", 5, False)]
)
def test_a_latency_of_few_runs_is_short_but_a_count_never_is(metric, runs, short):
    chosen = getattr(metrics, metric)
    assert is_short(course(of(*(point(n, 2.0) for n in range(runs))), chosen), chosen) == short


def test_a_decrease_is_worse_if_higher_is_better():
    better = replace(metrics.LATENCY, name="fps", better="higher")
    (change,) = course(of(*(point(n, 90.0 if n >= 10 else 100.0) for n in range(20))), better).changes
    assert change.worse


def test_a_change_between_runs_of_one_commit_is_same_code():
    points = [point(n, 2.2e-3 if n >= 10 else 2e-3, commit="abc") for n in range(20)]
    case_course = course(of(*points), metrics.LATENCY)
    assert case_course.changes[0].word == "same code"
    assert case_course.standing == []
    later = [run_point._replace(commit="old") if n < 5 else run_point for n, run_point in enumerate(points)]
    assert course(of(*later), metrics.LATENCY).changes[0].word == "same code"
    dirty = [run_point._replace(dirty=True) for run_point in points]
    assert course(of(*dirty), metrics.LATENCY).changes[0].word == "suspected"


@pytest.mark.parametrize(("word", "stands"), [("confirmed", True), ("refuted", False), ("inconclusive", True)])
def test_a_change_shows_the_verdict_of_a_paired_check(word, stands):
    points = [point(n, 2.2e-3 if n >= 10 else 2e-3) for n in range(20)]
    confirmation = Confirmation(
        "case", commit(9), commit(10), word, Interval(1.1, 1.08, 1.12), "", "here", "confirmed/x.json"
    )
    other = confirmation._replace(case="another", word="confirmed")
    case_course = course(of(*points), metrics.LATENCY, [other, confirmation])
    assert case_course.changes[0].word == word
    assert bool(case_course.standing) == stands


def test_a_later_inconclusive_check_does_not_undo_a_confirmation():
    points = [point(n, 2.2e-3 if n >= 10 else 2e-3) for n in range(20)]
    confirmation = Confirmation("case", commit(9), commit(10), "confirmed", None, "", "", "x")
    case_course = course(of(*points), metrics.LATENCY, [confirmation, confirmation._replace(word="inconclusive")])
    assert case_course.changes[0].word == "confirmed"


def test_a_check_of_a_wider_range_confirms_its_only_step():
    """Further runs narrow a range. A confirmation of the wider range stays valid if it contains no other step."""
    points = [point(n, 2.2e-3 if n >= 10 else 2e-3) for n in range(20)]
    wider = Confirmation("case", commit(7), commit(12), "confirmed", None, "", "", "x")
    assert course(of(*points), metrics.LATENCY, [wider]).changes[0].word == "confirmed"
    beside = wider._replace(before=commit(11), after=commit(14))
    assert course(of(*points), metrics.LATENCY, [beside]).changes[0].word == "suspected"
    twice = [point(n, 2e-3 * 1.1 ** ((n >= 10) + (n >= 20))) for n in range(30)]
    both = wider._replace(after=commit(25))
    assert [change.word for change in course(of(*twice), metrics.LATENCY, [both]).changes] == ["suspected"] * 2
    second = both._replace(before=f"{commit(10)}{'0' * 28}", after=f"{commit(25)}{'0' * 28}")
    assert [change.word for change in course(of(*twice), metrics.LATENCY, [second]).changes] == [
        "suspected", "confirmed",
    ]  # fmt: skip
    unknown = wider._replace(after="0123456789ab")
    assert course(of(*points), metrics.LATENCY, [unknown]).changes[0].word == "suspected"


def test_a_spike_is_not_the_last_run_before_a_change():
    """Other work slowed the first run of the slower code. It is left out, and does not count as the faster code."""
    values = [2e-3] * 10 + [2.8e-3] + [2.2e-3] * 9
    (change,) = course(of(*(point(n, value) for n, value in enumerate(values))), metrics.LATENCY).changes
    assert (change.before.commit, change.after.commit) == (commit(9), commit(11))


def test_a_paired_check_does_not_refute_a_memory_change(tmp_path):
    for n in range(12):
        memory = 2e6 if n >= 6 else 1e6
        kept = replace(records.record(records.case("gap")), readings=(Reading(metrics.CPU_PEAK, (memory,)),))
        records.stored(
            tmp_path / f"{n:02}", [kept], started=day(n), environment={**records.ENVIRONMENT, "commit": commit(n)}
        )
    confirmation = Confirmation(kept.case.id, commit(5), commit(6), "refuted", None, "", "", "x")
    assert [change.word for _, change in history_of(tmp_path, confirmation, metric="memory").changes] == ["suspected"]


@pytest.mark.parametrize(
    ("question", "message"),
    [({"since": "last week"}, "since 'last week' is not a date, such as 2026-11-01"), ({"roots": ()}, "name the runs")],
)
def test_an_invalid_query_is_refused(question, message):
    with pytest.raises(ConvbenchError, match=message):
        HistoryQuery(**{"roots": (Path(),), **question})


def test_a_changed_count_is_reported_at_once_as_exact():
    points = [point(n, value) for n, value in enumerate([100, 100, 101, 100])]
    up, down = course(of(*points), metrics.PARAMS).changes
    assert (up.place, up.word, up.worse, up.ratio.median) == (2, "exact", True, 1.01)
    assert (down.place, down.worse) == (3, False)


def entry(number: int, **more) -> RunEntry:
    return RunEntry(f"{number:03}", "default", **({"started": day(number), "commit": commit(number)} | more))


def test_runs_are_sorted_by_commit_or_else_by_date():
    entries = {0: entry(0), 1: entry(1, started=day(9)), 2: entry(2, started=day(2))}
    rows = [(number, "case", "e1", "p", 1.0, None) for number in entries]
    line = [f"{commit(number)}{'0' * 28}" for number in range(3)]
    (known,) = series(rows, entries, line)
    assert [run_point.run for run_point in known.points] == ["000", "001", "002"]
    (strange,) = series(rows, entries, line[:2])
    assert [run_point.run for run_point in strange.points] == ["000", "002", "001"]
    assert (known.backward, strange.backward) == (1, 0)
    (rebased,) = series(rows, entries, line[::-1])
    assert [run_point.run for run_point in rebased.points] == ["002", "001", "000"]


def test_dates_of_different_time_zones_are_sorted_by_moment():
    entries = {0: entry(0, started="2026-09-01T12:00:00+02:00"), 1: entry(1, started="2026-09-01T10:30:00Z"),
               2: entry(2, started="yesterday")}  # fmt: skip
    (case_series,) = series([(number, "case", "e1", "p", 1.0, None) for number in entries], entries)
    assert [run_point.run for run_point in case_series.points] == ["002", "000", "001"]
    assert case_series.points[0].day == "no date"


def test_a_points_day_is_its_day_in_utc():
    """East of Greenwich, a run at night used to show the next day's date, and --since left it out."""
    early = RunValue("run", "2026-09-02T01:30:00+13:00", "", False, 1.0)
    assert early.day == "2026-09-01" == minute(early.started)[:10]


# --- The index and its runs -------------------------------------------------------------------------------------------


def test_a_machine_change_splits_a_series_without_an_alarm(tmp_path):
    for number in range(20):
        other = number >= 10
        invented.write(tmp_path / "s" / f"{number}", number, {GAP: 3e-3 if other else 2e-3},
                       fingerprint="e2" if other else "e1")  # fmt: skip
    history = history_of(tmp_path / "s")
    assert [(case_course.series.machine, len(case_course.series.points)) for case_course in history.courses] == [
        ("e1", 10),
        ("e2", 10),
    ]
    assert history.exit_code == 0
    assert "machines" in {note.code for note in history.notes}
    assert repr(history) == "History(latency, 20 runs, 2 series; changes: none)"
    assert repr(history.courses[0]) == f"Course({GAP.id!r}, 10 runs, 0 changes)"


def test_a_runtime_that_a_case_does_not_use_splits_no_series_of_it(tmp_path):
    """A nightly run with one more variant used to begin another series of every case."""
    compiled = replace(GAP, variant=(Choice("compile"),))
    for number, compiler in enumerate([None, "g++ 12", "g++ 12", "g++ 13", "g++ 13"]):
        facts = {**records.ENVIRONMENT, "device": "cpu", **({"compiler": compiler} if compiler else {})}
        latency_by_case = dict.fromkeys([GAP, compiled] if compiler else [GAP], 1e-3)
        invented.write(tmp_path / "s" / f"{number}", number, latency_by_case, fingerprint=fingerprint(facts),
                       environment={**facts, "commit": commit(number)})  # fmt: skip
    history = history_of(tmp_path / "s")
    lengths = [(case_course.series.case, len(case_course.series.points)) for case_course in history.courses]
    assert sorted(lengths) == [(compiled.id, 2), (compiled.id, 2), (GAP.id, 5)]
    assert all(history.machines[case_course.series.machine] for case_course in history.courses)


def test_every_kind_of_machine_in_a_run_has_a_name(tmp_path):
    """A run merged from shards of two machines has several."""
    kinds = {"e1": {"cpu": "A"}, "e2": {"cpu": "B", "cores": 2}}
    place = invented.write(tmp_path / "a", 0, {GAP: 1e-3}, environments=kinds)
    assert contents.read(place).machines == {"e1": "A", "e2": "B, 2 cores"}


def test_the_index_gives_the_same_answer_without_reading_again(tmp_path, monkeypatch):
    folder = invented.many(tmp_path / "s")
    first = history_of(folder)
    monkeypatch.setattr(contents, "read", None)
    assert history_of(folder) == first
    assert first.exit_code == 3
    ((changed, change),) = first.changes
    assert changed.series.case == GAP.id
    assert change.before.commit < commit(13)
    assert change.after.commit >= commit(12)


def test_the_index_follows_added_changed_and_removed_runs(tmp_path):
    folder = tmp_path / "s"
    invented.write(folder / "a", 0, {GAP: 1e-3})
    invented.write(folder / "b", 1, {GAP: 2e-3})

    def values() -> list[float]:
        return sorted(run_point.value for run_point in history_of(folder).courses[0].series.points)

    assert values() == pytest.approx([1e-3, 2e-3])
    invented.write(folder / "c", 2, {GAP: 3e-3})
    shutil.rmtree(folder / "a")
    assert values() == pytest.approx([2e-3, 3e-3])
    shutil.rmtree(folder / "b")
    invented.write(folder / "b", 1, {GAP: 4e-3, FC: 1.0})
    os.utime(folder / "b" / "run.json", (1, 1))  # the clock went back
    assert values() == pytest.approx([3e-3, 4e-3])


def test_runs_that_were_set_aside_count_in_the_history(tmp_path):
    for number in range(3):
        invented.write(tmp_path / "reports" / "default", number, {GAP: 1e-3})
    assert len(history_of(tmp_path / "reports").courses[0].series.points) == 3


def test_only_the_fullest_copy_of_a_run_counts(tmp_path):
    folder = tmp_path / "s"
    invented.write(folder / "a", 0, {GAP: 1e-3})
    invented.write(folder / "b", 1, {GAP: 1e-3, FC: 2e-3})
    shutil.copytree(folder / "b", folder / "copy")
    half = (folder / "copy" / "results.jsonl").read_bytes().splitlines(keepends=True)[0]
    (folder / "copy" / "results.jsonl").write_bytes(half)
    history = history_of(folder)
    assert history.runs == 2
    assert {Path(run_point.run).name for run_point in history.courses[0].series.points} == {"a", "b"}


def test_shards_that_started_in_the_same_second_both_count(tmp_path):
    """A job array starts shards at once, on equal machines. Before 0.2 their commands were the same too."""
    for name, seconds in (("shard-1", {GAP: 1e-3}), ("shard-2", {FC: 2e-3})):
        invented.write(tmp_path / "s" / name, 0, seconds)
    assert {Path(entry).name for entry in shown(tmp_path / "s")} == {"shard-1", "shard-2"}


def test_shards_are_not_counted_beside_their_merged_run(tmp_path):
    folder = tmp_path / "s"
    shards = [
        invented.write(folder / f"shard-{number}", 0, seconds, command=f"convbench run default --shard {number}/3")
        for number, seconds in enumerate(({GAP: 1e-3}, {FC: 2e-3}, {GMP: 3e-3}), start=1)
    ]
    two = merging.merge([store.load(shard) for shard in shards[:2]])
    for place, merged in (("two", two), ("whole", merging.merge([two, store.load(shards[2])]))):
        store.start(folder / place, *merged)
    assert [Path(entry).name for entry in shown(folder)] == ["whole"]
    shutil.rmtree(folder / "whole")
    assert {Path(entry).name for entry in shown(folder)} == {"two", "shard-3"}


def test_a_run_that_a_merge_leaves_out_still_counts(tmp_path):
    nights = [invented.write(tmp_path / "s" / f"night-{number}", number, {GAP: 1e-3}) for number in range(2)]
    store.start(tmp_path / "s" / "merged", *merging.merge(list(map(store.load, nights))))
    assert len(history_of(tmp_path / "s").courses[0].series.points) == len(nights)


def test_a_merge_of_a_single_run_counts_once(tmp_path):
    run = invented.write(tmp_path / "s" / "a", 0, {GAP: 1e-3})
    store.start(tmp_path / "s" / "b", *merging.merge([store.load(run)]))
    assert len(shown(tmp_path / "s")) == 1


@pytest.mark.parametrize("left", [2, 1])
def test_a_repeated_measurement_replaces_the_old_one_in_any_folder(tmp_path, left):
    """It does so even while incomplete: the run that ``--resume=stale`` set aside is of other code, and fuller then."""
    folder = tmp_path / "s"
    run, before = store.load(invented.write(folder / "a-set-aside", 0, {GAP: 1e-3, FC: 2e-3}))
    again = replace(invented.record_of(GAP, 3e-3), started="2026-11-23T12:00:00Z")
    store.start(folder / "b-gone-on-with", run, [again, *before[1:left]])
    assert [Path(path).name for path in shown(folder)] == ["b-gone-on-with"]


def shown(folder: Path) -> list[str]:
    return index.ask([folder], contents.read, lambda runs: [entry.path for entry in runs.entries().values()])


def test_the_complete_part_of_a_half_copied_store_is_read(tmp_path):
    folder = invented.many(tmp_path / "of a newer convbench", count=7)  # a path that reads like the reason of another
    (folder / "run000" / "results.jsonl").unlink()
    (folder / "run001" / "results.jsonl").write_bytes(b"")
    results = folder / "run002" / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-20])
    (folder / "run003" / "run.json").write_text("{")
    described = json.loads((folder / "run004" / "run.json").read_text())
    (folder / "run004" / "run.json").write_text(json.dumps(described | {"schema_version": 99}))
    history = history_of(folder)
    assert history.runs == 3
    codes = {note.code: note.count for note in history.notes}
    assert {code: codes[code] for code in ("no results", "incomplete", "unreadable", "newer")} == {
        "no results": 1, "incomplete": 1, "unreadable": 2, "newer": 1,
    }  # fmt: skip
    assert all("{" not in sentence for sentence in words.notes(history.notes))
    empty = next(note for note in history.notes if note.code == "no results")
    assert empty.example == str(folder / "run001")


def listing(*words: object):
    return CliRunner().invoke(app, ["runs", *map(str, words)], env={"COLUMNS": "200"})


def test_a_suites_name_and_a_folder_of_runs_lead_to_the_run(tmp_path, monkeypatch):
    """`convbench run smoke` takes a suite's name, but `convbench report smoke` takes a folder."""
    monkeypatch.chdir(tmp_path)
    records.stored(Path("reports/smoke"), [records.record()])
    for given, message in (
        ("smoke", "smoke: there is no such run: name a run directory, or a file in it; did you mean reports/smoke?"),
        (
            "reports",
            "reports: not a run: there is no run.json in reports: `convbench runs reports` lists the runs in it",
        ),
    ):
        assert str(CliRunner().invoke(app, ["report", given]).exception) == message
    assert "reports/smoke" in CliRunner().invoke(app, ["runs", "--format", "csv"]).output


def test_the_runs_of_a_store_are_listed_the_newest_first(tmp_path):
    invented.many(tmp_path / "s", count=2)
    shutil.copytree(tmp_path / "s" / "run000", tmp_path / "s" / "copy")
    dirty = {"dirty": True, "cpu": "Intel Xeon"}
    invented.write(
        tmp_path / "s" / "deep" / "a", 9, {GAP: 1e-3}, environment=dirty, name="smoke", planned=("a", GAP.id)
    )
    failed, skipped = (replace(records.record(case, samples=0), status=status, readings=(), environment="e1")
                       for case, status in ((FC, "failed"), (GMP, "skipped")))  # fmt: skip
    for record in (failed, skipped):
        store.append(tmp_path / "s" / "deep" / "a", record)
    (tmp_path / "s" / "bad").mkdir()
    (tmp_path / "s" / "bad" / "run.json").write_text("{")
    answer = listing("s")
    heading, *lines = answer.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["s/deep/a", "s/run001", "s/run000", "s/copy", "s/bad"]
    assert heading.split()[-5:] == ["ok", "failed", "skipped", "missing", "machine"]
    assert lines[0].split()[1:10] == ["2026-09-10", "12:00", "smoke", "09c0ffee0009", "(dirty)", "1", "1", "1", "1"]
    assert answer.stderr.startswith(f"{tmp_path}/s/bad/run.json: not written by convbench")
    rows = json.loads(listing("s", "--format", "json").stdout)
    assert {name: rows[0][name] for name in ("ok", "failed", "skipped", "missing", "dirty", "folder")} == {
        "ok": 1, "failed": 1, "skipped": 1, "missing": 1, "dirty": True, "folder": str(tmp_path / "s" / "deep" / "a"),
    }  # fmt: skip
    heading, *lines = csv.reader(listing("s", "--format", "csv").stdout.splitlines())
    assert heading == list(rows[0]) and len(lines) == 5


@pytest.mark.parametrize(
    ("words", "folders"),
    [(("--suite", "sm*"), ["b"]), (("--machine", "xeon"), ["b"]), (("--machine", "epyc"), ["a"]),
     (("--since", "2026-09-02"), ["b"]), (("--since", "2026-09-01"), ["b", "a"])],
)  # fmt: skip
def test_the_list_of_runs_is_filtered(tmp_path, words, folders):
    invented.write(tmp_path / "s" / "a", 0, {GAP: 1e-3})
    invented.write(tmp_path / "s" / "b", 1, {GAP: 1e-3}, environment={"cpu": "Intel Xeon"}, name="smoke")
    rows = json.loads(listing("s", *words, "--format", "json").stdout)
    assert [Path(row["folder"]).name for row in rows] == folders


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--suite", "x"), "--suite x: none of 2 runs matches; the newest is of default, AMD EPYC 7B13, 2 cores"),
     (("--since", "zzz"), "--since 'zzz' is not a date, such as 2026-11-01"),
     (("--format", "zzz"), "unknown --format 'zzz'; known: csv, json, table")],
)  # fmt: skip
def test_a_list_of_runs_without_a_match_says_what_there_is(tmp_path, words, message):
    for number, name in enumerate(("smoke", "default")):
        invented.write(tmp_path / "s" / name, number, {GAP: 1e-3}, name=name)
    answer = listing("s", *words)
    assert str(answer.exception).startswith(message) and isinstance(answer.exception, ConvbenchError)
    (tmp_path / "empty").mkdir()
    assert "there is no run" in str(listing("empty").exception)


def test_a_run_dated_in_the_future_is_noted(tmp_path):
    """A clock that was wrong once used to put a run at the end of every history, without a word."""
    ahead = datetime.now(UTC) + timedelta(days=2)
    invented.write(tmp_path / "s" / "a", 0, {GAP: 1e-3})
    invented.write(tmp_path / "s" / "b", 1, {GAP: 1e-3}, started=ahead.isoformat())
    assert [note for note in history_of(tmp_path / "s").notes if note.code == "future"] == [
        overview.Note("future", 1, str(tmp_path / "s" / "b"))
    ]


def test_a_short_series_is_not_reported_as_unchanged():
    calm = course(of(point(1, 1.0)), metrics.LATENCY)
    quiet = [overview.History(metrics.LATENCY, tuple(replace(calm, visible=size) for size in sizes), 3, {})
             for sizes in ([0.02, 0.04], [0.02, math.inf], [math.inf] * 2)]  # fmt: skip
    assert [words.quiet(history) for history in quiet] == [
        "no change in 2 series: a change of 4.0 % would have been seen in half of them",
        "no change in 1 series: a change of 2.0 % would have been seen in it; 1 series with too few runs",
        "no series is long enough to show a change",
    ]
    rows = page.view(quiet[1])["rows"]
    assert [(row["noise"][0], row["course"]) for row in rows] == [("0.0 %", "no change"), ("–", "too few runs to tell")]


def test_notes_on_a_single_run_use_the_singular():
    notes = [
        overview.Note(code, 1, "example") for code in words.NOTES if code not in ("suites", "machines", "protocols")
    ]
    for sentence in words.notes(notes):
        assert re.match(r"1 (run|series|commit|confirmation)\b(?! (are|hold|do)\b)", sentence)
        assert "{" not in sentence
    assert words.notes([overview.Note("dirty", 1_200)]) == ["1,200 runs of code with uncommitted changes"]


def test_a_damaged_outdated_or_unwritable_index_is_rebuilt(tmp_path, cache, monkeypatch):
    folder = invented.many(tmp_path / "s", count=4)
    first = history_of(folder)
    (file,) = (cache / "convbench" / "history").glob("*.sqlite")
    file.write_bytes(b"not a database, by no means" * 100)
    assert history_of(folder) == first
    for damage in (
        "UPDATE version SET text = 'older'",
        "DELETE FROM version",
        "DROP TABLE number",
        "UPDATE run SET name = CAST(x'ff' AS TEXT)",
    ):
        with sqlite3.connect(file) as database:
            database.execute(damage)
        assert history_of(folder) == first
        with sqlite3.connect(file) as database:
            assert database.execute("SELECT COUNT(*) FROM number").fetchone()[0], "it is on disk again"
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/no")
    assert history_of(folder) == first


def test_an_index_keeps_how_each_metric_becomes_one_number(tmp_path):
    records.stored(tmp_path / "a", records.default_records()[:2])
    metrics = index.ask([tmp_path], contents.read, index.Index.metrics)
    assert {short: metrics[short].number for short in ("latency", "params")} == {"latency": "median", "params": "exact"}


def _refresh(folder: Path, barrier) -> None:
    barrier.wait()
    assert index.ask([folder], contents.read, lambda runs: len(list(runs.rows("latency")))) == 40


def test_an_unused_index_is_removed(tmp_path, cache):
    """Each night ``history runs/*`` names one more run, and used to leave one more index."""
    folder = invented.many(tmp_path / "s", count=3)
    places = set()
    for roots in ([folder], [folder / "run000", folder / "run001"]):
        overview.history(HistoryQuery(tuple(roots)))
        places |= (new := set((cache / "convbench" / "history").glob("*.sqlite")) - places)
        os.utime(next(iter(new)), (1, 1))
    overview.history(HistoryQuery((folder,)))
    assert len(list((cache / "convbench" / "history").glob("*.sqlite"))) == 1


def test_a_folder_without_read_permission_is_reported(tmp_path, monkeypatch):
    """A colleague's folder in a shared store, for example, used to be left out without a message."""
    folder = invented.many(tmp_path / "s", count=4)
    (folder / "theirs").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "theirs":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    notes = {note.code: note for note in history_of(folder).notes}
    assert notes["unreadable"].count == 1
    assert str(folder / "theirs") in notes["unreadable"].example


def test_runs_in_a_non_utf8_folder_have_the_path_that_opens_them(tmp_path):
    """Their changes could not be confirmed: the path of each run, with escapes, named no folder."""
    folder = invented.many(tmp_path / os.fsdecode(b"caf\xe9"), count=6)
    (folder / "run003" / store.RUN).write_text("{")
    history = history_of(folder)
    (unread,) = (note for note in history.notes if note.code == "unreadable")
    assert unread.example.startswith(f"{folder}/run003/run.json: not written by convbench")
    paths = {point.run for course in history.courses for point in course.series.points}
    assert paths == {str(folder / f"run{number:03}") for number in (0, 1, 2, 4, 5)}


def test_an_index_with_damaged_number_pages_is_rebuilt(tmp_path, cache):
    """The list of runs is intact but the pages of the numbers are not, for example after the disk was full."""
    folder = invented.many(tmp_path / "s", count=30)
    first = history_of(folder)
    (file,) = (cache / "convbench" / "history").glob("*.sqlite")
    with sqlite3.connect(file) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'number'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)
    assert history_of(folder) == first
    assert history_of(folder) == first


def test_a_concurrent_update_does_not_change_a_running_query(tmp_path):
    folder = invented.many(tmp_path / "s", count=4)
    others = []

    def interrupted(runs: index.Index) -> tuple[set[int], set[int]]:
        entries = set(runs.entries())
        invented.write(folder / "late", 9, {GAP: 1e-3})
        others.append(threading.Thread(target=lambda: history_of(folder)))
        others[-1].start()
        others[-1].join(0.5)
        return entries, {row[0] for row in runs.rows("latency")}

    entries, of_numbers = index.ask([folder], contents.read, interrupted)
    others[0].join(60)
    assert of_numbers == entries
    assert len(shown(folder)) == 5


def test_an_interrupted_index_keeps_what_it_has_read(tmp_path, monkeypatch, caplog):
    """A nightly job with a time limit used to begin with the first of its thousand runs again, every night."""
    folder, read, names = invented.many(tmp_path / "s", count=6), contents.read, []

    def read_some(directory: Path) -> index.Contents:
        names.append(directory.name)
        if len(names) == 5:
            raise KeyboardInterrupt
        return read(directory)

    monkeypatch.setattr(index, "BATCH", 2)
    monkeypatch.setattr(index, "MANY", 3)
    with pytest.raises(KeyboardInterrupt):
        index.ask([folder], read_some, index.Index.entries)
    shutil.rmtree(folder / "run000")
    assert len(index.ask([folder], read_some, index.Index.entries)) == 5
    assert names == [*(f"run{number:03}" for number in range(5)), "run004", "run005"]
    assert caplog.messages == ["convbench: reading 6 new runs; the next answer takes them from an index"]


def test_several_processes_can_fill_an_index_at_once(tmp_path):
    folder = invented.many(tmp_path / "s", count=20)
    assert forked.at_once(_refresh, folder) == [0, 0, 0]
    assert len(history_of(folder).courses) == 2


def test_metrics_other_than_time_are_not_corrected_by_the_reference(tmp_path):
    for number in range(4):
        invented.write(tmp_path / "s" / f"{number}", number, {GAP: 1e-3}, reference=3e-4 * (number + 1))
    history = history_of(tmp_path / "s", metric="memory")
    assert history.metric is metrics.MEMORY
    assert len(set(history.courses[0].values)) == 1
    assert history_of(tmp_path / "s", metric="params").courses[0].changes == ()


def test_a_query_without_results_is_refused_with_the_reason(tmp_path):
    folder = invented.many(tmp_path / "s", count=3)
    with pytest.raises(ConvbenchError, match="--metric 'latencies': no run has it; did you mean 'latency'"):
        history_of(folder, metric="latencies")
    with pytest.raises(ConvbenchError, match="--only nothing: none of 2 cases matches"):
        history_of(folder, only=("nothing",))
    with pytest.raises(StoreError, match="there is no such folder"):
        history_of(folder / "not")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="there is no run: `convbench run` writes one"):
        history_of(tmp_path / "empty")


def test_runs_without_a_comparable_pair_are_refused(tmp_path):
    for number in range(3):
        invented.write(tmp_path / "s" / f"{number}", number, {GAP: 1e-3}, fingerprint=f"e{number}")
    with pytest.raises(Refused, match=r"no two of these runs can be compared in latency.* one of the machines$"):
        history_of(tmp_path / "s")
    for number, case in enumerate((GAP, FC)):
        invented.write(tmp_path / "t" / f"{number}", number, {case: 1e-3})
    with pytest.raises(Refused, match=r"can be compared in params: each case was measured only once$"):
        history_of(tmp_path / "t", metric="params")


def test_cases_measured_only_once_are_left_out_beside_others_and_shown_alone(tmp_path):
    invented.write(tmp_path / "s" / "0", 0, {GAP: 1e-3})
    alone = history_of(tmp_path / "s")
    assert ([course.values for course in alone.courses], alone.exit_code) == ([(pytest.approx(1e-3),)], 0)
    invented.write(tmp_path / "s" / "1", 1, {GAP: 1e-3, FC: 2e-3, GMP: 3e-3}, environment={"dirty": True})
    (tmp_path / "s" / "2").mkdir()
    (tmp_path / "s" / "2" / "run.json").write_text("{")
    history = history_of(tmp_path / "s")
    assert [course.series.case for course in history.courses] == [GAP.id]
    notes = {note.code: note.count for note in history.notes}
    assert notes == {"unreadable": 1, "short": 1, "dirty": 1, "left out": 2}


def test_the_refusal_of_incomparable_runs_names_the_runs_left_out(tmp_path):
    """With two runs of which one was damaged, the message used to be that each case was measured once."""
    folder = invented.many(tmp_path / "s", count=2)
    (folder / "run001" / "run.json").write_text("{")
    with pytest.raises(Refused, match=r"\(1 run left out, such as /.*/run001/run\.json: not written by convbench"):
        history_of(folder)


@pytest.mark.parametrize("metric", ["params", "macs", "flops"])
def test_counts_are_one_series_across_machines_and_protocols(tmp_path, metric):
    for number in range(4):
        channels = 32 if number < 3 else 16
        run_records = [replace(records.record(GAP), readings=(records.reading(metric, channels),))]
        records.stored(tmp_path / "s" / f"{number}", run_records, fingerprint=f"e{number}", started=day(number),
                       protocol=records.Protocol(seed=number))  # fmt: skip
    history = history_of(tmp_path / "s", metric=metric)
    ((_, change),) = history.changes
    assert (change.word, change.ratio.median) == ("exact", 0.5)
    assert not {"machines", "protocols", "short"} & {note.code for note in history.notes}
    (told,) = words.stories(history)
    assert " on " not in told.partition(": ")[0]


def test_a_count_may_be_zero_but_a_time_of_zero_is_left_out(tmp_path):
    for number, (macs, seconds) in enumerate(((0, 0.0), (0, 1.0), (7, 1.0))):
        run_records = [
            replace(
                records.record(GAP), readings=(records.reading("macs", macs), records.reading("compile_s", seconds))
            ),
            replace(records.record(FC), readings=(records.reading("compile_s", 1.0),)),
        ]
        records.stored(tmp_path / "s" / f"{number}", run_records, started=day(number))
    ((counted, change),) = history_of(tmp_path / "s", metric="macs").changes
    assert (counted.series.case, change.word, change.ratio.median) == (GAP.id, "exact", math.inf)
    with pytest.raises(ConvbenchError, match="--metric macs: no run has a value of it for these cases"):
        history_of(tmp_path / "s", metric="macs", only=(FC.id,))
    compilation = history_of(tmp_path / "s", metric="compile_s")
    assert [course.series.case for course in compilation.courses] == [FC.id]
    assert [(note.count, note.example) for note in compilation.notes if note.code == "left out"] == [(1, GAP.id)]


def test_different_protocols_and_suites_are_noted(tmp_path):
    for number in range(8):
        short = records.Protocol(max_time=0.1)
        invented.write(tmp_path / "s" / f"{number}", number, {GAP: 1e-3}, name=f"suite{number % 2}",
                       protocol=short if number < 2 else records.Protocol())  # fmt: skip
    codes = {note.code for note in history_of(tmp_path / "s").notes}
    assert {"protocols", "suites", "short"} <= codes


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_printed_history_matches_the_golden_file(tmp_path):
    folder = invented.many(Path("store"))
    rng = np.random.default_rng(1)
    drifting = records.case("gmp")
    for number in range(24):
        invented.write(folder / f"other{number:03}", number, {drifting: 1e-3 * math.exp(
            0.004 * number + 0.005 * rng.standard_normal() + (0.3 if number == 7 else 0))}, name="other")  # fmt: skip
    done = invoke("--store", "store")
    assert done.exit_code == 3, done.output
    assert done.output == GOLDEN.read_text()


def test_json_and_page_report_the_same_change(tmp_path):
    folder = invented.many(tmp_path / "s")
    done = invoke(folder, "--json", "--only", "gap", "--out", tmp_path / "page.html")
    assert done.exit_code == 3, done.output
    document = json.loads(done.stdout)
    (case_series,) = document["series"]
    assert [change["word"] for change in case_series["changes"]] == ["suspected"]
    assert len(case_series["points"]) == 24
    assert document["exit_code"] == 3
    text = (tmp_path / "page.html").read_text()
    assert text.count('<figure class="chart"') == 1
    assert "suspected" in text
    assert "slower by" in text
    assert len(text) < 200_000


def test_a_page_opens_with_the_change_and_the_next_command(tmp_path):
    """It used to open with the numbers of runs and series, and to explain a suspicion only by the word "suspected"."""
    folder = invented.many(Path("store"), count=16)
    assert invoke("--store", folder, "--out", folder / "pages").exit_code == 3  # --out may be a folder, also a new one
    text = (folder / "pages" / "history.html").read_text()
    head, _, rest = text.partition("<main>")
    assert "<h1>gap/32: slower by " in head
    assert re.search(r"Next, to prove it:\s*<code>convbench history --store store --confirm</code>", head)
    assert head.index("no change in 1 series") < head.index("Latency of a call, 16 runs")
    assert '<td class="wide">seen in stored runs; its commits are not yet checked</td>' in rest
    assert "Latency of a call · lower is better" in rest
    assert "<b>The figures.</b> A point is a run" in rest


def test_the_answer_counts_several_changes_instead_of_listing_them(tmp_path):
    history = history_of(invented.many(tmp_path / "s", count=16))
    assert words.answer(history) == words.stories(history)[0]
    twice = replace(history, courses=history.courses * 2)
    assert words.answer(twice) == "Latency of a call: 2 slower (suspected)."
    (calm,) = (course for course in history.courses if not course.changes)
    assert words.answer(replace(history, courses=(calm,))).startswith("No change in 1 series: a change of ")
    drifting = replace(calm, drift=0.05)
    assert words.answer(replace(history, courses=(drifting, *history.courses))) == (
        "Latency of a call: 1 slower (suspected) and 1 drifting."
    )


def test_a_change_before_since_does_not_alarm(tmp_path):
    folder = invented.many(tmp_path / "s")
    assert invoke(folder, "--since", "2026-09-05").exit_code == 3
    done = invoke(folder, "--since", "2026-09-20")
    assert done.exit_code == 0
    assert "slower" not in done.output
    assert "; 1 series changed before 2026-09-20, and not since\n" in done.output
    alone = invoke(folder, "--since", "2026-09-20", "--only", "gap").output
    assert (
        "\nno news; 1 series changed before 2026-09-20, and not since\n" in alone
    )  # this used to say "every series changed or drifts"


def test_a_history_without_changes_exits_0(tmp_path):
    done = invoke(invented.many(tmp_path / "s", slower=1.0))
    assert done.exit_code == 0
    assert "no change in 2 series" in done.output
    assert "not used, since only --confirm builds anything: --build" in invoke(tmp_path / "s", "--build", "make").stderr


def unasked(run: str) -> Command:
    """Fail if called: a run's command is needed only if a change is confirmed."""
    raise AssertionError(run)


def test_a_paired_check_is_suggested_only_for_latency():
    latency = history_of(invented.many(Path("store")))
    assert words.next_command(latency, "s", unasked) == "to prove it: convbench history --store s --confirm"
    assert (
        words.next_command(latency, "my runs", unasked) == "to prove it: convbench history --store 'my runs' --confirm"
    )
    assert words.next_command(replace(latency, metric=metrics.MEMORY), "s", unasked) == ""


def test_a_search_is_suggested_only_if_commits_lie_between():
    """With a run after every merge, as the guide advises, it named a bisection of one commit."""
    invented.many(Path("store"))
    (course, change) = history_of(Path("store")).changes[0]
    ends = (change.before.commit, change.after.commit)
    confirmed = history_of(Path("store"), Confirmation(course.series.case, *ends, "confirmed", None, "", "", "x"))
    commands = [
        words.next_command(confirmed, "s", lambda _: Command("x.yaml"), line)
        for line in ((f"{ends[0]}0000", f"{ends[1]}0000"), (ends[0], commit(99), ends[1]), ())
    ]
    assert commands[0] == ""
    assert commands[1] == commands[2]
    assert commands[1].startswith(f"which commit: convbench bisect x.yaml --good {ends[0]} --bad {ends[1]} --only ")


@pytest.mark.parametrize(("ratio", "word", "text"), [
    (Interval(1.032, 1.024, 1.04), "suspected", "higher by 3.2 % [2.4, 4.0]"),
    (Interval(0.9, 0.85, 1.02), "suspected", "lower by 10.0 % [0.0, 15.0]"),
    (Interval(2.0, 2.0, 2.0), "exact", "higher by 100 %"), (Interval(0.0, 0.0, 0.0), "exact", "lower by 100 %"),
    (Interval(1.0001, 1.0001, 1.0001), "exact", "higher by 0.010 %"),  # it read 0.0 %
    (Interval(math.inf, math.inf, math.inf), "exact", "higher, from zero"),
])  # fmt: skip
def test_the_size_of_a_change_is_told_in_words(ratio, word, text):
    point = RunValue("r", "2026-11-01T00:00:00Z", "0123abc", False, 1.0)
    assert words.size(Change(1, point, point, point, ratio, True, word), "B") == text


@pytest.mark.parametrize(("word", "high", "text"), [
    ("same code", 1.0, "the same commit on both sides, so not the code"), ("exact", 1.0, "an exact count"),
    ("suspected", 1.0, "suspected"),
    ("refuted", 1.01, "refuted by a paired check, ratio 0.990 [0.980, 1.010], so the code is slower by no more"),
    ("refuted", 0.995, "refuted by a paired check, ratio 0.990 [0.980, 0.995], so not the code [x.json]"),
    ("inconclusive", 1.2, "inconclusive by a paired check, ratio 0.990 [0.980, 1.200]: too few pairs [x.json]"),
])  # fmt: skip
def test_what_is_known_of_a_change_is_told_in_words(word, high, text):
    point, check = RunValue("r", "2026-11-01T00:00:00Z", "0123abc", False, 1.0), None
    if word in ("refuted", "inconclusive"):
        check = Confirmation("gap", "a", "b", word, Interval(0.99, 0.98, high), "too few pairs", "m", "x.json")
    assert words.standing(Change(1, point, point, point, Interval(1.1, 1.0, 1.2), True, word, check)).startswith(text)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "name the runs: either run directories, or --store FOLDER"),
        (("s", "--store", "s"), "name the runs: either run directories, or --store FOLDER"),
        (("s", "--since", "soon"), "since 'soon' is not a date, such as 2026-11-01"),
        (("s", "--confirm"), "--confirm keeps what it measures in a store: name the store with --store"),
        (("--store", "s", "--confirm", "--metric", "memory"), "--confirm measures latency, not memory: leave out"),
    ],
)
def test_a_wrong_call_is_refused_in_one_message(arguments, sentence):
    invented.many(Path("s"), count=3)
    done = invoke(*arguments)
    assert isinstance(done.exception, ConvbenchError)
    assert sentence in str(done.exception)


def test_a_history_from_python_equals_the_commands_history(tmp_path):
    folder = invented.many(tmp_path / "s")
    history = convbench.history(folder, only=["gap"])
    assert history.exit_code == 3
    assert [change.word for _, change in history.changes] == ["suspected"]
    runs = [convbench.open_run(path.parent) for path in folder.glob("*/run.json")]
    assert repr(convbench.history(*runs, only=["gap"])) == repr(history)


def test_hostile_names_are_escaped_on_the_page(tmp_path):
    for number in range(8):
        invented.write(tmp_path / "s" / f"{number}", number, {GAP: 1e-3}, name="<script>\x1b[31m{count}")
        invented.write(tmp_path / "s" / f"x{number}", number, {GAP: 1e-3}, name="other", command="it's")
    done = invoke(tmp_path / "s", "--out", tmp_path / "x.html")
    assert done.exit_code == 0, done.output
    assert "<script>\x1b" not in (tmp_path / "x.html").read_text()


def test_old_runs_with_missing_fields_are_read(tmp_path):
    """Their records have no visits and no reference, and the runs have no commit."""
    for number in range(8):
        run_records = [records.record(GAP, latency=1e-3)]
        store.start(
            tmp_path / f"{number}", records.run_of(run_records, started=day(number), environment={}), run_records
        )
    history = history_of(tmp_path)
    assert len(history.courses[0].series.points) == 8
    assert history.exit_code == 0
