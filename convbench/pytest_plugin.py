"""The pytest plug-in: a suite's cases as benchmarks of pytest-benchmark, in a user's own ``tests/test_speed.py``.

    @pytest.mark.convbench("suites/smoke.yaml", only=["gap"])
    def test_speed(case_benchmark):
        case_benchmark()

Run with ``pytest --benchmark-only``. A round is one call of the case; on a GPU it lasts until the device has finished.
With ``--benchmark-disable`` each case is called and its output checked, but nothing is timed. Torch is imported when
such a test is collected, not before.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from convbench.core.record import Case, Protocol

Mistake = pytest.Collector.CollectError
"""The error for a mistake in a marker: pytest shows its message without a traceback."""
MARKER = "convbench(suite, only=(), skip=(), device='auto'): run a test for every case of a suite"
BENCHMARK = "pytest-benchmark: pip install 'convbench[pytest]', or leave out -p no:benchmark"
COUNTS = ("params", "macs")
"""The metrics that are stored beside a case's times, if they can be counted."""
EXPORTED = "convbench"
"""The key that convbench's exports have in addition to pytest-benchmark's keys."""
SHARED = (("machine",), ("python_version",), ("python_implementation",), ("cpu", "brand_raw"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test per case of the marker's suite: a path from the test file or the root, a shipped name, or data."""
    if "case_benchmark" not in metafunc.fixturenames:
        return
    if not metafunc.config.pluginmanager.hasplugin("benchmark"):
        raise Mistake(f"{metafunc.definition.nodeid}: case_benchmark needs {BENCHMARK}")
    marker = metafunc.definition.get_closest_marker("convbench")
    if marker is None:
        raise Mistake(f"{metafunc.definition.nodeid}: case_benchmark needs @pytest.mark.convbench with a suite")
    folders = (metafunc.definition.path.parent, metafunc.config.rootpath)
    try:
        arguments = inspect.signature(_cases).bind(folders, *marker.args, **marker.kwargs)
    except TypeError as error:
        usage = MARKER.partition(":")[0]
        raise Mistake(f"{metafunc.definition.nodeid}: {error}: write it as @pytest.mark.{usage}") from error
    cases = _cases(*arguments.args, **arguments.kwargs)
    metafunc.parametrize("case_benchmark", cases, ids=[case.id for case, _ in cases], indirect=True)


@pytest.fixture
def case_benchmark(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[], Any]:
    """Call the case under ``benchmark`` and return its output. A wrong output fails the test before it is timed."""
    case, protocol = request.param

    def run() -> Any:
        from convbench.core.errors import Unavailable
        from convbench.core.traits import changes_process

        if changes_process(case):
            pytest.skip("it changes the process that it runs in: measure it with convbench run")
        try:
            return _measure(case, protocol, benchmark)
        except Unavailable as error:
            pytest.skip(str(error))

    return run


def _measure(case: Case, protocol: Protocol, benchmark: Any) -> Any:
    """Call the case under ``benchmark`` and return its output. Raises Unavailable if the machine cannot run it."""
    from convbench.measure import harness
    from convbench.measure.comparison.first_call import open_case
    from convbench.measure.machine import malloc

    malloc.hold()
    if benchmark.disabled:
        with harness.computing_with(case):
            return benchmark.pedantic(open_case(case, protocol.seed)[0].run)
    record = harness.measure(case, protocol, COUNTS)
    with harness.computing_with(case):
        subject, _ = open_case(case, protocol.seed)
        benchmark.group = benchmark.group or case.scenario
        counts = {name: record.samples(name) for name in COUNTS}
        benchmark.extra_info |= {name: samples[0] for name, samples in counts.items() if samples}
        return benchmark.pedantic(_until_done(subject.run, subject.device), **_rounds(subject, protocol))


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(machine_info: dict[str, Any], compared_benchmark: dict[str, Any]) -> None:
    """Treat the machine of a convbench export as this one if the facts that both name agree.

    An export has fewer facts about its machine than pytest-benchmark. If they differ, pytest-benchmark rightly warns.
    """
    info = compared_benchmark["machine_info"]
    if EXPORTED in compared_benchmark and all(_fact(info, *keys) == _fact(machine_info, *keys) for keys in SHARED):
        compared_benchmark["machine_info"] = machine_info


def _fact(info: Any, *keys: str) -> Any:
    for key in keys:
        info = info.get(key) if isinstance(info, dict) else None
    return " ".join(info.split()) if isinstance(info, str) else info


def _cases(
    folders: tuple[Path, ...], suite: Any, *, only: Any = (), skip: Any = (), device: str = "auto"
) -> list[tuple[Case, Protocol]]:
    search_folders = list(folders)
    if isinstance(suite, (str, Path)):
        suite = next((folder / suite for folder in folders if (folder / suite).is_file()), Path(suite))
        search_folders.insert(0, suite.parent)
        if suite.suffix and not suite.is_file():
            places = ", ".join(map(str, dict.fromkeys((*folders, Path.cwd()))))
            raise Mistake(f"{suite}: no such file in {places}")
    sys.path[:0] = [str(folder) for folder in search_folders if str(folder) not in sys.path]
    from convbench.api import load
    from convbench.core.errors import ConvbenchError
    from convbench.core.text import listed
    from convbench.measure.machine import environment
    from convbench.measure.selection import plan
    from convbench.suite.selection import Selection

    try:
        loaded_suite = load(suite)
        facts = environment.describe(device)
        selection = Selection(listed(only), listed(skip))
        case_plan = plan(loaded_suite, str(facts["device"]), environment.available_bytes(facts), selection)
    except ConvbenchError as error:
        raise Mistake(str(error)) from error
    timed_cases = [case for case in case_plan.cases if not case.trial]
    if not timed_cases:
        raise Mistake(
            f"{loaded_suite.source}: its cases are trainings, which are not timed: use `convbench run` for them"
        )
    return [(case, loaded_suite.protocol) for case in timed_cases]


def _until_done(run: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Return ``run``, on a GPU followed by a wait for the device: otherwise only the launch would be timed."""
    if device == "cpu":
        return run
    import torch

    def run_and_wait() -> Any:
        output = run()
        torch.cuda.synchronize(device)
        return output

    return run_and_wait


def _rounds(subject: Any, protocol: Protocol) -> dict[str, int]:
    """Warm up as a suite does, and return how many rounds fill the protocol's time."""
    from convbench.measure.timing import clock_for, warm_up

    run = _until_done(subject.run, subject.device)
    seconds = warm_up(run, clock_for(subject.device, run), protocol.max_warmup).call
    return {"rounds": max(protocol.min_samples, round(protocol.max_time / seconds)), "iterations": 1}
