"""The verbs profile, trace, tensorboard and fits, from the command line."""

from __future__ import annotations

import re
import signal
import urllib.request
from types import SimpleNamespace

import pytest
from command import convbench, start

from convbench.core.storage import profiles, store

TINY = """
name: tiny
matrix:
  reducer: [gap, hybrid]
  lstm_input: 16
  clip: 1x2x3x8x8
  scenario: [inference, train]
metrics: [params]
"""


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("here")
    (directory / "tiny.yaml").write_text(TINY)
    done = convbench("profile", "tiny.yaml", "--only", "*gap*", "--quiet", cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory


def test_profile_measures_and_traces_the_selected_cases(run_directory):
    run = run_directory / "reports" / "tiny-profile"
    _, records = store.load(run)
    profiled = {place.case for place in profiles.profiles_of(run)}
    assert profiled == {record.case.id for record in records}
    assert len(profiled) == 2
    assert all(record.status == "ok" and record.samples("trace_steps") for record in records)
    assert all(record.samples("params") for record in records)


def test_an_interrupted_profile_is_resumed(run_directory, in_process):
    """Nothing is measured again; the message of an interruption names the option."""
    run = run_directory / "reports" / "tiny-profile"
    before = (run / "results.jsonl").read_bytes()
    done = in_process("profile", "tiny.yaml", "--only", "*gap*", "--quiet", "--resume", cwd=run_directory)
    assert done.returncode == 0, done.stderr
    assert (run / "results.jsonl").read_bytes() == before


def test_trace_serves_one_profile(run_directory):
    process = start("trace", "*gap*/train/*", cwd=run_directory)
    try:
        address = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(f"{address}trace", timeout=10) as answer:
            assert answer.read(2) == b"\x1f\x8b"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trace", "nothing"), "no profile of 'nothing'"),
        (("trace", "gap"), "'gap' names 2 profiles; name one of them, or its folder:"),
        (("trace", "gap", "--run", "elsewhere"), "no profile of 'gap' in elsewhere"),
        (("tensorboard", "elsewhere"), "elsewhere: there is no such run"),
        (
            ("fits", "tiny.yaml", "--memory", "plenty"),
            "--memory plenty: write it as 64MB, 64MiB, 500KB or 1GB",
        ),
        (("fits", "tiny.yaml", "--only", "flatten"), "tiny.yaml: no case is selected"),
        (("fits", "tiny.yaml", "--only", "gap", "--only", "flatten"), "--only flatten matches none of the cases"),
        (("fits", "tinny.yaml"), "tinny.yaml"),
        (("run", "tiny.yaml", "profile=maybe"), "profile: "),
    ],
)
def test_a_mistake_is_one_message_and_exit_2(run_directory, in_process, words, message):
    done = in_process(*words, cwd=run_directory)
    assert done.returncode == 2
    assert message in done.stderr


def test_fits_says_the_largest_sizes(run_directory):
    done = convbench("fits", "tiny.yaml", "--memory", "100MB", "--only", "*hybrid*inference*", cwd=run_directory)
    assert done.returncode == 0
    first, *fits = done.stdout.splitlines()
    assert first.startswith("conv/hybrid/16/lstm128/1x2x3x8x8/eager/inference/cpu: predicted peak ")
    assert [line.split()[0] for line in fits] == ["batch", "frames", "lstm_input"]
    line_of_fit = r"  \w+ up to [\d,]+( or more \(not searched further\))?, predicted peak [\d.]+ MiB"
    assert all(re.fullmatch(line_of_fit, line) for line in fits)


def test_fits_ignores_trainings(run_directory, in_process):
    """Each gave a line for every seed and rate: "not predicted: ... unknown scenario 'learn'"."""
    words = ("fits", "tiny.yaml", "--memory", "100MB", "--only", "*gap*")
    trained = in_process(*words, "quality=train", cwd=run_directory)
    assert trained.returncode == 0, trained.stderr
    assert "learn" not in trained.stdout
    assert trained.stdout == in_process(*words, cwd=run_directory).stdout


def test_fits_defaults_to_the_free_memory(run_directory, in_process, monkeypatch):
    from convbench.measure.machine import cgroup

    monkeypatch.setattr(cgroup, "memory_free", lambda: 2**28)
    done = in_process("fits", "tiny.yaml", "--only", "*gap*inference*", cwd=run_directory)
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == "within 256 MiB, the free memory here"
    limited = in_process("fits", "tiny.yaml", "--only", "*gap*inference*", "--memory", "256MiB", cwd=run_directory)
    assert limited.stdout.splitlines() == lines


def test_tensorboard_ends_with_the_command(run_directory, in_process, monkeypatch):
    from convbench.report.viewers import tensorboard

    calls = []

    class Served:
        def wait(self):
            calls.append("wait")
            if len(calls) == 1:
                signal.raise_signal(signal.SIGTERM)

        def terminate(self):
            calls.append("terminate")

    monkeypatch.setattr(tensorboard, "start", lambda *_: ("an address", Served()))
    assert in_process("tensorboard", "run", cwd=run_directory).returncode == 128 + signal.SIGTERM
    assert calls == ["wait", "terminate", "wait"]


def test_a_failing_tensorboard_is_not_reported_as_a_regression(run_directory, in_process, monkeypatch):
    """Its exit code 1 was passed on, which means a confirmed regression."""
    from convbench.report.viewers import tensorboard

    ended = SimpleNamespace(wait=lambda: 1, terminate=lambda: None)
    monkeypatch.setattr(tensorboard, "start", lambda *_: ("an address", ended))
    done = in_process("tensorboard", "run", cwd=run_directory)
    assert (done.returncode, done.stderr) == (2, "convbench: TensorBoard has ended with exit code 1\n")
