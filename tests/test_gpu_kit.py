"""Rehearse the kit that checks the GPU's figures on a simulated GPU: it runs to its end, whatever a step does."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from typer.main import get_command

from convbench.cli.app import app
from convbench.core.record import Case, Choice, Clip, Parts
from convbench.measure.memory.prediction import predict

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
    assert "gpu: paper" in (tmp_path / "log.txt").read_text()


def test_steps_without_enough_time_are_not_begun(tmp_path):
    summary = kit(tmp_path, "--only", "doctor,timing", "--seconds", "12", code=1)
    assert [step["ended"] for step in summary["steps"]] == ["not begun: no time was left"] * 2
    assert "doctor (not begun: no time was left); timing" in (tmp_path / "summary.md").read_text()


def test_the_limits_of_each_parts_steps_fit_its_time(script):
    for number, steps in script.PARTS.items():
        assert sum(step.limit for step in steps) + script.PATIENCE <= script.SECONDS, number
        assert len({step.name for step in steps}) == len(steps)


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
    assert {step.name for step in commands} == {"doctor", "profile", "gate", "gpu", "smoke", "article"}
    for step in commands:
        verb, *words = step.words[3:]
        get_command(app).commands[verb].make_context(verb, list(words))
        assert all((script.ROOT / word).is_file() for word in words if word.endswith(".yaml")), words


def test_a_separate_process_measures_memory_on_a_simulated_gpu():
    words = [sys.executable, str(GPU / "proofs.py"), "theirs_of", "1", "gap", "0", "inference", "cuda"]
    done = subprocess.run(words, env=PAPER, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["allocated"] == 2 << 20


def test_every_proof_finishes_on_a_simulated_gpu(tmp_path):
    """Agreement is not checked: the simulated GPU's numbers mean nothing."""
    words = [sys.executable, str(GPU / "rehearsal/small.py"), str(tmp_path)]
    done = subprocess.run(words, env=PAPER, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for path in tmp_path.glob("*.jsonl") for line in path.read_text().splitlines()]
    assert {row["check"] for row in rows} == {
        "device latency, do_bench (cold L2)", "peak allocated", "peak reserved", "sum of kinds", "predicted peak",
        "sum of stages", "measured", "seconds of kernels in a trace", "peak in a trace",
        "workspace of recurrent layers", "the command's process on the device",
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
