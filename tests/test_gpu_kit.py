"""Rehearse the kit that checks the GPU's figures on a simulated GPU: it runs to its end, whatever a step does."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
from argparse import Namespace
from collections.abc import Container, Iterable
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from convbench.check import selftest
from convbench.check.selftest import Attempt
from convbench.cli.app import app
from convbench.core import metrics
from convbench.core.record import Case, Choice, Clip, Failure, Parts, Reading, Record
from convbench.measure.memory.prediction import predict
from convbench.runs.process.start import is_alive

GPU = Path(__file__).parent / "gpu"
PAPER = os.environ | {"PYTHONPATH": str(GPU / "rehearsal")}
ARTICLE = (("gap", None), ("hybrid", 64), ("fc", 128), ("flatten", None))
pytestmark = pytest.mark.slow


def kit(out: Path, *words: str, code: int = 0) -> dict:
    command = [sys.executable, str(GPU / "kit.py"), "1", "--out", str(out), *words]
    assert subprocess.run(command, env=PAPER, capture_output=True, timeout=180, check=False).returncode == code
    return json.loads((out / "checks.json").read_text())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Import ``kit.py``, which is not a module of a package."""
    spec = importlib.util.spec_from_file_location("gpu_kit", GPU / "kit.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_kit_runs_on_a_simulated_gpu(tmp_path):
    summary = kit(tmp_path, "--only", "doctor")
    assert [(step["step"], step["ended"]) for step in summary["steps"]] == [("doctor", 0)]
    assert {path.name for path in tmp_path.iterdir()} >= {"summary.md", "checks.json", "log.txt", "runs.tar.gz"}
    log = (tmp_path / "log.txt").read_text()
    assert "gpu: paper" in log
    assert "nvidia-smi -q" in log
    assert f"\ntorch {' ' * 10}" in log


def test_steps_without_enough_time_are_not_begun(tmp_path):
    summary = kit(tmp_path, "--only", "doctor,timing", "--seconds", "12", code=1)
    assert [step["ended"] for step in summary["steps"]] == ["not begun: no time was left"] * 2
    assert "doctor (not begun: no time was left); timing" in (tmp_path / "summary.md").read_text()


def test_the_limits_of_each_parts_steps_fit_its_time(script):
    for number, steps in script.PARTS.items():
        assert sum(step.limit for step in steps) + script.PATIENCE <= script.SECONDS, number
        assert len({step.name for step in steps}) == len(steps)


def required(names: Iterable[str], without: Container[str] = ()) -> set[str]:
    """Return these packages and all that they require here, extras and packages ``without`` left out."""
    packages, pending = set[str](), [*map(canonicalize_name, names)]
    while pending:
        if (name := pending.pop()) not in packages and name not in without:
            packages.add(name)
            needs = (Requirement(line) for line in requires(name) or ())
            pending += [canonicalize_name(need.name) for need in needs if not need.marker or need.marker.evaluate()]
    return packages


def test_the_wheels_to_bring_are_all_that_the_machine_lacks():
    """One that is missing costs a call on a GPU: pydantic needs typing-inspection, which was not named."""
    text = (GPU / "README.md").read_text()
    has = re.search(r"A machine that has (.*?)\s+needs", text, re.DOTALL)[1]
    lines = re.findall(r"(?:-w wheels|-d wheels \\\n) +(.*)", text)
    brought = {*map(canonicalize_name, " ".join(lines).split())}
    project = tomllib.loads((GPU.parent.parent / "pyproject.toml").read_text())["project"]
    needs = required(Requirement(line).name for line in project["dependencies"])
    assert needs <= required(re.split(r",\s+|\s+and\s+", has), without=brought) | brought


def test_failed_steps_and_checks_are_named_below_the_table(script):
    steps = [{"step": "timing", "ended": 0, "seconds": 1.0}, {"step": "gate", "ended": "over 5 s", "seconds": 5.0}]
    checks = [{"check": "peak", "case": case, "ours": 1, "theirs": 2, "within": 0.0, "agrees": case == "a"}
              for case in "ab"]  # fmt: skip
    assert script.failures(steps[:1], checks[:1]) == []
    assert script.failures(steps, checks) == ["gate (over 5 s)", "peak of b"]
    assert script.summary(steps, checks).endswith("1 of 2 checks agree. Not well: gate (over 5 s); peak of b.\n")


def test_every_command_of_the_kit_has_valid_options(script):
    """An option that a command no longer has would cost a run on a GPU."""
    steps = itertools.chain(*script.PARTS.values())
    commands = [step for step in steps if step.words[:3] == tuple(script.COMMAND)]
    assert {step.name for step in commands} == {"doctor", "profile", "gpu", "smoke", "article"}
    for step in commands:
        verb, *words = step.words[3:]
        get_command(app).commands[verb].make_context(verb, list(words))
        assert all((script.ROOT / word).is_file() for word in words if word.endswith(".yaml")), words


def test_each_step_leaves_its_files_packed(script, tmp_path, monkeypatch):
    """A call that takes too long is ended without warning: the archive holds all steps that had ended."""
    room, out = tmp_path / "room", tmp_path / "out"
    room.mkdir()
    out.mkdir()
    archives = []

    def run(step, room, _log, _device, _save):
        if (out / script.ARCHIVE).exists():
            with tarfile.open(out / script.ARCHIVE) as archive:
                archives.append(sorted(archive.getnames()))
        (room / f"{step.name}.json").write_text("{}")
        return {"step": step.name, "ended": 0, "seconds": 0.0}

    monkeypatch.setattr(script, "run", run)
    args = Namespace(part="4", only=None, small=False, seconds=540.0, device="cuda", out=out)
    assert script.prove(args, room) == []
    names = ["tests.json", "smoke.json", "article.json"]
    assert archives == [sorted(names[:count]) for count in (1, 2, 3)]


def test_a_running_steps_results_are_saved(script, tmp_path, monkeypatch):
    """Two parts are a single step of nine minutes: a kit that was killed before its end had nothing of it."""
    monkeypatch.setattr(script, "BETWEEN_SAVES", 0.2)
    room, out = tmp_path / "room", tmp_path / "out"
    room.mkdir()
    out.mkdir()
    row = {"check": "peak", "case": "a", "ours": 1, "theirs": 1, "within": 0.0, "agrees": True}
    (room / "checks-gate.jsonl").write_text(json.dumps(row) + "\n")
    saved = []

    def save():
        script.write_results([{"step": "gate", "ended": "the kit was ended", "seconds": 0.0}], room, out)
        saved.append((out / "summary.md").read_text())
        with tarfile.open(out / script.ARCHIVE) as archive:
            assert archive.getnames() == ["checks-gate.jsonl"]
        raise SystemExit

    with pytest.raises(SystemExit):
        script.run(script.Step("gate", 60.0, ("sleep", "60")), room, tmp_path / "log.txt", "cuda", save)
    assert saved[0].endswith("1 of 1 checks agree. Not well: gate (the kit was ended).\n")


def test_a_step_dies_with_a_killed_kit(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(GPU)!r}); import kit; from pathlib import Path\n"
        f"step = kit.Step('step', 60.0, ('sh', '-c', 'echo $$ > pid; sleep 60'))\n"
        f"kit.ROOT = Path({str(tmp_path)!r}); kit.run(step, kit.ROOT, kit.ROOT / 'log', 'cuda', lambda: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    place, end = tmp_path / "pid", time.monotonic() + 30
    while not (place.exists() and place.read_text().strip()) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait()
    while is_alive(int(place.read_text())) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_alive(int(place.read_text()))


def test_files_without_room_in_the_archive_are_named_in_the_summary(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "KEPT", 4096)
    room = tmp_path / "room"
    room.mkdir()
    (room / "small").write_bytes(b"1")
    (room / "large").write_bytes(b"1" * 8192)
    script.write_results([], room, tmp_path)
    assert (tmp_path / "summary.md").read_text().endswith("\nNo room in runs.tar.gz: large.\n")
    with tarfile.open(tmp_path / script.ARCHIVE) as archive:
        assert archive.getnames() == ["small"]


def test_no_step_outlives_the_kit(script, tmp_path, monkeypatch):
    """A step has a session of its own. Beside the next call it would disturb the times, so it ends with the kit."""

    def interrupted(process, _limit):
        processes.append(process)
        raise SystemExit

    processes = []
    monkeypatch.setattr(script.subprocess.Popen, "wait", interrupted)
    with pytest.raises(SystemExit):
        script.run(script.Step("sleep", 60.0, ("sleep", "60")), tmp_path, tmp_path / "log.txt", "cuda", lambda: None)
    monkeypatch.undo()
    assert processes[0].wait(10) == -signal.SIGKILL


def test_runs_of_an_earlier_call_are_resumed_and_its_checks_are_not(script, tmp_path):
    names = ("gpu/results.jsonl", "trials.jsonl", "checks-timing.jsonl", "timing.json", "traces/a/summary.json")
    for name in names:
        (tmp_path / "room" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "room" / name).write_text("{}")
    script.pack(tmp_path / "room", tmp_path)
    with tarfile.open(tmp_path / script.ARCHIVE) as archive:
        archive.extractall(tmp_path / "later", filter=script._runs_only)
    files = (path for path in (tmp_path / "later").rglob("*") if path.is_file())
    assert {str(path.relative_to(tmp_path / "later")) for path in files} == set(names[:2])


def test_a_rehearsal_makes_every_steps_cases_tiny(script):
    steps = [script.small(step) for steps in script.PARTS.values() for step in steps]
    for step in steps:
        assert "doctor" in step.words or step.name == "tests" or {script.SMALL_PROOFS, *script.TINY} & {*step.words}
        assert script.PROOFS[1] not in step.words


@pytest.fixture(scope="module")
def proofs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_proofs", GPU / "proofs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_of(findings) -> list[dict]:
    return [json.loads(line) for line in findings.path.read_text().splitlines()] if findings.path.exists() else []


def test_the_gate_is_wrong_if_it_accepts_a_slowdown_or_rejects_the_same_code(script, proofs, tmp_path, monkeypatch):
    class Test:
        def __init__(self, *_):
            self.conditions = {"suite": "article"}

        def experiment(self, slowdown, _watcher, deadline):
            assert deadline > time.monotonic()
            words = ("ok", "inconclusive") if slowdown else ("ok", "regression")
            return [Attempt(slowdown, slowdown, f"case {word}", word, slowdown, 8, 60.0, self.conditions)
                    for word in words]  # fmt: skip

    monkeypatch.setattr(selftest, "Selftest", Test)
    monkeypatch.setattr(proofs, "LAST_PAIR", 60.0)
    findings = proofs.Findings("gate", tmp_path)
    proofs.gate("cuda", findings)
    assert [(row["check"], row["case"], row["agrees"]) for row in rows_of(findings)] == [
        ("+0 % is not regression", "case ok", True), ("+0 % is not regression", "case regression", False),
        ("+5 % is not ok", "case ok", False), ("+5 % is not ok", "case inconclusive", True),
    ]  # fmt: skip
    assert [sentence.partition(",")[0] for sentence in findings.facts["figures"]] == [
        "same code: 2 verdicts", "+5 %: 2 verdicts",
    ]  # fmt: skip
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 4
    summary = script.summary([], [], script.tables(tmp_path))
    assert "| case | put_in | verdict | seen | pairs | seconds |" in summary
    assert "| case inconclusive | +5.0 % | inconclusive | +5.0 % | 8 | 60 |" in summary


def test_the_gates_experiments_end_before_the_step_does(script, proofs, tmp_path, monkeypatch):
    """One that the kit interrupts leaves no verdict. Time that is left is for experiments that fit into it."""
    now, experiments = [0.0], []

    class Test:
        def __init__(self, *_):
            self.conditions = {}
            now[0] += 25.0

        def experiment(self, slowdown, _watcher, deadline):
            experiments.append(slowdown)
            now[0] = min(deadline + 25.0, now[0] + (60.0 if len(experiments) > 2 or not slowdown else 1e9))
            return []

    monkeypatch.setattr(selftest, "Selftest", Test)
    monkeypatch.setattr(proofs.time, "monotonic", lambda: now[0])
    proofs.gate("cuda", proofs.Findings("gate", tmp_path))
    limits = {step.name: step.limit for step in script.PARTS["3"]}
    assert experiments == [0.0, 0.05]
    assert now[0] <= limits["gate"] - 10.0
    experiments, now[0] = [0.0] * 3, 0.0  # all are decided after a minute now
    proofs.gate("cuda", proofs.Findings("gate", tmp_path))
    assert experiments[3:] == [0.0, 0.05, 0.0, 0.0, 0.0]


def test_graphs_of_a_compiled_call_count_among_its_stages_and_withheld_stages_are_no_disagreement(proofs, tmp_path):
    case = Case(Parts(Choice("conv"), Choice("gap")), device="cuda")
    seconds = {metrics.GRAPHS: 6.0, "lstm": 3.0, metrics.OTHER: 1.0}
    stages = tuple(Reading(metrics.LATENCY.part(name), (value, value)) for name, value in seconds.items())
    whole = Reading(metrics.DEVICE_LATENCY, (10.0, 10.1))
    findings = proofs.Findings("stages", tmp_path)
    proofs._check_sum(findings, case, Record(case, "ok", (whole, *stages)))
    proofs._check_sum(findings, case, Record(case, "ok", (whole,)))
    assert [(row["ours"], row["agrees"]) for row in rows_of(findings)] == [(10.0, True)]
    assert f"stages withheld {case.id}" in findings.facts


def test_a_failed_case_is_a_disagreement_with_its_traceback_in_the_log(proofs, tmp_path, monkeypatch, capfd):
    """Only a note told of it, in one line, so the summary was good and the cause had to be sought on a GPU again."""

    def measure(*_):
        raise RuntimeError("CUDA error: invalid argument")

    monkeypatch.setattr(proofs.harness, "measure", measure)
    findings, case = proofs.Findings("stages", tmp_path), Case(Parts(Choice("conv"), Choice("gap")), device="cuda")
    assert findings.is_open(case)
    proofs._record(findings, case, "latency")
    assert not proofs.Findings("stages", tmp_path).is_open(case)
    monkeypatch.setattr(proofs.sys, "argv", ["-c"])
    monkeypatch.setattr(proofs, "ARTICLE", ARTICLE[:1])
    monkeypatch.setattr(proofs.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no device"))
    proofs.memory("cuda", findings)
    assert [row["agrees"] for row in rows_of(findings)] == [False] * 6
    log = capfd.readouterr().err
    assert "Traceback" in log
    assert log.count("no device") == 10


def test_a_proof_goes_on_in_another_process_after_an_error_that_spoils_its_own(proofs, tmp_path, monkeypatch):
    """Each further case failed with the error of the first one."""

    def measure(*_):
        raise RuntimeError("CUDA error: misaligned address")

    monkeypatch.setattr(proofs.harness, "measure", measure)
    monkeypatch.setattr(proofs.subprocess, "call", lambda words: 3 if words is sys.orig_argv else None)
    monkeypatch.setattr(proofs.os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as end:
        proofs.stages_sum("cuda", proofs.Findings("stages", tmp_path))
    assert end.value.code == 3
    assert [row["agrees"] for row in rows_of(proofs.Findings("stages", tmp_path))] == [False]
    assert len(proofs.Findings("stages", tmp_path).facts) == 1


def test_cases_that_failed_in_a_run_are_measured_again(script, proofs, tmp_path, monkeypatch):
    records = [Record(case, status, failure=failure) for case, status, failure in (
        (Case(Parts(Choice("conv"), Choice("gap")), device="cuda"), "ok", None),
        (Case(Parts(Choice("conv"), Choice("flatten")), device="cuda"), "failed", Failure("error", "misaligned")),
    )]  # fmt: skip
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu/results.jsonl").touch()
    commands = []
    monkeypatch.setattr(proofs.store, "load", lambda _: (SimpleNamespace(planned=records), records))
    monkeypatch.setattr(proofs.subprocess, "run", lambda words, **_: commands.append(words[-3:]))
    proofs.failures("cuda", proofs.Findings("failures", tmp_path))
    assert commands == [["again", str(tmp_path / "gpu"), records[1].case.id]]
    assert "| gpu | 2 | 1 | 1 |" in script.tables(tmp_path)


def test_a_separate_process_measures_memory_on_a_simulated_gpu():
    words = [sys.executable, str(GPU / "proofs.py"), "theirs_of", "1", "gap", "0", "inference", "cuda"]
    done = subprocess.run(words, env=PAPER, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["allocated"] == 2 << 20


def test_every_proof_finishes_on_a_simulated_gpu(tmp_path):
    """Agreement is not checked: the simulated GPU's numbers mean nothing."""
    words = [sys.executable, str(GPU / "rehearsal/small.py"), "all", str(tmp_path)]
    done = subprocess.run(words, env=PAPER, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for path in tmp_path.glob("checks-*.jsonl") for line in path.read_text().splitlines()]
    assert {row["check"] for row in rows} == {
        "device latency, do_bench (cold L2)", "peak allocated", "peak reserved", "sum of kinds", "predicted peak",
        "sum of stages", "measured", "seconds of kernels in a trace", "peak in a trace",
        "workspace of recurrent layers", "the command's process on the device", "TF32 in cuDNN", "TF32 in cuBLAS",
    }  # fmt: skip
    assert all(row["agrees"] for row in rows if row["check"] == "measured")
    assert "failed" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))


PEAKS = json.loads((GPU.parent / "golden/gpu/peaks.json").read_text())


def test_recorded_gpu_peaks_match_their_predictions():
    assert len(PEAKS) == 20
    for case, bytes_of in PEAKS.items():
        assert bytes_of["predicted"] == pytest.approx(bytes_of["peak"], rel=0.01), case


def test_todays_predictions_for_a_gpu_match_the_recorded_predictions(monkeypatch):
    """Exactly, and only for inference on an absent GPU: torch for CPUs can neither train there nor cut a clip."""
    with torch.device("meta"):
        torch.empty(0)  # torch keeps the functions that this moves to a device: the true ones, not those below
    for name in ("kaiming_uniform_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(torch, "randn", torch.empty)  # torch asks for CUDA's random numbers even if none is drawn
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    predicted = {}
    for batch, (reducer, size) in itertools.product((1, 32), ARTICLE):
        case = Case(Parts(Choice("conv"), Choice(reducer), size), Clip(batch=batch), device="cuda")
        predicted[case.id] = predict(case).peak
    assert predicted == {case: PEAKS[case]["predicted"] for case in predicted}
