"""Test the command line as a person uses it, with real processes, files and kills."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import get_args, get_type_hints
from unittest.mock import Mock

import invented_runs
import pandas as pd
import psutil
import pytest
import records
from command import TESTS, convbench, start

from convbench import __main__
from convbench.cli import app, ending
from convbench.core import installed
from convbench.core.errors import ConvbenchError, Unavailable
from convbench.core.package import __version__
from convbench.core.storage import merging, store
from convbench.core.system import lock
from convbench.measure.machine import doctor
from convbench.plugins.executors.fake import Fake

TINY = """
name: tiny
matrix:
  reducer: [gap, gmp, hybrid, gdconv]
  lstm_input: 16
  clip: 1x2x3x8x8
protocol: {max_warmup: 0.02, max_time: 0.05, target: 0.5, min_samples: 6}
"""
TWO = ("reducer=[gap, gmp]", "protocol.visits=2")
PARAMS = ("run", "tiny.yaml", "--metrics", "params")
"""A command that runs no model, so that tests of messages start no server of processes."""
LONG = (*TWO, "protocol.min_samples=400")
"""Two cases in two rounds, with visits that are long enough to be interrupted."""


@pytest.fixture
def here(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def lines(directory: Path) -> list[str]:
    path = directory / "results.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_help_and_version_need_no_torch():
    """Commands that measure in other processes need none either: loading the shelf of executors imports no torch."""
    modules = "convbench.cli, convbench.suite, convbench.core.storage.store, convbench.report.page.run"
    shelf = "from convbench.core.registry import executors; list(executors)"
    script = f"import sys, {modules}; {shelf}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in loaded
    assert "convbench.cli.run" in loaded


def test_help_needs_no_package_that_reads_suites_or_stores_records():
    """The type of one option and of one argument took half of its time: pydantic and the reader of YAML."""
    script = "import sys, convbench.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"pydantic", "ruamel.yaml", "numpy", "matplotlib"}.isdisjoint(loaded)


def test_a_run_writes_its_files_and_reports_where(here):
    done = convbench("run", "tiny.yaml", *TWO, cwd=here)
    assert done.returncode == 0, done.stderr
    run = here / "reports" / "tiny"
    assert done.stdout.rstrip().endswith("reports/tiny/index.html")
    assert re.search(r"(Fastest|Take) .*on the conv backbone", " ".join(done.stdout.split()))
    assert "round 2 of 2" in done.stderr
    assert "[2/2] ok" in done.stderr
    described, records = store.load(run)
    assert [record.case.id for record in records] == list(described.planned)
    assert {record.environment for record in records} == {described.fingerprint}
    assert described.environment["torch"]
    assert described.command == "convbench run tiny.yaml 'reducer=[gap, gmp]' protocol.visits=2"
    assert list(pd.read_csv(run / "results.csv")["status"]) == ["ok"] * 2
    assert (run / "index.html").read_text().startswith("<!doctype html>")


def test_json_prints_only_one_object_per_case(here):
    done = convbench("run", "tiny.yaml", "--json", "--metrics", "params,macs", "--out", "elsewhere", cwd=here)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["reducer"] for row in rows] == ["gap", "gmp", "hybrid", "gdconv"]
    assert rows[0]["params"] == 83_840
    assert rows[0]["flops"] == 2 * rows[0]["macs"]
    assert rows[0]["latency_s_median"] is None
    assert rows[0]["status"] == "ok"
    assert store.exists(here / "elsewhere")


def test_quiet_prints_nothing(here):
    done = convbench("run", "tiny.yaml", "--quiet", "--metrics", "params", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_run_that_measured_nothing_tells_so_even_if_quiet(here, in_process, monkeypatch):
    def answer(*_: object) -> None:
        raise Unavailable("no compiler")

    monkeypatch.setitem(Fake.__init__.__kwdefaults__, "answer", answer)
    done = in_process("run", "tiny.yaml", "--executor", "fake", "--quiet", "--out", "out", cwd=here)
    message = "convbench: 0 of 4 cases measured, 4 skipped: out/index.html says why\n"
    assert (done.returncode, done.stdout, done.stderr) == (5, "", message)


def test_dry_run_shows_the_cases_and_writes_nothing(here):
    done = convbench("run", "tiny.yaml", "--dry-run", "--device", "cpu", "--only", "g*", "--skip", "gmp", cwd=here)
    assert done.stdout.splitlines() == [
        "conv/gap/32/lstm128/1x2x3x8x8/eager/inference/cpu",
        "conv/gdconv/32/lstm128/1x2x3x8x8/eager/inference/cpu",
    ]
    assert not (here / "reports").exists()


def test_resume_after_kill_9_measures_the_remaining_visits_once(here):
    run = here / "reports" / "tiny"
    process = start("run", "tiny.yaml", *LONG, cwd=here)
    wait_for(lambda: len(lines(run)) >= 3)  # the facts of both, and a first visit to one
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    process.communicate()
    first_lines = lines(run)[:3]
    with (run / "results.jsonl").open("a") as file:
        file.write('{"case": {"architecture": {"ba')
    resumed = convbench("run", "tiny.yaml", *LONG, "--resume", cwd=here)
    assert resumed.returncode == 0, resumed.stderr
    described, records = store.load(run)
    assert [record.case.id for record in records] == list(described.planned)
    assert lines(run)[:3] == first_lines
    visit_keys = [(record.case.id, visit.round) for record in records for visit in record.visits]
    assert len(visit_keys) == len(set(visit_keys))
    assert all({-1, 0, 1} <= {visit.round for visit in record.visits} for record in records)
    assert "[2/2]" in resumed.stderr
    assert "[1/2]" not in resumed.stderr
    wait_for(lambda: not any(member.is_running() and member.status() != "zombie" for member in family), 10)


def test_ctrl_c_keeps_finished_cases_and_explains_how_to_resume(here):
    run = here / "reports" / "tiny"
    process = start("run", "tiny.yaml", *LONG, cwd=here, start_new_session=True)
    wait_for(lambda: len(lines(run)) >= 1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"[01] of 2 cases measured and kept in reports/tiny: add --resume to go on", err), err
    assert "Traceback" not in err, err
    assert 1 <= len(pd.read_csv(run / "results.csv")) <= len(lines(run))


def test_resume_reports_failed_cases_and_an_earlier_version(here, in_process):
    words = ("run", "tiny.yaml", "--executor", "fake", "--quiet")
    assert in_process(*words, cwd=here).returncode == 0
    results = here / "reports" / "tiny" / "results.jsonl"
    first, *others = results.read_text().splitlines(keepends=True)
    of_others = [line for line in others if json.loads(line)["case"] != json.loads(first)["case"]]
    results.write_text("".join([first.replace('"status":"ok"', '"status":"failed"'), *of_others]))
    description = results.with_name("run.json")
    description.write_text(description.read_text().replace(f'"{__version__}"', '"0.1.9"'))
    done = in_process(*words, "--resume", cwd=here)
    remedy = f"run without --resume to measure all cases with {__version__}"
    assert f"convbench: convbench 0.1.9 began this run: {remedy}" in done.stderr
    assert (
        "convbench: 1 case that failed before was not measured again: run without --resume to measure all cases"
        in done.stderr
    )
    assert done.returncode == 5


def test_a_skip_that_matches_no_case_is_reported(here, in_process):
    words = (*PARAMS, "--dry-run", "--skip")
    assert "convbench: --skip *gpa* leaves no case out" in in_process(*words, "*gpa*", cwd=here).stderr
    assert "--skip" not in in_process(*words, "*gap*", cwd=here).stderr


@pytest.mark.parametrize("option", ["--only", "--skip"])
def test_an_empty_filter_is_refused(option, here, in_process):
    """A filter from an unset variable used to select everything or nothing, without a reason."""
    done = in_process(*PARAMS, "--dry-run", option, "", cwd=here)
    assert (done.returncode, done.stderr.strip()) == (
        2,
        f"convbench: {option} has no value: give it a name or a pattern, or leave it out",
    )


@pytest.mark.parametrize("option", ["--metrics", "--executor", "--budget", "--shard", "--resume"])
def test_an_option_without_a_text_is_refused(option, here, in_process):
    """An unset variable once meant no budget, every metric or another executor, without a word."""
    done = in_process("run", "tiny.yaml", "--dry-run", f"{option}=", cwd=here)
    assert (done.returncode, done.stderr) == (
        2,
        f"convbench: {option} has no value: give it a value, or leave it out\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trace", "run", "--port", "http"), "Invalid value for '--port': 'http' is not a whole number"),
        (("trace", "run", "--port", "70000"), "Invalid value for '--port': '70000' is too large: at most 65535"),
        (
            ("advise", "run", "--require", "certain"),
            "Invalid value for '--require': 'certain' is not one of 'open', 'provisional', 'sure'.",
        ),
    ],
)
def test_a_wrong_value_of_an_option_is_told_in_our_words(words, message, here, in_process):
    done = in_process(*words, cwd=here)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"Error: {message}")


def test_cases_that_are_one_model_are_shown_on_one_line(here, in_process):
    done = in_process(*PARAMS, "--dry-run", "--device", "cpu", "reducer=[{name: avg-k, k: 1}, gap]", cwd=here)
    (line,) = done.stdout.splitlines()
    assert re.fullmatch(r"conv\S*/avg-k\(k=1\)/\S+  \(also conv\S*/gap/\S+\)", line)
    assert done.stderr.endswith("1 case to measure, of 2 combinations in the suite\n")


def test_settings_that_no_case_uses_are_reported(here, in_process):
    words = (*PARAMS, "--dry-run")
    asked = in_process(*words, "--only", "gap", "lstm_input=[24,48]", "training.seeds=5", cwd=here).stderr
    assert "convbench: no case has the LSTM input size 24 or 48: gap makes its own\n" in asked
    assert "convbench: training.seeds=5 does nothing: no case is trained: add quality=train\n" in asked
    assert "convbench:" not in in_process(*words, cwd=here).stderr
    assert "convbench:" not in in_process(*words, "--only", "gap", cwd=here).stderr  # others have the suite's size
    probed = in_process(
        "run", "tiny.yaml", "--dry-run", "quality=probe", "training.batch=8", "training.tasks=[order]", cwd=here
    )
    assert "convbench: training.tasks=[order] does nothing: no case is trained" in probed.stderr
    assert "training.batch" not in probed.stderr
    twice = in_process(*words, "--only", "fc", "lstm_input=8", "lstm_input=24", cwd=here).stderr
    assert "convbench: lstm_input=8 does nothing, because lstm_input=24 comes later: write several values as" in twice
    whole = ("quality=probe", "training.steps=5", "training={batch: 8}")
    replaced = in_process("run", "tiny.yaml", "--dry-run", *whole, cwd=here).stderr
    assert "training.steps=5 does nothing, because training={batch: 8} comes later: give it after that\n" in replaced
    for first, second in (("variant=eager", "matrix={reducer: gap}"), ("rnn.hidden=8", "matrix.rnn=lstm4")):
        replaced = in_process("run", "tiny.yaml", "--dry-run", first, second, cwd=here).stderr
        assert f"{first} does nothing in the matrix, because {second} comes later: give it after that\n" in replaced


def test_a_run_reports_that_git_refuses_its_repository(here, in_process, monkeypatch):
    """Another user owns a repository mounted into a container; its runs used to lack their commit without a word."""
    words = ("run", "tiny.yaml", "--executor", "fake", "--quiet")
    subprocess.run(["git", "init", "-q"], cwd=here, check=True)
    assert in_process(*words, cwd=here).stderr == ""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert "is kept without its commit, which history --confirm needs: git says: detected dubious ownership" in (
        in_process(*words, cwd=here).stderr
    )
    (examination,) = doctor._git()
    assert "runs are kept without their commit" in examination.message


def test_a_budget_that_ends_the_trainings_is_reported(here, in_process):
    words = ("run", "quality", "--executor", "fake", "--quiet", "--out", "out")
    done = in_process(*words, "--budget", "0.000001s", cwd=here)
    assert done.returncode == 5, done.stderr
    assert re.search(r"convbench: \d+ trainings not made: the budget is spent", done.stderr)


@pytest.mark.parametrize("budget", [(), ("--budget", "1h")])
def test_a_case_without_a_record_is_reported(budget, here, in_process, monkeypatch):
    """Such a run used to end with exit code 0, and with a budget to name a training that it did not make."""
    run = Fake.run
    monkeypatch.setattr(Fake, "run", lambda *args: (pair for pair in run(*args) if not pair[0].case.variant))
    words = ("--only", "fc", "--metrics", "latency", "--executor", "fake", "--quiet", *budget)
    done = in_process("run", "smoke", *words, cwd=here)
    assert (done.returncode, done.stderr) == (
        5, "convbench: the executor gave no record of 1 case: add --resume to try again\n"
    )  # fmt: skip


def test_profile_with_resume_reports_cases_without_a_trace(here, in_process):
    words = ("run", "tiny.yaml", "--executor", "fake", "--quiet")
    assert in_process(*words, cwd=here).returncode == 0
    done = in_process(*words, "profile=true", "--resume", cwd=here)
    assert "convbench: 4 cases measured before got no trace: run without --resume to trace all cases" in done.stderr


def test_resume_adds_the_cases_of_a_larger_suite_and_refuses_one_that_lacks_some(here, in_process):
    """A run timed only in streaming had to be made anew for the costs in inference."""
    words, directory = (*PARAMS, "reducer=[gap,gmp]", "--quiet"), here / "reports" / "tiny"
    assert in_process(*words, "scenario=streaming", "--only", "gap", cwd=here).returncode == 0
    shutil.copytree(directory, here / "copy")
    first_line = lines(directory)[0]
    added = in_process(*words, "scenario=[inference,streaming]", "--resume", cwd=here)
    assert added.returncode == 0, added.stderr
    assert (len(lines(directory)), lines(directory)[0]) == (4, first_line)
    run, run_records = store.load(directory)
    assert (run.planned, run.open_ids(run_records)) == (tuple(record.case.id for record in run_records), [])
    assert "scenario=[inference,streaming]" in run.command
    assert run.parts == (merging.identity(store.load(here / "copy")[0]),)  # a history shows the copy no more
    lost = next(case for case in run.planned if "/gap/" in case and "/inference/" in case)
    for change in (("scenario=[inference,streaming]", "--skip", lost), ("scenario=streaming",)):
        refused = in_process(*words, *change, "--resume", cwd=here)
        assert refused.returncode == 2
        assert f"cannot be resumed: its list of cases (it has {lost}, and the suite does not now) differs" in (
            refused.stderr
        )
    assert store.load(directory) == (run, run_records)


def test_resume_refuses_a_run_without_its_description(here, in_process):
    """It used to start again from the beginning, without a message."""
    words = ("run", "tiny.yaml", "--executor", "fake", "--quiet")
    assert in_process(*words, cwd=here).returncode == 0
    before = lines(here / "reports" / "tiny")
    (here / "reports" / "tiny" / "run.json").unlink()
    done = in_process(*words, "--resume", cwd=here)
    assert (done.returncode, lines(here / "reports" / "tiny")) == (2, before)
    assert "cannot be resumed: its run.json is lost; put it back, or run without --resume" in done.stderr


def test_resume_refuses_a_run_without_its_results(here, in_process):
    """It used to measure everything again, without a message."""
    words = ("run", "tiny.yaml", "--executor", "fake", "--quiet")
    assert in_process(*words, cwd=here).returncode == 0
    (here / "reports" / "tiny" / "results.jsonl").unlink()
    done = in_process(*words, "--resume", cwd=here)
    assert done.returncode == 2
    assert "there is no results.jsonl, which holds all measurements: copy the whole run, or measure" in done.stderr


def test_failed_cases_give_exit_5_and_stay_in_files(here, in_process):
    (here / "wild.yaml").write_text(
        "matrix:\n  model:\n"
        "    - {name: 'wild:Ending', how: [raise, crash]}\n"
        "    - wild:KeepsState\n"
        "  clip: 1x2x3x8x8\nprotocol: {max_warmup: 0.02, max_time: 0.05, visits: 1}\n"
    )
    done = in_process("run", "wild.yaml", cwd=here)
    assert done.returncode == 5, done.stderr
    table = pd.read_csv(here / "reports" / "wild" / "results.csv")
    assert list(table["status"]) == ["failed", "failed", "ok"]
    assert "ValueError: the user's own mistake" in table["error"][0]
    assert "SIGSEGV" in table["error"][1]
    assert "the user&#39;s own mistake" in (here / "reports" / "wild" / "index.html").read_text()


def test_shards_are_disjoint_complete_and_merge(here, in_process):
    for index in (1, 2):
        words = ("--metrics", "params", "--shard", f"{index}/2", "--out", f"shard{index}")
        assert in_process("run", "tiny.yaml", *words, cwd=here).returncode == 0
    runs = [store.load(here / f"shard{index}")[0] for index in (1, 2)]
    assert not set(runs[0].planned) & set(runs[1].planned)
    assert runs[1].command == "convbench run tiny.yaml 'metrics=[params]' --shard 2/2"
    done = in_process("merge", "shard1", "shard2", "--out", "whole", cwd=here)
    assert done.returncode == 0, done.stderr
    run, run_records = store.load(here / "whole")
    assert (len(run_records), run.command) == (4, "convbench run tiny.yaml 'metrics=[params]'")
    assert (done.stderr, run.shards) == ("", ())
    empty = in_process("run", "tiny.yaml", "--metrics", "params", "--shard", "9/9", "--out", "shard9", cwd=here)
    assert (empty.returncode, store.load(here / "shard9")[1]) == (0, []), "a job of CI with more shards than cases"


def test_a_merge_says_that_it_keeps_one_of_two_results(tmp_path, in_process):
    """Whoever merges two nights to pool their samples gets the first night's numbers: nothing said so."""
    for number in range(2):
        invented_runs.write(tmp_path / f"night{number}", number, {invented_runs.GAP: 2e-3 + number * 1e-3})
    done = in_process("merge", "night0", "night1", "--out", "both", cwd=tmp_path)
    assert "convbench: 1 case was measured in more than one run: the joined run has the first result;" in done.stderr
    assert store.load(tmp_path / "both")[1][0].samples("latency_s") == (2e-3,) * 5


def test_a_merge_names_missing_shards_and_can_be_resumed(here, in_process):
    for index in (1, 3):
        assert in_process(*PARAMS, "--shard", f"{index}/3", "--out", f"shard{index}", cwd=here).returncode == 0
    done = in_process("merge", "shard1", "shard3", "shard1", "--out", "part", cwd=here)
    assert done.stderr.splitlines() == [
        "convbench: shard 2/3 missing: merge part with the missing runs",
        "convbench: a run is named twice, which adds nothing",
    ]
    assert done.returncode == 5
    assert "measured, shard 2/3 missing." in done.stdout
    assert "shard 2/3 missing" in (here / "part" / "index.html").read_text()
    assert store.load(here / "part")[0].shards == ("1/3", "3/3")
    assert in_process(*PARAMS, "--shard", "2/3", "--out", "shard2", cwd=here).returncode == 0
    done = in_process("merge", "part", "shard2", "--out", "whole", cwd=here)
    assert (done.returncode, done.stderr, store.load(here / "whole")[0].shards) == (0, "", ())
    done = in_process(*PARAMS, "--out", "part", "--resume", cwd=here)
    assert done.returncode == 0, done.stderr
    run, run_records = store.load(here / "part")
    assert (len(run_records), run.planned, run.shards) == (4, tuple(r.case.id for r in run_records), ())


def test_a_merge_of_all_shards_can_be_resumed(here, in_process):
    """This holds in any order, and also if only the whole suite shows that two cases are equal."""
    words = ("run", "tiny.yaml", "reducer=[hybrid, gap, {name: avg-k, k: 1}]", "--metrics", "params")
    for index in (1, 2):
        assert in_process(*words, "--shard", f"{index}/2", "--out", f"shard{index}", cwd=here).returncode == 0
    assert in_process("merge", "shard2", "shard1", "--out", "whole", cwd=here).returncode == 0
    done = in_process(*words, "--resume", "--out", "whole", cwd=here)
    assert done.returncode == 0, done.stderr
    run, run_records = store.load(here / "whole")
    assert [case.split("/")[1] for case in run.planned] == ["hybrid", "gap"]
    assert [len(others) for others in run.equal.values()] == [1]
    assert len(run_records) == 3


def test_shards_of_different_commits_or_versions_are_reported(here, in_process):
    for name, commit, version in (("gap", "0123abc", "0.2.0"), ("gmp", "4567def", "0.1.9")):
        facts = {**records.ENVIRONMENT, "commit": commit}
        records.stored(here / name, [records.record(records.case(name))], environment=facts, convbench=version)
    done = in_process("merge", "gap", "gmp", "--out", "whole", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "the shards measured different commits (0123abc and 4567def): the joined run names the first" in done.stderr
    assert "convbench 0.2.0 and 0.1.9 measured the shards: the joined run names the first" in done.stderr


def test_a_merge_with_a_shard_that_is_being_measured_is_incomplete(here, in_process):
    """Its later visits were missing without a word, and history then left them out: the shard counts as merged."""
    for name in ("gap", "gmp"):
        records.stored(here / name, [records.record(records.case(name))])
    with lock.hold(here / "gmp" / store.LOCK):
        done = in_process("merge", "gap", "gmp/run.json", "--out", "whole", cwd=here)
    assert "convbench: gmp/run.json is being measured: merge again afterwards" in done.stderr.splitlines()
    assert done.returncode == 5
    assert in_process("merge", "gap", "gmp", "--out", "whole", cwd=here).returncode == 0


def test_a_merge_with_a_planned_case_without_a_result_is_incomplete(tmp_path, in_process):
    gap, gmp = map(records.case, ("gap", "gmp"))
    records.stored(tmp_path / "part", [records.record(gap)], planned=(gap.id, gmp.id))
    done = in_process("merge", "part", "--out", "whole", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        5, "convbench: 1 planned case has no result: run the shard again with --resume, then merge again",
    )  # fmt: skip
    records.stored(tmp_path / "rest", [records.record(gmp)], planned=(gap.id, gmp.id))
    assert in_process("merge", "part", "rest", "--out", "whole", cwd=tmp_path).returncode == 0


def test_list_shows_every_shelf():
    output = convbench("list", cwd=TESTS).stdout
    assert "avg-k(k=4)" in output
    assert "fake(answer=invented, machines=1, " in output  # such a default used to be shown as an address
    assert "streaming" in output
    assert all(f"\n{shelf}:" in f"\n{output}" for shelf in ("suites", "backbones", "reducers", "variants", "probes"))


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("run", "[OPTIONS] {suite} [KEY=VALUE]..."),
        ("profile", "reports/SUITE-profile]"),
        ("history", "history [OPTIONS] [runs]..."),
    ],
)
def test_help_shows_the_usage_of_a_verb(here, in_process, verb, line):
    """Help used to show ``[[KEY=VALUE]...]...``, and for ``profile`` the directory of ``run``."""
    assert line in in_process(verb, "--help", cwd=here).stdout


def test_no_verb_accepts_an_empty_path():
    """With an unset shell variable the verb would use the working directory."""
    for command in app.registered_commands:
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            annotation, *infos = get_args(hint) or (hint,)
            if "Path" in str(annotation):
                assert infos[0].parser("a b") == Path("a b"), name
                with pytest.raises(ConvbenchError, match=r"^(--)?[-A-Z_a-z]+ is empty: name a file or a directory$"):
                    infos[0].parser(" ")


def test_a_plug_in_may_bring_a_verb(tmp_path, in_process, monkeypatch):
    monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
    code = "from convbench.cli import app\n\n@app.command()\ndef shop_greet():\n    print('good day')\n"
    (tmp_path / "shop_greeting.py").write_text(code)
    assert in_process("shop-greet", cwd=tmp_path).returncode == 2
    done = in_process("--plugins", "shop_greeting", "shop-greet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good day\n", "")
    assert os.environ[installed.VARIABLE].split(",")[-1] == "shop_greeting"  # for the processes that measure


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rnu",), "No such command 'rnu'. Did you mean 'run'?"),
        (("run", "--devcie", "cpu"), "No such option: --devcie (Possible options: --device)"),
        (("run", "tiny.yaml", "--metrics", ""), "--metrics has no value: give it a value, or leave it out"),
        (("run", "tiny.yaml", "--plugins", "shop"), "write it before the verb, as in convbench --plugins MODULE run"),
    ],
)
def test_a_mistyped_command_line_names_what_was_meant(words, said, tmp_path, in_process):
    done = in_process(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())


def test_the_version_is_that_of_convbench_and_of_torch(tmp_path, in_process):
    done = in_process("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"convbench {__version__}, torch {metadata.version('torch')}\n")


def test_the_version_is_shown_without_torch(here, in_process, monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    done = in_process("--version", cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(", without torch: reports can be read and written, but nothing can be measured\n")


@pytest.mark.parametrize(
    ("verb", "whose"),
    [
        (lambda: {}["gain"], r"came from your test_cli.py:\d+: fix it"),
        (partial(int, "x"), "this is a bug in convbench: please report"),
    ],
)
def test_an_unexpected_error_is_traced_to_the_users_line(verb, whose, capsys, monkeypatch):
    assert ending.code_of(verb) == ending.INTERNAL
    assert re.search(whose, capsys.readouterr().err)
    monkeypatch.setattr(installed, "_origins", {"shutil": "shop-plugins 1.2"})
    assert ending.code_of(partial(shutil.copyfileobj, None, None)) == ending.INTERNAL
    assert "came from shop-plugins 1.2: report it there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "no memory is left for this process: end other programs, or raise the limit (ulimit -v)"),
        (OSError(errno.EMFILE, "Too many files"), "Too many files: raise the limit of open files (ulimit -n)"),
        (OSError(errno.EIO, "Input/output error", "a/b"), "a/b: Input/output error: a disk or its connection fails"),
        (OSError(errno.EDQUOT, "Quota", b"c"), "c: Quota: make room there, or choose another place"),
    ],
    ids=["memory", "files", "disk", "quota"],
)
def test_a_limit_of_the_machine_is_no_bug_of_convbench(error, message, capsys, monkeypatch):
    """Without memory, the search for the error's place raised again, and the exit code was that of a regression."""
    monkeypatch.setattr(ending, "place_of", Mock(side_effect=MemoryError))
    assert ending.code_of(Mock(side_effect=error)) == ConvbenchError.exit_code
    assert capsys.readouterr().err == f"convbench: {message}\n"


def test_a_missing_dependency_is_no_bug_of_convbench(here, in_process, capsys, monkeypatch):
    """Without torch, ``doctor`` and other verbs ended with a traceback and asked for a bug report."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "convbench.measure.machine.doctor")
    monkeypatch.delattr("convbench.measure.machine.doctor")
    done = in_process("doctor", cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("convbench: torch is not installed, and this needs it: install it")
    assert ending.code_of(partial(importlib.import_module, "convbench.none")) == ending.INTERNAL
    assert "this is a bug in convbench" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("re", ["report", "replay"]),
        ("run sm", ["smoke"]),
        ("check art", ["article"]),
        ("selftest pre", ["presets"]),
        ("run suites/sm", []),  # the shell completes files
        ("list ex", ["executors", "exports"]),
        ("run smoke --executor is", ["isolated"]),
        ("export run --format b", ["bencher"]),
        ("fits smoke --sk", ["--skip"]),
        ("--plugins nowhere run sm", ["smoke"]),
    ],
)
def test_a_shell_completes_names_and_nothing_else_is_printed(capsys, monkeypatch, line, words):
    """Each press of the tab key printed a traceback, because Typer's ``exit`` passed for an unforeseen one."""
    line = f"convbench {line}"
    variables = {"_CONVBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    monkeypatch.setenv(installed.VARIABLE, "")
    monkeypatch.setattr(installed, "_missing_plugins", {})
    for variable, text in variables.items():
        monkeypatch.setenv(variable, text)
    code = ending.code_of(partial(app, [], standalone_mode=False, prog_name="convbench"))
    done = capsys.readouterr()
    assert (code, done.out.split(), done.err) == (0, words, "")


def test_a_handler_that_c_installed_is_left_alone(monkeypatch):
    """Restoring it, which Python cannot, ended every command of such a process in a traceback."""
    own, getsignal = signal.SIGHUP, signal.getsignal
    monkeypatch.setattr(ending.signal, "getsignal", lambda number: None if number == own else getsignal(number))
    before = getsignal(own)
    assert ending.code_of(lambda: 3) == 3
    assert ending.code_of(lambda: True) == 0  # a verb of a plug-in that says it went well has confirmed no regression
    assert getsignal(own) is before


def test_an_error_that_ctrl_c_causes_is_an_interruption(capsys):
    """An interrupted import of numpy raises ImportError, which ended in a traceback and the request for a report."""

    def interrupted_import():
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise ImportError("numpy._core.multiarray failed to import")

    assert ending.code_of(interrupted_import) == 128 + signal.SIGINT
    sentence = "convbench: interrupted (ImportError: numpy._core.multiarray failed to import)\n"
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize("is_ignored", [False, True])
def test_ctrl_c_before_the_command_handles_signals_just_ends_it(monkeypatch, is_ignored):
    """It printed a traceback, and in pydantic's build of a class it ended with exit code 1: a confirmed regression."""
    handlers = []
    monkeypatch.setattr("convbench.cli.main", lambda: handlers.append(signal.getsignal(signal.SIGINT)))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if is_ignored else signal.default_int_handler)
    try:
        __main__.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert handlers == [signal.SIG_IGN if is_ignored else signal.SIG_DFL]
    scripts = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"convbench": f"{__main__.__name__}:main"}


def test_a_plan_of_one_case_is_worded_in_the_singular(here, in_process):
    done = in_process(*PARAMS, "--dry-run", "--device", "cpu", "reducer=fc", cwd=here)
    assert done.stderr == "1 case to measure, of 1 combination in the suite\n"


def test_doctor_reports_on_torch_and_the_gpu():
    process = convbench("doctor", cwd=TESTS)
    assert process.returncode == 0
    assert "torch" in process.stdout
    assert "gpu" in process.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "nowhere.yaml"), "nowhere.yaml"),
        (("run", "defualt"), "did you mean 'default'"),
        ((*PARAMS, "reducer=gpa"), "unknown 'gpa'; did you mean 'gap'?"),
        (("run", "tiny.yaml", "--metrics", "latnecy"), "did you mean 'latency'"),
        ((*PARAMS, "--device", "tpu"), "unknown device 'tpu': use auto, cpu, cuda or cuda:N"),
        ((*PARAMS, "--shard", "3/2"), "write it as I/N with I from 1 to N"),
        ((*PARAMS, "--only", "nothing"), "none of its 4 cases is selected"),
        ((*PARAMS, "--only", "GAP"), "is selected by --only GAP, which may mean gap: "),
        ((*PARAMS, "--only", "hyb"), "is selected by --only hyb, which must be a whole part of a name"),
        ((*PARAMS, "--only", "gap", "--only", "gdcov"), "tiny.yaml: --only gdcov matches none of the cases"),
        ((*PARAMS, "reducer={name: avg-k, k: 9}"), "k=9 does not fit the 8x8 feature map"),
        ((*PARAMS, "--out", "tiny.yaml/run"), "cannot be written"),
        (("report", "nowhere"), "nowhere: there is no such run: name a run directory, or a file in it"),
        (("report", "nowhere", "--format", "xls"), "unknown --format 'xls'; known: html, md, pdf, png, svg, tex"),
        (("list", "reducer"), "did you mean 'reducers'?"),
        (("run", "tiny.yaml", "--out", ""), "--out is empty: name a file or a directory"),
        (("merge", ".", "--out", " "), "--out is empty: name a file or a directory"),
        (("report", ""), "RUNS is empty: name a file or a directory"),
        (("check", "smoke", "--base", "HEAD", "--json", ""), "--json is empty: name a file or a directory"),
        (("history", "--store", ""), "--store is empty: name a file or a directory"),
        (("history", "--store", "s3://team/perf"), "--store: s3://team/perf is a URL: name a file or a directory; `"),
        (("pull", "s3://team/perf", "s3://team/mine"), "STORE: s3://team/mine is a URL: name a file or a directory"),
        (("push", ".", ""), "PLACE is empty: name a file or a directory"),
        (("pull", "file://", "store"), "PLACE is empty: name a file or a directory"),
        (("push", ".", "s3:/bucket/perf"), "s3:/bucket/perf: there is no such folder: a URL has two slashes"),
        (("push", ".", "host:/mnt/perf"), "; a new folder is written ./host:/mnt/perf"),
        (
            ("run", "tiny.yaml", "--dry-run", "--json"),
            "--dry-run measures nothing, so --json has nothing to print",
        ),
        (("run", "tiny.yaml", "--dry-run", "--resume=all"), "--resume=all: write --resume, or --resume=stale"),
        (("merge", "nowhere"), "there is no such run"),
        (("selftest", "--minutes", "-1"), "--minutes -1: give a number from 0 to 10,080"),
        (("selftest", "--slowdowns", "3,-5"), "--slowdowns 3,-5: give percentages from 0 to 1000, separated by commas"),
        (("selftest", "--slowdowns", "3,x"), "--slowdowns 3,x: give percentages from 0 to 1000, separated by commas"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_gets_one_clear_message_and_exit_2(here, in_process, words, message):
    done = in_process(*words, cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_message_and_exit_of_a_mistake_reach_the_shell(here, in_process):
    words = ("run", "tiny.yaml", "reducer=gpa")
    shell, called = convbench(*words, cwd=here), in_process(*words, cwd=here)
    assert (shell.returncode, shell.stdout, shell.stderr) == (2, "", called.stderr)
