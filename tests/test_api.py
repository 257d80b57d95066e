"""Test the Python API: its names, its examples, and calls from scripts, modules and interactive sessions."""

from __future__ import annotations

import doctest
import gc
import inspect
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType, SimpleNamespace
from typing import Any

import forked
import numpy as np
import pytest
import records
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.utils.rnn import pack_sequence
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

import convbench
from convbench import api
from convbench.check import live as pairs
from convbench.check.outcome import Timing
from convbench.check.settings import Rule, Settings
from convbench.core import arguments, imports, installed, registry
from convbench.core.commands import Command
from convbench.core.registry import reducers
from convbench.core.statistics import Interval
from convbench.core.storage import store
from convbench.core.traits import VariantTraits
from convbench.measure.live import measurement
from convbench.measure.live import module as live
from convbench.models.inputs import Inputs
from convbench.runs.process import script

QUICK = {"max_time": 0.05, "max_warmup": 0.02, "min_samples": 6, "visits": 1}
MEASURING = ("run", "check", "bisect", "count", "measure", "compare")
SUITE = {"matrix": {"reducer": ["gap", "gmp"], "clip": "1x2x3x8x8"}, "metrics": ["params", "macs"]}
SCRIPT = """
import convbench
from torch import nn

print("this line runs once a process")

class Corner(nn.Module):
    def forward(self, maps):
        return maps[:, :, 0, 0]

@convbench.register("reducer", "corner")
def corner(features, lstm_input):
    "The top left value of every channel."
    return Corner()

run = convbench.run(
    {"matrix": {"reducer": "corner", "clip": "1x2x3x8x8"}, "metrics": ["latency"], "protocol": %r}, out="out"
)
print([record.status for record in run.records], [record.failure for record in run.records])
"""

WHOLE = """class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(192, 8, batch_first=True)

    def forward(self, clip):
        return self.lstm(clip.flatten(2))[0]

class Corner"""


def python(*words: str, cwd: Path, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=300, **more)


# --- Exported names ---------------------------------------------------------------------------------------------------


def test_every_exported_name_exists() -> None:
    assert sorted(convbench.__all__) == convbench.__all__
    assert all(callable(getattr(convbench, name)) for name in convbench.__all__)
    assert set(convbench.__all__) <= set(dir(convbench))
    with pytest.raises(AttributeError, match="has no attribute 'messure'"):
        convbench.messure  # noqa: B018


def test_importing_convbench_imports_no_slow_package(tmp_path: Path) -> None:
    script = "import sys, convbench; convbench.__version__; print(*sys.modules)"
    loaded = python("-c", script, cwd=tmp_path).stdout.split()
    assert not {"torch", "numpy", "pandas", "pydantic", "typer", "convbench.api"} & set(loaded)
    asked = "import inspect, sys, convbench; inspect.signature(convbench.check); print(*sys.modules)"
    assert "torch" not in python("-c", asked, cwd=tmp_path).stdout.split()


def test_a_run_is_opened_and_reported_without_torch_and_fcntl(tmp_path: Path) -> None:
    """A machine that only reads reports may lack both, for example with Windows."""
    measured = records.default_records()[:6]
    records.stored(tmp_path, measured)
    script = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
sys.modules["torch"] = sys.modules["fcntl"] = None
import convbench
run = convbench.open_run({str(tmp_path)!r})
print(run.report(), len(run.frame()), bool(run.answer()))
"""
    done = python("-c", script, cwd=tmp_path)
    assert done.stdout.split() == [str(tmp_path / "index.html"), "6", "True"], done.stderr


@pytest.mark.parametrize("name", ["check", "measure", "report"])
def test_a_package_named_like_a_function_is_also_callable(name: str) -> None:
    assert getattr(convbench, name).__path__
    with pytest.raises(TypeError, match=r"missing|unexpected"):
        getattr(convbench, name)(**({} if name != "report" else {"unknown": 1}))
    function = getattr(api, name)
    assert inspect.signature(getattr(convbench, name)) == inspect.signature(function)
    assert getattr(convbench, name).__doc__ == function.__doc__


def test_docstring_examples_run(tmp_path: Path) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testmod(api, extraglobs={"folder": tmp_path / "run"}, optionflags=flags)
    assert (failed, tried > 12) == (0, True)


# --- Runs -------------------------------------------------------------------------------------------------------------


def test_no_page_is_written_where_the_run_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ``os.chdir`` the page used to be written to a new folder with the run's name."""
    monkeypatch.chdir(tmp_path)
    run = convbench.run(SUITE, only=["gap"], device="cpu", out="here")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")
    with pytest.raises(convbench.ConvbenchError, match="here: no run is there; if the path is relative, the "):
        run.report()
    assert run.report("out") == Path("out/index.html")
    assert not Path("here").exists()


def test_a_suite_given_as_data_makes_a_stored_run(tmp_path: Path) -> None:
    run = convbench.run(SUITE, only=["gap"], device="cpu", out=tmp_path)
    assert Command.of(run.description) == Command(SUITE, only=("gap",), device="cpu", python=True)
    assert [record.case.architecture.reducer.name for record in run.records] == ["gap"]
    assert run.frame().macs[0] == run.records[0].samples("macs")[0]
    assert {"params", "macs", "lstm_input"} <= set(run.frame().select_dtypes("number").columns)
    assert len(run.frame().nlargest(1, "params")) == 1
    assert (run.frame().latency_s_median.dtype, run.frame().error.dtype) == ("Int64", "string")
    assert run.answer().startswith("Smallest on the conv backbone: gap")
    assert run.report(tmp_path / "page").read_text().startswith("<!doctype html>")
    assert run.report(tmp_path / "a.html") == tmp_path / "a.html"  # a file, as with --out, not a folder of that name
    assert convbench.report(run, run, out=tmp_path / "b.html") == tmp_path / "b.html"
    again = convbench.open_run(tmp_path / "results.jsonl")
    assert {again, run} == {run}  # hashable, as the cache of a web page needs it
    assert convbench.load({"matrix": SUITE["matrix"]}).text in again.description.suite
    assert "<table" in run._repr_html_()
    assert repr(run) == f"Run('suite', 1 ok, in {str(tmp_path)!r})"
    assert repr(run.records[0]) == f"Record({run.records[0].case.id!r}, ok, {len(run.records[0].readings)} readings)"
    assert repr(convbench.load(SUITE)) == "Suite('suite', 2 cases)"
    assert repr(run.records[0].case) == f"Case({run.records[0].case.id!r})"


def test_a_run_takes_metrics_and_a_budget_like_the_command(tmp_path: Path) -> None:
    run = convbench.run({"matrix": SUITE["matrix"]}, metrics=["params", "macs"], budget=90, device="cpu", out=tmp_path)
    assert {reading.metric.name for reading in run.records[0].readings} >= {"params", "macs"}
    assert run.records[0].reading("latency_s") is None
    assert Command.of(run.description).overrides == ("metrics=[params,macs]", "protocol.budget=90")


def test_check_and_bisect_take_threads_build_and_resume(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convbench.check import against_base
    from convbench.check.bisection import bisect

    monkeypatch.setattr(against_base, "check", lambda _request, base, settings, *_: (base.build, settings.threads))
    assert convbench.check("smoke", "main", threads=2, build="make") == ("make", 2)
    monkeypatch.setattr(bisect, "find", lambda asked, settings, *_: (asked.span.build, asked.resume, settings.threads))
    searched = convbench.bisect("smoke", "main", threads=2, build="make", resume=True, out=tmp_path / "search.json")
    assert searched == ("make", True, 2)


def test_a_run_does_not_close_the_given_executor(tmp_path: Path) -> None:
    begun: list[str] = []

    class Watcher:
        def begins(self, case, _stage) -> None:
            begun.append(case.id)

        def ended(self, record) -> None:
            assert record.case.id in begun

    with convbench.executor("fake", machines=2) as fake:
        run = convbench.run(SUITE, executor=fake, out=tmp_path, progress=Watcher())
        assert not fake.closed
    assert fake.closed
    assert Command.of(run.description).executor == "fake", "as a call that repeats it names it"
    assert len(set(begun)) == len(run.records) == 2


def test_a_notebook_shows_the_users_line_and_the_message_of_a_mistake(tmp_path: Path) -> None:
    """IPython asks the error what to show: it would print a hundred lines of our own code."""
    with pytest.raises(convbench.ConvbenchError) as caught:
        eval("convbench.report(tmp_path)")  # its frame is not IPython's, which is left out
    place, message = caught.value._render_traceback_()
    assert place.startswith('  File "<string>", line 1')
    assert message == f"StoreError: {caught.value}"
    assert "not a run" in message


def test_mistakes_get_the_messages_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(convbench.ConvbenchError, match=r"suite: matrix\.reducer: .*gapp.*did you mean 'gap'"):
        convbench.load({"matrix": {"reducer": "gapp"}})
    with pytest.raises(convbench.ConvbenchError, match="a suite is plain data"):
        convbench.load({"matrix": {"reducer": nn.Linear(1, 1)}})
    with pytest.raises(convbench.ConvbenchError, match="not a run"):
        convbench.open_run(tmp_path)
    with pytest.raises(convbench.ConvbenchError, match="no shelf of 'reduser'; did you mean 'reducer'"):
        convbench.register("reduser", "mine")
    with pytest.raises(convbench.ConvbenchError, match="give at least one"):
        convbench.report()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convbench.run(SUITE, out=""), "out is empty: name a file or a directory"),
        (lambda: convbench.run(SUITE, out=5), "out: 5 is not a path: name a file or a directory"),
        (lambda: convbench.run(SUITE, only=5), "only=5: give a text, or a list of texts"),
        (lambda: convbench.run(SUITE, skip=["gap", None]), r"skip=\['gap', None\]: give a text, or a list of texts"),
        (lambda: convbench.run(SUITE, overrides=None), "overrides=None: give a text, or a list of texts"),
        (lambda: convbench.run(SUITE, resume="all"), "resume='all': write True, or 'stale'"),
        (
            lambda: convbench.run(SUITE, device=torch.device("cpu")),
            "unknown device device.*: use auto, cpu, cuda or cuda:N",
        ),
        (
            lambda: convbench.run(SUITE, executor=5),
            "executor: 5 is no executor: name one, or give what executor.. returns",
        ),
        (lambda: convbench.run(SUITE, executor=convbench.Executor), "executor: <class .* is no executor"),
        (
            lambda: convbench.run(SUITE, executor="fake", executor_options=["machines=2"]),
            r"executor_options=\['machines=2'\]: give a mapping",
        ),
        (
            lambda: convbench.load({"matrix": {"reducer": nn.Flatten}}),
            "a suite is plain data .*: <class .*Flatten'> is not plain data: register it, or name it as module:name",
        ),
        (lambda: convbench.open_run(""), "path is empty: name a file or a directory"),
        (lambda: convbench.open_run(None), "path: None is not a path"),
        (lambda: convbench.report("", out="page"), "path is empty"),
        (
            lambda: convbench.check("smoke", ""),
            r"nothing to compare with: give base \(a git ref, a wheel or a directory\)",
        ),
        (
            lambda: convbench.check(SUITE, "main"),
            "suite: .* cannot be read by both sides: name a file or a shipped suite",
        ),
        (lambda: convbench.run(SUITE, metrics=5), "metrics=5: give a text, or a list of texts"),
        (lambda: convbench.run(SUITE, budget=-1), "override 'protocol.budget=-1': protocol.budget: -1 is too small"),
        (lambda: convbench.run(SUITE, budget=True), ".*: protocol.budget: true is not a number"),
        (lambda: convbench.check("smoke", "main", budget=True), "budget True: give seconds, more than 0"),
        (lambda: convbench.bisect("smoke", "main", threads=True), "threads=True: give a whole number from 1"),
        (lambda: convbench.check("smoke", "main", detect=False), "detect False: give a share from 0.005 to 0.5"),
        (
            lambda: convbench.measure(nn.Flatten(), torch.zeros(1), protocol=convbench.Protocol(max_time=True)),
            "protocol.max_time: true is not a number",
        ),
        (lambda: convbench.check("smoke", "main", threads=0), "threads=0: give a whole number from 1"),
        (lambda: convbench.bisect("smoke", "main", threads="2"), "threads='2': give a whole number from 1"),
        (lambda: convbench.check("smoke", "main", build=5), "build=5: give a text"),
        (lambda: convbench.compare("reports/a", "reports/b"), r"compare takes two callables; lay two stored runs side"),
        (lambda: convbench.check("smoke", "main", budget="3m"), "budget '3m': give seconds, more than 0"),
        (lambda: convbench.bisect("smoke", "main", None), "bad=None: give a text"),
        (lambda: convbench.bisect("smoke", "main", resume="stale"), "resume='stale': give True or False"),
        (lambda: convbench.bisect("smoke", ""), "name what to search: give good, a commit that is fast"),
        (lambda: convbench.bisect("smoke", "main", budget=-1), "budget -1: give seconds, more than 0"),
        (lambda: convbench.bisect("smoke", "main", out=""), "out is empty"),
        (lambda: convbench.history(), "name the runs: "),
        (lambda: convbench.history("runs", metric=5), "metric=5: give a text"),
        (lambda: convbench.history("runs", since=2026), "since=2026: give a text"),
        (lambda: convbench.check("smoke", Path("/nowhere")), "base '/nowhere' is not a ref of this repository"),
        (lambda: convbench.executor("fake", nope=1), "the executor fake has no option 'nope'"),
        (lambda: convbench.executor("fake", machines="x"), "machines: 'x' is not a whole number"),
        (lambda: convbench.executor("fake", machines=True), "machines: true is not a whole number"),
        (lambda: convbench.register(3, "mine"), "kind=3: give a text"),
        (lambda: convbench.run(SUITE, progress=5), "progress=5: give True for a bar, or a watcher"),
        (lambda: convbench.history(store=""), "store is empty"),
        (
            lambda: convbench.compare(len, len, [], detect="5"),
            "detect '5': give a share from 0.005 to 0.5, such as 0.05",
        ),
        (lambda: convbench.register("reducer", ""), "no reducer can be called '': use letters, digits, -, _ and ."),
        (lambda: convbench.register("reducer", ".."), "no reducer can be called '..': .* with no - or . first"),
        (lambda: convbench.register("reducer", "my/own"), "no reducer can be called 'my/own'"),
        (lambda: convbench.executor("fake", device=0), "device=0: give a text"),
        (
            lambda: convbench.measure(nn.Flatten(), torch.zeros(1), protocol={}),
            "protocol: a mapping is not a convbench",
        ),
        (lambda: convbench.run(SUITE, until_sure="no"), "until_sure='no': give True or False"),
        (
            lambda: convbench.run(SUITE, device="cuda", executor=convbench.executor("fake")),
            "device goes with the name of an executor: an object gets its device when it is made",
        ),
    ],
)
def test_an_invalid_argument_is_refused_in_one_message(call, message: str) -> None:
    with pytest.raises(convbench.ConvbenchError, match=f"^{message}") as raised:
        call()
    assert "--" not in str(raised.value), "an option of the command line"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: registry.reducers.register(len), 'a reducer needs a name: write @reducers.register("name")'),
        (
            lambda: convbench.register("reducer", "odd")(lambda _features: None),
            "the reducer 'odd' takes (_features): it must take (features, lstm_input), and its options after a *",
        ),
        (
            lambda: registry.reducers.get("gap") and convbench.register("reducer", "gap")(lambda _map, _size: None),
            "two reducers are called 'gap': rename one, of convbench or test_api",
        ),
        (
            lambda: convbench.register("probe", "odd")(lambda _x, _y, _z: None),
            "the probe 'odd' takes (_x, _y, _z): it must take (subject, protocol)",
        ),
        (
            lambda: convbench.register("scenario", "odd")(lambda _subject, *, step: step),
            "the scenario 'odd' needs step: a scenario is called without options, so give each a default",
        ),
        (
            lambda: convbench.register("reducer", "odd")(registry.declares(VariantTraits())(lambda *_: None)),
            "the reducer 'odd' declares VariantTraits: declare ReducerTraits(...)",
        ),
        (
            lambda: registry.declares({"opaque": True}),
            "declares({'opaque': True}): declare traits, as in VariantTraits(opaque=True)",
        ),
        (
            lambda: registry.declares(VariantTraits(scenarios="inference")),
            "VariantTraits(scenarios='inference'): write a tuple, scenarios=('inference',)",
        ),
    ],
)
def test_a_plugin_of_another_contract_is_refused_where_it_is_declared(call, message) -> None:
    """Such a plug-in once failed each of its cases, and traits of another kind were ignored without a word."""
    with pytest.raises(convbench.ConvbenchError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convbench.run(SUITE, only="gap,fc", metrics="params", device="cpu"),
         ".* by `only` gap,fc: name each alone, as in `only=..gap', 'fc'.`: `convbench.load.suite..cases` shows"),
        (lambda: convbench.load({"device": "cuda"}), ".*unknown key 'device': give it as `device` cuda"),
        (lambda: convbench.run(SUITE, metrics="params", device="cpu", out="file/run"),
         "file/run: cannot be written .Not a directory.: choose another place with `out`"),
        (lambda: convbench.open_run("run").report("file/page.html"), "file/page.html: cannot be written .*"),
        (lambda: convbench.run(SUITE, device="cpu", out="run", resume=True),
         r"run: cannot be resumed: its suite's name .* differs; run without `resume=True` .*, or choose another `out`"),
        (lambda: convbench.history("run", only="nosuch", metric="params"), "`only` nosuch: none of 1 case matches"),
        (lambda: convbench.history("run", metric="nosuch"), "`metric` 'nosuch': no run has it"),
        (lambda: convbench.bisect("smoke", "nosuch"), "`good` 'nosuch' is not a commit"),
        (lambda: convbench.check("smoke", "a.whl", build="sh --only x"), "`build` 'sh --only x': it builds a ref or a"),
    ],
)  # fmt: skip
def test_messages_name_arguments_and_not_options_of_the_command(call, message: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    run_records = [records.record()]
    store.start(Path("run"), records.run_of(run_records), run_records)
    with pytest.raises(convbench.ConvbenchError, match=f"^{message}"):
        call()


def test_every_argument_that_a_message_names_exists() -> None:
    names = {
        name
        for function in convbench.__all__
        if function.islower()
        for name in inspect.signature(getattr(api, function)).parameters
    }
    texts = {text.partition("=")[0] for text in arguments.ARGUMENTS.values()} - {"convbench.load(suite).cases"}
    assert texts <= names


def test_a_suite_takes_numpy_and_python_sequences_and_numbers() -> None:
    sizes = convbench.load({"matrix": {"reducer": ["fc"], "lstm_input": [16, 32]}})
    for value in (np.arange(16, 33, 16), range(16, 33, 16), (np.int64(16), np.int32(32))):
        data = MappingProxyType({"matrix": MappingProxyType({"reducer": ["fc"], "lstm_input": value})})
        assert convbench.load(data).cases == sizes.cases


def test_threads_of_a_process_measure_in_turns() -> None:
    """Two concurrent counts used to see each other's threads, and two concurrent measurements crashed."""
    assert all(hasattr(getattr(api, name), "__wrapped__") for name in MEASURING)
    lstm, vectors = nn.LSTM(8, 4), torch.zeros(3, 1, 8)
    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda _: convbench.count(lstm, vectors).macs, range(8)))
    assert set(counts) == {3 * 4 * 4 * (8 + 4)}


# --- Scripts and interactive sessions ---------------------------------------------------------------------------------


def test_a_script_without_a_main_guard_measures_its_own_plugin(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT % QUICK)
    done = python("mine.py", cwd=tmp_path)
    assert done.stdout.splitlines() == ["this line runs once a process", "['ok'] [None]"], done.stderr


def test_a_plugin_registered_in_a_function_is_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a main guard or in a test, this used to be an "unknown reducer", although it was on the shelf."""
    monkeypatch.setattr(installed, "_missing_plugins", {})
    imports = script.UserImports(("records",), plugins=(("reducer", "inner", "records"), ("reducer", "gap", "records")))
    list(reducers)
    imports.load()
    with pytest.raises(convbench.ConvbenchError, match=r"unknown reducer 'inner'.* at the top of its module"):
        reducers.get("inner")
    assert len(installed.missing_plugins()) == 1


def test_an_executor_made_by_a_script_knows_its_plugins(tmp_path: Path) -> None:
    """The executor used to be made without cases, and its processes did not find the reducer."""
    brought = SCRIPT.replace("run = ", 'with convbench.executor("isolated") as measuring:\n    run = ')
    (tmp_path / "mine.py").write_text(brought.replace('out="out"', 'executor=measuring, out="out"') % QUICK)
    done = forked.python("mine.py", cwd=tmp_path)
    assert done.stdout.splitlines() == ["this line runs once a process", "['ok'] [None]"], done.stderr


@pytest.mark.parametrize("module", ["__main__", "mine"])
def test_a_model_that_is_defined_in_the_script_is_measured(tmp_path: Path, module: str) -> None:
    """By its file's name, the script used to run once more in each process, until two runs wanted the same folder."""
    script = SCRIPT.replace('"reducer": "corner"', f'"model": "{module}:Whole"').replace("class Corner", WHOLE, 1)
    (tmp_path / "mine.py").write_text(script % QUICK)
    done = forked.python("mine.py", cwd=tmp_path)
    assert done.stdout.splitlines() == ["this line runs once a process", "['ok'] [None]"], done.stderr


def test_a_module_that_measures_when_it_is_imported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "measures.py").write_text("import convbench\nconvbench.run('smoke')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(convbench.ConvbenchError, match=r"'measures:x': the module measures when .* \(measures.py:2\)"):
        imports.import_path("measures:x")


def test_an_interactive_session_measures_plugins_of_imported_modules(tmp_path: Path) -> None:
    """Standard input acts as an interactive session; the backbone is convbench's own, the reducer the module's.

    Code that was typed there but that no case uses does no harm.
    """
    plugin, _, rest = SCRIPT.partition("run = ")
    (tmp_path / "shop.py").write_text(plugin)
    typed = plugin.replace("@convbench.register", "(lambda *_: id)")
    done = python("-", cwd=tmp_path, input=f"{typed}\nimport shop\nrun = {rest % QUICK}")
    assert done.stdout.splitlines()[-1] == "['ok'] [None]", done.stderr


def test_an_interactive_session_cannot_measure_its_own_plugins(tmp_path: Path) -> None:
    """Code that was typed there has no module."""
    done = python("-", cwd=tmp_path, input=SCRIPT % QUICK)
    assert done.stderr.splitlines()[-1].startswith(
        "convbench.core.errors.ConvbenchError: 'corner' is defined in an interactive session"
    )


# --- Live modules -----------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.lstm = nn.LSTM(8, 16, batch_first=True)

    def forward(self, clip: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        maps = self.conv(clip.flatten(0, 1)).mean((2, 3))
        return scale * self.lstm(maps.unflatten(0, clip.shape[:2]))[0]


class Numpy(Net):
    def forward(self, clip: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        assert clip.numpy().shape
        return super().forward(clip, scale)


CLIP = torch.zeros(2, 5, 3, 10, 10)
CONV, LSTM = 2 * 5 * 100 * 27 * 8, 2 * 5 * 4 * 16 * (8 + 16)


def test_a_count_is_exact_by_module_without_changing_the_model() -> None:
    model = Net().train()
    before = [parameter.clone() for parameter in model.parameters()]
    counted = convbench.count(model, CLIP, scale=2.0)
    assert (counted.macs, counted.how, counted.uncounted) == (CONV + LSTM, "meta", ())
    assert (counted.second, counted.counted_once) == (CONV + LSTM, None)
    assert [counted.module(name).macs for name in ("conv", "lstm")] == [CONV, LSTM]
    assert counted.params == sum(parameter.numel() for parameter in before)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert model.training
    assert f"lstm {counted.module('lstm').params:,} / {LSTM:,}" in repr(counted)
    assert "<td>" in counted._repr_html_()


class Projected(Net):
    """A model with a weight and a product outside its submodules."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(16, 4))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return super().forward(clip) @ self.weight


def test_a_count_shows_the_work_outside_the_submodules() -> None:
    """The parts shown used not to add up to the whole, and a scripted model seemed to compute nothing."""
    assert ", outside of these 64 / 640)" in repr(convbench.count(Projected(), CLIP))
    scripted = convbench.count(torch.jit.script(nn.Sequential(nn.Linear(8, 4))), torch.zeros(1, 8))
    assert "0 36 / 0, outside of these 0 / 32;" in repr(scripted)


class Step(torch.jit.ScriptModule):
    """A recurrent step whose method alone is scripted, as in public code of RWKV; torch's copy of it has no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 8))

    @torch.jit.script_method
    def mix(self, clip):  # type: ignore[no-untyped-def]
        return self.weight @ clip

    def forward(self, clip: torch.Tensor) -> Any:
        return self.mix(clip)


def test_a_class_of_which_one_method_is_scripted_is_counted() -> None:
    """It used to be refused: for a frozen script's operators, and on a copy that had lost what Python calls."""
    for model in (Step(), nn.Sequential(Step())):
        assert convbench.count(model, torch.zeros(8)).macs == 4 * 8


def test_inputs_that_require_gradients_are_counted_twice() -> None:
    clip = CLIP.clone().requires_grad_()
    counted = convbench.count(Net(), clip)
    assert (counted.second, counted.counted_once) == (counted.macs, None)
    assert clip.requires_grad


def test_a_module_that_returns_its_input_is_counted_twice() -> None:
    """The second count ended in an error of the tracer, cut after the first number of the tensor."""
    counted = convbench.count(nn.Identity(), torch.ones(3))
    assert (counted.macs, counted.second, counted.counted_once) == (0, 0, None)


@pytest.mark.parametrize(
    "mode", [partial(FlopCounterMode, display=False), FakeTensorMode, profile], ids=["counter", "fakes", "profiler"]
)
def test_a_callers_mode_does_not_change_counts_and_is_not_timed(
    mode: Callable[[], AbstractContextManager[Any]],
) -> None:
    """The second count missed what the mode replaced, ``measure`` ended in torch's error, ``compare`` timed it.

    Inside of a profiler ``measure`` ended the caller's trace, which was empty then.
    """
    model = Net().eval()
    with mode():
        counted = convbench.count(model, CLIP)
        name = "(FlopCounterMode|FakeTensorMode|torch's profiler)"
        with pytest.raises(convbench.ConvbenchError, match=f"^{name} is active, .*: leave its `with` block first"):
            convbench.measure(model, CLIP)
        with pytest.raises(convbench.ConvbenchError, match=f"^{name} is active"):
            convbench.compare(model, model, CLIP)
    assert (counted.macs, counted.second, counted.counted_once) == (CONV + LSTM, CONV + LSTM, None)


def test_a_real_call_counts_a_model_that_fails_on_meta() -> None:
    counted = convbench.count(Numpy(), CLIP)
    assert (counted.macs, counted.how, counted.module("lstm").macs) == (CONV + LSTM, "call", LSTM)
    assert counted.second == CONV + LSTM


def test_a_live_module_is_measured_in_this_process() -> None:
    measurement = convbench.measure(Net().eval(), CLIP, protocol=convbench.Protocol(**QUICK))
    assert measurement.latency.low <= measurement.latency.median <= measurement.latency.high
    assert len(measurement.samples) >= 6
    assert measurement.memory_bytes > CLIP.nbytes
    assert "in this process on cpu, 1 thread, eval mode" in repr(measurement)


def test_measuring_a_live_module_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """torch's profiler used to print two lines at each call."""
    convbench.measure(Net().eval(), CLIP, protocol=convbench.Protocol(**QUICK))
    assert capfd.readouterr() == ("", "")


def test_times_are_shown_without_exponents() -> None:
    shown = repr(measurement.Measurement(Interval(1.5e-4, 1e-4, 0.04817), (1e-4,), 96, (), "cpu", 1, training=False))
    assert "latency 150 µs a call [100, 48170], 1 call" in shown


def test_a_live_module_is_visited_once_whatever_its_protocol_says() -> None:
    """With three visits in the protocol, the single visit used to report nothing about its own interval."""
    protocol = convbench.Protocol(**{**QUICK, "visits": 3, "target": 1e-9})
    assert "interval_wide" in repr(convbench.measure(Net().eval(), CLIP, protocol=protocol))


@pytest.mark.parametrize(("protocol", "message"), [
    (convbench.Protocol(max_time=-1), "protocol.max_time: -1 is too small: more than 0"),
    (convbench.Protocol(max_time=math.nan), "protocol.max_time: nan is not a finite number"),
    (convbench.Protocol(max_time="a"), "protocol.max_time: 'a' is not a number"),
    ("quick", "protocol: 'quick' is not a convbench.Protocol"),
])  # fmt: skip
def test_a_protocol_that_a_suite_would_refuse_is_refused(protocol: convbench.Protocol, message: str) -> None:
    """Such a protocol used to be accepted without a message, or to end with a TypeError."""
    with pytest.raises(convbench.ConvbenchError, match=re.escape(message)):
        convbench.measure(Net(), CLIP, protocol=protocol)


def test_a_small_module_is_shown_in_units_that_fit() -> None:
    interval = Interval(9.184e-6, 9e-6, 9.5e-6)
    shown = repr(measurement.Measurement(interval, (9.184e-6,), 96, (), "cpu", 1, training=False))
    assert shown.startswith("Measurement(latency 9.184 µs a call [9, 9.5], 1 call; peak memory 96 B; ")
    compared = pairs.Comparison("same", pairs.Ratio(1.01, 1.0, 1.02), (9.2e-6, 9.3e-6), "")
    assert "typical calls 9.20 µs and 9.30 µs; " in repr(compared)


def test_none_as_a_suite_is_refused_in_one_message() -> None:
    with pytest.raises(convbench.ConvbenchError, match="suite: None is no suite: name a file or a shipped suite"):
        convbench.run(None)


def test_an_input_may_share_a_name_with_our_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixing(nn.Module):
        def forward(self, model: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return model @ first + second

    inputs = dict.fromkeys(("model", "first", "second"), torch.ones(2, 2))
    assert convbench.count(Mixing(), **inputs).macs == 8
    assert convbench.measure(Mixing(), protocol=convbench.Protocol(**QUICK), **inputs).samples
    monkeypatch.setattr(pairs, "compare_calls", lambda first, second, *_: torch.equal(first(), second()))
    assert convbench.compare(Mixing(), Mixing(), **inputs)


@pytest.mark.parametrize("function", [convbench.count, convbench.measure, partial(convbench.compare, nn.Flatten())])
def test_inputs_that_do_not_fit_are_refused_in_one_message(function) -> None:
    with pytest.raises(convbench.ConvbenchError, match="Net does not run on these inputs: RuntimeError: "):
        function(Net(), torch.zeros(2, 5, 7, 10, 10))


@pytest.mark.parametrize(
    ("args", "kwargs"), [((tuple(CLIP.shape),), {}), (((CLIP,),), {}), ((), {"inputs": (CLIP,)}), ((), {})]
)
def test_inputs_as_other_counters_take_them_are_refused_with_what_to_give(args, kwargs) -> None:
    """As ptflops and torchinfo, fvcore and thop take them."""
    with pytest.raises(convbench.ConvbenchError, match=r"Error: .*; give the arguments of its call one by"):
        convbench.count(Net(), *args, **kwargs)


@pytest.mark.parametrize("function", [convbench.count, convbench.measure])
@pytest.mark.parametrize(("model", "name"), [(Net, "Net"), (torch.relu, "relu"), (object(), "object")])
def test_a_non_module_is_refused_in_one_message(function, model, name) -> None:
    """An engineer who gave a session of ONNX Runtime was told about classes only."""
    words = f"^{name} is not a torch.nn.Module: give a model instance.*, use convbench.compare$"
    with pytest.raises(convbench.ConvbenchError, match=words):
        function(model, CLIP)


# --- Pairs of live callables, with invented times ---------------------------------------------------------------------


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch):
    """Return a function that sets the seconds of each arm by name, with noise."""

    def set_seconds(seconds: dict[str, float], noise: float = 0.002) -> None:
        import random

        dice = random.Random(5)

        def time(calls, names):
            times = [seconds[name.partition(" ")[0]] * dice.lognormvariate(0, noise) for name in names]
            return Timing((tuple(times),) * 6)

        monkeypatch.setattr(pairs, "_time", time)

    return set_seconds


@pytest.mark.parametrize(
    ("first", "second", "noise", "word"),
    [
        (1.0, 1.10, 0.002, "slower"),
        (1.10, 1.0, 0.002, "faster"),
        (1.0, 1.0, 0.002, "same"),
        (1.0, 1.0, 0.3, "cannot tell"),
    ],
)
def test_the_gates_rule_tells_two_callables_apart(timed, first, second, noise, word) -> None:
    timed({"first": first, "second": second}, noise)
    comparison = pairs.compare_calls(lambda: None, lambda: None, "cpu", Rule())
    assert comparison.verdict == word
    assert comparison.ratio.low <= comparison.ratio.estimate <= comparison.ratio.high
    if noise < 0.01:
        assert comparison.ratio.estimate == pytest.approx(second / first, rel=0.01)
    assert "this process" in repr(comparison)


@pytest.mark.parametrize(
    ("second", "budget", "reason"),
    [
        (1.0, 1, "the budget ended after 1 pair"),
        (1.1, 2, "the budget ended after 2 pairs"),
        (1.1, 3, "suspected and not confirmed: no new pairs were measured"),
        (1.1, 4, "suspected, but not surely slower in 1 new pair"),
        (1.1, 5, "suspected, but not surely slower in 2 new pairs"),
    ],
)
def test_a_comparison_ends_with_its_budget(timed, monkeypatch: pytest.MonkeyPatch, second, budget, reason) -> None:
    """Beside a busy core it had taken minutes. Each pair takes a second here."""
    timed({"first": 1.0, "second": second})
    invented_time, seconds = pairs._time, list[int]()

    def time(calls, names):
        seconds.append(1)
        return invented_time(calls, names)

    monkeypatch.setattr(pairs, "_time", time)
    monkeypatch.setattr(pairs, "time", SimpleNamespace(monotonic=lambda: sum(seconds)))
    comparison = pairs.compare_calls(lambda: None, lambda: None, "cpu", Rule(), deadline=budget)
    assert (comparison.verdict, comparison.reason) == ("cannot tell", reason)


def test_a_budget_is_seconds_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "compare_calls", lambda *_arguments: _arguments[-1])
    assert convbench.compare(nn.Flatten(), nn.Flatten(), CLIP) == math.inf
    assert 0 < convbench.compare(nn.Flatten(), nn.Flatten(), CLIP, budget=1e6) - monotonic() <= 1e6
    with pytest.raises(convbench.ConvbenchError, match="budget 0: give seconds, more than 0"):
        convbench.compare(nn.Flatten(), nn.Flatten(), CLIP, budget=0)


def test_new_pairs_that_refute_at_once_leave_the_ratio_unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inverse of an interval without a lower end ended in a ZeroDivisionError."""
    again = iter((1.0, 1.2, 1.6))

    def time(_calls, names):
        return Timing(((1.2, 1.0) if len(names) == 2 else (1.0, next(again), 0.7),) * 6)

    monkeypatch.setattr(pairs, "_time", time)
    comparison = pairs.compare_calls(lambda: None, lambda: None, "cpu", Rule())
    assert (comparison.verdict, comparison.ratio.high) == ("cannot tell", math.inf)
    assert comparison.ratio.low > 1.2


def test_a_callable_with_much_more_work_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is so large that a tenth of the usual seconds per pair is enough.

    Python's random numbers and a collector that the caller has switched off stay as they were.
    """
    monkeypatch.setattr(pairs, "Settings", partial(Settings, case_s=0.3))
    little, much = torch.nn.Linear(64, 64), torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(60)))
    random_state = random.getstate()
    gc.disable()
    try:
        comparison = convbench.compare(little, much, torch.zeros(8, 64))
        assert (gc.isenabled(), random.getstate()) == (False, random_state)
    finally:
        gc.enable()
    assert comparison.verdict == "slower", comparison
    assert comparison.seconds[0] < comparison.seconds[1]


def test_the_device_is_that_of_the_parameters() -> None:
    assert live.device_of(Net(), Inputs((CLIP,))) == "cpu"
    assert live.device_of(lambda clip: clip, Inputs((CLIP.to("meta"),))) == "meta"


@pytest.mark.parametrize("share", [5, 0, -0.05, 0.6])
def test_detect_must_be_a_share_up_to_one_half(share: float) -> None:
    """The 5 of ``--detect 5`` would mean 500 % here, which everything passes."""
    for ask in (
        lambda: convbench.compare(len, len, [], detect=share),
        lambda: convbench.check("smoke", "main", detect=share),
        lambda: convbench.bisect("smoke", "main", detect=share),
    ):
        with pytest.raises(
            convbench.ConvbenchError, match=r"detect .*: give a share from 0.005 to 0.5, such as 0.05 for 5 %"
        ):
            ask()


def test_a_budget_must_be_above_zero() -> None:
    with pytest.raises(convbench.ConvbenchError, match="budget 0: give seconds, more than 0"):
        convbench.check("smoke", "main", budget=0)


def test_a_single_text_counts_as_a_list_of_one(tmp_path: Path) -> None:
    suite = {"matrix": {"reducer": ["gap", "fc"]}, "metrics": ["params"]}
    run = convbench.run(suite, only="gap", overrides="lstm_input=[16]", out=tmp_path / "only")
    assert [record.case.architecture.reducer.name for record in run.records] == ["gap"]
    run = convbench.run(suite, skip="*fc*", out=tmp_path / "skip")
    assert [record.case.architecture.reducer.name for record in run.records] == ["gap"]


def test_a_model_on_two_devices_counts_as_on_its_gpu() -> None:
    with FakeTensorMode():
        on_gpu = torch.empty(1, device="cuda:1")
    assert live.device_of(Net(), Inputs((CLIP, on_gpu))) == "cuda:1"
    with pytest.raises(convbench.ConvbenchError, match="is on meta: only what is on cpu or cuda"):
        convbench.measure(Net().to("meta"), CLIP.to("meta"))


def on_gpu(number: int) -> nn.Module:
    module = Net()
    with FakeTensorMode():
        module.register_buffer("there", torch.empty(1, device=f"cuda:{number}"))
    return module


def test_pairs_wait_for_the_gpu_that_either_callable_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "compare_calls", lambda _first, _second, device, *_: device)
    monkeypatch.setattr(pairs, "current_device", lambda _device: nullcontext())
    assert convbench.compare(Net(), on_gpu(1), CLIP) == "cuda:1"
    assert convbench.compare(Net(), Net(), CLIP) == "cpu"
    with pytest.raises(convbench.ConvbenchError, match="Net is on meta: only what is on cpu or cuda"):
        convbench.compare(Net(), Net().to("meta"), CLIP)
    with pytest.raises(convbench.ConvbenchError, match="the callables are on cuda:0 and cuda:1: move both to one GPU"):
        convbench.compare(on_gpu(0), on_gpu(1), CLIP)


def test_counting_a_real_call_does_not_change_the_model() -> None:
    class Normed(Numpy):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))

    model = Normed().train()
    assert convbench.count(model, CLIP + 1).how == "call"
    assert torch.equal(model.conv[1].running_mean, torch.zeros(8))
    assert convbench.count(nn.LazyLinear(3), torch.zeros(2, 5)).macs == 30


class Fixed(dict):
    def __setitem__(self, key: object, value: object) -> None:
        raise TypeError("cannot be changed")

    update = __setitem__

    def __reduce__(self) -> tuple[type, tuple[dict]]:
        return Fixed, (dict(self),)


class Changing(nn.Module):
    """A model whose call changes its input, random numbers, buffers, and its own tensors and containers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.dropout = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout()
        self.state, self.calls, self.shapes, self.kept = torch.zeros(1), 0, [], {}
        self.blocks = [lambda frames: self.dropout(self.norm(self.conv(frames)))]
        self.codebook = nn.Embedding(4, 2).requires_grad_(False)
        self.means, self.memory, self.settings = [torch.zeros(1)], {"frames": []}, Fixed(width=8)
        self.carried = (torch.zeros(1), [torch.zeros(1)], pack_sequence([torch.zeros(2, 1)]))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        frames.sub_(frames.mean().item())
        self.state.add_(1)
        self.calls += 1
        self.shapes.append(frames.shape)
        for block in self.blocks:
            frames = block(frames)
        self.kept["last"] = frames
        self.codebook.weight.data.add_(1)
        self.means[0].add_(1)
        for kept in (self.carried[0], self.carried[1][0], self.carried[2].data):
            kept.add_(1)
        self.memory["frames"].append(frames)
        return frames


def test_counting_by_real_calls_has_no_side_effects() -> None:
    model, frames = Changing().train(), torch.ones(2, 3, 5, 5)
    numbers, blocks, codes = torch.get_rng_state(), model.blocks, model.codebook.weight
    rows = codes.clone()
    assert convbench.count(model, frames).how == "call"
    assert torch.equal(frames, torch.ones(2, 3, 5, 5))
    assert torch.equal(torch.get_rng_state(), numbers)
    assert torch.equal(model.norm.running_mean, torch.zeros(8))
    assert (model.state.item(), model.calls, model.shapes, model.kept) == (0, 0, [], {})
    assert (model.means[0].item(), model.memory, model.settings) == (0, {"frames": []}, {"width": 8})
    assert (model.carried[0].item(), model.carried[1][0].item(), model.carried[2].data.sum().item()) == (0, 0, 0)
    assert model.blocks is blocks
    assert model.codebook.weight is codes
    assert torch.equal(codes, rows)


class Draws(nn.Module):
    """A layer repeated as often as Python and numpy draw, like stochastic depth; runs on meta or only in real calls."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.layer = where, nn.Linear(4, 4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        if self.where == "call":
            rows = rows - rows.mean().item()
        for _ in range(random.randint(1, 100) + np.random.randint(100)):
            rows = self.layer(rows)
        return rows


def drawn_so_far() -> tuple:
    _, numbers, place, *_ = np.random.get_state()
    return random.getstate(), numbers.tolist(), place


@pytest.mark.parametrize("where", ["meta", "call"])
def test_both_counts_share_one_draw_and_restore_random_states(where: str) -> None:
    before = drawn_so_far()
    counted = convbench.count(Draws(where), torch.zeros(1, 4))
    assert (counted.how, counted.second) == (where, counted.macs)
    assert drawn_so_far() == before


def test_frozen_and_shared_recurrent_weights_are_counted_and_kept() -> None:
    class Frozen(Numpy):
        def __init__(self) -> None:
            super().__init__()
            self.lstm.requires_grad_(False)
            self.again = self.lstm

    model = Frozen()
    weights = list(model.lstm.parameters())
    counted = convbench.count(model, CLIP)
    assert (counted.macs, counted.how, counted.second) == (CONV + LSTM, "call", CONV + LSTM)
    assert counted.params == sum(parameter.numel() for parameter in model.parameters())
    assert all(now is before for now, before in zip(model.lstm.parameters(), weights, strict=True))
    assert all(now is before for now, before in zip(model.lstm._flat_weights, weights, strict=True))


def test_layers_called_through_a_function_count_as_themselves() -> None:
    counted = convbench.count(Changing(), torch.ones(2, 3, 5, 5))
    assert (counted.macs, counted.module("conv").macs) == (2 * 9 * 27 * 8, 2 * 9 * 27 * 8)


def test_a_tensor_kept_by_a_live_model_stays_trainable() -> None:
    class Keeps(nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            self.kept = super().forward(rows)
            return self.kept

    model = Keeps(2, 2)
    live.subject(model, Inputs((torch.zeros(1, 2),))).run()
    assert not model.kept.is_inference()


def test_a_shared_module_counts_for_its_first_parent() -> None:
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            encoder = nn.Linear(4, 5)
            self.left = nn.Sequential(encoder, nn.Linear(5, 2))
            self.right = nn.Sequential(encoder, nn.Linear(5, 2))

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.left(rows) + self.right(rows)

    counted = convbench.count(Towers(), torch.zeros(3, 4))
    encoder, head = 3 * 4 * 5, 3 * 5 * 2
    assert counted.macs == 2 * (encoder + head)
    left, right = counted.module("left"), counted.module("right")
    assert (left.macs, right.macs, counted.module("left.0").macs) == (2 * encoder + head, head, 2 * encoder)
    assert (left.params, right.params) == (25 + 12, 12)


def test_a_child_may_be_called_other() -> None:
    model = nn.Sequential()
    model.add_module("other", nn.Linear(2, 3))
    counted = convbench.count(model, torch.zeros(5, 2))
    assert (counted.macs, counted.module("other").macs, counted.module("other").params) == (30, 30, 9)


def test_both_counters_agree_on_masked_and_broadcast_products() -> None:
    class Broadcast(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left @ right

    rows = torch.zeros(2, 5, 8)
    masked = convbench.count(
        nn.MultiheadAttention(8, 2, batch_first=True), rows, rows, rows, attn_mask=torch.zeros(5, 5)
    )
    product = convbench.count(Broadcast(), torch.zeros(3, 4), torch.zeros(2, 4, 5))
    fused = convbench.count(
        torch.jit.script(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()), torch.zeros(2, 8, 16)
    )
    assert fused.macs == 2 * 8 * (4 * 16 * 16 + 2 * 16 * 32 + 2 * 8 * 16)
    assert (masked.second, masked.counted_once) == (masked.macs, None)
    assert (product.second, product.macs) == (120, 120)
