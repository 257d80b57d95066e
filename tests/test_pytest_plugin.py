"""The pytest plugin as a user has it: a test file, a suite beside it, ``pytest --benchmark-only``."""

from __future__ import annotations

import json
from importlib.metadata import entry_points

import pytest

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
def user(pytester, monkeypatch):
    """A user's project; the plugin comes by its entry point, or by name where convbench was installed before."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    installed = any(point.name == "convbench" for point in entry_points(group="pytest11"))
    pytester.makefile(".yaml", tiny=SUITE)
    return lambda *words: pytester.runpytest_subprocess(
        *([] if installed else ["-p", "convbench.pytest_plugin"]), *words
    )


def test_cases_are_benchmarked_and_nothing_else_is_run(user, pytester):
    pytester.makepyfile(test_speed=SPEED)
    done = user("--benchmark-only", "--benchmark-json=out.json", "--strict-markers")
    done.assert_outcomes(passed=1, skipped=1)
    (benchmark,) = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    assert benchmark["name"] == "test_speed[conv/gap/32/lstm8/1x2x3x8x8/eager/inference/cpu]"
    assert benchmark["stats"]["rounds"] >= 7
    assert benchmark["extra_info"]["params"] == 28 * 32 + 4 * 8 * (32 + 8 + 2)
    assert benchmark["group"] == "inference"


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ('@pytest.mark.convbench("tiyn.yaml")', "tiyn.yaml: no such file"),
        ("", "needs @pytest.mark.convbench with a suite"),
        ('@pytest.mark.convbench("tiny.yaml", only=["fc"])', "none of its 2 cases is selected"),
    ],
)
def test_a_mistake_is_one_message(user, pytester, test, said):
    pytester.makepyfile(test_speed=f"import pytest\n{test}\ndef test_speed(case_benchmark): case_benchmark()")
    done = user("--benchmark-only")
    assert done.ret != 0
    assert said in done.stdout.str() + done.stderr.str()


def test_on_a_gpu_a_call_lasts_until_the_device_is_done(monkeypatch):
    import torch

    from convbench.pytest_plugin import _until_done

    done = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: done.append(("synchronized", device)))
    run = _until_done(lambda: done.append("launched"), "cuda:0")
    run()
    assert done == ["launched", ("synchronized", "cuda:0")]
    plain = len
    assert _until_done(plain, "cpu") is plain
