"""Test ``history --confirm``: the paired check of a change's two commits, with real git and workers without torch."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import invented_runs as invented
import pytest
import records
from command import commit, git
from invented_runs import FC, GAP
from test_check import judged
from test_check_cli import FAKE, convbench

from convbench import api
from convbench.analysis.history import overview
from convbench.check import confirm, link, outcome
from convbench.check.settings import Rule
from convbench.check.timings import Timings
from convbench.check.trees import sides
from convbench.cli import history
from convbench.core.errors import SuiteError
from convbench.core.storage import store
from convbench.core.system import lock
from convbench.report.words import history as words

COUNT, AT = 16, 8


def commits(here: Path, slower: float, since: dict | None = None, **more: object) -> list[str]:
    """Make a commit per run; from ``AT`` on, ``gap`` takes ``slower`` times as long and ``since`` is in the config."""
    hashes = []
    for number in range(COUNT):
        if number == AT:
            git(here, "commit", "-q", "--allow-empty", "-m", "without a run, so that a search is left")
        seconds = {GAP.id: 0.010 * (slower if number >= AT else 1.0), FC.id: 0.020}
        config = {"seconds": seconds, "number": number} | more | (since or {} if number >= AT else {})
        (here / "fake.json").write_text(json.dumps(config))
        commit(here, f"number {number}")
        hashes.append(git(here, "rev-parse", "--short=12", "HEAD"))
    return hashes


@pytest.fixture
def here(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "-q")
    (project / ".gitignore").write_text("store/\n")
    return project


def fill(store: Path, names: list[str], command: str = "convbench run fake.json", **more) -> None:
    """Store runs of these commits that become slower at ``AT``."""
    for number, name in enumerate(names):
        seconds = {GAP: 2e-3 * (1.1 if number >= AT else 1.0), FC: 9e-3}
        environment = {"commit": name, **more}
        invented.write(store / f"{number:03}", number, seconds, environment=environment, command=command)


def test_a_change_of_the_code_is_confirmed_and_kept(here):
    fill(here / "store", commits(here, slower=1.1))
    suspected = convbench(here, "history", "--store", "store")
    assert suspected.returncode == 3, suspected.stderr
    assert "to prove it: convbench history --store store --confirm" in suspected.stdout
    done = convbench(here, "history", "--store", "store", "--confirm")
    assert done.returncode == 1, done.stderr
    assert "confirmed by a paired check, ratio 1." in done.stdout
    assert "which commit: convbench bisect fake.json --good " in done.stdout
    assert git(here, "worktree", "list").count("\n") == 0
    (path,) = (here / "store" / confirm.CONFIRMED).iterdir()
    assert outcome.read(path).suite == "default"
    assert convbench(here, "replay", str(path)).returncode == 1
    again = convbench(here, "history", "--store", "store", "--confirm")
    assert (again.returncode, again.stdout) == (1, done.stdout)
    assert "kept in" not in again.stderr


def test_changed_outputs_and_plugins_do_not_prevent_confirmation(here):
    """Changed outputs, the commonest cause of a slowdown, and plug-in reducers used to be inconclusive every night."""
    names = commits(here, slower=1.1, since={"outputs": {GAP.id: 0.6}}, plugins=["shop", "tools"])
    fill(here / "store", names, "convbench --plugins shop run fake.json threads=2 --device cpu")
    done = convbench(here, "history", "--store", "store", "--confirm", CONVBENCH_PLUGINS="tools")
    assert done.returncode == 1, done.stderr
    assert "confirmed by a paired check, ratio 1." in done.stdout
    assert "which commit: convbench --plugins shop bisect fake.json threads=2 --good " in done.stdout
    assert done.stdout.rstrip().endswith(" --device cpu"), "it used to find no plug-in, or another device"
    (path,) = (here / "store" / confirm.CONFIRMED).iterdir()
    assert "differs by up to" in str(outcome.read(path).cases)


@pytest.mark.parametrize(
    ("slower", "word", "reason"),
    [
        ((1.9, 2.5, 3.0, 3.2, 3.5, 3.8), "inconclusive", "the code is slower, but by less than the runs say"),
        ((1.8, 1.8, 1.8, 1.8), "refuted", ""),
        ((0.0, 0.1, -0.1, 0.0), "refuted", ""),
        ((0.0, 20.0), "inconclusive", "undecided after 2 pairs, which is too few to show any slowdown"),
    ],
)
def test_code_that_is_certainly_slower_is_not_refuted(tmp_path, slower, word, reason):
    """A smaller slowdown than suspected used to be "not the code" despite an interval above 1, and never rechecked."""
    timings = tuple(outcome.Timing(((1.0, 1 + percent / 100),)) for percent in slower)
    measured = replace(judged(), cases=(outcome.CaseOutcome("gap", timings),), rule=Rule.detecting(0.05))
    confirm.keep(tmp_path, measured)
    (said,), _ = confirm.confirmations(tmp_path)
    assert (said.word, said.reason) == (word, reason)


def test_cases_that_changed_between_the_same_commits_share_a_check(tmp_path, monkeypatch):
    """It looks for the smallest of their changes, and a case without a verdict leaves the others confirmed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number in range(COUNT):
        factors = (1.1, 1.04) if number >= AT else (1.0, 1.0)
        seconds = {case: 2e-3 * factor for case, factor in zip((GAP, FC), factors, strict=True)}
        invented.write(tmp_path / "store" / f"{number:03}", number, seconds)
    answer = overview.history(overview.HistoryQuery((tmp_path / "store",)))
    (suspect,), reasons = confirm.suspects(answer)
    assert (sorted(suspect.cases), reasons) == (sorted((GAP.id, FC.id)), [])
    assert suspect.size == pytest.approx(0.04)
    pairs = tuple(outcome.Timing(((1.0, 1.0),)) for _ in range(4))
    cases = (outcome.CaseOutcome("gap", pairs), outcome.CaseOutcome("fc", invalid="missing in base"))
    confirm.keep(tmp_path, replace(judged(), cases=cases))
    (calm, invalid), _ = confirm.confirmations(tmp_path)
    assert (calm.word, calm.ratio.median) == ("refuted", 1.0)
    assert (invalid.word, invalid.ratio, invalid.reason) == ("inconclusive", None, "missing in base")


def test_a_change_not_caused_by_the_code_is_refuted(here):
    fill(here / "store", commits(here, slower=1.0))
    done = convbench(here, "history", "--store", "store", "--confirm", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    assert "refuted by a paired check" in done.stdout
    assert "so the code is slower by no more than " in done.stdout
    assert '<span class="tag supported">refuted</span>' in (here / "page.html").read_text()
    assert convbench(here, "history", "--store", "store").returncode == 0


def test_a_change_that_cannot_be_confirmed_stays_suspected(here):
    names = commits(here, slower=1.1)
    fill(here / "store", [f"{number:012x}" for number in range(COUNT)])
    lost = convbench(here, "history", "--store", "store", "--confirm")
    assert lost.returncode == 3
    assert "cannot be confirmed: " in lost.stderr
    assert "is not a commit of this repository" in lost.stderr
    assert "16 commits outside the history of this clone" in lost.stdout
    fill(here / "store" / "dirty", names, dirty=True)
    dirty = convbench(here, "history", "--store", "store/dirty", "--confirm")
    assert dirty.returncode == 3
    assert "with uncommitted changes" in dirty.stderr
    assert not list((here / "store").rglob(f"{confirm.CONFIRMED}/*"))


def test_a_commit_that_does_not_start_is_reported(here):
    fill(here / "store", commits(here, slower=1.1, broken="no nets"))
    done = convbench(here, "history", "--store", "store", "--confirm")
    assert done.returncode == 3
    assert "no nets" in done.stderr


def test_a_renamed_suite_is_found_under_its_old_name(here, monkeypatch):
    """Modules beside a suite renamed since used not to be found, and no message said to run in the runs' directory."""
    names = []
    for folder in ("bench", "speed"):
        (here / folder).mkdir()
        (here / folder / "x.yaml").write_text(folder)
        commit(here, folder)
        names.append(git(here, "rev-parse", "HEAD"))
    git(here, "rm", "-rqf", "bench")
    git(here, "commit", "-qm", "renamed")
    run = store.read_description(invented.write(here / "store", 0, {GAP: 2e-3}, command="convbench run bench/x.yaml"))
    suspect = confirm.Suspect(*names, run, ("gap",), 0.1)

    def check(base: sides.Side, head: sides.Side, *_: object) -> outcome.Outcome:
        assert base.root
        if base.root / "bench" in base.paths and (base.root / "bench" / "x.yaml").is_file():
            return judged()
        raise SuiteError("No module named 'net'")

    monkeypatch.setattr(confirm.gate, "check", check)
    confirm.confirm(suspect, here, print)
    with pytest.raises(SuiteError, match=r"^No module named 'net'; .* has no bench/x\.yaml here: run this"):
        confirm.confirm(suspect, here / "speed", print)


def test_an_unwritable_store_is_reported_before_measuring(here):
    fill(here / "store", commits(here, slower=1.1))
    (here / "store" / confirm.CONFIRMED).write_text("no folder")
    done = convbench(here, "history", "--store", "store", "--confirm")
    assert done.returncode == 3
    assert "store/confirmed/check.json: cannot be written (Not a directory): name a --store" in done.stderr
    assert "inspecting" not in done.stderr
    assert "suspected" in done.stdout


def test_a_check_that_cannot_be_stored_holds_up_no_others(tmp_path, monkeypatch, capsys):
    suspects = [confirm.Suspect("a", after, records.run_of([]), (), 0.1) for after in ("b", "c")]
    (tmp_path / confirm.CONFIRMED).write_text("no folder")
    monkeypatch.setenv(lock.VARIABLE, str(tmp_path))
    monkeypatch.setattr(confirm, "refuse_unwritable", lambda _: None)
    monkeypatch.setattr(confirm, "confirm", lambda *_: judged())
    history._confirm(suspects, tmp_path, "")
    said = capsys.readouterr().err
    for after in "bc":
        assert f"cannot be confirmed: a to {after}: {tmp_path}" in said
    assert said.count(": name a --store that can be written") == len(suspects)


def test_an_interrupted_confirmation_goes_on_with_its_pairs(here, monkeypatch):
    """Minutes of pairs were lost, though check and bisect kept theirs."""
    names = []
    for seconds in (0.010, 0.011):
        (here / "fake.json").write_text(json.dumps({"seconds": {GAP.id: seconds}}))
        commit(here, f"{seconds}")
        names.append(git(here, "rev-parse", "HEAD"))
    monkeypatch.setattr(link, "PROGRAM", FAKE)
    monkeypatch.chdir(here)
    monkeypatch.setenv(lock.VARIABLE, str(here.parent))
    suspect = confirm.Suspect(*names, records.run_of([], command="convbench run fake.json"), (GAP.id,), 0.1)
    add, pairs = Timings.add, []

    def interrupt(timings, visit, result):
        add(timings, visit, result)
        pairs.append(len(timings.pairs[visit.case.id]))
        if len(pairs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Timings, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        history._confirm([suspect], here / "store", "")
    (kept,) = (here / "store" / confirm.CONFIRMED / confirm.UNFINISHED).iterdir()
    assert outcome.read(kept).unfinished
    of_other_suite = replace(suspect, run=replace(suspect.run, suite="other"))
    assert confirm.ledger(here / "store", suspect).earlier_outcome
    assert not confirm.ledger(here / "store", of_other_suite).earlier_outcome
    assert confirm.confirmations(here / "store") == ([], [])
    history._confirm([suspect], here / "store", "")
    assert pairs[:3] == [1, 2, 3]
    (path,) = (here / "store" / confirm.CONFIRMED).iterdir()
    assert (outcome.read(path).unfinished, len(outcome.read(path).cases[0].pairs)) == (False, max(pairs))


def test_what_an_interrupted_confirmation_left_is_ignored_if_it_is_of_another_check(tmp_path):
    suspect = confirm.Suspect("a", "b", records.run_of([]), (GAP.id,), 0.1)
    confirm.ledger(tmp_path, suspect).keep(judged())
    ledger = confirm.ledger(tmp_path, suspect)
    assert ledger.earlier_cases(judged()) == judged().cases
    assert ledger.earlier_cases(replace(judged(), rule=Rule.detecting(0.02))) == ()
    confirm.forget_unfinished(tmp_path, suspect)
    assert list((tmp_path / confirm.CONFIRMED).iterdir()) == []


def test_confirmations_are_read_in_the_order_in_which_they_were_made(tmp_path):
    dates = [f"2026-11-2{day}" for day in range(6)]
    names = {date: confirm.keep(tmp_path, replace(judged(), started=date)).name for date in dates}
    assert sorted(names.values()) != list(names.values())
    read = dict.fromkeys(confirmation.file for confirmation in confirm.confirmations(tmp_path)[0])
    assert list(read) == [f"{confirm.CONFIRMED}/{name}" for name in names.values()]
    assert all(re.fullmatch("0123456789ab-0123456789ab-[0-9a-f]{8}.json", name) for name in names.values())


def test_an_unreadable_confirmation_is_skipped_with_a_note(tmp_path, monkeypatch):
    """A confirmed change used to become suspected again, without a message."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    invented.many(tmp_path / "store")
    damaged = tmp_path / "store" / confirm.CONFIRMED / "half.json"
    damaged.parent.mkdir()
    damaged.write_text('{"suite": "x"')
    answer = api.history(store=tmp_path / "store")
    (note,) = (note for note in words.notes(answer.notes) if "confirmation" in note)
    assert note.startswith(f"1 confirmation left out as unreadable, such as {damaged}: not the JSON of a check: ")
    assert note.endswith(": remove this file, and --confirm checks the change again")


@pytest.mark.parametrize("name", ["store", os.fsdecode(b"caf\xe9")], ids=ascii)
def test_a_run_missing_from_its_indexed_place_cannot_be_confirmed(tmp_path, monkeypatch, name):
    """No run could be confirmed in a folder whose name is not UTF-8: the index held another path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = invented.many(tmp_path / name)
    answer = api.history(folder, only="gap")
    (suspect,), reasons = confirm.suspects(answer)
    assert (suspect.run.name, reasons) == ("default", [])
    folder.rename(tmp_path / "elsewhere")
    suspects, (reason,) = confirm.suspects(answer)
    assert suspects == []
    assert "run.json: cannot be read (No such file or directory)" in reason
