"""The verbs that measure: run, and merge for the runs of several shards."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convbench.cli.app import (
    INCOMPLETE,
    MEASURED,
    CaseOptions,
    Overrides,
    RunDirectories,
    Source,
    Verb,
    app,
    names_on,
)
from convbench.cli.report import conclude, print_missing_plugins
from convbench.cli.terminal import console
from convbench.core import installed, registry
from convbench.core.commands import Command
from convbench.core.default_folders import REPORTS
from convbench.core.errors import ConvbenchError, Interrupted
from convbench.core.quantities import duration
from convbench.core.text import counted, cut, joined

if TYPE_CHECKING:
    from convbench.core.record import Record, RunDescription, Scalar
    from convbench.runs import sweep
    from convbench.runs.executor import Host
    from convbench.runs.preparation import PreparedRun
    from convbench.suite import Suite
    from convbench.suite.selection import Plan


ResumeMode = Annotated[
    str,
    typer.Option(
        "--resume",
        metavar="[=stale]",
        help="Resume the run in the directory; --resume=stale also remeasures cases for which your own code has "
        "changed.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table.")]
RESUME: dict[str, sweep.Resume] = {"": False, "yes": True, "stale": "stale"}


@dataclass(frozen=True)
class RunOptions(CaseOptions):
    """What to measure and where: also which shard of the cases, which metrics, and by which executor."""

    shard: Annotated[
        str, typer.Option(metavar="I/N", help="The I-th of N parts of the suite; `merge` joins their runs.")
    ] = "1/1"
    metrics: Annotated[
        str,
        typer.Option(
            help="Only these metrics, comma-separated, and no quality, as in params,macs (names: `convbench list "
            "probes`)."
        ),
    ] = ""
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The executor that measures (see `list executors`) [default: a fresh process per case].",
            autocompletion=names_on(registry.executors),
        ),
    ] = None
    executor_options: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE|FILE",
            help="An option of the executor, as in workers=8, or a YAML file of options (see `list executors`); may be "
            "repeated.",
        ),
    ] = None

    def command(self, suite: Suite) -> Command:
        """Return the command of the run. Raises ConvbenchError for an option that the executor does not have."""
        from convbench.runs.executor_options import executor_options

        return Command(
            suite.source,
            suite.overrides,
            *self.globs,
            device=self.device,
            shard=self.shard if _shard(self.shard) != (1, 1) else "",
            executor=self.executor or "",
            executor_options=executor_options(self.executor, self.executor_options or ()),
            plugins=installed.of_environment(),
        )


class Resumable(Verb):
    """A command whose option ``--resume`` may stand alone or have a value, which typer does not support."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(
            ctx, [f"{word}=yes" if word == "--resume" else word for word in args[:end]] + args[end:]
        )


@app.command(cls=Resumable)
def run(
    ctx: typer.Context,
    suite: Source,
    overrides: Overrides = None,
    *,
    options: RunOptions,
    out: Annotated[Path | None, typer.Option(help="The run's directory [default: reports/SUITE].")] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time limit, such as 5m; the first round is always completed, and spare time goes to undecided cases.",
        ),
    ] = "",
    until_sure: Annotated[bool, typer.Option("--until-sure", help="Go on until the answer is settled.")] = False,
    resume: ResumeMode = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cases and stop.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="At the end, print one JSON object per finished case.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a suite and write its report."""
    resume_mode = _resume(resume)
    if dry_run and as_json:
        raise ConvbenchError("--dry-run measures nothing, so --json has nothing to print: leave one of them out")
    from convbench.runs import early_server

    server = None
    if not (options.executor or options.metrics):
        server = ctx.with_resource(early_server.start(suite, overrides or [], options.only or []))
    from convbench.core import git
    from convbench.runs import preparation, sweep
    from convbench.runs.executor import future_host
    from convbench.runs.user_code import load
    from convbench.suite.overrides import bare_axes_of
    from convbench.suite.selection import Selection

    changes = [*(overrides or []), *([f"metrics=[{options.metrics}]"] if options.metrics else [])]
    changes += [f"protocol.budget={duration('--budget', budget):g}"] if budget else []
    loaded_suite = load(suite, changes, server)
    _say(_suite_sentences(loaded_suite))
    directory = out or REPORTS / loaded_suite.name
    selection = Selection(*options.globs, _shard(options.shard))
    probes = preparation.profiler(loaded_suite, directory)
    command = options.command(loaded_suite)
    with ExitStack() as stack:
        runner = stack.enter_context(
            preparation.executor_of(loaded_suite, options.device, options.executor, probes, command.executor_options)
        )
        is_locked = not dry_run and stack.enter_context(sweep.reserve(directory, loaded_suite, runner, resume_mode))
        host = future_host(options.device) if dry_run and runner.awaits_hosts else None
        prepared = preparation.prepare(loaded_suite, runner, selection, str(command), probes, host)
        may_name_sizes = selection == Selection() or "lstm_input" in bare_axes_of(changes)  # else other cases have them
        print_missing_plugins()
        _say(_plan_sentences(prepared.plan, may_name_sizes))
        if dry_run:
            _show_plan(prepared, options.executor, host)
            return
        if "commit" not in prepared.facts and (refusal := git.refusal(Path())):
            _say([f"the run is kept without its commit, which history --confirm needs: {refusal}"])
        _say(_gpu_sentences(prepared.facts))
        records = _measure(
            prepared, directory, resume_mode, as_json=as_json, quiet=quiet, until_sure=until_sure, is_locked=is_locked
        )
    conclude(directory, show=not (as_json or quiet))
    raise typer.Exit(INCOMPLETE if _count_missing(directory, records, prepared) else _exit_code(records))


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(f"convbench: {sentence}", file=sys.stderr)


def _gpu_sentences(facts: Mapping[str, Scalar]) -> Iterator[str]:
    """Yield why this machine's GPU is left unused, or that nothing shows what disturbs it."""
    if reason := facts.get("gpu_unused"):
        yield f"this machine's GPU is left unused: {reason}"
    if "gpu" in facts and not facts["driver"]:
        yield (
            "the driver does not tell about throttling and other processes on the GPU, so they would not be noticed: "
            "convbench[gpu] installs what asks it"
        )


def _suite_sentences(suite: Suite) -> Iterator[str]:
    """Yield a sentence for the cases that are left out, and for each override that does nothing."""
    from convbench.suite.overrides import idle_sentences

    reasons = Counter(suite.impossible.values())
    for reason, number in reasons.items():
        yield f"{counted(number, 'combination')} of the matrix left out: {reason}"
    if suite.left_out:
        count, quality = counted(len(suite.left_out), "case"), "train" if suite.left_out[0].trains else "probe"
        yield f"the metrics leave out {count} of quality: add quality={quality} for them"
    yield from idle_sentences(suite.overrides, (*suite.cases, *suite.left_out))


def _plan_sentences(plan: Plan, may_name_sizes: bool) -> Iterator[str]:
    """Yield a sentence for a ``--skip`` that skips nothing, and for LSTM input sizes that no case has."""
    if plan.idle_skip:
        yield f"--skip {plan.idle_skip} leaves no case out: --dry-run shows the names"
    if plan.elsewhere:
        module, file, copy, root = plan.elsewhere
        yield (
            f"{module} is imported from {file}, not from this tree's {copy}, so the run notes no commit: to measure "
            "this tree, install it (pip install -e) or put it on the path, as in "
            f"PYTHONPATH={shlex.quote(str(root))} convbench ..."
        )
    sizes, reducers = plan.idle_sizes
    if sizes and may_name_sizes:
        size_text = cut(" or ".join(map(str, sizes)), 60)
        reason = f"{joined(reducers)} {'makes its' if len(reducers) == 1 else 'make their'} own"
        yield f"no case has the LSTM input size {size_text}: {reason}"


@app.command()
def merge(
    runs: RunDirectories,
    out: Annotated[Path, typer.Option(help="The directory of the joined run.")] = Path("reports/merged"),
) -> None:
    """Join the runs of one suite's shards into one run; exit 5 if a shard or a result is missing or being measured."""
    from convbench.analysis.table import write_csv
    from convbench.core.storage import merging, shards, store

    open_runs = [str(path) for path in runs if store.is_measured(path)]  # before they are read: one may end meanwhile
    stored_runs = [store.load(path) for path in runs]
    run, records = merging.merge(stored_runs)
    if missing_shards := shards.missing_names(run):
        _say([f"{missing_shards} missing: merge {out} with the missing runs"])
    if open_runs:
        _say([f"{joined(open_runs)} {'is' if len(open_runs) == 1 else 'are'} being measured: merge again afterwards"])
    if merging.repeats(stored_runs):
        _say(["a run is named twice, which adds nothing"])
    if repeated_count := merging.count_repeated(stored_runs):
        cases = counted(repeated_count, "case was", "cases were")
        _say([f"{cases} measured in more than one run: the joined run has the first result; `report` shows both"])
    if len(commits := dict.fromkeys(_commit(shard) for shard, _ in stored_runs)) > 1:
        _say([f"the shards measured different commits ({joined([*commits])}): the joined run names the first"])
    if len(versions := dict.fromkeys(shard.convbench for shard, _ in stored_runs)) > 1:
        _say([f"convbench {joined([*versions])} measured the shards: the joined run names the first"])
    with store.hold_directory(out):
        store.start(out, run, records)
        write_csv(out, records)
    conclude(out, show=True)
    if unfinished_count := len(run.open_ids(records)):
        cases = counted(unfinished_count, "planned case has", "planned cases have")
        _say([f"{cases} no result: run the shard again with --resume, then merge again"])
    is_incomplete = missing_shards or open_runs or unfinished_count
    raise typer.Exit(INCOMPLETE if is_incomplete else _exit_code(records))


def _commit(run: RunDescription) -> str:
    commit, dirty = run.environment.get("commit"), run.environment.get("dirty")
    return f"{commit}{' with changes' if dirty else ''}" if commit else "an unknown one"


def _exit_code(records: Sequence[Record]) -> int:
    """Return the exit code of a run: whether none of its cases failed, and not all were skipped.

    A shard without cases is complete.
    """
    states = {record.status for record in records}
    return INCOMPLETE if "failed" in states or states == {"skipped"} else MEASURED


def _measure(
    prepared: PreparedRun,
    directory: Path,
    resume: sweep.Resume,
    *,
    as_json: bool,
    quiet: bool,
    until_sure: bool,
    is_locked: bool,
) -> list[Record]:
    """Measure into ``directory``. Ctrl-C prints how to resume."""
    from convbench.check import floor
    from convbench.check.settings import Rule, Settings
    from convbench.core.storage import store
    from convbench.report.terminal import progress
    from convbench.runs import sweep

    resumed_records: list[Record] = []
    watcher = partial(progress.watcher, console(wide=False, stderr=True), quiet, prepared.plan.cases)
    slowdown = floor.seen_slowdown(prepared.facts, Settings(), Rule())
    try:
        records = sweep.run_into(
            directory, prepared, watcher, resume=resume, until_sure=until_sure, visible_slowdown=slowdown,
            resumed=resumed_records.extend, locked=is_locked,
        )  # fmt: skip
    except KeyboardInterrupt as error:
        records = store.load(directory)[1]
        if as_json:
            _print_rows(records)
        measured_count, total = sum(not record.is_untimed for record in records), len(prepared.planned_cases)
        prefix = f"{measured_count:,} of " if measured_count <= total else ""  # further seeds are not planned
        cases = f"{prefix}{counted(total if prefix else measured_count, 'case')}"
        raise Interrupted(f"interrupted; {cases} measured and kept in {directory}: add --resume to go on") from error
    except ConvbenchError:
        if as_json and store.exists(directory):
            with suppress(ConvbenchError):
                _print_rows(store.load(directory)[1])
        raise
    _say(_remainder_sentences(resumed_records, prepared, store.read_description(directory).convbench))
    if as_json:
        _print_rows(records)
    return records


def _remainder_sentences(
    resumed_records: Sequence[Record], prepared: PreparedRun, earlier_version: str
) -> Iterator[str]:
    """Yield a sentence for each thing that a resumed run does not make up for."""
    from convbench.core.metrics import TRACE_BYTES
    from convbench.core.package import __version__

    if resumed_records and earlier_version != __version__:
        remedy = f"run without --resume to measure all cases with {__version__}"
        yield f"convbench {earlier_version} began this run: {remedy}"
    if failure_count := sum(record.status == "failed" for record in resumed_records):
        cases = counted(failure_count, "case that failed before was", "cases that failed before were")
        yield f"{cases} not measured again: run without --resume to measure all cases"
    measured_records = [record for record in resumed_records if record.is_measured]
    untraced_count = sum(record.reading(TRACE_BYTES) is None for record in measured_records)
    if untraced_count and prepared.probe_plan.probes:
        yield f"{counted(untraced_count, 'case')} measured before got no trace: run without --resume to trace all cases"


def _count_missing(directory: Path, records: Sequence[Record], prepared: PreparedRun) -> int:
    """Count and report cases without a record: trainings that the budget left out, and cases without an answer."""
    from convbench.core.storage import store

    run = store.read_description(directory)
    timed_ids = {case.id for case in prepared.plan.cases if not case.trial}
    open_ids = run.open_ids(records)
    trainings = [name for name in open_ids if name not in timed_ids] if prepared.suite.protocol.budget else []
    cases = set(open_ids).intersection(run.planned).difference(trainings)
    if trainings:
        remedy = "the budget is spent. To go on, add --resume with a new budget"
        _say([f"{counted(len(trainings), 'training')} not made: {remedy}"])
    if cases:
        _say([f"the executor gave no record of {counted(len(cases), 'case')}: add --resume to try again"])
    return len(trainings) + len(cases)


def _print_rows(records: list[Record]) -> None:
    """Print each case, with all its visits, as one line of JSON."""
    from convbench.analysis import table

    for row in table.rows(records):
        print(json.dumps(row), flush=True)


def _resume(text: str) -> sweep.Resume:
    if text not in RESUME:
        raise ConvbenchError(f"--resume={cut(text, 40)}: write --resume, or --resume=stale")
    return RESUME[text]


def _show_plan(prepared: PreparedRun, executor: str | None, host: Host | None) -> None:
    """Print the cases, and how many they are. The host is what is assumed of an executor that was not asked for any."""
    for case in prepared.planned_cases:
        equal = prepared.plan.equal.get(case.id)
        print(f"{case.id}  (also {', '.join(equal)})" if equal else case.id)
    combinations, planned_count = len(prepared.suite.cases), len(prepared.planned_cases)
    suffix = f", and {counted(len(prepared.later), 'training')} more, each at its model's best learning rate"
    head = f"{counted(planned_count, 'case')} to measure, of {counted(combinations, 'combination')} in the suite"
    print(f"{head}{suffix if prepared.later else ''}", file=sys.stderr)
    if host:
        assumption = f"{host.device}, with as many cores as this machine and memory for every case"
        _say([f"{executor} was not asked for hosts: they are assumed to be {assumption}"])


def _shard(text: str) -> tuple[int, int]:
    parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    index, shards = map(int, parts.groups()) if parts else (0, 0)
    if not 1 <= index <= shards:
        raise ConvbenchError(f"--shard {cut(text, 40)}: write it as I/N with I from 1 to N, as in 1/3")
    return index, shards
