"""Bisection: the posterior on invented pairs, and whole searches in real repositories with workers without torch."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from command import commit, git
from scipy.stats import t
from test_check_cli import convbench

from convbench.check import gate, outputs, pairs
from convbench.check.answers import Inspection
from convbench.check.bisection import bisect, bisected, places
from convbench.check.bisection.search import Range, Search, SlowdownModel
from convbench.check.decision import Triple
from convbench.check.inspection import Request
from convbench.check.outcome import CaseOutcome, Timing
from convbench.check.pairs import CheckedCase
from convbench.check.settings import Rule, Settings
from convbench.check.timings import Timings
from convbench.check.trees.sides import Side, WorkingTree
from convbench.core.errors import BuildFailed, CaseFailed, ConvbenchError, OutOfTime, Refused, StoreError
from convbench.core.system import lock, scratch

COMMITS = 7


def searched(
    rng: np.random.Generator, first: int, last: int, slowdown: float, spread: float, bad: float, skipped: set[int]
) -> tuple[Range, int]:
    """Run a search where the slowdown begins at ``first`` and a share ``bad`` of pairs is off by 40 %."""
    logs: dict[int, list[float]] = {}
    model = SlowdownModel(math.log1p(slowdown) * rng.uniform(0.9, 1.1), max(0.01, spread * rng.uniform(0.7, 1.3)))
    while sum(map(len, logs.values())) < bisect.MOST_PAIRS:
        search = Search(last, model, logs, skipped)
        place = search.next()
        if place is None:
            break
        true = math.log1p(slowdown) if place >= first else 0.0
        off = rng.choice([-0.4, 0.4]) if rng.random() < bad else 0.0
        logs.setdefault(place, []).append(true + spread * rng.standard_normal() + off)
    return Search(last, model, logs, skipped).answer(), sum(map(len, logs.values()))


@pytest.mark.parametrize(
    ("slowdown", "spread", "bad", "most"),
    [(0.05, 0.015, 0.01, 12), (0.25, 0.02, 0.1, 12), (0.05, 0.03, 0.02, 30)],
    ids=["usual", "a tenth of the pairs is off by 40 %", "noisy"],
)
def test_the_first_slow_place_is_found_despite_the_noise(slowdown, spread, bad, most):
    rng = np.random.default_rng(0)
    counts, right = [], 0
    for trial in range(60):
        first = trial % 16 + 1
        answer, pairs = searched(rng, first, 16, slowdown, spread, bad, set())
        right += (answer.first, answer.last) == (first, first)
        counts.append(pairs)
    assert right >= 58
    assert np.mean(counts) <= most


def test_a_hundred_places_take_only_a_few_more_pairs():
    rng = np.random.default_rng(1)
    answer, pairs = searched(rng, 71, 100, 0.05, 0.01, 0.0, set())
    assert (answer.first, answer.last) == (71, 71)
    assert pairs <= 20


def test_unmeasurable_places_become_a_range_up_to_the_next():
    rng = np.random.default_rng(2)
    answer, _ = searched(rng, 6, 10, 0.1, 0.01, 0.0, {4, 5, 6})
    assert (answer.first, answer.last) == (4, 7)
    answer, _ = searched(rng, 8, 10, 0.1, 0.01, 0.0, {4, 5, 6})
    assert (answer.first, answer.last) == (8, 8)


def test_without_pairs_all_places_are_equally_likely():
    assert Search(4, SlowdownModel(0.05, 0.01), {}).posterior().tolist() == [0.25] * 4
    assert Search(4, SlowdownModel(0.05, 0.01), {}).answer() == Range(1, 4, 1.0)
    assert Search(4, SlowdownModel(0.05, 0.01), {}).next() == 2
    assert Search(1, SlowdownModel(0.05, 0.01), {}).next() is None


@pytest.mark.parametrize("steps", [(0.1, 0.1), (0.05, 0.05), (0.1, 0.3)])
def test_of_two_steps_the_first_is_found(steps):
    """A place half as slow as bad used to count as fast or slow by chance: the answer was any place near a step."""
    rng, places = np.random.default_rng(3), (5, 12)
    slowdowns = dict(zip(places, map(math.log1p, steps), strict=True))
    for _ in range(5):
        model, logs = SlowdownModel(sum(slowdowns.values()), 0.015), {}
        while place := Search(16, model, logs).next():
            true = sum(slowdown for first, slowdown in slowdowns.items() if place >= first)
            logs.setdefault(place, []).append(true + 0.015 * rng.standard_normal())
        answer = Search(16, model, logs).answer()
        assert (answer.first, answer.last) == (5, 5)
        assert sum(map(len, logs.values())) <= 40


@pytest.mark.parametrize("logs", [[0.06], [0.1], [0.0], [5.0], [0.07, 0.03, 0.11], []])
def test_a_places_evidence_is_students_and_limited_by_a_liars(logs):
    """The likelihoods are multiplied here as they are, without logarithms."""
    levels = 0.1 * np.array([0, *np.linspace(0.25, 1, 16)])
    densities = t.pdf((np.array(logs).reshape(-1, 1) - levels) / 0.02, df=4)
    best = densities.max(axis=1, keepdims=True)
    fast, *between, slow = np.maximum(densities, best * 0.05 / 0.95).prod(axis=0)
    expected = math.log((slow + 0.005 * np.mean(between)) / fast)
    assert SlowdownModel(0.1, 0.02).weight(logs) == pytest.approx(expected)


def test_the_model_is_fitted_to_the_confirming_triples():
    model = SlowdownModel.of([Triple(0.0, log) for log in (0.05, 0.05, 0.06, 0.9)])
    assert model.slowdown == pytest.approx(0.055)
    assert model.spread == 0.01


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A repository of seven commits: the third does not start, and from the fifth on ``fc`` is a tenth slower."""
    project = tmp_path_factory.mktemp("history") / "project"
    project.mkdir()
    git(project, "init", "-q")
    (project / ".gitignore").write_text("reports/\n")
    for number in range(COMMITS):
        fc = 0.022 if number >= 4 else 0.020
        settings = {"seconds": {"gap": 0.010, "fc": fc}, "number": number} | (
            {"broken": "no nets"} if number == 2 else {}
        )
        (project / "fake.json").write_text(json.dumps(settings))
        (project / "requirements.txt").write_text(f"torch==2.{number}\n")
        commit(project, f"number {number}")
    return project


@pytest.fixture
def here(history, tmp_path):
    return shutil.copytree(history, tmp_path / "project")


SEARCH = ("bisect", "fake.json", "--good", "main~6", "--bad", "main")


@pytest.fixture(scope="module")
def whole_search(history, tmp_path_factory):
    """A project in which a search has ended, and the finished command."""
    project = shutil.copytree(history, tmp_path_factory.mktemp("found") / "project")
    return project, convbench(project, *SEARCH)


def test_the_first_slower_commit_is_named_past_a_broken_one(whole_search):
    here, done = whole_search
    assert done.returncode == 0, done.stderr
    first, sure, bad, state = done.stdout.splitlines()
    assert first == f"first slower: {git(here, 'rev-parse', 'main~2')[:12]} number 4"
    assert sure.endswith("and confirmed in a check against the one before it")
    assert float(bad.removeprefix("fc: bad over good ").split()[0]) == pytest.approx(1.1, abs=0.03)
    assert state == "kept in reports/bisect/fake.json"
    assert "pair 1: " in done.stderr
    assert "requirements differ between good and bad (requirements.txt), but all commits run with" in done.stderr
    assert git(here, "worktree", "list").count("\n") == 0
    again = convbench(here, *SEARCH, "--resume")
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "pair " not in again.stderr


def test_an_interrupted_search_resumes_with_its_stored_pairs(whole_search):
    here, _ = whole_search
    path = here / "reports" / "bisect" / "fake.json"
    whole = bisected.read(path)
    half = bisected.State(**{**vars(whole), "logs": {3: whole.logs.get(3, [0.0])}, "proven": None})
    bisected.write(path, half)
    done = convbench(here, *SEARCH, "--resume")
    assert done.returncode == 0, done.stderr
    assert "number 4" in done.stdout
    assert bisected.read(path).logs[3][: len(half.logs[3])] == half.logs[3]
    failed = {"logs": {}, "skipped": whole.skipped | {3: "no memory just then"}, "proven": None}
    bisected.write(path, bisected.State(**{**vars(whole), **failed}))
    assert convbench(here, *SEARCH, "--resume").returncode == 0
    assert 3 not in bisected.read(path).skipped
    refused = convbench(here, *SEARCH[:-2], "--bad", "main~1", "--resume")
    assert refused.returncode == 4
    assert "the stored search was of another suite, or among other commits or versions" in refused.stderr
    refused = convbench(here, *SEARCH, "--resume", "--threads", "2")
    assert refused.returncode == 4
    assert "--resume: the stored search was made with a different --threads: run without" in refused.stderr
    refused = convbench(here, *SEARCH, "--resume", "--only", "gap")
    assert refused.returncode == 4
    assert "--resume: the stored search was made with a different --only: run without" in refused.stderr


def interrupt_third_visit(monkeypatch, tmp_path: Path) -> tuple[list[str], gate.Method]:
    """Return the visits made so far, all 1.3 times slower, and a method whose third visit is interrupted."""
    visited: list[str] = []

    def measure(visits: list[pairs.PairRequest], *_: object) -> Iterator[tuple[pairs.PairRequest, Timing]]:
        for visit in visits:
            visited.append(visit.case.id)
            yield visit, Timing((((1.0, 1.3) if len(visit.arms) == 2 else (1.0, 1.0, 1.3)),))
            if len(visited) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(pairs, "measure", measure)
    monkeypatch.setattr(bisect.Bisection, "_side", lambda *_: Side("s", None, Path(), ()))
    method = gate.Method(Settings(), Rule(), tmp_path)
    return visited, method


def test_an_interrupted_check_of_good_and_bad_keeps_its_pairs(monkeypatch, tmp_path):
    """All of its pairs used to be measured again, which takes minutes in a suite of slow cases."""
    visited, method = interrupt_third_visit(monkeypatch, tmp_path)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b", "c"), ("", "", ""))
    inspected = Inspection("s", [CheckedCase("gap", {}, 0)], 9.0)
    path = tmp_path / "s.json"
    keep = partial(bisected.write, path)
    begun = bisected.State("s", ["a", "b", "c"])
    with pytest.raises(KeyboardInterrupt):
        bisect.Bisection(line, Request("s"), method, keep, begun)._compare_ends(inspected)
    before = bisected.read(path)
    (ends,) = before.ends
    assert len(ends.pairs) + len(ends.confirmation) == 3
    bisect.Bisection(line, Request("s"), method, keep, before)._compare_ends(inspected)
    (whole,) = bisected.read(path).ends
    assert len(whole.pairs) + len(whole.confirmation) == len(visited)
    assert bisected.read(path).case == "gap"


def of_ends(monkeypatch, tmp_path, timed: Timings) -> bisected.State:
    """Return the state after a check of good and bad that measured ``timed``."""
    monkeypatch.setattr(bisect.Bisection, "_check", lambda *_: timed)
    method = gate.Method(Settings(), Rule(), tmp_path)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b"), ("", ""))
    search = bisect.Bisection(line, Request("s"), method, lambda _: None, bisected.State("s", ["a", "b"]))
    cases = [CheckedCase(name, {}, 0) for name in ("same", "gap", "fc")]
    search._compare_ends(Inspection("s", cases, 9.0))
    return search.state


def timings_of(*ratios: float, again: float | None = None) -> list[Timing]:
    return [Timing(((1.0, *([again] if again else []), ratio),)) for ratio in ratios]


def test_the_case_that_is_most_surely_slower_is_searched(monkeypatch, tmp_path):
    """It is not the one with the largest ratio, and the new pairs tell how much slower bad is."""
    scattered = (1.2, 1.9, 1.2, 1.9, 1.2, 1.9, 1.9, 1.9)
    timed = Timings(
        {"same": timings_of(*[1.0] * 8), "gap": timings_of(*[1.4] * 3), "fc": timings_of(*[1.5] * 3)},
        {"gap": timings_of(*[1.35] * 6, again=1.0), "fc": timings_of(*scattered, again=1.0)},
    )
    state = of_ends(monkeypatch, tmp_path, timed)
    assert (state.case, state.slowdown, state.spread) == ("gap", pytest.approx(math.log(1.35)), 0.01)
    assert state.ratio.estimate == pytest.approx(1.35)


@pytest.mark.parametrize(
    ("ratios", "error", "words"),
    [
        (
            [1.0] * 8,
            ConvbenchError,
            "bad is not surely slower than good, so there is nothing to search for: same ok, ratio 1.000",
        ),
        ([1.3], OutOfTime, "the time ran out before good and bad were told apart"),
    ],
)
def test_without_a_regression_between_good_and_bad_there_is_no_search(monkeypatch, tmp_path, ratios, error, words):
    with pytest.raises(error, match=words) as raised:
        of_ends(monkeypatch, tmp_path, Timings({name: timings_of(*ratios) for name in ("same", "gap", "fc")}))
    assert type(raised.value) is error


def test_a_search_that_is_never_sure_ends_after_its_most_pairs(monkeypatch, tmp_path):
    monkeypatch.setattr(bisect, "MOST_PAIRS", 3)
    monkeypatch.setattr(bisect.Bisection, "_pair", lambda *_: 0.05)  # as near to good as to bad: four would be sure
    said: list[str] = []
    method = gate.Method(Settings(), Rule(), tmp_path, said.append)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b", "c"), ("", "", ""))
    for limit, pairs_made in ((math.inf, 3), (0.0, 0)):
        state = replace(SURE, logs={}, skipped={})
        bisect.Bisection(line, Request("s"), replace(method, deadline=limit), lambda _: None, state)._search(
            CheckedCase("gap", {}, 0)
        )
        assert state.pairs == pairs_made
    assert [message.partition(", ")[0] for message in said] == [f"pair {n}: b; narrowed to 2" for n in (1, 2, 3)]


def test_an_interrupted_proof_keeps_its_pairs(monkeypatch, tmp_path):
    visited, method = interrupt_third_visit(monkeypatch, tmp_path)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b"), ("", ""))
    path = tmp_path / "s.json"
    keep = partial(bisected.write, path)
    state = bisected.State("s", ["a", "b"], case="gap", slowdown=0.3, spread=0.01)
    case = CheckedCase("gap", {}, 0)
    with pytest.raises(KeyboardInterrupt):
        bisect.Bisection(line, Request("s"), method, keep, state)._prove(case)
    stored = bisected.read(path)
    assert len(stored.proofs[1].pairs) + len(stored.proofs[1].confirmation) == 3
    bisect.Bisection(line, Request("s"), method, keep, stored)._prove(case)
    proof = bisected.read(path).proofs[1]
    assert len(proof.pairs) + len(proof.confirmation) == len(visited)
    assert bisected.read(path).proven is True


@pytest.mark.parametrize("error", [StoreError("no scratch folder can be made"), Refused("it is too new")])
def test_a_fault_that_would_come_again_is_not_tried_again(error, monkeypatch, tmp_path):
    """A full disk is no fault of the commit, so it ends the search."""

    def attempt(*_: object) -> float:
        raise error

    monkeypatch.setattr(bisect.Bisection, "_look_at", attempt)
    monkeypatch.setattr(bisect.Bisection, "_side", lambda *_: None)
    method = gate.Method(Settings(), Rule(), tmp_path)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b", "c"), ("", "", ""))
    search = bisect.Bisection(line, Request("s"), method, lambda _: None, replace(SURE, logs={}, skipped={}))
    is_ours = isinstance(error, StoreError)
    with pytest.raises(StoreError) if is_ours else nullcontext():
        search._search(CheckedCase("gap", {}, 0))
    assert search.state.skipped == ({} if is_ours else {1: "it is too new"})


@pytest.mark.parametrize(("failures", "stage"), [(1, "_look_at"), (1, "_time"), (2, "_look_at"), (2, "_time")])
def test_a_commit_that_fails_once_is_tried_again(monkeypatch, tmp_path, failures, stage):
    """A worker that was killed while it inspected a commit cost that commit its place in the search."""

    def attempt(*_: object) -> float:
        calls.append(stage)
        if len(calls) <= failures:
            raise BuildFailed("a process was killed")
        return 0.1

    calls: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(bisect.Bisection, "_look_at", lambda *_: None)
    monkeypatch.setattr(bisect.Bisection, "_time", lambda *_: 0.1)
    monkeypatch.setattr(bisect.Bisection, stage, attempt)
    monkeypatch.setattr(bisect.Bisection, "_side", lambda *_: None)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b", "c"), ("", "one", ""))
    method = gate.Method(Settings(), Rule(), tmp_path, said.append)
    search = bisect.Bisection(line, Request("s"), method, lambda _: None, replace(SURE, logs={}, skipped={}))
    if failures == 1:
        assert search._pair(CheckedCase("gap", {}, 0), 1) == 0.1
    else:
        with pytest.raises(CaseFailed, match=r"a process was killed \(tried 2 times\)"):
            search._pair(CheckedCase("gap", {}, 0), 1)
    assert said == ["b one failed, and is tried again: a process was killed"]


SURE = bisected.State("s", ["a", "b", "c"], case="gap", slowdown=0.1, spread=0.01, logs={1: [0.1, 0.1]})
"""The state of a search that has reached ``b``, before the check that proves it."""


@pytest.mark.parametrize(
    ("timed", "proven", "reason"),
    [
        (Timings({"gap": [Timing(((1.0, 1.1),))]}), None, "the time ran out"),
        (Timings(failures={"gap": "a process died"}), None, "a process died"),
        (Timings({"gap": [Timing(((1.0, 1.3 if pair % 2 else 0.8),)) for pair in range(32)]}), None, "too noisy after"),
        (
            Timings({"gap": [Timing(((1.0, 1.3),))] * 3}, {"gap": [Timing(((1.0, 1.3, 1.3),))] * 24}),
            None,
            "suspected, but in 24 of 24 new pairs base differs from itself",
        ),
        (Timings({"gap": [Timing(((1.0, 1.0),))] * 8}), False, ""),
        (Timings({"gap": [Timing(((1.0, 1.3),))] * 3}, {"gap": [Timing(((1.0, 1.0, 1.3),))] * 6}), True, ""),
    ],
    ids=["its time was over", "it failed", "too noisy", "base differs from itself", "not slower", "slower"],
)
def test_only_a_check_with_a_verdict_proves_a_result(timed, proven, reason, monkeypatch, tmp_path):
    checked: list[tuple[int, int]] = []
    said: list[str] = []
    monkeypatch.setattr(bisect.Bisection, "_check", lambda _, *places: checked.append(places[:2]) or timed)
    method = gate.Method(Settings(), Rule(), tmp_path, said.append)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b", "c"), ("", "", ""))
    search = bisect.Bisection(line, Request("s"), method, lambda _: None, replace(SURE))
    search._prove(CheckedCase("gap", {}, 0))
    assert search.state.proven is proven
    assert said[0] == "checking b against the one before it"
    assert [message.startswith(f"no verdict: {reason}") for message in said[1:]] == [True] * bool(reason)
    assert checked == [(0, 1)], "b against a"


@pytest.mark.parametrize(
    ("facts", "deadline"),
    [({"logs": {}}, math.inf), ({"proven": False}, math.inf), ({}, 0.0)],
    ids=["of several places", "already checked", "its time is over"],
)
def test_no_check_is_made_that_cannot_prove_the_answer(facts, deadline, monkeypatch, tmp_path):
    monkeypatch.setattr(bisect.Bisection, "_check", None)
    method = gate.Method(Settings(), Rule(), tmp_path, deadline=deadline)
    line = places.Commits(WorkingTree(tmp_path, tmp_path, None), "", ("a", "b", "c"), ("", "", ""))
    state = replace(SURE, **facts)
    bisect.Bisection(line, Request("s"), method, lambda _: None, state)._prove(CheckedCase("gap", {}, 0))
    assert state == replace(SURE, **facts)


@pytest.mark.parametrize(
    ("proven", "words"),
    [
        (None, "most likely b, but no check against the one before it has a verdict yet: continue with --resume"),
        (False, "most likely b, but a check against the one before it did not confirm that"),
        (True, "first slower: b"),
    ],
)
def test_a_missing_check_is_not_reported_as_a_negative_check(proven, words):
    answer = bisected.Bisected(replace(SURE, proven=proven), ("a", "b", "c"), SURE.search.answer())
    first, *_, last = bisected.sentences(answer)
    assert first == words
    assert last == "gap: bad over good 1.000 (too few pairs for an interval)"
    in_python = words.replace("--resume", "`resume=True`")  # as a caller of the API writes it
    assert repr(answer).startswith(f"Bisected({in_python}; ")
    assert answer.is_confirmed is (proven is True)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (replace(SURE, proven=True), "99.7 % sure after 2 pairs, and confirmed in a check against the one before it"),
        (replace(SURE, logs={1: [0.1]}), "more than 99.9 % sure after 1 pair"),
        (replace(SURE, places=["a", "b"], logs={}), "known from the check of good and bad"),
    ],
)
def test_a_search_says_how_sure_it_is(state, words):
    answer = bisected.Bisected(state, tuple(state.places), state.search.answer())
    assert words in list(bisected.sentences(answer))


@pytest.mark.parametrize(("seconds", "is_part"), [(1.1, False), (1.05, True)])
def test_a_search_says_that_another_slowdown_follows(seconds, is_part):
    proof = CaseOutcome("gap", (), (Timing(((1.0, 1.0, seconds),) * 6),) * 3)
    state = replace(SURE, proven=True, proofs={SURE.search.answer().last: proof})
    said = "; ".join(bisected.sentences(bisected.Bisected(state, ("a", "b", "c"), SURE.search.answer())))
    assert ("only a part of the slowdown: to find the next part, search with b as good" in said) is is_part


def test_a_changed_request_is_named_by_its_option():
    asked = {"threads": 1, "slice_s": 0.006, "tolerance": 0.02, "guard": 0.04}
    before = bisected.State("suite.yaml", ["a", "b"], asked)
    bisected.refuse_another(before, before)
    for changed, words in (
        ({"threads": 2}, "a different --threads"),
        ({"tolerance": 0.01, "guard": 0.02}, "a different --detect"),
        ({"slice_s": 0.004}, "a different convbench"),
        ({"new": 1, "threads": 2}, "a different --threads, convbench"),
    ):
        with pytest.raises(Refused, match=f"the stored search was made with {words}: run without"):
            bisected.refuse_another(before, replace(before, asked=asked | changed))


def test_a_slowdown_beside_broken_commits_is_a_range(here):
    done = convbench(here, "bisect", "fake.json", "--good", "main~5", "--bad", "main", "--only", "*", "--budget", "1h")
    assert done.returncode == 0, done.stderr
    settings = json.loads((here / "fake.json").read_text())
    git(here, "checkout", "-qb", "other", "main~5")
    for number, broken in enumerate((True, True, False)):
        (here / "fake.json").write_text(
            json.dumps(settings | ({"broken": "no nets"} if broken else {}) | {"again": number})
        )
        git(here, "commit", "-qam", f"other {number}")
    done = convbench(here, "bisect", "fake.json", "--good", "main~5", "--bad", "other")
    assert done.returncode == 3, done.stderr
    assert "the slowdown began at one of 3, " in done.stdout
    assert done.stdout.count("no nets") == 2


def test_a_commit_with_different_outputs_is_passed_over(here):
    """This commit is fast, so its pair would look believable, but its outputs cannot be compared.

    It lies where the search looks first, after the slower commit.
    """
    git(here, "checkout", "-qb", "other", "main~2")
    settings = json.loads((here / "fake.json").read_text())
    odd = {"outputs": {"fc": 3.0}, "seconds": {"gap": 0.01, "fc": 0.001}}
    for number, told in enumerate((odd, {"again": 1}, {"again": 2})):
        (here / "fake.json").write_text(json.dumps(settings | told | {"number": 10 + number}))
        git(here, "commit", "-qam", f"other {number}")
    done = convbench(here, "bisect", "fake.json", "--good", "main~3", "--bad", "other")
    assert done.returncode == 0, done.stderr
    assert "first slower: " in done.stdout
    assert "number 4" in done.stdout
    (why,) = bisected.read(here / "reports" / "bisect" / "fake.json").skipped.values()
    assert why.startswith("outputs differ: ") or " in good at " in why
    assert "base" not in why and "head" not in why


def test_a_budget_that_ends_before_the_search_is_no_mistake(here):
    done = convbench(here, *SEARCH, "--budget", "0.001s")
    assert (done.returncode, done.stdout) == (3, "")
    assert "the time ran out before good and bad were told apart; continue with --resume: gap " in done.stderr
    assert "first slower: " in convbench(here, *SEARCH, "--resume").stdout


def test_a_bad_commit_that_is_not_slower_is_one_message(here):
    done = convbench(here, "bisect", "fake.json", "--good", "main~6", "--bad", "main~3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bad is not surely slower than good, so there is nothing to search for: gap ok, ratio " in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name what to search: --good REF [--bad REF] for commits, or --package NAME FROM..TO"),
        (("--good", "main", "--package", "torch", "1..2"), "name what to search"),
        (("--good", "nowhere"), "--good 'nowhere' is not a commit of this repository: `git fetch` it"),
        (("--good", "main", "--bad", "HEAD"), "are the same commit"),
        (("--good", "main", "--bad", "main~3"), "--bad main~3 is older than --good main, which came from it"),
        (("--package", "torch", "new"), "--package torch new: name two versions, as in 2.11..2.13"),
        (("--package", "torch", "2.13..2.11"), "--package torch 2.13..2.11: 2.13 is later than 2.11"),
        (("--package", "torch", "1..2", "--bad", "main"), "--bad and --build are for commits"),
        (("--package", "torch", "1..2", "--build", "make"), "--bad and --build are for commits"),
        (("--package", "-r x", "1..2"), "the name of a package"),
        (("--good", "main~1", "--resume"), "--resume: reports/bisect/fake.json does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_usage_mistake_is_one_message(history, in_process, words, message):
    done = in_process("bisect", "fake.json", *words, cwd=history)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_shallow_or_rewritten_history_is_reported(here, tmp_path):
    git(tmp_path, "clone", "-q", "--depth", "2", f"file://{here}", "shallow")
    shallow = WorkingTree.at(tmp_path / "shallow", "fake.json")
    with pytest.raises(ConvbenchError, match="shallow"):
        places.Commits.between(shallow, git(here, "rev-parse", "main~5"), "HEAD", "")
    git(here, "checkout", "-q", "--orphan", "new")
    git(here, "commit", "-qm", "anew")
    with pytest.raises(ConvbenchError, match="have no commit in common: the history was rewritten"):
        places.Commits.between(WorkingTree.at(here, "fake.json"), "main", "new", "")


def test_pip_ends_with_the_folder_that_it_fills(monkeypatch, tmp_path):
    """After a kill of the search it went on for half an hour, into a folder that the next command removes."""
    environments: list[dict[str, str]] = []

    def run(*_: object, env: dict[str, str], **__: object) -> SimpleNamespace:
        environments.append(env)
        return SimpleNamespace(returncode=0, stdout="")

    monkeypatch.setattr(places.subprocess, "run", run)
    line = places.Versions(WorkingTree(tmp_path, tmp_path, None), "torch", ("1.0", "2.0"))
    with line.side(0) as side:
        assert environments[-1][scratch.MARK] == str(side.paths[0].parent)


def test_versions_are_those_that_pip_offers_in_the_range(monkeypatch):
    output = "torch (2.13.0)\nAvailable versions: 2.13.1, 2.13.0+cpu, 2.12.0rc1, 2.11.2, 2.11.0, 2.10.0\n  INSTALLED: 2"
    monkeypatch.setattr(places, "_pip", lambda *_: output)
    here = WorkingTree(Path(), Path(), None)
    assert places.Versions.between(here, "torch", "2.11..2.13").places == ("2.11.0", "2.11.2", "2.13.0", "2.13.1")
    assert places.Versions.between(here, "torch", "2.11.1..2.13.0").places == ("2.11.2", "2.13.0")
    assert places.Versions.between(here, "torch", "2.11.0..2.11").places == ("2.11.0", "2.11.2")
    with pytest.raises(ConvbenchError, match=r"pip finds 2\.10\.0 there, but two versions are needed"):
        places.Versions.between(here, "torch", "2.10..2.10")
    monkeypatch.setattr(places, "_pip", lambda *_: "Available versions: 2.13, 2.11")
    assert places.Versions.between(here, "torch", "2.11.0..2.13.0").places == ("2.11", "2.13")


class Shelf(places.Commits):
    """Places that record which of them are open."""

    is_open: ClassVar[set[int]] = set()

    @contextmanager
    def side(self, place):
        self.is_open.add(place)
        yield Side(self.places[place], None, Path(), ())
        self.is_open.remove(place)


def test_messages_call_places_as_the_user_does(tmp_path):
    """Messages of a bisection used to say "base" and "head", which its user never named."""
    line = Shelf(WorkingTree(tmp_path, tmp_path, None), "", ("a" * 40, "b" * 40, "c" * 40), ("",) * 3)
    method = gate.Method(Settings(), Rule(), tmp_path)
    search = bisect.Bisection(line, Request("s"), method, lambda _: None, SURE)
    with search.stack:
        arms = (*search._arms(0, 2), *search._arms(0, 1))
    assert [(arm.name, arm.side.alias) for arm in arms] == [(name, name) for name in ("good", "bad", "good", "b" * 12)]
    np.savez(tmp_path / "a.npz", **{"0 y": np.zeros(2)})
    np.savez(tmp_path / "b.npz", **{"0 y": np.array([0.0, np.nan])})
    words = outputs.difference(tmp_path / "a.npz", tmp_path / "b.npz", 1e-4, False, ("good", "b" * 12))
    assert words == "y of the output is NaN or infinite in bbbbbbbbbbbb at 1 place of 2, where the other side is not"


def test_only_good_and_the_latest_places_are_kept_open(tmp_path):
    """A version of torch takes gigabytes of disk."""
    line = Shelf(WorkingTree(tmp_path, tmp_path, None), "", tuple("abcdefgh"), ("",) * 8)
    method = gate.Method(Settings(), Rule(), tmp_path)
    search = bisect.Bisection(line, Request("s"), method, lambda _: None, SURE)
    with search.stack:
        for place in (0, 7, 3, 5, 4):
            assert search._side(place).label == "abcdefgh"[place]
        assert line.is_open == {0, 3, 4, 5, 7}
        for place, is_open in ((6, {0, 3, 4, 5, 6}), (3, {0, 3, 4, 5, 6}), (2, {0, 2, 3, 4, 6})):
            search._side(place)
            assert line.is_open == is_open
    assert line.is_open == set()


def test_a_search_over_versions_does_not_resume_in_changed_code(here, in_process, monkeypatch):
    """Every version is measured with the working tree as it stands."""
    monkeypatch.setattr(places, "_pip", lambda *_: "Available versions: 2.0, 1.0")
    monkeypatch.setenv(lock.VARIABLE, str(here.parent))  # or it would wait for a check elsewhere on the machine
    words, path = ("bisect", "fake.json", "--package", "torch", "1..2", "--resume"), here / "reports/bisect/fake.json"
    state = bisected.State(str(here / "fake.json"), ["1.0", "2.0"], code=git(here, "rev-parse", "main~1"))
    bisected.write(path, state)
    another = in_process(*words, cwd=here)
    assert (another.returncode, "the code of the working tree has changed" in another.stderr) == (4, True)
    (here / "nets.py").write_text("")
    changed = in_process(*words, cwd=here)
    assert (changed.returncode, "has uncommitted changes" in changed.stderr) == (4, True)
    versions = places.Versions.between(WorkingTree.at(here, "fake.json", (here / "nets.py",)), "torch", "1..2")
    assert versions.code == git(here, "rev-parse", "main")


def test_a_state_with_a_name_that_is_not_utf8_can_be_resumed(tmp_path):
    """Its file was written and could not be read again, so that all pairs were lost."""
    path = bisected.write(tmp_path / "x.json", replace(SURE, skipped={2: "no file caf\udce9.py"}))
    assert bisected.read(path) == replace(SURE, skipped={2: "no file caf\\udce9.py"})


@pytest.mark.parametrize(
    "changed",
    [
        *({}, {"places": 3}, {"logs": {"1": None}}, {"logs": {"x": [1.0]}}, {"logs": {"1": [math.nan]}}),
        *({"skipped": {"1": 2}}, {"ratio": [1.0]}, {"schema_version": 1}),
        {"ends": [{"id": "gap", "pairs": [{"rounds": []}]}]},
    ],
    ids=repr,
)
def test_a_stored_state_is_read_back_or_refused(tmp_path, changed):
    path = tmp_path / "x.json"
    state = replace(SURE, skipped={2: "no nets"}, proven=False)
    assert math.isinf(state.ratio[2])
    bisected.write(path, state)
    assert bisected.read(path) == state
    path.write_text(path.read_text().replace('"Infinity"', "Infinity"))  # as earlier versions wrote it
    assert bisected.read(path) == state
    path.write_text(json.dumps(json.loads(path.read_text()) | changed) if changed else "")
    with pytest.raises(StoreError, match=r"x\.json: not the state of a bisection"):
        bisected.read(path)
