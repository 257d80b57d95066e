"""The kit that proves the GPU's figures, rehearsed on a GPU of paper: that it runs to its end, whatever a step does."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convbench.core.record import Case, Choice, Clip, Parts
from convbench.measure.memory.prediction import predict

GPU = Path(__file__).parent / "gpu"
PAPER = os.environ | {"PYTHONPATH": str(GPU / "rehearsal")}
ARTICLE = (("gap", None), ("hybrid", 64), ("fc", 128), ("flatten", None))
pytestmark = pytest.mark.slow


def kit(out: Path, *words: str) -> dict:
    command = [sys.executable, str(GPU / "kit.py"), "1", "--out", str(out), *words]
    subprocess.run(command, env=PAPER, capture_output=True, timeout=180, check=True)
    return json.loads((out / "checks.json").read_text())


def test_the_kit_runs_on_a_gpu_of_paper(tmp_path):
    summary = kit(tmp_path, "--only", "doctor")
    assert [(step["step"], step["ended"]) for step in summary["steps"]] == [("doctor", 0)]
    assert {path.name for path in tmp_path.iterdir()} >= {"summary.md", "checks.json", "log.txt", "runs.tar.gz"}
    assert "gpu: paper" in (tmp_path / "log.txt").read_text()


def test_a_step_that_takes_too_long_costs_the_others_nothing(tmp_path):
    summary = kit(tmp_path, "--only", "doctor,timing", "--seconds", "12")
    assert [step["ended"] for step in summary["steps"]] == ["not begun: no time was left"] * 2


@pytest.mark.parametrize("question", ["ours_of", "theirs_of"])
def test_both_answers_about_memory_are_given_on_paper(question):
    words = [sys.executable, str(GPU / "proofs.py"), question, "1", "gap", "0", "inference", "cuda"]
    done = subprocess.run(words, env=PAPER, capture_output=True, text=True, timeout=120, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer.get("allocated", answer.get("cuda_peak_allocated_bytes")) == 2 << 20


PEAKS = json.loads((GPU.parent / "golden/gpu/peaks.json").read_text())


def test_peaks_recorded_on_a_gpu_are_those_predicted_there():
    assert len(PEAKS) == 20
    for case, bytes_of in PEAKS.items():
        assert bytes_of["predicted"] == pytest.approx(bytes_of["peak"], rel=0.01), case


def test_what_is_predicted_of_a_gpu_today_is_what_was_there(monkeypatch):
    """To the byte, of inference on a GPU that is not here: torch for CPUs cannot train on such, nor cut a clip."""
    for name in ("kaiming_uniform_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    monkeypatch.setattr(torch, "randn", torch.empty)  # CUDA's random numbers are asked for even if none is drawn
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    predicted = {}
    for batch, (reducer, size) in itertools.product((1, 32), ARTICLE):
        case = Case(Parts(Choice("conv"), Choice(reducer), size), Clip(batch=batch), device="cuda")
        predicted[case.id] = predict(case).peak
    assert predicted == {case: PEAKS[case]["predicted"] for case in predicted}
