"""A change in a history is proven: a paired check of the commits before and after it, kept in the store.

What is kept is the JSON of a check, raw timings and all, which ``convbench replay`` judges again.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from convbench.analysis.history.course import Change, Confirmation, Decision
from convbench.analysis.history.numbers import machine_name
from convbench.analysis.history.overview import History
from convbench.check import gate, outcome, sides
from convbench.check.inspection import Request
from convbench.check.outcome import Outcome
from convbench.check.rule import Rule
from convbench.check.settings import Settings
from convbench.check.sides import Here, Side
from convbench.check.verdict import CaseVerdict, verdicts
from convbench.core import files, git, installed, store
from convbench.core.commands import Command
from convbench.core.errors import ConvbenchError, StoreError, SuiteError
from convbench.core.record import RunDescription
from convbench.core.shared_place import CONFIRMED
from convbench.core.statistics import Interval
from convbench.core.text import digest
from convbench.runs.process_start import process_variables

WORDS: dict[str, Decision] = {"regression": "confirmed", "ok": "refuted"}
REMEDY = "name a --store that can be written"
LEAST, MOST = 0.01, 0.05
"""The slowdown that the check is to see: that of the change, within these."""


@dataclass(frozen=True)
class Suspect:
    """Cases that became slower between two commits, the run that says of which suite they are, and the least change."""

    before: str
    after: str
    run: RunDescription
    cases: tuple[str, ...]
    size: float

    @property
    def suite(self) -> str:
        """The suite's file or name, as it was called then."""
        return Command.of(self.run).source

    @property
    def overrides(self) -> tuple[str, ...]:
        return Command.of(self.run).overrides

    @property
    def plugins(self) -> str:
        """The modules that bring the plug-ins of then, and those of this process, as the environment names them."""
        return ",".join(dict.fromkeys((*installed.of_environment(), *Command.of(self.run).plugins)))

    @property
    def device(self) -> str:
        return str(self.run.environment.get("device") or "cpu")


def suspects(history: History) -> tuple[list[Suspect], list[str]]:
    """What a paired check can be asked of a history, and why it cannot be asked of other changes for the worse."""
    suspect_by_key: dict[tuple[str, ...], Suspect] = {}
    reasons: dict[str, None] = {}
    for course, change in history.changes:
        if not change.worse or change.word not in ("suspected", "inconclusive"):
            continue
        if reason := _without_code(change):
            reasons[f"{course.series.case}: {reason}"] = None
            continue
        try:
            run = store.read_description(Path(change.after.run))
        except StoreError as error:  # it has gone, or its path is one that the index cannot hold
            reasons[f"{course.series.case}: {error}"] = None
            continue
        suspect = Suspect(
            change.before.commit, change.after.commit, run, (course.series.case,), change.ratio.median - 1
        )
        key = (suspect.before, suspect.after, run.suite, run.command, suspect.device)
        earlier = suspect_by_key.get(key)
        suspect_by_key[key] = _join(earlier, suspect) if earlier else suspect
    return list(suspect_by_key.values()), list(reasons)


def confirm(suspect: Suspect, cwd: Path, watcher: gate.Announcer, build: str = "") -> Outcome:
    """The check of the two commits, on this machine; the caller holds its lock.

    Raises ConvbenchError where the commits cannot be had or measured here.
    """
    here = Here.at(cwd, suspect.suite)
    if Path(suspect.suite).suffix:  # also one that has another name by now: beside it lay modules
        here = replace(here, suite=(here.cwd / suspect.suite).resolve())
    for commit in (suspect.before, suspect.after):
        if git.commit(here.top, commit) is None:
            raise ConvbenchError(git.why_not(here.top, commit, commit, only_commits=True))
    with ExitStack() as stack:
        folder = stack.enter_context(sides.scratch_folder())
        suite = files.write(folder / "suite.yaml", suspect.run.suite)
        base, head = (
            stack.enter_context(sides.materialise(commit, here, stack.enter_context(sides.scratch_folder()), build))
            for commit in (suspect.before, suspect.after)
        )
        # What is computed may be another thing: it is asked whether the code is slower, whatever the reason.
        cases = tuple(map(glob.escape, suspect.cases))
        request = Request(str(suite), suspect.overrides, cases, same_outputs=False)
        rule = Rule.detecting(min(max(suspect.size, LEAST), MOST))
        method = gate.Method(Settings(device=suspect.device), rule, folder, watcher)
        stack.enter_context(process_variables({installed.VARIABLE: suspect.plugins}))
        try:
            result = gate.check(base, head, request, method)
        except SuiteError as error:
            raise SuiteError(f"{error}{_hint(suspect, head)}") from error
    return replace(result, suite=suspect.run.name)


def refuse_unwritable(folder: Path) -> None:
    """Raises StoreError where a store surely cannot keep what takes minutes to measure."""
    files.refuse_unwritable(folder / CONFIRMED / "check.json", REMEDY)


def keep(folder: Path, result: Outcome) -> Path:
    """Put a check into a store, under a name that no other has. Raises StoreError where it cannot be written."""
    commits = "-".join((side.commit or "")[:12] for side in (result.base, result.head))
    number = digest(repr((result.started, result.cases)))[:8]
    return outcome.write(result, folder / CONFIRMED / f"{commits}-{number}.json", REMEDY)


def stored(folder: Path) -> tuple[list[Confirmation], list[str]]:
    """What the checks of a store say of its changes, the oldest first; and why a file there cannot be read."""
    results: list[tuple[str, Outcome]] = []
    errors: list[str] = []
    for path in sorted((folder / CONFIRMED).glob("*.json")):
        try:
            results.append((f"{CONFIRMED}/{path.name}", outcome.read(path)))
        except StoreError as error:
            errors.append(str(error))
    results.sort(key=lambda entry: entry[1].started)
    return [confirmation for name, result in results for confirmation in _confirmations(result, name)], errors


def _confirmations(result: Outcome, name: str) -> Iterator[Confirmation]:
    before, after = ((side.commit or "")[:12] for side in (result.base, result.head))
    for verdict in verdicts(result):
        ratio = Interval(*verdict.ratio) if verdict.ratio else None
        word, reason = _decision(verdict)
        machine = machine_name(result.head.environment)
        yield Confirmation(verdict.case.id, before, after, word, ratio, reason, machine, name)


def _decision(verdict: CaseVerdict) -> tuple[Decision, str]:
    """What a verdict says of a change, and why: ok means less slow than suspected, which need not mean as fast."""
    word: Decision = WORDS.get(verdict.word, "inconclusive")
    if word == "refuted" and verdict.ratio and verdict.ratio.low > 1:
        return "inconclusive", "the code is slower, by less than the runs say"
    return word, verdict.reason


def _hint(suspect: Suspect, side: Side) -> str:
    """Why the suite may not be readable now: the run was started in another folder of the repository."""
    if side.suite is None or side.suite.is_file():
        return ""
    return f"; {suspect.suite} does not lie here in {side.label}: call it in the directory that the runs were made in"


def _without_code(change: Change) -> str:
    """Why there are no two commits to be checked; empty where there are."""
    for point in (change.before, change.after):
        if not point.commit:
            return f"the run of {point.day} does not say of which commit it is"
        if point.dirty:
            return f"the run of {point.day} is of {point.commit} with changes that were not committed"
    return ""


def _join(first: Suspect, second: Suspect) -> Suspect:
    cases = tuple(dict.fromkeys((*first.cases, *second.cases)))
    return replace(first, cases=cases, size=min(first.size, second.size))
