"""The pytest plug-in: a suite's cases as benchmarks of pytest-benchmark, in a user's own ``tests/test_speed.py``.

    @pytest.mark.convbench("suites/smoke.yaml", only=["gap"])
    def test_speed(case_benchmark):
        case_benchmark()

Run with ``pytest --benchmark-only``. The rounds are samples by the clock and the stopping rule of ``convbench run``, in
as many visits, but all in pytest's own process. Disturbed visits are left out by the rule of ``run``. A case without an
undisturbed visit is withheld from pytest-benchmark's tables and files, and the summary says why. What a process has by
chance, such as where its memory lies, is the same in all its visits, so only fresh processes show it.
With ``--benchmark-disable`` each case is called and its output checked, but nothing is timed. Torch is imported when
such a test is collected, not before.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from convbench.core.record import Case, Finding, Protocol, Reading, Record
    from convbench.models.subject import Subject

Mistake = pytest.Collector.CollectError
"""The error for a mistake in a marker: pytest shows its message without a traceback."""
MARKER = "convbench(suite, only=(), skip=(), device='auto'): run a test for every case of a suite"
PARAMETER = "make case_benchmark a parameter of the test function"
BENCHMARK = "pytest-benchmark: pip install 'convbench[pytest]', or leave out -p no:benchmark"
COUNTS = ("params", "macs")
"""The metrics that are stored beside a case's times, if they can be counted."""
EXPORTED = "convbench"
"""The key that convbench's exports have in addition to pytest-benchmark's keys."""
RECORDS = pytest.StashKey[list["Record"]]()
"""The records of the session so far: a machine that is slow now was faster for the cases before."""
WITHHELD = pytest.StashKey[dict[str, str]]()
"""Why a test has no times, by its name."""
SHARED = (("machine",), ("python_version",), ("python_implementation",), ("cpu", "brand_raw"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    config.stash[RECORDS], config.stash[WITHHELD] = [], {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test per case of the marker's suite: a path from the test file or the root, a shipped name, or data."""
    nodes = [node for node, _ in metafunc.definition.iter_markers_with_node(EXPORTED)]
    if "case_benchmark" not in metafunc.fixturenames:
        if metafunc.definition in nodes:  # that of a class or a module may be meant for other tests
            raise Mistake(f"{metafunc.definition.nodeid}: @pytest.mark.convbench without case_benchmark: {PARAMETER}")
        return
    if not metafunc.config.pluginmanager.hasplugin("benchmark"):
        raise Mistake(f"{metafunc.definition.nodeid}: case_benchmark needs {BENCHMARK}")
    marker = metafunc.definition.get_closest_marker("convbench")
    if marker is None:
        raise Mistake(f"{metafunc.definition.nodeid}: case_benchmark needs @pytest.mark.convbench with a suite")
    if nodes.count(nodes[0]) > 1:
        raise Mistake(f"{metafunc.definition.nodeid}: two suites for one test: write a test for each")
    folders = (metafunc.definition.path.parent, metafunc.config.rootpath)
    try:
        arguments = inspect.signature(_cases).bind(folders, *marker.args, **marker.kwargs)
    except TypeError as error:
        usage = MARKER.partition(":")[0]
        raise Mistake(f"{metafunc.definition.nodeid}: {error}: write it as @pytest.mark.{usage}") from error
    from convbench.core.errors import Unavailable

    try:
        cases = _cases(*arguments.args, **arguments.kwargs)
    except Unavailable as error:
        skipped = pytest.param(None, id="unavailable", marks=pytest.mark.skip(str(error)))
        metafunc.parametrize("case_benchmark", [skipped], indirect=True)
        return
    metafunc.parametrize("case_benchmark", cases, ids=[case.id for case, _ in cases], indirect=True)


@pytest.fixture
def case_benchmark(request: pytest.FixtureRequest, benchmark: Any) -> Callable[[], Any]:
    """Call the case under ``benchmark`` and return its output. A wrong output fails the test before it is timed."""
    if not hasattr(request, "param"):  # a unittest.TestCase, or request.getfixturevalue
        pytest.fail(f"case_benchmark came too late to make a test per case: {PARAMETER}", pytrace=False)
    case, protocol = request.param

    def run() -> Any:
        from convbench.core.errors import ConvbenchError, Unavailable
        from convbench.core.traits import changes_process

        if changes_process(case):
            pytest.skip("it changes the process that it runs in: measure it with convbench run")
        try:
            return _measure(case, protocol, benchmark, request)
        except Unavailable as error:
            pytest.skip(str(error))
        except ConvbenchError as error:
            if error.__cause__:  # the traceback of the user's code tells more
                raise
            pytest.fail(str(error), pytrace=False)

    return run


def _measure(case: Case, protocol: Protocol, benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """Measure the case, give its samples to ``benchmark`` and return its output.

    Raises Unavailable if the machine cannot run it.
    """
    from convbench.core import metrics
    from convbench.core.record import Visit
    from convbench.measure import harness
    from convbench.measure.comparison.first_call import open_case
    from convbench.measure.machine import malloc

    malloc.hold()
    if benchmark.disabled:
        with harness.computing_with(case):
            return benchmark.pedantic(open_case(case, protocol.seed)[0].run)
    subjects: list[Subject] = []

    def latency(subject: Subject, protocol: Protocol) -> list[Reading | Finding]:
        subjects.append(subject)
        with _untraced():
            return list(_latency(subject, protocol))

    record = harness.measure(case, protocol, COUNTS, [latency])
    record = replace(record, visits=tuple(map(Visit, range(protocol.visits))))
    record = _judge(record, request.config.stash[RECORDS])
    _note(record, benchmark, request)
    with harness.computing_with(case):
        output = benchmark.pedantic(subjects[0].run)
    if benchmark.stats and (reading := record.reading(metrics.LATENCY)):
        benchmark.stats.options["timer"] = EXPORTED
        visits = zip(record.visits, reading.by_visit(), strict=True)
        benchmark.stats.stats.data[:] = chain.from_iterable(samples for visit, samples in visits if visit.is_sound)
    return output


def _judge(record: Record, records: list[Record]) -> Record:
    """Return the record as it is judged beside those of other cases, and add it to the session's ``records``."""
    from convbench.core.visits import join_visits

    other_records = [other for other in records if other.case != record.case]
    records.append(record)
    return join_visits([*other_records, record])[-1]


def _note(record: Record, benchmark: Any, request: pytest.FixtureRequest) -> None:
    """Give the record's counts and warnings to ``benchmark``, which shows no times if they are withheld."""
    from convbench.core import findings
    from convbench.report.words.findings import sentence

    sentences = {
        finding.code: sentence(finding, record.case.device) for finding in record.findings if finding.level == "warning"
    }
    if findings.WITHHELD in sentences:
        request.config.stash[WITHHELD][request.node.nodeid] = sentences[findings.WITHHELD]
        benchmark.disabled = True
    benchmark.group = benchmark.group or record.case.scenario
    benchmark.params = benchmark.params | {"case_benchmark": record.case.id}  # pytest's own dictionary keeps the case
    counts = {name: record.samples(name) for name in COUNTS}
    benchmark.extra_info |= {name: samples[0] for name, samples in counts.items() if samples}
    benchmark.extra_info |= {"findings": list(sentences.values())} if sentences else {}


def _latency(subject: Subject, protocol: Protocol) -> Iterator[Reading | Finding]:
    """Take the samples of each visit in one piece, between two runs of the reference workload.

    In turns with it, as ``convbench run`` takes them, calls find cold caches, more so beside other work. There the
    reference workload's own slowdown corrects that, but pytest-benchmark shows plain times.
    """
    from convbench.core import metrics
    from convbench.core.record import Reading
    from convbench.measure.reference import Reference
    from convbench.measure.timing import StoppingRule, clock_for, sample, warm_up
    from convbench.measure.waiting import Waiting, busy_machine

    call, reference = subject.timed_call, Reference(subject.device)
    clock = clock_for(subject.device, call, waits=subject.case.streams)
    latencies, references, shares = [], [], []
    for _ in range(protocol.visits):
        first = len(reference.samples)
        reference.block()
        warm_up(call, clock, protocol.max_warmup)
        waiting = Waiting.now()
        samples, _ = sample(call, clock, StoppingRule(protocol.target, protocol.min_samples, protocol.max_time))
        shares.append(waiting.shares(Waiting.now()))
        reference.block()
        latencies.append([sample.host for sample in samples])
        references.append(reference.samples[first:])
    for metric, values in ((metrics.LATENCY, latencies), (metrics.REFERENCE, references)):
        yield Reading(metric, tuple(chain.from_iterable(values)), tuple(map(len, values)))
    if subject.device == "cpu":
        run_delays, steals, pauses = zip(*shares, strict=True)
        yield Reading(metrics.RUN_DELAY, run_delays, (1,) * protocol.visits)
        yield Reading(metrics.STEAL, steals, (1,) * protocol.visits)
        yield from busy_machine(median(run_delays), median(pauses))


@contextmanager
def _untraced() -> Iterator[None]:
    """While entered, no tracer runs, such as that of coverage, which would slow the calls down."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say after pytest-benchmark's tables which cases are not in them, and why, even if it then finds a regression."""
    try:
        return (yield)
    finally:
        if reasons := terminalreporter.config.stash[WITHHELD]:
            terminalreporter.section("convbench: measured, but disturbed, so not in the tables and files")
            for test, reason in reasons.items():
                terminalreporter.write_line(f"{test}: {reason}")


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
    """Return the suite's timed cases, each with the protocol. Raises Unavailable if this machine lacks the device."""
    search_folders = list(folders)
    if isinstance(suite, (str, Path)):
        suite = next((folder / suite for folder in folders if (folder / suite).is_file()), Path(suite))
        search_folders.insert(0, suite.parent)
        if suite.suffix and not suite.is_file():
            places = ", ".join(map(str, dict.fromkeys((*folders, Path.cwd()))))
            raise Mistake(f"{suite}: no such file in {places}")
    sys.path[:0] = [str(folder) for folder in search_folders if str(folder) not in sys.path]
    from convbench.api import load
    from convbench.core.errors import ConvbenchError, Unavailable
    from convbench.core.text import listed
    from convbench.measure.machine import environment
    from convbench.measure.planning import plan
    from convbench.suite.selection import Selection

    try:
        loaded_suite = load(suite)
        facts = environment.describe(device)
        selection = Selection(listed(only), listed(skip))
        case_plan = plan(loaded_suite, str(facts["device"]), environment.available_bytes(facts), selection)
    except Unavailable:
        raise
    except ConvbenchError as error:
        raise Mistake(str(error)) from error
    timed_cases = [case for case in case_plan.cases if not case.trial]
    if not timed_cases:
        raise Mistake(
            f"{loaded_suite.source}: its cases are trainings, which are not timed: use `convbench run` for them"
        )
    return [(case, loaded_suite.protocol) for case in timed_cases]
