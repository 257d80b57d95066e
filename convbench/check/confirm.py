"""Confirm a change in a history by a paired check of the commits before and after it, kept in the store.

The store keeps the JSON of the check with its raw timings, which ``convbench replay`` judges again.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from convbench.analysis.history.contents import machine_name
from convbench.analysis.history.course import Change, Confirmation, Decision
from convbench.analysis.history.overview import History
from convbench.check import gate, outcome
from convbench.check.inspection import Request
from convbench.check.ledger import Ledger
from convbench.check.outcome import Outcome
from convbench.check.settings import Rule, Settings
from convbench.check.trees import sides
from convbench.check.trees.sides import Side, WorkingTree
from convbench.check.verdict import CaseVerdict, verdicts
from convbench.core import git, installed
from convbench.core.commands import Command
from convbench.core.errors import ConvbenchError, StoreError, SuiteError
from convbench.core.record import RunDescription
from convbench.core.statistics import Interval
from convbench.core.storage import store
from convbench.core.storage.shared_place import CONFIRMED
from convbench.core.system import files
from convbench.core.text import digest
from convbench.runs.process.start import process_variables

WORDS: dict[str, Decision] = {"regression": "confirmed", "ok": "refuted"}
REMEDY = "name a --store that can be written"
UNREADABLE = "remove this file, and --confirm checks the change again"
UNFINISHED = "unfinished"
"""The folder of interrupted checks, below that of confirmations."""
NO_LEDGER = Ledger()
LEAST, MOST = 0.01, 0.05
"""Limits of the slowdown that the check is asked to detect, which is otherwise that of the change."""


@dataclass(frozen=True)
class Suspect:
    """Cases that became slower between two commits, the run that describes their suite, and the smallest change."""

    before: str
    after: str
    run: RunDescription
    cases: tuple[str, ...]
    size: float

    @property
    def key(self) -> tuple[str, ...]:
        """What one check has in common: the commits, the suite and its call, and the device."""
        return self.before, self.after, self.run.suite, self.run.command, self.device

    @property
    def suite(self) -> str:
        """The suite's file or name at the time of the run."""
        return Command.of(self.run).source

    @property
    def overrides(self) -> tuple[str, ...]:
        return Command.of(self.run).overrides

    @property
    def plugins(self) -> str:
        """The plug-in modules of this process and of the run, as the environment variable lists them."""
        return ",".join(dict.fromkeys((*installed.of_environment(), *Command.of(self.run).plugins)))

    @property
    def device(self) -> str:
        return str(self.run.environment.get("device") or "cpu")


def suspects(history: History) -> tuple[list[Suspect], list[str]]:
    """Return the suspects that a paired check can decide, and why it cannot decide other changes for the worse."""
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
        except StoreError as error:  # the run is gone, or the index cannot hold its path
            reasons[f"{course.series.case}: {error}"] = None
            continue
        suspect = Suspect(
            change.before.commit, change.after.commit, run, (course.series.case,), change.ratio.median - 1
        )
        earlier = suspect_by_key.get(suspect.key)
        suspect_by_key[suspect.key] = _join(earlier, suspect) if earlier else suspect
    return list(suspect_by_key.values()), list(reasons)


def confirm(
    suspect: Suspect, cwd: Path, announce: Callable[[str], None], build: str = "", ledger: Ledger = NO_LEDGER
) -> Outcome:
    """Check the two commits of a suspect on this machine, whose lock the caller holds. ``ledger`` keeps it as it goes.

    Raises ConvbenchError if the commits are not available or cannot be measured here.
    """
    working_tree = WorkingTree.at(cwd, suspect.suite)
    if Path(suspect.suite).suffix:  # even if the file has been renamed since: modules lay beside it
        working_tree = replace(working_tree, suite=(working_tree.cwd / suspect.suite).resolve())
    for commit in (suspect.before, suspect.after):
        if git.commit(working_tree.top, commit) is None:
            raise ConvbenchError(git.why_not(working_tree.top, commit, commit, only_commits=True))
    with ExitStack() as stack:
        folder = stack.enter_context(sides.scratch_folder())
        suite = files.write(folder / "suite.yaml", suspect.run.suite)
        base, head = (
            stack.enter_context(
                sides.materialise(commit, working_tree, stack.enter_context(sides.scratch_folder()), build)
            )
            for commit in (suspect.before, suspect.after)
        )
        # The outputs may differ: the question is whether the code is slower, for whatever reason.
        cases = tuple(map(glob.escape, suspect.cases))
        request = Request(str(suite), suspect.overrides, cases, same_outputs=False, ledger=ledger)
        rule = Rule.detecting(min(max(suspect.size, LEAST), MOST))
        method = gate.Method(Settings(device=suspect.device), rule, folder, announce)
        stack.enter_context(process_variables({installed.VARIABLE: suspect.plugins}))
        try:
            result = gate.check(base, head, request, method)
        except SuiteError as error:
            raise SuiteError(f"{error}{_hint(suspect, head)}") from error
    return replace(result, suite=suspect.run.name)


def refuse_unwritable(folder: Path) -> None:
    """Raise StoreError if a store surely cannot keep a check, before minutes are spent on measuring it."""
    files.refuse_unwritable(folder / CONFIRMED / "check.json", REMEDY)


def ledger(folder: Path, suspect: Suspect) -> Ledger:
    """Return the ledger that keeps a suspect's check in a store until it ends, with the pairs of an interrupted one."""
    place = _unfinished(folder, suspect)

    def keep(result: Outcome) -> None:
        outcome.write(result, place, REMEDY)

    earlier_outcome = None
    with suppress(StoreError):  # there is none, or it is damaged: everything is measured anew
        earlier_outcome = outcome.read(place)
    return Ledger(keep, earlier_outcome, required=False)


def forget_unfinished(folder: Path, suspect: Suspect) -> None:
    """Remove what ``ledger`` kept of a check that has ended."""
    place = _unfinished(folder, suspect)
    with suppress(OSError):
        place.unlink(missing_ok=True)
        place.parent.rmdir()  # unless another check is in it


def _unfinished(folder: Path, suspect: Suspect) -> Path:
    """Return the file of a check that has not ended. It lies in a folder of its own, which nothing shares or judges."""
    name = f"{suspect.before}-{suspect.after}-{digest(*suspect.key, *suspect.cases)[:8]}.json"
    return folder / CONFIRMED / UNFINISHED / name


def keep(folder: Path, result: Outcome) -> Path:
    """Put a check into a store under a unique name. Raises StoreError if it cannot be written."""
    commits = "-".join(_commits(result))
    number = digest(repr((result.started, result.cases)))[:8]
    return outcome.write(result, folder / CONFIRMED / f"{commits}-{number}.json", REMEDY)


def _commits(result: Outcome) -> tuple[str, str]:
    return (result.base.commit or "")[:12], (result.head.commit or "")[:12]


def confirmations(folder: Path) -> tuple[list[Confirmation], list[str]]:
    """Return the confirmations by a store's checks, the oldest first, and the reasons why files cannot be read."""
    results: list[tuple[str, Outcome]] = []
    errors: list[str] = []
    for path in sorted((folder / CONFIRMED).glob("*.json")):
        try:
            results.append((f"{CONFIRMED}/{path.name}", outcome.read(path, UNREADABLE)))
        except StoreError as error:
            errors.append(str(error))
    results.sort(key=lambda entry: entry[1].started)
    return [confirmation for name, result in results for confirmation in _confirmations(result, name)], errors


def _confirmations(result: Outcome, name: str) -> Iterator[Confirmation]:
    before, after = _commits(result)
    for verdict in verdicts(result):
        ratio = Interval(*verdict.ratio) if verdict.ratio else None
        word, reason = _decision(verdict)
        machine = machine_name(result.head.environment)
        yield Confirmation(verdict.case.id, before, after, word, ratio, reason, machine, name)


def _decision(verdict: CaseVerdict) -> tuple[Decision, str]:
    """Return what a verdict means for a change, and why: ok means less slow than suspected, but not always as fast."""
    word: Decision = WORDS.get(verdict.word, "inconclusive")
    if word == "refuted" and verdict.ratio and verdict.ratio.low > 1:
        return "inconclusive", "the code is slower, but by less than the runs say"
    return word, verdict.reason


def _hint(suspect: Suspect, side: Side) -> str:
    """Return a hint if the suite is missing: the run may have been started in another folder of the repository."""
    if side.suite is None or side.suite.is_file():
        return ""
    return f"; {side.label} has no {suspect.suite} here: run this in the directory in which the runs were made"


def _without_code(change: Change) -> str:
    """Return why there are no two commits to check; empty if there are."""
    for point in (change.before, change.after):
        if not point.commit:
            return f"the run of {point.day} does not name its commit"
        if point.dirty:
            return f"the run of {point.day} measured {point.commit} with uncommitted changes"
    return ""


def _join(first: Suspect, second: Suspect) -> Suspect:
    cases = tuple(dict.fromkeys((*first.cases, *second.cases)))
    return replace(first, cases=cases, size=min(first.size, second.size))
