"""Runs on disk: no record is lost, torn lines are dropped, and damage is reported with its place."""

from __future__ import annotations

import json
import math
import random
import re
import threading
from dataclasses import replace

import pandas as pd
import pytest
import records as made

from convbench.analysis.table import write_csv
from convbench.core import metrics
from convbench.core.errors import StoreError
from convbench.core.record import FACTS, Choice, Protocol, Reading, RunDescription, Visit, Whole
from convbench.core.storage import cache, merging, shards, store
from convbench.core.storage.json_form import description_text, parse_description, record_line
from convbench.core.system import lock

RUN = RunDescription(
    "tiny", "convbench run tiny", "matrix: {}", Protocol(), (), ("a", "b"), started="2026-11-22T10:00:00+00:00"
)


@pytest.fixture
def measured():
    return [made.record(made.case(name, 64 if name == "fc" else None)) for name in ("gap", "fc", "gmp")]


@pytest.fixture
def directory(tmp_path, measured):
    store.start(tmp_path / "run", RUN)
    for record in measured:
        store.append(tmp_path / "run", record)
    return tmp_path / "run"


def test_a_stored_run_is_read_back_unchanged(directory, measured):
    assert store.load(directory) == (RUN, measured)


def test_cases_are_read_in_the_order_of_the_plan(directory, measured):
    run = replace(RUN, planned=tuple(record.case.id for record in measured))
    store.start(directory, run, reversed(measured))
    assert store.load(directory) == (run, measured)


def test_a_users_whole_model_survives_the_round_trip(tmp_path, measured):
    whole = Whole(Choice("mypkg.net:build", (("width", 3),)), "mypkg.net:inputs", (("lstm", "rnn"),))
    record = replace(measured[0], case=replace(measured[0].case, architecture=whole))
    store.start(tmp_path / "run", RUN)
    store.append(tmp_path / "run", record)
    assert store.load(tmp_path / "run")[1] == [record]


def test_a_run_can_be_named_by_any_of_its_files(directory):
    assert store.load(directory / "results.jsonl") == store.load(directory)
    with pytest.raises(StoreError, match=r"result\.jsonl: no such file"):
        store.load(directory / "result.jsonl")


def test_infinite_and_nan_samples_are_stored_but_absent_from_csv(directory, measured):
    odd = replace(measured[0], readings=(Reading(metrics.PARITY_RELATIVE, (math.inf,)), made.reading("own", math.nan)))
    store.append(directory, replace(odd, case=made.case("gem")))
    json.loads(
        (directory / "results.jsonl").read_text().splitlines()[-1], parse_constant=lambda word: pytest.fail(word)
    )
    read = store.load(directory)[1][-1]
    assert read.samples(metrics.PARITY_RELATIVE) == (math.inf,)
    assert math.isnan(*read.samples("own"))
    assert not {"inf", "nan"} & set(write_csv(directory, [read]).read_text().replace("\n", ",").split(","))


@pytest.mark.parametrize("seed", range(5))
def test_a_line_torn_at_any_byte_is_dropped_before_appending(directory, measured, seed):
    results = directory / "results.jsonl"
    whole = results.read_bytes()
    last = whole[:-1].rfind(b"\n") + 1
    results.write_bytes(whole[: random.Random(seed).randrange(last + 1, len(whole) - 1)])
    assert store.load(directory)[1] == measured[:2]
    assert store.finish_last_line(directory)
    store.append(directory, measured[2])
    assert results.read_bytes() == whole


def test_a_last_record_without_the_end_of_its_line_is_kept(directory, measured):
    """An editor may take the last line's end away. The record was left out, and ``--resume`` removed it."""
    results = directory / "results.jsonl"
    whole = results.read_bytes()
    results.write_bytes(whole[:-1])
    assert store.load(directory)[1] == measured
    assert not store.finish_last_line(directory)
    assert results.read_bytes() == whole


def test_lines_that_are_there_twice_count_once(directory, measured):
    """A merge in git may keep both sides' copies of a line; the case had twice as many visits then."""
    visited = [replace(measured[0], visits=(Visit(number),)) for number in range(2)]
    store.start(directory, RUN, visited)
    (before,) = store.load(directory)[1]
    results = directory / "results.jsonl"
    results.write_bytes(results.read_bytes() * 2 + results.read_bytes().replace(b"\n", b"\r\n"))
    assert store.load(directory)[1] == [before]


def test_nothing_is_dropped_from_a_whole_file(directory):
    before = (directory / "results.jsonl").read_bytes()
    assert not store.finish_last_line(directory)
    assert (directory / "results.jsonl").read_bytes() == before


def test_unreadable_results_are_reported_when_a_run_resumes(directory):
    """``--resume`` of another user's run used to end in a traceback. Even root cannot read a folder as a file."""
    (directory / "results.jsonl").unlink()
    (directory / "results.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"results\.jsonl: cannot be written"):
        store.finish_last_line(directory)


def test_a_run_without_its_results_file_is_refused(directory):
    """``report`` used to replace the page and table, the last copy of the measurements, by empty ones."""
    (directory / "results.jsonl").unlink()
    with pytest.raises(StoreError, match=r"there is no results\.jsonl, which holds all measurements"):
        store.load(directory)
    assert not store.finish_last_line(directory)
    assert not (directory / "results.jsonl").exists()


def test_a_run_that_was_moved_takes_no_more_records(directory, measured):
    """Records used to go into a new folder of the old name, which had no description and could not be read."""
    directory.rename(directory.with_name("moved"))
    with pytest.raises(StoreError, match="the run was moved or removed while it was measured"):
        store.append(directory, measured[0])
    assert not directory.exists()
    assert store.load(directory.with_name("moved"))[1] == measured


def test_a_stray_carriage_return_is_reported_as_damage(directory):
    path = directory / "results.jsonl"
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first.replace(b'"status"', b'"sta\rtus"', 1) + b"".join(others))
    with pytest.raises(StoreError, match=r"results.jsonl:1: not a record"):
        store.load(directory)


def test_damage_inside_the_results_is_reported_with_its_line(directory):
    lines = (directory / "results.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "results.jsonl").write_bytes(lines[0] + b'{"half": \n' + lines[2])
    with pytest.raises(StoreError, match=r"results\.jsonl:2: not a record: .*without this line all others"):
        store.load(directory)


@pytest.mark.parametrize("name", ["latency_s", "reference_s"])
@pytest.mark.parametrize("seconds", [0.0, -1e-3, math.nan, math.inf, 1e308, 5e-324])
def test_an_impossible_time_is_damage(directory, measured, name, seconds):
    """One such run in a store used to end ``history`` of all runs in a traceback."""
    store.append(directory, replace(measured[0], readings=(made.reading(name, 1e-3, seconds),)))
    with pytest.raises(StoreError, match=rf"results\.jsonl:4: not a record: a sample of {name} is not a time"):
        store.load(directory)


@pytest.mark.parametrize("sizes", [(2, 1, 1), (3, 2), (5, -1)])
def test_samples_that_do_not_match_the_visits_are_damage(directory, measured, sizes):
    """The record has two visits with two samples each."""
    taken = Reading(metrics.LATENCY, (1e-3,) * 4, (2, 2))
    record = replace(measured[0], visits=(Visit(0), Visit(1)), readings=(taken,))
    store.append(directory, record)
    store.load(directory)
    store.append(directory, replace(record, readings=(replace(taken, visits=sizes),)))
    with pytest.raises(StoreError, match=r"results\.jsonl:5: not a record: .*samples of latency_s do not match"):
        store.load(directory)


def test_a_visit_may_have_no_samples(directory, measured):
    reading = Reading(metrics.LATENCY, (1e-3,) * 2, (0, 2))
    store.start(directory, RUN, [replace(measured[0], visits=(Visit(0), Visit(1)), readings=(reading,))])
    assert store.load(directory)[1][0].by_visit(metrics.LATENCY) == {1: (1e-3, 1e-3)}


def test_what_is_empty_or_known_is_not_stored(measured):
    record = replace(measured[0], visits=(Visit(0),), readings=(Reading(metrics.PARAMS, (7,)),))
    line = json.loads(record_line(record))
    assert line["readings"] == [{"metric": {"name": "params", "unit": "1", "better": "lower"}, "samples": [7.0]}]
    assert not {"code", "threads", "host"} & {*line, *line["case"], *line["visits"][0]}
    assert "visits" not in json.loads(record_line(replace(record, visits=())))
    of_hosts = replace(record, code={"net": "1"}, visits=(Visit(0), Visit(1, host="h")))
    stored = json.loads(record_line(of_hosts))
    assert (stored["code"], [visit["host"] for visit in stored["visits"]]) == ({"net": "1"}, ["", "h"])
    fields = {"hosts", "environments", "between_hosts", "parts", "shards", "later"}
    assert not fields & json.loads(description_text(RUN)).keys()
    full_run = replace(RUN, parts=("p",), shards=("1/2",), later=("t",), between_hosts="2 % apart.")
    full_run = replace(full_run, hosts={"h": "e"}, environments={"e": {"cpu": "A"}})
    assert parse_description(description_text(full_run)) == full_run


def test_leaving_out_a_case_keeps_the_others_and_a_backup(directory, measured):
    visits = [replace(measured[1], visits=(Visit(number),)) for number in range(3)]
    store.start(directory.parent / "visited", RUN, [measured[0], *visits])
    visited = directory.parent / "visited"
    before = (visited / "results.jsonl").read_bytes().splitlines(keepends=True)
    left = store.leave_out(visited, {measured[0].case.id})
    assert (visited / "results.jsonl").read_bytes() == b"".join(before[1:])
    assert [len(record.visits) for record in left] == [3]
    (aside,) = (visited / "previous").iterdir()
    assert [record.case for record in store.load(aside)[1]] == [measured[0].case, measured[1].case]


def test_a_line_without_visits_is_not_joined_to_the_others(directory, measured):
    taken = replace(measured[0], visits=(Visit(0),), readings=(Reading(metrics.LATENCY, (1e-3,) * 4),))
    store.start(directory.parent / "mixed", RUN, [taken, replace(taken, visits=()), replace(taken, visits=(Visit(1),))])
    (joined,) = store.load(directory.parent / "mixed")[1]
    assert len(joined.visits) == 2
    assert joined.samples(metrics.LATENCY) == (1e-3,) * 8


@pytest.mark.parametrize("metric", [metrics.RUN_DELAY, metrics.STEAL])
@pytest.mark.parametrize("share", [1e308, math.inf, math.nan, -0.5])
def test_an_impossible_share_of_time_is_damage(directory, measured, metric, share):
    """Reading such a run ended in an OverflowError."""
    readings = (Reading(metrics.LATENCY, (1e-3,)), Reading(metric, (share,)))
    store.append(directory, replace(measured[0], visits=(Visit(0),), readings=readings))
    with pytest.raises(StoreError, match=rf"results\.jsonl:4: not a record: a sample of {metric.name} is not a share"):
        store.load(directory)


@pytest.mark.parametrize(
    ("metric", "number", "words"),
    [
        (metrics.TEST_ACCURACY, 1e308, "a share"),
        (metrics.MAJORITY, math.nan, "a share"),
        (metrics.TEST_CLIPS, -1000.0, "a number of clips"),
        (metrics.CLASSES, math.inf, "a number of clips"),
    ],
)
def test_an_impossible_accuracy_or_count_is_damage(directory, measured, metric, number, words):
    """Reading such a run ended in an error of the square root of a negative variance."""
    store.append(directory, replace(measured[0], readings=(Reading(metric, (number,)),)))
    with pytest.raises(StoreError, match=rf"not a record: a sample of {metric.name} is not {words}"):
        store.load(directory)


@pytest.mark.parametrize("size", [0, 10**30])
@pytest.mark.parametrize("name", ["batch", "hidden", "lstm_input"])
def test_a_case_of_an_impossible_size_is_damage(directory, name, size):
    """The report of such a run ended in a ZeroDivisionError, or in matplotlib."""
    lines = (directory / "results.jsonl").read_text()
    (directory / "results.jsonl").write_text(re.sub(rf'"{name}":\d+', f'"{name}":{size}', lines, count=1))
    with pytest.raises(StoreError, match=r"results\.jsonl:1: not a record: a size of its case is not positive"):
        store.load(directory)


@pytest.mark.parametrize("name", ["params", "flops", "cpu_peak_tensor_bytes"])
@pytest.mark.parametrize("size", ["1e400", '"NaN"'])
def test_an_infinite_size_is_damage(directory, name, size):
    """The report of such a run ended in an OverflowError."""
    lines = (directory / "results.jsonl").read_text()
    pattern = rf'("name":"{name}",.*?"samples":)\[[^]]*\]'
    (directory / "results.jsonl").write_text(re.sub(pattern, rf"\1[{size}]", lines, count=1))
    with pytest.raises(StoreError, match=rf"results\.jsonl:1: not a record: a sample of {name} is not a size"):
        store.load(directory)


def test_a_byte_order_mark_is_no_damage(directory, measured):
    """The remedy for a file that an editor had saved with one was to remove its first line."""
    for name in ("run.json", "results.jsonl"):
        (directory / name).write_bytes(b"\xef\xbb\xbf" + (directory / name).read_bytes())
    assert store.load(directory) == (RUN, measured)


@pytest.mark.parametrize("share", ["1e400", "-0.5", "7.0"])
def test_an_impossible_share_is_damage(directory, share):
    for bound in (0.0, 1.0):
        store.describe(directory, replace(RUN, intervals_meet=bound))
        assert store.load(directory)[0].intervals_meet == bound
    store.describe(directory, replace(RUN, intervals_meet=0.98))
    described = (directory / "run.json").read_text()
    (directory / "run.json").write_text(described.replace("0.98", share))
    with pytest.raises(StoreError, match="intervals_meet is not a share"):
        store.load(directory)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not written by convbench, or damaged: .*: restore it from a copy of the run, or measure anew, which"),
        ("{}", "name: Field required"),
        (None, r"not a run: there is no run\.json in \S+$"),
    ],
)
def test_a_file_that_is_not_a_run_is_refused(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(StoreError, match=reason):
        store.load(tmp_path)
    assert store.exists(tmp_path) is (content == "{}"), "an empty description is none"


def test_a_newer_schema_is_refused(tmp_path):
    store.start(tmp_path, replace(RUN, schema_version=99))
    with pytest.raises(StoreError, match="newer convbench"):
        store.load(tmp_path)
    (tmp_path / "run.json").write_text('{"schema_version": 99, "name": {"of": "run"}}')
    with pytest.raises(StoreError, match=r"run\.json: written by a newer convbench \(schema 99\): upgrade"):
        store.load(tmp_path)


@pytest.mark.parametrize("line", [b'{"schema_version": 99, "case": "gap"}\n', None], ids=["unreadable", "readable"])
def test_a_record_that_a_newer_convbench_added_is_refused(directory, measured, line):
    """A newer convbench may have resumed the run. Such a line was called damaged, or read as if it were ours."""
    newer_line = line or record_line(replace(measured[0], schema_version=99))
    (directory / "results.jsonl").write_bytes(record_line(measured[1]) + newer_line)
    with pytest.raises(StoreError, match=r"results\.jsonl:2: written by a newer convbench \(schema 99\): upgrade"):
        store.load(directory)


def test_a_new_run_sets_the_old_one_aside_with_all_its_pages(directory, measured):
    """The claims of the old run used to lie beside the report of the new one."""
    for name in ("index.html", "claims.html", "notes.txt"):
        (directory / name).touch()
    for _ in range(3):
        store.start(directory, replace(RUN, started="2026-11-23T10:00:00+00:00"))
    assert store.load(directory)[1] == []
    first_place, *other_places = sorted((directory / "previous").iterdir())
    assert store.load(first_place) == (RUN, measured)
    assert {name: (directory / name).exists() for name in ("claims.html", "notes.txt")} == {
        "claims.html": False, "notes.txt": True,
    }  # fmt: skip
    assert (first_place / "index.html").exists()
    assert (first_place / "claims.html").exists()
    assert [place.name for place in other_places] == ["2026-11-23T100000Z", "2026-11-23T100000Z-2"]


def test_a_directory_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be written \(Not a directory\): choose another place with --out"):
        store.start(tmp_path / "file" / "run", RUN)


def test_two_processes_cannot_measure_into_one_directory(tmp_path):
    with (
        store.hold_directory(tmp_path),
        pytest.raises(StoreError, match="another convbench"),
        store.hold_directory(tmp_path),
    ):
        pass


def test_shards_merge_to_the_whole(measured):
    first_run = replace(RUN, planned=(measured[0].case.id,), equal={"a": ("b",)}, impossible={"x": "too large"})
    first = (first_run, [replace(measured[0], visits=(Visit(0),))])
    assert merging.merge([first]) == first
    first = (first_run, measured[:1])
    second = (replace(RUN, planned=(measured[1].case.id, measured[2].case.id), equal={"c": ("d",)}), measured[1:])
    run, joined = merging.merge([first, second])
    assert (run.equal, run.impossible) == ({"a": ("b",), "c": ("d",)}, {"x": "too large"})
    assert joined == measured
    assert run.planned == tuple(record.case.id for record in measured)
    assert run.parts == tuple(merging.identity(shard) for shard, _ in (first, second))


def test_missing_later_trainings_are_named_once_without_skipped_models():
    trained, later = made.lesson(seed=0), [made.lesson(seed=seed, rate=5e-4) for seed in (1, 2)]
    names = tuple(record.case.at_any_rate.id for record in later)
    of_shard = replace(RUN, planned=(trained.case.id,), later=names)
    run, _ = merging.merge([(of_shard, [trained]), (replace(RUN, planned=("a",), later=()), []), (of_shard, [trained])])
    assert run.later == names
    assert merging.merge([(replace(RUN, later=()), []), (of_shard, [trained])])[0].later == names
    assert run.open_ids([trained, later[1]]) == ["a", names[0]]
    assert run.open_ids([replace(trained, status="failed")]) == ["a", *names]
    assert run.open_ids([replace(trained, status="skipped")]) == ["a"]
    assert run.open_ids([replace(trained, status="skipped"), made.lesson(seed=9)]) == ["a", *names]


def test_a_result_wins_over_a_failure_in_a_merge(measured):
    failed = replace(measured[0], status="failed")
    assert merging.merge([(RUN, [failed]), (RUN, [measured[0]])])[1] == [measured[0]]
    assert merging.merge([(RUN, [measured[0]]), (RUN, [failed])])[1] == [measured[0]]
    assert merging.merge([(RUN, [failed]), (RUN, [replace(failed, seconds=9.0)])])[1] == [failed]
    other = replace(RUN, planned=("c",))
    run, joined = merging.merge([(RUN, [failed]), (other, [measured[0]])])
    assert run.parts == (merging.identity(RUN), merging.identity(other)), "all successful results are in it"
    third = replace(RUN, planned=("d",))
    assert merging.merge([(run, joined), (third, measured[1:])])[0].parts == (
        merging.identity(run), *run.parts, merging.identity(third)
    )  # fmt: skip


def test_cases_that_several_runs_measured_are_counted_without_copies(measured):
    again = replace(measured[0], readings=made.record(measured[0].case, latency=9.0).readings)
    assert merging.count_repeated([(RUN, measured), (RUN, [again, *measured[1:]])]) == 1
    assert merging.count_repeated([(RUN, measured), (RUN, measured)]) == 0
    assert merging.count_repeated([(RUN, measured), (RUN, [replace(again, status="failed")])]) == 0


@pytest.mark.parametrize(
    ("held", "lacking"),
    [
        (["1/2"], "shard 2/2"),
        (["1/4", "2/4", "1/4"], "shards 3/4 and 4/4"),
        (["9/9"], "shards 1/9, 2/9, 3/9, 4/9 and 4 more"),
        (["1/3", "1/2"], "shard 2/2"),
        (["3/3", "1/2"], "shard 2/2"),
        (["1/3", "2/2", "1/2"], ""),
        (["1/3", ""], ""),
        (["1/3", "x"], ""),
    ],
)
def test_the_missing_shards_of_a_merged_run_are_named(measured, held, lacking):
    of = [replace(RUN, command=f"convbench run tiny.yaml --shard {shard}" if shard else RUN.command) for shard in held]
    run, _ = merging.merge([(shard, measured) for shard in of])
    assert (shards.missing_names(run), bool(run.shards)) == (lacking, bool(lacking))
    twice, _ = merging.merge([(run, measured), (of[0], [])])
    assert shards.missing_names(twice) == lacking


def test_different_suites_do_not_merge(measured):
    other = Protocol(max_time=9.0)
    suite = {"suite": "matrix: {reducer: gap}"}
    for change in ({"name": "other"}, suite, {"metrics": ("params",)}, {"protocol": other}):
        with pytest.raises(StoreError, match=r"and 'tiny' of 2026-11-22.* have different suites or protocols"):
            merging.merge([(RUN, measured), (replace(RUN, **change), measured)])
    budget = replace(RUN, protocol=replace(RUN.protocol, budget=60.0))
    assert merging.merge([(RUN, measured[:1]), (budget, measured[1:])])[1] == measured


SHARD_COMMAND = "convbench run tiny.yaml {} --shard {}/2"


@pytest.mark.parametrize("more", ["clip.frames=4", "--only gap", "--skip '*fc*'", "training.seeds=1"])
def test_shards_of_another_sweep_do_not_merge(measured, more):
    first, second = (replace(RUN, command=SHARD_COMMAND.format(*of)) for of in ((more, 1), ("", 2)))
    with pytest.raises(StoreError, match=r"has other overrides, --only or --skip than the one of 2026-11-22"):
        merging.merge([(first, measured[:1]), (second, measured[1:])])


def test_shards_may_differ_in_protocol_overrides(measured):
    """The resulting protocols are compared, not the overrides."""
    commands = (SHARD_COMMAND.format(*of) for of in (("protocol.budget=60 protocol.visits=1", 1), ("", 2)))
    first, second = (replace(RUN, command=command) for command in commands)
    assert merging.merge([(first, measured[:1]), (second, measured[1:])])[1] == measured


def test_a_run_of_selected_cases_merges_with_shards(measured):
    shard = replace(RUN, command=SHARD_COMMAND.format("", 1))
    for command in ("convbench run tiny.yaml --only gap", RUN.command):
        assert merging.merge([(shard, measured[:1]), (replace(RUN, command=command), measured[1:])])[1] == measured


def test_a_run_and_its_copy_are_a_repetition(measured):
    other = replace(RUN, started="2026-11-23T12:00:00Z")
    assert merging.repeats([(RUN, measured), (other, measured), (RUN, [])])
    assert not merging.repeats([(RUN, measured), (other, measured)])


def test_a_case_that_was_timed_comes_before_one_of_which_only_facts_are_known(measured):
    """A run that was interrupted in its first round hid the times of the whole one, and 5 of 8 cases were missing."""
    interrupted = [replace(record, visits=(Visit(FACTS),), readings=()) for record in measured]
    whole = replace(RUN, started="2026-11-23T12:00:00Z")
    runs = [(RUN, interrupted), (whole, measured)]
    assert [record.readings for record in merging.merge(runs)[1]] == [record.readings for record in measured]
    assert merging.count_repeated(runs) == 0


def test_shards_of_other_code_do_not_merge(measured):
    """Two packages may each have a module of the same name, but a module of one package may not have changed."""
    cases = [replace(measured[0].case, architecture=Whole(Choice(name))) for name in ("net:a", "net.deep:b", "other:c")]
    of_code = [
        replace(record, case=case, code={"utils": content})
        for record, case, content in zip(measured, cases, ("1", "2", "3"), strict=True)
    ]
    with pytest.raises(StoreError, match=r"utils changed between the shards: .* --resume=stale, then merge"):
        merging.merge([(RUN, of_code[:1]), (RUN, of_code[1:2])])
    assert merging.merge([(RUN, of_code[:1]), (RUN, of_code[2:])])[1] == [of_code[0], of_code[2]]


def test_a_merged_run_describes_every_environment_and_host(measured):
    here = replace(RUN, fingerprint="e1", environment={"cpu": "A"})
    there = replace(RUN, fingerprint="e2", environment={"cpu": "B"})
    assert merging.merge([(here, measured), (here, [])])[0].hosts == {}
    run, _ = merging.merge([(here, measured[:1]), (there, measured[1:])])
    assert run.hosts == {"shard 1": "e1", "shard 2": "e2"}
    assert run.environments == {"e1": {"cpu": "A"}, "e2": {"cpu": "B"}}
    further = replace(RUN, fingerprint="e3", environment={"cpu": "C"})
    twice, _ = merging.merge([(run, measured), (further, [])])
    assert twice.hosts == {"shard 1": "e1", "shard 2": "e2", "shard 3": "e3"}, "a merged run is merged further"
    cluster = replace(there, hosts={"h1": "e2"}, environments={"e2": {"cpu": "B"}}, between_hosts="2 % apart.")
    run, _ = merging.merge([(here, measured[:1]), (cluster, measured[1:])])
    assert run.hosts == {"shard 1": "e1", "h1": "e2"}
    assert (set(run.environments), run.between_hosts) == ({"e1", "e2"}, ("2 % apart.",))
    mixed = replace(cluster, hosts={"h1": "e2", "h2": "e3"}, environments={"e2": {"cpu": "B"}, "e3": {"cpu": "C"}})
    run, _ = merging.merge([(here, measured[:1]), (mixed, measured[1:])])
    assert (run.hosts, set(run.environments)) == ({"shard 1": "e1", "h1": "e2", "h2": "e3"}, {"e1", "e2", "e3"})
    alike = [replace(here, hosts={name: "e1"}) for name in ("h1", "h2")]
    run, _ = merging.merge([(alike[0], measured[:1]), (alike[1], measured[1:])])
    assert run.hosts == {"h1": "e1", "h2": "e1"}, "one kind of host, but the runs name theirs"


def test_two_writers_of_the_cache_keep_both_numbers(tmp_path, monkeypatch):
    """The second writer waits for the first's lock before it reads the stored numbers."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.keep("kind", {}, 1.0, "first")
    with lock.hold(cache.folder() / "kind.lock"):
        writer = threading.Thread(target=cache.keep, args=("kind", {}, 2.0, "second"))
        writer.start()
        writer.join(0.3)
        assert writer.is_alive(), "it waits"
        stored = json.loads((cache.folder() / "kind.json").read_text())
        (cache.folder() / "kind.json").write_text(json.dumps(dict.fromkeys(stored, 3.0)))
    writer.join(10)
    assert [cache.number("kind", {}, of) for of in ("first", "second")] == [3.0, 2.0]


def test_the_csv_has_a_row_per_case_and_plain_columns(directory, measured):
    table = pd.read_csv(write_csv(directory, measured))
    assert list(table["case"]) == [record.case.id for record in measured]
    plain = "case backbone reducer lstm_input variant scenario device params macs flops macs_backbone macs_reducer"
    plain += " macs_lstm macs_head latency_s_median latency_s_low latency_s_high frames_per_s memory_peak_bytes status"
    assert " ".join(table.columns).startswith(f"{plain} error ")
