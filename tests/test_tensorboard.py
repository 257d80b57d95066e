"""The contract with TensorBoard: it reads our traces, eager and compiled, through torch-tb-profiler."""

from __future__ import annotations

import gzip
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

pytest.importorskip("torch_tb_profiler", reason="needs convbench[tensorboard]")
pytest.importorskip("tensorboard", reason="needs convbench[tensorboard]")

from convbench.core.record import Case, Choice, Clip, Parts, Protocol
from convbench.core.storage import profiles
from convbench.measure.comparison import first_call
from convbench.measure.machine.toolchain import missing_tool
from convbench.measure.traces import capture
from convbench.report.viewers import tensorboard as viewer

PATIENCE = 60
CASES = {
    variant: Case(Parts(Choice("conv"), Choice("fc"), 8), Clip(1, 2, 3, 8, 8), choices)
    for variant, choices in (("eager", ()), ("compiled", (Choice("compile"),)))
}


def ask(address: str, **query: str) -> bytes:
    url = f"{address}?{urllib.parse.urlencode(query)}" if query else address
    with urllib.request.urlopen(url, timeout=30) as answer:
        content = answer.read()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Yield the plug-in's address and the name of each variant's run, once it has read the runs."""
    run = tmp_path_factory.mktemp("run")
    known = {}
    for variant, case in CASES.items():
        if variant == "compiled" and missing_tool():
            continue
        subject, _ = first_call.open_case(case, seed=0)
        subject.run()
        list(capture.Capture(run / profiles.PROFILES)(subject, Protocol()))
        known[variant] = profiles.directory_of(run / profiles.PROFILES, case.id).name
    address, process = viewer.start(run, 0)
    base = f"{address.partition('#')[0]}data/plugin/{viewer.PLUGIN}"
    try:
        wait(base, len(known))
        yield base, known
    finally:
        process.terminate()
        process.wait(10)


def wait(base: str, expected: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            answer = json.loads(ask(f"{base}/runs"))
            if not answer["loading"] and len(answer["runs"]) == expected:
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    pytest.fail(f"TensorBoard did not read the traces within {PATIENCE} s")


def viewed(served, variant: str, view: str, **query: str) -> str:
    base, known = served
    if variant not in known:
        pytest.skip(f"no compiled trace: {missing_tool()}")
    common = {"run": known[variant], "worker": "cpu", "span": "1"}
    return ask(f"{base}/{view}", **common, **query).decode()


@pytest.mark.parametrize("variant", CASES)
def test_the_overview_shows_the_steps(served, variant):
    overview = json.loads(viewed(served, variant, "overview"))
    assert len(overview["steps"]["rows"]) == capture.STEPS


@pytest.mark.parametrize("variant", CASES)
def test_the_operator_view_shows_the_models_operators(served, variant):
    table = viewed(served, variant, "operation/table", group_by="Operation")
    assert "aten::convolution" in table
    assert "aten::lstm" in table


@pytest.mark.parametrize("variant", CASES)
def test_the_memory_view_shows_the_models_operators(served, variant):
    memory = json.loads(viewed(served, variant, "memory"))
    assert "aten::convolution" in {row[0] for row in memory["rows"]["CPU"]}


@pytest.mark.parametrize("variant", CASES)
def test_the_module_view_shows_the_modules(served, variant):
    modules = viewed(served, variant, "module")
    assert "LSTM" in modules
    if variant == "eager":
        assert "Conv2d" in modules


def test_runs_are_named_after_their_cases(served):
    base, known = served
    assert set(json.loads(ask(f"{base}/runs"))["runs"]) == set(known.values())
