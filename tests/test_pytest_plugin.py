"""Test the pytest plugin in a user's project: a test file, a suite beside it, ``pytest --benchmark-only``."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import replace
from importlib.metadata import entry_points
from types import SimpleNamespace

import forked
import pytest
import records

from convbench import pytest_plugin
from convbench.core.registry import exports

pytest_plugins = "pytester"
SUITE = """
matrix: {reducer: [gap, gmp], clip: 1x2x3x8x8, rnn: lstm8}
protocol: {max_warmup: 0.02, max_time: 0.02, min_samples: 7}
"""
SPEED = """
import pytest

@pytest.mark.convbench("tiny.yaml", skip=["gmp"], device="cpu")
def test_speed(case_benchmark):
    output, state = case_benchmark()
    assert output.shape == (1, 2, 8)

def test_other():
    assert False, "not a benchmark"
"""


@pytest.fixture
def words(pytester, monkeypatch):
    """The first words of pytest in a user's project. An install without the entry point loads the plugin by name."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makefile(".yaml", tiny=SUITE)
    installed = any(point.name == "convbench" for point in entry_points(group="pytest11"))
    return [] if installed else ["-p", "convbench.pytest_plugin"]


@pytest.fixture
def user(pytester, words):
    """Return a function that runs pytest in a user's project, in a process that has imported torch."""

    def run(*more):
        done = forked.python("-m", "pytest", *words, *more, cwd=pytester.path)
        return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)

    return run


FAKE_MACHINE = """
import sys
from itertools import chain, repeat
from convbench.measure import timing, waiting

call_seconds = iter([0.125, 0.25])
steal = chain([0.0, 0.5], repeat(0.0))

timing.CpuClock.now = lambda _: 0.0  # on a busy machine a visit's time was up after six calls

def pytest_runtest_call():
    seconds = next(call_seconds)
    timing.CpuClock.time = lambda _, call: (timing.Sample(seconds if sys.gettrace() is None else 9.0), call())[0]
    sys.settrace(lambda *_: None)  # as coverage does

waiting.Waiting.shares = lambda *_: (0.9, next(steal), 0.0)  # the clock leaves out the waiting of a single thread
"""
"""A machine on which all calls, the reference workload's too, take 125 ms during the first test, and then 250 ms.

Its host takes half of the second visit's time.
"""


def test_only_cases_are_benchmarked_by_the_clock_of_run_and_a_disturbed_one_is_withheld(words, pytester):
    """Beside load the mean of pytest-benchmark's own clock was up to 30 times too large, and nothing said so.

    If warnings are errors, as in many projects, importing fvcore used to fail each case.
    """
    pytester.makeconftest(FAKE_MACHINE)
    pytester.makepyfile(test_speed=SPEED.replace('skip=["gmp"], ', ""))
    options = ("--benchmark-only", "--benchmark-json=out.json", "--strict-markers", "-W", "error")
    done = pytester.runpytest_subprocess(*words, *options, "--benchmark-cprofile=cumtime")
    done.assert_outcomes(passed=2, skipped=1)
    (benchmark,) = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    assert benchmark["name"] == "test_speed[conv/gap/32/lstm8/1x2x3x8x8/eager/inference/cpu]"
    stats = benchmark["stats"]
    assert {stats[name] for name in ("min", "median", "mean", "max")} == {0.125}
    assert stats["rounds"] == len(stats["data"]) == 2 * 7, "without the second of three visits"
    assert benchmark["options"]["timer"] == "convbench"
    assert benchmark["extra_info"]["params"] == 28 * 32 + 4 * 8 * (32 + 8 + 2)
    assert benchmark["group"] == "inference"
    assert f"test_speed[{benchmark['params']['case_benchmark']}]" == benchmark["name"]
    text = done.stdout.str()
    assert "measured, but disturbed, so not in the tables and files" in text
    reason = "the reference workload took 2.0× as long"
    assert re.search(rf"test_speed\[.*/gmp/.*\]: Its latency is unknown: .* \({reason}\)", text)


def test_cases_that_change_the_process_or_cannot_run_are_skipped(words, pytester, monkeypatch):
    """glibc-arena used to stay on for the next cases, a missing package failed the test, and a missing GPU its file."""
    variants = "{name: allocator, malloc: [glibc-arena, jemalloc]}, {name: openvino}, eager"
    pytester.makefile(".yaml", tiny=SUITE.replace("clip:", f"variant: [{variants}], clip:"))
    pytester.makefile(".py", sitecustomize="import sys\nsys.modules['openvino'] = None\n")
    pytester.makepyfile(test_speed=SPEED, test_gpu=SPEED.replace("cpu", "cuda:99"))
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=":")
    done = pytester.runpytest_subprocess(*words, "--benchmark-only", "-rs", "-k", "not other")
    done.assert_outcomes(passed=1, skipped=4)
    text = done.stdout.str()
    assert re.search(r"SKIPPED \[2\] .*it changes the process that it runs in: measure it with convbench run", text)
    assert "the variant openvino needs openvino, which is not installed: pip install 'convbench[openvino]'" in text
    assert "no device 'cuda:99' here: " in text


LATE = """
import unittest, pytest

def build(): return 3

@pytest.mark.convbench("tiny.yaml", device="cpu")
class TestLate(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def take(self, case_benchmark): pass
    def test_speed(self): pass

@pytest.mark.convbench({"matrix": {"model": "test_late:build", "clip": "1x2x3x8x8"}}, device="cpu")
def test_no_module(case_benchmark): case_benchmark()
"""


def test_a_case_is_called_untimed_if_benchmarks_are_disabled(user, pytester):
    """A suite of plain data, as ``convbench.run`` takes it, used to end in a traceback of pathlib."""
    data = {"matrix": {"reducer": ["gap", "gmp"], "clip": "1x2x3x8x8", "rnn": "lstm8"}, "protocol": {"max_time": 300}}
    pytester.makepyfile(test_speed=SPEED.replace('"tiny.yaml"', repr(data)))
    pytester.makepyfile(test_late=LATE)
    done = user("--benchmark-disable", "-k", "not other")
    done.assert_outcomes(passed=1, errors=1, failed=1, deselected=1)
    text = done.stdout.str()
    assert "case_benchmark came too late to make a test per case: make case_benchmark a parameter of the test" in text
    assert "test_late:build returned int: it must return a torch.nn.Module" in text
    assert "pytest_plugin.py" not in text, "a mistake of the user needs no traceback"


def test_what_was_withheld_is_said_even_if_pytest_benchmark_ends_with_an_exception():
    """With --benchmark-compare-fail and a slower case nothing said that another case was not compared."""
    lines, config = [], SimpleNamespace(stash={pytest_plugin.WITHHELD: {"test_a": "disturbed"}})
    reporter = SimpleNamespace(config=config, section=lines.append, write_line=lines.append)
    summary = pytest_plugin.pytest_terminal_summary(reporter)
    next(summary)
    with pytest.raises(LookupError):
        summary.throw(LookupError("Performance has regressed."))
    assert lines[1:] == ["test_a: disturbed"]


@pytest.mark.parametrize(("cpu", "warns"), [("A 1", False), ("B  2", True)])
def test_comparing_an_export_warns_only_about_another_machine(user, pytester, cpu, warns):
    """Only the processor that pytest-benchmark sees is invented here. The other facts are this machine's."""
    facts = {"machine": platform.machine(), "cpu": cpu, "python": platform.python_version()}
    record = records.record(records.case("gap"), latency=2e-3)
    run = replace(records.run_of([record]), environment=facts)
    folder = pytester.mkdir("stored")
    place = folder / f"{platform.system()}-{platform.python_implementation()}-{platform.python_version()[:4]}-64bit"
    place.mkdir()
    (place / "0001_a.json").write_text(json.dumps(exports.get("pytest-benchmark").build(run, [record])))
    pytester.makeconftest(
        "def pytest_benchmark_update_machine_info(config, machine_info): machine_info['cpu'] = {'brand_raw': 'A  1'}"
    )
    pytester.makepyfile(test_own="def test_own(benchmark): benchmark(len, ())")
    options = ("--benchmark-max-time=0.01", "--benchmark-min-rounds=1")
    done = user("--benchmark-only", f"--benchmark-storage={folder}", "--benchmark-compare=0001", *options)
    text = done.stdout.str() + done.stderr.str()
    assert "Comparing against benchmarks from" in text
    assert ("machine_info is different" in text) is warns


MISTAKES = {
    '@pytest.mark.convbench("tiyn.yaml")': "tiyn.yaml: no such file in /",
    '@pytest.mark.convbench("tiny.yaml")\ndef test_alone(): pass\n': "without case_benchmark: make case_benchmark a",
    'pytestmark = 2 * [pytest.mark.convbench("tiny.yaml")]': "two suites for one test: write a test",
    "": "needs @pytest.mark.convbench with a suite",
    '@pytest.mark.convbench("tiny.yaml", only=["fc"])': "none of its 2 cases is selected",
    "@pytest.mark.convbench()": "missing a required argument: 'suite': write it as @pytest.mark.convbench(suite, ",
    '@pytest.mark.convbench("quality", only="*seed=0*")': "its cases are trainings, which are not timed",
    '@pytest.mark.convbench(["tiny.yaml"])': "is no suite: name a file or a shipped suite, or give plain data",
    '@pytest.mark.convbench("tiny.yaml")\n@pytest.mark.convbench("smoke")': "two suites for one test: write a test",
    '@pytest.mark.convbench("tiny.yaml", onyl="gap")': "got an unexpected keyword argument 'onyl': write it as",
}


def test_a_mistake_is_reported_in_one_message(user, pytester):
    files = {
        f"test_{number}": f"import pytest\n{mark}\ndef test_speed(case_benchmark): case_benchmark()"
        for number, mark in enumerate(MISTAKES)
    }
    pytester.makepyfile(**files)
    done = user("--benchmark-only", "--continue-on-collection-errors")
    text = done.stdout.str() + done.stderr.str()
    for number, message in enumerate(MISTAKES.values()):
        (section,) = re.findall(rf"^_+ ERROR .*test_{number}\b.*_+$\n((?:(?!_+ ERROR|=====).*\n)*)", text, re.M)
        assert message in section
    assert "pytest_plugin.py" not in text  # a traceback would name it


def test_missing_pytest_benchmark_is_reported_with_its_extra(user, pytester):
    """The message used to be "fixture 'benchmark' not found", in a file of convbench."""
    pytester.makepyfile(test_speed=SPEED)
    done = user("-p", "no:benchmark")
    assert "case_benchmark needs pytest-benchmark: pip install 'convbench[pytest]'" in done.stdout.str()
