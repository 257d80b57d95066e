"""The Python API: the verbs of the command line as functions, and functions to count, measure and compare live modules.

A user's mistake raises ConvbenchError with the message that the command line would print. The functions work in a
script without a ``__main__`` guard, in a notebook and in an interactive session. Threads of a process measure in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

from convbench.core import git, imports
from convbench.core.arguments import flag, names_arguments, text, texts, thread_count
from convbench.core.commands import Command
from convbench.core.default_folders import BISECT, REPORTS
from convbench.core.errors import ConvbenchError
from convbench.core.option_types import Exporter
from convbench.core.record import Case, Protocol
from convbench.core.registry import SHELVES, did_you_mean
from convbench.core.storage import store
from convbench.core.system import files, lock
from convbench.core.text import value_text
from convbench.report.run import Run
from convbench.suite import Suite, from_data
from convbench.suite import load as load_suite
from convbench.suite.layout import check_protocol
from convbench.suite.selection import Selection

if TYPE_CHECKING:
    from torch import nn

    from convbench.analysis.history.overview import History
    from convbench.check.against_base import Check
    from convbench.check.bisection.bisected import Bisected
    from convbench.check.inspection import Request
    from convbench.check.live import Comparison
    from convbench.measure.live.count import Count
    from convbench.measure.live.measurement import Measurement
    from convbench.measure.probes import Probe
    from convbench.runs.executor import Executor
    from convbench.runs.sweep import Resume, Watcher

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T")
_turn = RLock()
WATCHES = ("begins", "ended")
"""The methods that a watcher must have."""


def in_turn(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: of all functions that have it, one runs at a time; one that is called by another runs within its turn.

    Side by side they would disturb each other's times. They also change settings of the whole process for a while:
    module hooks, the number of threads, the script's path, torch's profiler (two at once crash).
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with _turn:
            return function(*args, **kwargs)

    return wrapper


@names_arguments
def load(suite: str | Path | Mapping[str, Any] | Suite, overrides: str | Sequence[str] = ()) -> Suite:
    """Load a suite from a YAML file, by the name of a shipped suite, or from plain data, with ``key=value`` overrides.

    Raises SuiteError with every mistake in it, a line each.

    Examples:
        >>> import convbench
        >>> suite = convbench.load({"matrix": {"reducer": ["gap", "fc"], "lstm_input": [16, 32]}})
        >>> len(suite.cases)
        4
    """
    if isinstance(suite, Suite):
        if overrides:
            raise ConvbenchError("a loaded suite takes no overrides, metrics or budget: load it with overrides")
        return suite
    if isinstance(suite, Mapping):
        return from_data(suite, texts("overrides", overrides))
    if not isinstance(suite, (str, Path)):
        raise ConvbenchError(
            f"suite: {value_text(suite)} is no suite: name a file or a shipped suite, or give plain data"
        )
    imports.add_suite_folder(Path(suite))
    return load_suite(str(suite), texts("overrides", overrides))


@in_turn
@names_arguments
def run(
    suite: str | Path | Mapping[str, Any] | Suite,
    *,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    overrides: str | Sequence[str] = (),
    metrics: str | Sequence[str] = (),
    device: str = "auto",
    executor: str | Executor | None = None,
    executor_options: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    budget: float | None = None,
    until_sure: bool = False,
    resume: Resume = False,
    progress: bool | Watcher = False,
) -> Run:
    """Measure a suite, as ``convbench run`` does, into the directory ``out`` (default ``reports/NAME``).

    ``only`` and ``skip`` are globs over case ids or their parts. ``overrides`` such as ``variant=eager`` change the
    suite. ``metrics`` names the probes to run; quality is then left out unless the overrides mention it. ``budget`` is
    the number of seconds that the run may take.
    ``executor`` is a name, with its ``executor_options``, or an executor object. ``progress`` is True for a bar on
    standard error, or your own ``Watcher``. ``until_sure`` measures until the answer is settled. A run that is already
    in the directory is set aside, or continued with ``resume``. A case that fails becomes a failed record.

    Raises SuiteError for mistakes in the suite, StoreError if the run in the directory cannot be continued.

    Examples:
        >>> import convbench
        >>> run = convbench.run({"matrix": {"reducer": ["gap", "gmp"]}}, metrics="params", out=folder)
        >>> run
        Run('suite', 2 ok, in '...')
        >>> run.frame().params.tolist()
        [83840, 83840]
    """
    from convbench.runs import preparation, sweep
    from convbench.runs.process import script

    script.refuse_again()
    if resume not in (True, False, "stale"):
        raise ConvbenchError(f"resume={value_text(resume)}: write True, or 'stale'")
    flag("until_sure", until_sure)
    if not isinstance(progress, bool) and not all(callable(getattr(progress, part, None)) for part in WATCHES):
        raise ConvbenchError(
            f"progress={value_text(progress)}: give True for a bar, or a watcher with begins() and ended()"
        )
    changes = [*texts("overrides", overrides)]
    changes += [f"metrics=[{','.join(metric_names)}]"] if (metric_names := texts("metrics", metrics)) else []
    changes += [f"protocol.budget={budget}"] if budget is not None else []
    suite = load(suite, changes)
    directory = files.path_of("out", out) if out is not None else REPORTS / suite.name
    only_globs, skip_globs = texts("only", only), texts("skip", skip)
    probes = preparation.profiler(suite, directory)
    with _executor(suite, device, executor, executor_options or {}, probes) as run_executor:
        command = Command(
            suite.source,
            suite.overrides,
            only_globs,
            skip_globs,
            device=device,
            executor=executor if isinstance(executor, str) else _name_of(executor) if executor else "",
            executor_options=executor_options or {},
            python=True,
        )
        with sweep.reserve(directory, suite, run_executor, resume) as is_locked:
            prepared_run = preparation.prepare(
                suite, run_executor, Selection(only_globs, skip_globs), str(command), probes
            )
            watcher_of = partial(_watcher, progress, prepared_run.plan.cases)
            sweep.run_into(directory, prepared_run, watcher_of, resume=resume, until_sure=until_sure, locked=is_locked)
    return open_run(directory)


@names_arguments
def open_run(path: str | Path) -> Run:
    """Open a run by its directory or by any file in it. Needs no torch. Raises StoreError if there is none."""
    path = files.path_of("path", path)
    description, records = store.load(path)
    return Run(store.directory_of(path), description, tuple(records))


@names_arguments
def report(*runs: Run | str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a run, or of several side by side, and return its path.

    ``out`` is a folder (default: the directory of the first run) or an ``.html`` file. Raises StoreError for a run that
    cannot be read.
    """
    from convbench.report.page import compare as side_by_side

    if not runs:
        raise ConvbenchError("no run to report: give at least one, as convbench.report('reports/default')")
    opened_runs = [run if isinstance(run, Run) else open_run(run) for run in runs]
    if len(opened_runs) == 1:
        return opened_runs[0].report(out)
    folder = opened_runs[0].directory if out is None else files.path_of("out", out)
    place = files.destination(folder, "compare.html")
    stored_runs = [(run.description, list(run.records)) for run in opened_runs]
    return side_by_side.write(stored_runs, place, [run.directory for run in opened_runs])


@in_turn
@names_arguments
def export_model(
    run: Run | str | Path,
    to: str | Path,
    case: str = "winner",
    *,
    weights: str | Path | None = None,
    exporter: Exporter | None = None,
    any_batch: bool = False,
) -> Path:
    """Write a measured model as the ONNX file ``to``, checked against eager, with a program beside it that runs it.

    ``case`` is a glob for the case's id or a part of it, or ``winner``, what the run recommends. ``weights`` is a
    state_dict of the model that torch saved (default: seeded, untrained). ``exporter`` is by default the measured one,
    else ``dynamo``. With ``any_batch`` the file takes any number of clips. Returns the path of the file. Raises
    ConvbenchError unless the glob names a single measured case.
    """
    from convbench.runs import model_file
    from convbench.runs.process import script

    script.refuse_again()
    if exporter not in (None, *get_args(Exporter)):
        raise ConvbenchError(f"exporter={value_text(exporter)}: write {' or '.join(map(repr, get_args(Exporter)))}")
    to, weights = files.path_of("to", to), None if weights is None else files.path_of("weights", weights)
    run = run if isinstance(run, Run) else open_run(run)
    stored_run = run.description, run.records
    return model_file.export_model(
        text("case", case), to, run.directory, stored_run, weights, exporter, flag("any_batch", any_batch)
    ).paths[0]


@in_turn
@names_arguments
def check(
    suite: str | Path,
    base: str | Path,
    *,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    overrides: str | Sequence[str] = (),
    device: str = "auto",
    threads: int = 1,
    detect: float = 0.05,
    budget: float | None = None,
    build: str = "",
) -> Check:
    """Measure base (a git ref, a wheel or a directory) and the working tree side by side, as ``convbench check`` does.

    ``threads`` is the number of threads on each side, ``detect`` the relative slowdown to detect, ``build`` a command
    that builds base in its tree. ``budget`` is the number of seconds from now after which undecided cases end as
    inconclusive. A regression raises nothing: read the result's ``exit_code``. Raises SuiteError for mistakes in the
    suite, BuildFailed if a side cannot be built or imported, Refused if the sides cannot be compared.
    """
    from convbench.check import against_base
    from convbench.check.settings import Rule, Settings
    from convbench.check.trees.sides import Base
    from convbench.runs.process import script

    script.refuse_again()
    base = str(base) if isinstance(base, Path) else text("base", base)
    if not base:
        raise ConvbenchError("nothing to compare with: give base (a git ref, a wheel or a directory)")
    side, request = Base(base, build=text("build", build)), _request(suite, overrides, only, skip)
    settings, rule = Settings(thread_count(threads), device=device), Rule.detecting(detect)
    look = partial(against_base.refuse_mistakes, request, settings, side)
    with lock.hold(lock.machine_lock(), lambda _: look(), lock.OTHER_FOLDER):
        return against_base.check(request, side, settings, rule, budget)


@in_turn
@names_arguments
def bisect(
    suite: str | Path,
    good: str,
    bad: str = "HEAD",
    *,
    only: str | Sequence[str] = (),
    skip: str | Sequence[str] = (),
    overrides: str | Sequence[str] = (),
    device: str = "auto",
    threads: int = 1,
    detect: float = 0.05,
    budget: float | None = None,
    build: str = "",
    out: str | Path = f"{BISECT}/search.json",
    resume: bool = False,
) -> Bisected:
    """Find the first slower commit after ``good`` by paired checks along the history, as ``convbench bisect`` does.

    ``threads`` and ``detect`` are those of ``check``. ``budget`` is the number of seconds after which the search ends
    with the answer so far, ``build`` a command that builds each commit in its tree. The measurements are kept in the
    file ``out``, by default ``reports/bisect/search.json``; ``resume`` continues the search in that file.
    Raises ConvbenchError if bad is not surely slower than good.
    """
    from convbench.check.bisection import bisect as search
    from convbench.check.bisection.places import Span
    from convbench.check.settings import Rule, Settings
    from convbench.runs.process import script

    script.refuse_again()
    if not text("good", good):
        raise ConvbenchError("name what to search: give good, a commit that is fast")
    request, place = _request(suite, overrides, only, skip), files.path_of("out", out)
    span = Span(good, text("bad", bad), build=text("build", build))
    cwd = imports.require_working_directory()
    question = search.BisectRequest(request, span, cwd, place, flag("resume", resume), budget)
    settings, rule = Settings(thread_count(threads), device=device), Rule.detecting(detect)
    with lock.hold(lock.machine_lock(), lambda _: search.refuse_mistakes(question, settings), lock.OTHER_FOLDER):
        return search.find(question, settings, rule)


@names_arguments
def history(
    *runs: Run | str | Path,
    store: str | Path | None = None,
    metric: str = "latency",
    only: str | Sequence[str] = (),
    since: str = "",
) -> History:
    """Find when a metric changed over stored runs: each of its series with steps, drift and confirmed changes.

    ``runs`` are runs, their directories, or folders that hold such directories. ``store`` is such a folder in which
    ``convbench history --confirm`` also keeps its checks. The result's ``exit_code`` is that of the command, and its
    ``changes`` are pairs of a course and a change. Raises StoreError if no run can be read, Refused if no two of them
    can be compared.
    """
    from convbench.analysis.history import overview
    from convbench.check import confirm

    store_folder = files.path_of("store", store) if store is not None else None
    directories = (run.directory if isinstance(run, Run) else files.path_of("runs", run) for run in runs)
    folders = (*directories, *([store_folder] if store_folder else []))
    cwd = imports.working_directory()
    criteria = text("metric", metric), texts("only", only), text("since", since)
    question = overview.HistoryQuery(folders, *criteria, git.commits(cwd) if cwd else ())
    return overview.history(question, *(confirm.confirmations(store_folder) if store_folder else ()))


@in_turn
@names_arguments
def count(model: nn.Module, /, *args: Any, **kwargs: Any) -> Count:
    """Count the parameters and MACs of one call of a live module on these inputs, in total and by module.

    LSTMs are counted correctly. Raises ConvbenchError if the call fails.

    Examples:
        >>> import convbench, torch
        >>> lstm = torch.nn.LSTM(32, 128, batch_first=True)
        >>> convbench.count(lstm, torch.zeros(1, 16, 32)).macs == 16 * 4 * 128 * (32 + 128)
        True
    """
    from convbench.measure.live import count
    from convbench.models.inputs import Inputs

    return count.count(model, Inputs(args, kwargs))


@in_turn
@names_arguments
def measure(model: nn.Module, /, *args: Any, protocol: Protocol | None = None, **kwargs: Any) -> Measurement:
    """Measure latency with its interval, peak memory and findings of a live module on these inputs, in this process.

    The module is measured in a single visit, for which the protocol's ``max_warmup``, ``max_time``, ``min_samples`` and
    ``target`` apply. Other work of this process affects the numbers; ``run`` isolates every case. Raises ConvbenchError
    if the call fails, on a device whose calls cannot be timed, and inside of torch's profiler or a dispatch mode such
    as ``FlopCounterMode``.

    Examples:
        >>> import convbench, torch
        >>> convbench.measure(torch.nn.Linear(8, 8), torch.zeros(4, 8), protocol=convbench.Protocol(max_time=0.1))
        Measurement(latency ... a call [...], ... calls; peak memory ...; in this process on cpu, ... findings ...)
    """
    from convbench.measure.live import measurement
    from convbench.models.inputs import Inputs
    from convbench.runs.process import script

    script.refuse_again()
    settings = check_protocol(Protocol() if protocol is None else protocol)
    return measurement.measure(model, Inputs(args, kwargs), replace(settings, visits=1))


@in_turn
@names_arguments
def compare(
    first: Callable[..., Any],
    second: Callable[..., Any],
    /,
    *args: Any,
    detect: float = 0.05,
    budget: float | None = None,
    **kwargs: Any,
) -> Comparison:
    """Test whether the second of two live callables is slower or faster on these inputs, by pairs in this process.

    ``detect`` is the relative difference to detect. Takes seconds to minutes: pairs are measured until the gate's rule
    decides in both directions; after ``budget`` seconds an open verdict is ``cannot tell``, but the first pair, of some
    thirty calls, is never cut short. The outputs of the two are not compared. Raises ConvbenchError where ``measure``
    does.
    """
    from convbench.check import gate, live
    from convbench.check.settings import Rule
    from convbench.models.inputs import Inputs
    from convbench.runs.process import script

    script.refuse_again()
    if not (callable(first) and callable(second)):
        raise ConvbenchError(
            "compare takes two callables; lay two stored runs side by side with convbench.report(a, b)"
        )
    return live.compare(first, second, Inputs(args, kwargs), Rule.detecting(detect), gate.deadline_of(budget))


@names_arguments
def executor(name: str, device: str = "auto", **options: Any) -> Executor:
    """Make an executor by its name and options, for ``run(..., executor=...)``. Close it, or use ``with``.

    Raises ConvbenchError for an unknown name or option.

    Examples:
        >>> import convbench
        >>> with convbench.executor("fake", machines=2) as fake:
        ...     [host.name for host in fake.hosts]
        ['fake-1', 'fake-2']
    """
    from convbench.runs import executor_options, preparation

    checked_options = executor_options.executor_options(text("name", name), [options])
    return preparation.named_executor(name, text("device", device), (), checked_options)


@names_arguments
def register(kind: str, name: str) -> Callable[[F], F]:
    """Decorator: register your own plug-in. ``kind`` is reducer, variant, probe, figure and so on.

    Raises ConvbenchError for an unknown kind, or a name that is taken.

    Examples:
        >>> import convbench
        >>> @convbench.register("reducer", "corner")
        ... def corner(features, lstm_input):
        ...     '''The top left value of every channel.'''
        >>> convbench.load({"matrix": {"reducer": "corner"}}).cases[0].architecture.reducer.name
        'corner'
    """
    shelves = {shelf.kind: shelf for shelf in SHELVES}
    if text("kind", kind) not in shelves:
        raise ConvbenchError(f"there is no shelf of {kind!r}{did_you_mean(kind, shelves)}")
    return shelves[kind].register(name)


def _executor(
    suite: Suite, device: str, executor: str | Executor | None, options: Mapping[str, Any], probes: Sequence[Probe]
) -> AbstractContextManager[Executor]:
    """Return the executor to measure with. An executor object from the caller stays open."""
    from convbench.runs import executor_options, preparation

    if options and not isinstance(executor, str):
        raise ConvbenchError(
            "executor_options go with the name of an executor: an object gets its options when it is made"
        )
    if not isinstance(options, Mapping):
        raise ConvbenchError(f"executor_options={value_text(options)}: give a mapping, such as {{'workers': 8}}")
    if executor is None or isinstance(executor, str):
        checked_options = executor_options.executor_options(executor, [options])
        return preparation.executor_of(suite, device, executor, probes, checked_options)
    if isinstance(executor, type) or not all(callable(getattr(executor, part, None)) for part in ("run", "call")):
        raise ConvbenchError(
            f"executor: {value_text(executor)} is no executor: name one, or give what executor() returns"
        )
    if device != "auto":
        raise ConvbenchError("device goes with the name of an executor: an object gets its device when it is made")
    return nullcontext(executor)


def _name_of(executor: Executor) -> str:
    """Return the name of the plug-in that made an executor, or the name of its class if none did."""
    from convbench.core.registry import executors

    names = (plugin.name for plugin in executors.registered() if plugin.build is type(executor))
    return next(names, type(executor).__name__)


def _request(
    suite: str | Path, overrides: str | Sequence[str], only: str | Sequence[str], skip: str | Sequence[str]
) -> Request:
    """Return what both sides of a check measure. The suite must be a file or a name, so that workers can read it."""
    from convbench.check.inspection import Request

    if not isinstance(suite, (str, Path)):
        raise ConvbenchError(f"suite: {value_text(suite)} cannot be read by both sides: name a file or a shipped suite")
    return Request(str(suite), texts("overrides", overrides), texts("only", only), texts("skip", skip))


def _watcher(progress: bool | Watcher, cases: Sequence[Case], done: int, total: int) -> AbstractContextManager[Watcher]:
    from rich.console import Console

    from convbench.report.terminal import progress as bars

    if isinstance(progress, bool):
        return bars.watcher(Console(stderr=True), not progress, cases, done, total)
    return nullcontext(progress)
