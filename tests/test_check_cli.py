"""``convbench check`` as CI calls it: exit codes, files, signals and real git. Most tests use workers without torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import forked
import psutil
import pytest
import records
from command import commit, git
from records import case, record

from convbench.check import floor, link, outcome
from convbench.check.settings import Rule, Settings
from convbench.core import git as repository
from convbench.core import metrics
from convbench.core.storage import store
from convbench.core.system import lock

FAKE = Path(__file__).with_name("fake_worker.py")
WITH_FAKE = f"""
import sys
from pathlib import Path
from convbench.check import link
link.PROGRAM = Path({str(FAKE)!r})
from convbench.cli import main
main()
"""
STUCK = """
import signal
import sys
from convbench.check import gate, pairs
gate.SECONDS_BETWEEN_SAVES = 0.0
time_case, timed_cases = pairs.time_case, []

def stop_before_the_second(*arguments):
    if timed_cases:
        print("the second pair", file=sys.stderr, flush=True)
        signal.pause()
    timed_cases.append(time_case(*arguments))
    return timed_cases[0]

pairs.time_case = stop_before_the_second
"""
SAME = {"seconds": {"gap": 0.010, "fc": 0.020}}
NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, kind="same"):
        super().__init__()
        assert kind in KINDS, f"no such kind {kind}"
        self.scale = 1.0 if kind == "same" else SCALE
        self.lstm = nn.LSTM(48, 8, batch_first=True)
        if kind == "unseeded":
            nn.init.uniform_(self.lstm.bias_ih_l0, b=torch.Generator().seed() / 2**64)

    def forward(self, clip):
        return self.lstm(self.scale * clip.flatten(2))[0]
"""
SUITE = """
name: mine
matrix:
  model: {name: "nets:Net", kind: [scaled, new]}
  clip: 1x2x3x4x4
protocol: {timeout: 60}
"""


def environment(tmp: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"}
    return variables | {
        "TMPDIR": str(tmp),
        lock.VARIABLE: str(tmp),
        "XDG_CACHE_HOME": str(tmp / "cache"),
        "COLUMNS": "160",
    }


def start(here: Path, *words: str, first: str = "") -> subprocess.Popen:
    """Start convbench in a new process group, which can be killed as a whole. It runs the code ``first`` before."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", first + WITH_FAKE, *words]
    return subprocess.Popen(command, cwd=here, env=environment(here.parent), start_new_session=True, **pipes)


def convbench(here: Path, *words: str, fake: bool = True, **variables: str) -> subprocess.CompletedProcess:
    program = ["-c", WITH_FAKE] if fake else ["-m", "convbench"]
    done = forked.python(*program, *words, cwd=here, env=environment(here.parent) | variables)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def tell(here: Path, settings: dict) -> None:
    (here / "fake.json").write_text(json.dumps(settings))


@pytest.fixture
def here(tmp_path):
    """A repository of a project whose suite is ``fake.json`` and whose workers are fake."""
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "-q")
    tell(project, SAME)
    (project / ".gitignore").write_text("reports/\n")
    commit(project, "one")
    return project


def children(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes: list[psutil.Process], seconds: float = 10) -> bool:
    _, alive = psutil.wait_procs(processes, seconds)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def until(process: subprocess.Popen, text: str) -> str:
    """Read what a process writes to stderr until a line holds ``text``."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_a_passed_check_exits_with_0_and_leaves_no_worktree(here):
    done = convbench(here, "check", "fake.json", "--base", "main")
    assert done.returncode == 0, done.stderr
    assert "base and head are the same commit, without changes: the same code is compared" in done.stdout
    assert "2 ok" in done.stdout
    assert "2 of 2 undecided: gap (" in done.stderr
    assert git(here, "worktree", "list").count("\n") == 0
    assert git(here, "status", "--porcelain") == ""
    assert not list(here.parent.glob("convbench-check-*/"))


def test_a_regression_is_exit_1_in_all_outputs_and_replay(here):
    tell(here, {"seconds": {"gap": 0.010, "fc": 0.022}})
    words = ("--junit", "out/junit.xml", "--json", "out/check.json")
    done = convbench(here, "check", "fake.json", "--base", "main", *words, GITHUB_STEP_SUMMARY=str(here / "step.md"))
    assert done.returncode == 1, done.stderr
    assert "1 regression, 1 ok" in done.stdout
    assert "head has uncommitted changes: fake.json\n" in done.stdout
    assert "the same code is compared" not in done.stdout
    assert ElementTree.parse(here / "out" / "junit.xml").getroot().get("failures") == "1"
    assert "### convbench check: 1 regression, 1 ok" in (here / "step.md").read_text()
    again = convbench(here, "replay", "out/check.json")
    assert (again.returncode, again.stdout) == (1, done.stdout)
    assert outcome.read(here / "out" / "check.json").base.commit == git(here, "rev-parse", "HEAD")


@pytest.mark.parametrize("summary", ["", "/dev/null/step.md"])
def test_an_unwritable_step_summary_does_not_change_the_verdict(here, summary):
    """A container may get the variable but not the file."""
    done = convbench(here, "check", "fake.json", "--base", "main", GITHUB_STEP_SUMMARY=summary)
    assert done.returncode == 0, done.stderr
    assert "2 ok" in done.stdout
    assert ("no step summary: /dev/null/step.md: cannot be written" in done.stderr) == bool(summary)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_worktree_and_no_process(here, number):
    process = start(here, "check", "fake.json", "--base", "main")
    until(process, "if all agree")
    family = children(process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert gone(family)
    assert git(here, "worktree", "list").count("\n") == 0
    assert not list(here.parent.glob("convbench-check-*/"))


def test_after_kill_9_workers_end_and_a_check_cleans_up_and_continues(here):
    """A kill used to lose the pairs of a visit to all cases, which may take an hour: none of them was stored before."""
    process = start(here, "check", "fake.json", "--base", "main", first=STUCK)
    until(process, "the second pair")
    family = children(process)
    process.kill()
    process.communicate()
    assert gone(family)
    assert git(here, "worktree", "list").count("\n") == 1
    killed = outcome.read(here / "reports" / "check" / "fake.json")
    assert killed.unfinished
    first_pairs = {case.id: case.pairs for case in killed.cases}
    assert sorted(map(len, first_pairs.values())) == [0, 1]
    assert convbench(here, "check", "fake.json", "--base", "main", "--resume").returncode == 0
    whole = outcome.read(here / "reports" / "check" / "fake.json")
    assert {case.id: case.pairs[: len(first_pairs[case.id])] for case in whole.cases} == first_pairs
    assert git(here, "worktree", "list").count("\n") == 0
    assert not list(here.parent.glob("convbench-check-*/"))


def test_the_second_check_on_a_machine_waits(here):
    place = Path(environment(here.parent)[lock.VARIABLE]) / lock.machine_lock().name
    with lock.hold(place):
        second = start(here, "check", "fake.json", "--base", "main", "--json", "second.json")
        assert f"another check measures on this machine (process {os.getpid()})" in until(second, "waiting for it")
    second.communicate(timeout=60)
    assert second.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "fake.json", "--base", "main"), "mine.yaml:3:1: unknown key"),
        (("check", "fake.json", "--base", "nowhere"), "base 'nowhere' is not a ref of this repository"),
        (("bisect", "fake.json", "--good", "HEAD~1"), "mine.yaml:3:1: unknown key"),
        (("bisect", "fake.json", "--good", "nowhere"), "--good 'nowhere' is not a commit"),
        (("selftest", "fake.json"), "mine.yaml:3:1: unknown key"),
        (("check", "mine.yaml", "--baseline", "stored"), "mine.yaml:3:1: unknown key 'clips'"),
    ],
)
def test_a_mistake_is_told_beside_a_running_check(here, in_process, monkeypatch, words, message):
    """A check that had to wait read its suite only when the other check ended, perhaps hours later."""
    monkeypatch.setattr(link, "PROGRAM", FAKE)
    monkeypatch.setenv(lock.VARIABLE, str(here.parent))
    tell(here, SAME | {"unplanned": "mine.yaml:3:1: unknown key"})
    (here / "mine.yaml").write_text("name: mine\nmatrix: {reducer: gap}\nclips: 1\n")
    commit(here, "a mistake")
    stored(here / "stored", [record(case("gap"))])
    with lock.hold(here.parent / lock.machine_lock().name):
        done = in_process(*words, cwd=here)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "nothing to compare with: give --base"),
        (("--base", "nowhere"), 2, "base 'nowhere' is not a ref of this repository"),
        (("--base", "...HEAD"), 2, "base '...HEAD' has nothing before its dots, as if a variable were not set"),
        (("--base", "origin/...HEAD"), 2, "not set: name the branch, as in origin/main...HEAD"),
        (("--base", "origin/"), 2, "base 'origin/' has no branch after its slash, as if a variable were not set: name"),
        (("--base", "../wheels"), 2, "base '../wheels' is not a ref of this repository, wheel or directory"),
        (("--base", "main..HEAD"), 2, "base 'main..HEAD' is a range of commits: write three dots for the one where"),
        (("--base", 40 * "0"), 2, "is what CI gives for a branch's first push, which has no commit before: name main"),
        (("--base", "main", "--allocator", "jemaloc"), 2, "unknown --allocator 'jemaloc'"),
        (("--base", "main", "--budget", "3 weeks"), 2, "--budget 3 weeks: not a time: write 90s, 5m or 1h"),
        (("--base", "main", "--detect", "0"), 2, "--detect 0: give a percentage from 0.5 to 50"),
        (("--base", "main", "--detect", "60%"), 2, "--detect 60: give a percentage from 0.5 to 50"),
        (("--base", "main", "--detect", "5x"), 2, "'5x' is not a number"),
        (("--base", "main", "--base-python", "nowhere/python"), 2, "no such program"),
        (("--base", "missing.whl"), 2, "no such wheel"),
        (
            ("--base", "missing.whl", "--build", "make"),
            2,
            "--build 'make': it builds a ref or a directory, and base is",
        ),
        (("--base-python", "python", "--build", "make"), 2, "it builds a ref or a directory, and base is the working"),
        (("--base", "main", "--build", "false"), 5, "--build 'false' failed in base"),
        (("--baseline", "nowhere"), 2, "nowhere: there is no such run: name a run directory, or a file in it"),
        (("--base", "main", "--baseline", "nowhere"), 2, "--base main and --baseline nowhere: give only one of them"),
        (("--base", "main", "--junit", "fake.json/check.xml"), 2, "check.xml: cannot be written (Not a directory)"),
        (("--base", "main", "--json", "."), 2, ".: cannot be written (Is a directory): choose another place"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_has_its_message_and_exit_code(here, in_process, monkeypatch, words, code, message):
    monkeypatch.setattr(link, "PROGRAM", FAKE)
    monkeypatch.setenv(lock.VARIABLE, str(here.parent))
    done = in_process("check", "fake.json", *words, cwd=here)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_a_side_that_cannot_be_imported_is_exit_5(here):
    tell(here, SAME | {"broken": "no module named nets"})
    done = convbench(here, "check", "fake.json", "--base", "main")
    assert done.returncode == 5
    assert "head (working tree) cannot be imported: no module named nets" in done.stderr


def stored(path: Path, measured: list, **environment) -> Path:
    return records.stored(path, measured, environment={**records.ENVIRONMENT, **environment})


def test_a_checks_own_files_do_not_stop_its_resume(here):
    """Files of a check are no change of the code. Any other new file is, and the code may then differ."""
    words = ("check", "fake.json", "--base", "main", "--json", "check.json", "--junit", "out/check.xml")
    assert convbench(here, *words, "--summary", "check.md").returncode == 0
    assert (here / "check.md").exists()
    assert not repository.uncommitted(here)  # also not for another check, or for a run that is to be confirmed
    before = outcome.read(here / "check.json")
    patched = {**before.head.environment, "os": "Linux of another patch level"}
    outcome.write(replace(before, head=replace(before.head, environment=patched)), here / "check.json", "")
    (here / "__pycache__").mkdir()
    (here / "__pycache__" / "nets.cpython-312.pyc").write_text("what a worker that imports leaves")
    again = convbench(here, *words, "--resume")
    assert again.returncode == 0, again.stderr
    assert "uncommitted" not in again.stdout
    assert [case.pairs for case in outcome.read(here / "check.json").cases] == [case.pairs for case in before.cases]
    (here / "new.py").write_text("")
    refused = convbench(here, *words, "--resume")
    assert refused.returncode == 4
    assert "--resume: head has uncommitted changes (new.py)" in refused.stderr


def test_a_waiting_check_resumes_from_what_the_earlier_check_stored(here):
    words, path = ("check", "fake.json", "--base", "main"), here / "reports" / "check" / "fake.json"
    assert convbench(here, *words).returncode == 0
    content, last = path.read_bytes(), outcome.read(path)
    early_cases = tuple(replace(case, pairs=case.pairs[:1]) for case in last.cases)
    outcome.write(replace(last, cases=early_cases, unfinished=True), path)
    with lock.hold(here.parent / lock.machine_lock().name):
        process = start(here, *words, "--resume")
        until(process, "another check measures on this machine")
        path.write_bytes(content)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert outcome.read(path).cases == last.cases


def test_a_budget_spent_on_the_build_leaves_no_pairs(here):
    done = convbench(here, "check", "fake.json", "--base", "main", "--build", "sleep 1", "--budget", "1s")
    assert done.returncode == 3, done.stderr
    assert "ended the check: with more time, it decides more" in done.stdout
    assert not any(case.pairs for case in outcome.read(here / "reports" / "check" / "fake.json").cases)


def test_the_working_tree_is_refused_as_its_own_base(here):
    for itself in (".", "./", str(here)):
        done = convbench(here, "check", "fake.json", "--base", itself)
        assert done.returncode == 4, done.stderr
        assert f"base {itself!r} is the working tree, like head: " in done.stderr


def test_the_commit_of_a_stored_baseline_is_the_base(here):
    commit = git(here, "rev-parse", "--short=12", "HEAD")
    stored(here / "reports" / "old", [record()], commit=commit, dirty=False)
    done = convbench(here, "check", "fake.json", "--baseline", "reports/old")
    assert done.returncode == 0, done.stderr
    assert f"base {commit}" in done.stderr


def test_another_machines_baseline_is_refused_with_the_differences(here):
    stored(here / "reports" / "old", [record()], commit="0123abc", cpu="another cpu")
    done = convbench(here, "check", "smoke", "--baseline", "reports/old", "reducer=gap", "exclude=[]", fake=False)
    assert done.returncode == 4, done.stderr
    assert "cannot be compared with what is measured here" in done.stderr
    assert "cpu (another cpu, " in done.stderr


def test_a_baseline_without_its_commit_is_advisory(here):
    """If no case was in both, nothing was compared, yet the check used to pass."""
    (here / "tiny.yaml").write_text(
        "matrix: {reducer: [gap, gmp], clip: 1x2x3x8x8, rnn: lstm8}\n"
        "protocol: {max_warmup: 0.02, max_time: 0.05, target: 0.5, min_samples: 6, visits: 1}\n"
    )
    run = ("run", "tiny.yaml", "--only", "gap", "--out", "reports/old")
    assert convbench(here, *run, fake=False).returncode == 0
    run_description, (baseline,) = store.load(here / "reports" / "old")
    latency = baseline.reading(metrics.LATENCY)
    faster = replace(latency, samples=tuple(seconds / 100 for seconds in latency.samples))
    readings = tuple(faster if reading is latency else reading for reading in baseline.readings)
    store.start(here / "reports" / "old", run_description, [replace(baseline, readings=readings)])
    words = ("check", "tiny.yaml", "--baseline", "reports/old", "--only")
    done = convbench(here, *words, "gap", "--junit", "x.xml", fake=False)
    assert "not used, since nothing is decided without a base: --junit\n" in done.stderr
    assert "Advisory: the baseline's code cannot be measured beside head" in done.stdout, done.stderr
    assert "Ratios are divided by that of the reference workload, " in done.stdout
    assert done.returncode == 3
    done = convbench(here, *words, "gmp", fake=False)
    assert done.returncode == 4, done.stdout
    assert "reports/old has no latency for any case that tiny.yaml measures: nothing can be compared" in done.stderr
    assert "Advisory" not in done.stdout


def test_a_baseline_case_that_fails_now_has_no_verdict(here):
    (here / "mine.yaml").write_text(SUITE.replace("{timeout: 60}", "{max_warmup: 0.02, max_time: 0.05, visits: 1}"))
    (here / "nets.py").write_text(NETS + "\nKINDS, SCALE = ('scaled', 'new'), 1.0\n")
    assert convbench(here, "run", "mine.yaml", "--out", "reports/old", fake=False).returncode == 0
    (here / "nets.py").write_text(NETS + "\nKINDS, SCALE = ('scaled',), 1.0\n")
    done = convbench(here, "check", "mine.yaml", "--baseline", "reports/old", fake=False)
    assert done.returncode == 5, done.stderr
    (lost,) = [line for line in done.stdout.splitlines() if line.startswith("no result now: ")]
    assert lost.startswith("no result now: nets:Net(kind=new)/")
    assert "error: AssertionError: no such kind new" in lost
    assert "only in the first run: nets:Net(kind=new)/" in done.stdout
    assert "only in the second run" not in done.stdout


def test_compare_describes_without_a_verdict(here, in_process):
    first = stored(here / "a", [record(case("gap"), latency=2e-3), record(case("gmp"))])
    second = stored(here / "b", [record(case("gap"), latency=4e-3), record(case("gem"))])
    done = in_process("compare", str(first), str(second), cwd=here)
    assert done.returncode == 0, done.stderr
    assert "The second run takes 2.00× [1.9" in done.stdout
    assert "] the time of the first (the one shared case). " in done.stdout
    assert "beyond noise, in the table above." in done.stdout
    assert "2.0" in done.stdout
    assert "only in the first run: conv/gmp/32" in done.stdout
    assert "only in the second run: conv/gem/32" in done.stdout
    assert "To decide, use `convbench check`" in done.stdout


def test_compare_of_two_machines_shows_no_ratio(here, in_process):
    first = stored(here / "a", [record(case("gap"))])
    second = stored(here / "b", [record(case("gap"), latency=1.0)], cpu="another", commit="other")
    done = in_process("compare", str(first), str(second), cwd=here)
    assert done.returncode == 4
    assert "the milliseconds are not comparable: cpu (AMD EPYC 7B13, another)" in done.stderr
    assert "commit" not in done.stderr
    assert "×" not in done.stdout


def test_compare_of_runs_without_a_common_case_is_refused(here, in_process):
    further = [record(case("fc", size)) for size in (16, 32, 64, 128)]
    first = stored(here / "a", [record(case("gap")), records.failed(case("fc", 8), "no such layer", "error"), *further])
    second = stored(here / "b", [record(case("gem")), records.failed(case("gap"), "killed by signal 9", "crash")])
    done = in_process("compare", str(first), str(second), cwd=here)
    assert done.returncode == 4
    assert f"no case was measured both in {first} and in {second}" in done.stderr
    lost = [line for line in done.stdout.splitlines() if line.startswith("no result in")]
    assert len(lost) == 2
    assert lost[0].startswith("no result in the first run: conv/fc")
    assert lost[1].startswith("no result in the second run: conv/gap")
    assert lost[1].endswith(": crash: killed by signal 9")
    assert "only in the first run: conv/gap" in done.stdout
    assert "only in the first run: 2 more\n" in done.stdout
    assert "exact changes" not in done.stdout


def test_compare_with_a_run_of_counts_shows_the_counts(here, in_process):
    first = stored(here / "a", [record(case("gap"))], OMP_WAIT_POLICY="PASSIVE")
    fewer = replace(record(case("gap")), readings=(records.reading("params", 1), records.reading("macs", 2)))
    done = in_process("compare", str(first), str(stored(here / "b", [fewer])), cwd=here)
    assert done.returncode == 0, done.stderr
    assert "now, macs: " in done.stdout
    assert "No case has a latency in both runs: only counts are compared" in done.stdout
    none = replace(fewer, readings=(records.reading("compile_s", 1),))
    done = in_process("compare", str(first), str(stored(here / "c", [none])), cwd=here)
    assert done.returncode == 4
    assert "no case has a latency or a count both in" in done.stderr


def test_a_check_with_torch_says_why_cases_are_invalid(here):
    """Base fails to build one case, and the others' outputs differ: nothing is timed. ``test_check_worker`` times."""
    (here / "mine.yaml").write_text(SUITE.replace("new]", "new, unseeded]"))
    (here / "nets.py").write_text(NETS + "\nKINDS, SCALE = ('scaled', 'unseeded'), 1.0\n")
    commit(here, "nets")
    (here / "nets.py").write_text(NETS + "\nKINDS, SCALE = ('scaled', 'new', 'unseeded'), 2.0\n")
    done = convbench(here, "check", "mine.yaml", "--base", "main", "--json", "out.json", fake=False)
    assert done.returncode == 5, done.stderr
    check_outcome = outcome.read(here / "out.json")
    reasons = {case_outcome.id.partition("/")[0]: case_outcome.invalid for case_outcome in check_outcome.cases}
    assert reasons["nets:Net(kind=new)"] == "error in base: AssertionError: no such kind new (nets.py:8)"
    assert reasons["nets:Net(kind=scaled)"].startswith("outputs differ: tensor 0")
    unseeded = "outputs differ: two models built with the same seed have different weights in lstm.bias_ih_l0"
    assert reasons["nets:Net(kind=unseeded)"].startswith(unseeded)
    assert check_outcome.base.environment["allocator"] == check_outcome.head.environment["allocator"] == "glibc"
    assert check_outcome.base.environment["threads"] == 1


def test_a_base_with_too_old_a_convbench_is_exit_4(here):
    (here.parent / "old" / "convbench").mkdir(parents=True)
    (here.parent / "old" / "convbench" / "__init__.py").write_text("__version__ = '0.0.1'\n")
    done = convbench(here, "check", "smoke", "--base", "../old", fake=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[-1] == (
        "convbench: the convbench of ../old is too old for this one: in a check, convbench 0.0.1 "
        "speaks no protocol, this one protocol 1: choose a later version"
    )


def test_a_base_of_another_protocol_is_exit_4(here):
    tell(here, SAME | {"protocol": 2})
    done = convbench(here, "check", "smoke", "--base", "main")
    assert done.returncode == 4
    assert " is too new for this one: " in done.stderr
    assert "speaks protocol 2, this one protocol 1: choose an earlier version" in done.stderr


def test_the_floor_is_stored_by_machine_setting_and_rule(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine, settings, rule = {"cpu": "a", "torch": "2.13"}, Settings(), Rule()
    assert floor.seen_slowdown(machine, settings, rule) is None
    floor.keep(machine, settings, rule, 0.03)
    assert floor.seen_slowdown(machine, settings, rule) == 0.03
    assert floor.seen_slowdown(machine | {"cpu": "b"}, settings, rule) is None
    assert floor.seen_slowdown(machine, Settings(allocator="glibc-arena"), rule) is None
    assert floor.seen_slowdown(machine, settings, Rule.detecting(0.03)) is None


def test_the_help_of_a_check_needs_no_torch():
    script = "import sys, convbench.cli.check, convbench.check.gate, convbench.check.ci; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in loaded
