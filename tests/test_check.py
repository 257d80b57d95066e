"""Test a check from suite to verdict, with real processes, a worker without torch, and every kind of fault."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import Mock
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest

from convbench.check import (
    against_base,
    ci,
    counting,
    decision,
    gate,
    link,
    outcome,
    outputs,
    pairs,
    selftest,
    stock,
    verdict,
    words,
)
from convbench.check.answers import Inspection, _refuse_leak
from convbench.check.bisection import bisected
from convbench.check.inspection import Request, _compare, _inspection
from convbench.check.ledger import Ledger
from convbench.check.settings import Rule, Settings
from convbench.check.timings import Timings
from convbench.check.trees.sides import Side, scratch_folder
from convbench.cli.check_files import CheckFiles, FileOptions
from convbench.core.errors import BuildFailed, CaseFailed, ConvbenchError, Refused, StoreError, SuiteError
from convbench.core.system import files
from convbench.measure.comparison import parity
from convbench.report.export.summary import BUDGET
from convbench.runs.executor_options import executor_options

FAKE = Path(__file__).with_name("fake_worker.py")
SAME = {"seconds": {"gap": 0.010, "fc": 0.020}}
WHOLE = "whole numbers have to be equal"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that checks one fake tree against another and returns the outcome."""
    monkeypatch.setattr(link, "PROGRAM", FAKE)
    monkeypatch.setattr("convbench.check.pairs.quietest_cores", lambda _: [])

    def side(name: str, config: dict) -> Side:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        (root / "fake.json").write_text(json.dumps(config))
        return Side(name, root, root, (), commit=config.get("commit"), suite=root / "fake.json")

    def check(
        base: dict,
        head: dict,
        same_outputs: bool = True,
        announce: Callable[[str], None] = lambda _: None,
        budget: float | None = None,
        instructions: bool = False,
        only: tuple[str, ...] = (),
        keep: Callable[[outcome.Outcome], None] = lambda _: None,
        earlier: outcome.Outcome | None = None,
    ) -> outcome.Outcome:
        with scratch_folder() as folder:
            request = Request(
                "fake", only=only, same_outputs=same_outputs, instructions=instructions, ledger=Ledger(keep, earlier)
            )
            ends = math.inf if budget is None else time.monotonic() + budget
            method = gate.Method(Settings(slice_s=0.001), Rule(), folder, announce, ends)
            return gate.check(side("base", base), side("head", head), request, method, budget)

    return check


def verdicts(result: outcome.Outcome) -> dict[str, verdict.CaseVerdict]:
    return {case_verdict.case.id: case_verdict for case_verdict in verdict.verdicts(result)}


def no_child_is_left() -> bool:
    children = psutil.Process().children(recursive=True)
    return not [child for child in children if child.status() != "zombie" and "fake_worker" in str(child.cmdline())]


@pytest.mark.parametrize("forks", [True, False])
def test_the_same_code_is_ok_at_once(run, forks):
    result = run(SAME | {"forks": forks}, SAME | {"forks": forks})
    assert verdict.exit_code(result) == 0
    assert (result.budget, result.unfinished, result.seed, result.notes) == (None, False, 0, ())
    assert all(3 <= len(case.pairs) <= 7 for case in result.cases)
    assert {len(timing.rounds) for case in result.cases for timing in case.pairs} == {6}
    assert no_child_is_left()


def test_only_a_slowdown_gets_more_pairs_and_a_confirmation(run):
    messages: list[str] = []
    result = run(SAME, {"seconds": {"gap": 0.010, "fc": 0.021}}, announce=messages.append)
    assert verdict.exit_code(result) == 1
    fc = verdicts(result)["fc"]
    assert (fc.word, fc.ratio.estimate) == ("regression", pytest.approx(1.05, abs=0.002))
    assert len(fc.case.pairs) == 6
    assert len(fc.case.confirmation) == 5
    assert verdicts(result)["gap"].word == "ok"
    assert not verdicts(result)["gap"].case.confirmation
    assert messages[1] == "2 of 2 undecided: gap (ok if 4 more pairs agree), fc (ok if 4 more pairs agree)"
    assert "%, suspect if 5 more pairs agree)" in messages[2]
    assert "fc (a suspect, decided if 5 more new pairs agree)" in messages[7]
    assert "fc (a suspect, decided if 1 more new pair agrees); " in messages[11]
    assert len(messages) == 12


def test_a_large_slowdown_needs_two_pairs_and_three_new_pairs(run):
    fc = verdicts(run(SAME, {"seconds": {"gap": 0.010, "fc": 0.025}}))["fc"]
    assert (fc.word, len(fc.case.pairs), len(fc.case.confirmation)) == ("regression", 2, 3)


def test_a_spent_budget_reports_the_detectable_slowdown(run, monkeypatch):
    """The clock is fake: each reading advances it by a second, and the budget ends in the middle of a visit."""
    clock = itertools.count()
    monkeypatch.setattr(gate.time, "monotonic", lambda: float(next(clock)))
    result = run(SAME, {"seconds": {"gap": 0.010, "fc": 0.0203}}, budget=26)
    assert verdict.exit_code(result) == 3
    assert "the budget of 26 s ended the check: with more time, it decides more" in words.footing(result)
    judged = verdicts(result)
    assert {case.word for case in judged.values()} <= {"ok", "inconclusive"}
    for case in (case for case in judged.values() if case.word == "inconclusive"):
        count = len(case.case.pairs)
        would_have = "would have shown a slowdown of" if count > 1 else "is too few to show any slowdown"
        assert case.reason.startswith(f"undecided after {count} pair")
        assert would_have in case.reason


def test_a_budget_that_ends_at_once_measures_nothing(run):
    result = run(SAME, SAME, budget=1e-9)
    assert {case.reason for case in verdicts(result).values()} == {"not measured"}
    assert verdict.exit_code(result) == 3


def test_a_budget_that_ends_after_the_last_decision_ended_nothing(run):
    """A resumed check finds every case decided, so it says nothing of a budget that is over."""
    base, head = SAME | {"commit": "1" * 40}, SAME | {"commit": "2" * 40}
    result = run(base, head)
    resumed = run(base, head, earlier=result, budget=1e-9)
    assert (resumed.budget, run(base, head, budget=1e-9).budget) == (None, 1e-9)
    assert [case.pairs for case in resumed.cases] == [case.pairs for case in result.cases]


class Idle:
    """A worker that waits in a stock, and tells what is done with it."""

    def __init__(self, side: Side, settings: Settings, *_: object) -> None:
        self.side, self.settings, self.calls = side, settings, []
        self.is_broken = False

    def await_greeting(self) -> None:
        self.calls.append("greeted")
        if self.is_broken:
            raise CaseFailed("crash", "it died")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.calls.append(name)


def test_a_stock_gives_the_worker_of_the_side_its_variables_and_its_threads(tmp_path):
    one, two = (Side(name, None, tmp_path, ()) for name in ("one", "two"))
    settings, more_threads = Settings(), Settings(threads=2)
    workers = [Idle(two, settings), Idle(one, more_threads), Idle(one, settings), Idle(one, settings)]
    idle_workers = stock.Stock()
    for worker, variables in zip(workers, ((), (), (("A", "1"),), ()), strict=True):
        idle_workers.put(worker, variables)
    surplus = Idle(one, settings)
    idle_workers.put(surplus, ())
    assert (surplus.calls, [worker.calls for worker in workers]) == (["close"], [[]] * 4)
    slower = replace(settings, timeout=7.0)
    assert idle_workers.take(one, (), slower) is workers[3]
    assert (workers[3].settings, workers[3].calls) == (slower, ["hurry", "greeted"])
    assert idle_workers.take(one, (), settings) is None
    workers[1].is_broken = True
    assert idle_workers.take(one, (), more_threads) is None
    assert workers[1].calls[-2:] == ["greeted", "close"]
    with idle_workers:
        pass
    assert [worker.calls[-1] for worker in workers] == ["close", "close", "close", "greeted"]


def test_a_stock_starts_only_the_workers_that_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(stock, "SideWorker", Idle)
    base, head = (Side(name, None, tmp_path, ()) for name in ("base", "head"))
    idle_workers = stock.Stock()
    idle_workers.put(Idle(base, Settings()), ())
    counts = []
    for sides in ((base, head), (base, base, head), (base, base, base, head), (head, head, head)):
        idle_workers.order(sides, (), Settings(), tmp_path, {"name": "gap"}, [0])
        counts.append([worker.side.label for _, worker in idle_workers._idle_workers])
    assert counts == [["base", "head"], ["base", "head", "base"], *[["base", "head", "base", "base"]] * 2]
    assert idle_workers._idle_workers[1][1].calls == ["confine", "greet"]


@pytest.mark.parametrize(("tolerances", "are_same"), [((1e-3, 0.1), True), ((0.1, 1e-3), True), ((1e-3, 1e-3), False)])
def test_outputs_get_the_larger_tolerance_and_facts_of_both_sides_are_compared(tmp_path, tolerances, are_same):
    facts = {"base": {"macs": 1, "params": 2, "old": 3}, "head": {"macs": 5, "params": 2, "new": 3}}
    answers = {}
    for name, tolerance, value in zip(facts, tolerances, (1.0, 1.05), strict=True):
        path = tmp_path / f"{name}.npz"
        np.savez(path, np.full((2, 3), value))
        answers[name] = {"path": str(path), "tolerance": tolerance, "by_norm": False, "facts": facts[name]}
    inspected = Inspection("suite", [pairs.CheckedCase("gap", {}, 0)], 1.0)
    difference = _compare("gap", answers, inspected, ("base", "head"))
    assert (not difference, len(inspected.facts["gap"])) == (are_same, 1 if are_same else 2)
    assert inspected.facts["gap"][0] == outcome.Fact("macs", 1, 5)
    assert not list(tmp_path.glob("*.npz"))


def test_only_code_of_heads_own_tree_in_base_is_refused(tmp_path):
    head_root, nested_root = tmp_path / "head", tmp_path / "head" / "worktrees" / "base"
    files = {"net": str(head_root / "net.py")}

    class Base:
        def ask(self, _: str) -> dict:
            return {"files": files}

    def refuse(base_root: Path | None, name: str = "base") -> None:
        sides = {"base": Side("b", base_root, tmp_path, ()), "head": Side("h", head_root, tmp_path, ())}
        _refuse_leak(Base(), name, sides, inspected)

    inspected = Inspection("suite", [], 1.0)
    for base_root in (tmp_path / "base", nested_root):
        with pytest.raises(Refused, match=r"base imports net from the head's tree \(net\.py\)"):
            refuse(base_root)
    refuse(head_root)  # one tree in two interpreters
    refuse(None)
    refuse(tmp_path / "base", "head")
    for file in (nested_root / "net.py", head_root / ".venv" / "net.py", head_root / "x" / "site-packages" / "net.py"):
        files = {"other": str(file)}
        refuse(nested_root)
    assert {name: list(modules) for name, modules in inspected.files.items()} == {
        "base": ["net", "other"],
        "head": ["net"],
    }


def test_an_interrupted_visit_keeps_its_pairs(run, monkeypatch):
    """Only whole visits used to be kept: if CI ended a suite of slow cases, the minutes of a visit were lost."""
    kept: list[outcome.Outcome] = []
    add = Timings.add

    def interrupted(self: Timings, visit: pairs.PairRequest, measured: pairs.PairResult) -> None:
        add(self, visit, measured)
        raise KeyboardInterrupt

    monkeypatch.setattr(Timings, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(SAME, SAME, keep=kept.append)
    assert kept[-1].unfinished
    assert sorted(len(case.pairs) for case in kept[-1].cases) == [0, 1]
    assert no_child_is_left()


def test_a_faster_case_is_ok_and_marked_as_faster(run):
    result = run(SAME, {"seconds": {"gap": 0.010, "fc": 0.015}})
    assert verdict.exit_code(result) == 0
    assert [row.verdict for row in words.rows(result)] == ["ok", "ok (faster)"]


def test_a_noisy_machine_is_inconclusive_and_names_its_limit(run, monkeypatch):
    """Whole pairs are off, as on a core with a busy neighbour; the spread within a pair does not show it."""
    import random

    true = outcome.Timing.log_ratio
    noise, wobble = {}, random.Random(0)
    monkeypatch.setattr(
        outcome.Timing,
        "log_ratio",
        lambda self, _=-1: noise.setdefault(self.rounds, wobble.gauss(0, 0.15)) + true(self),
    )
    result = run({"seconds": {"gap": 0.010}}, {"seconds": {"gap": 0.010}})
    (case_verdict,) = verdict.verdicts(result)
    assert (case_verdict.word, verdict.exit_code(result)) == ("inconclusive", 3)
    assert case_verdict.reason.startswith("too noisy after 32 pairs to see a slowdown below")


def test_a_case_missing_on_one_side_is_invalid(run):
    result = run({"seconds": {"gap": 0.010, "old": 0.01}}, {"seconds": {"gap": 0.010, "new": 0.05}})
    judged = verdicts(result)
    assert verdict.exit_code(result) == 5
    assert judged["new"].reason == "missing in base: unknown reducer 'new'"
    assert judged["old"].reason.startswith("missing in head")
    assert judged["gap"].word == "ok"


def test_a_new_case_does_not_hide_a_dropped_case(run):
    seconds = {"gap": 0.010, "flat": 0.01}
    result = run({"seconds": seconds}, {"seconds": {"gap": 0.010, "new": 0.01}}, only=("*a*", "new"))
    judged = verdicts(result)
    assert judged["flat"].reason.startswith("missing in head")
    assert judged["new"].reason == "missing in base: unknown reducer 'new'"
    assert result.notes == ("base's own suite gives no case: --only new matches none of the cases",)
    with pytest.raises(SuiteError, match="--only nwe matches none of the cases"):
        run({"seconds": seconds}, {"seconds": seconds}, only=("gap", "nwe"))


def test_a_base_suite_that_gives_no_cases_is_noted(run, tmp_path):
    result = run(SAME | {"unplanned": f"{tmp_path / 'base' / 'fake.json'}:3:1: no such reducer"}, SAME)
    assert result.notes == ("base's own suite gives no case: fake.json:3:1: no such reducer",)
    with scratch_folder() as folder:
        base, head = (Side(name, tmp_path / name, tmp_path / name, ()) for name in ("base", "head"))
        (base.root / "fake.json").write_text(json.dumps(SAME))
        method = gate.Method(Settings(slice_s=0.001), Rule(), folder)
        result = gate.check(replace(base, suite=base.root / "speed.yaml"), head, Request("fake"), method)
    assert result.notes == ("base has no speed.yaml: if head dropped a case, it would not be noticed",)


def test_different_outputs_are_invalid_unless_allowed(run):
    other = SAME | {"outputs": {"fc": 0.6}}
    result = run(SAME, other)
    assert verdicts(result)["fc"].reason == (
        "outputs differ: tensor 0 of the output differs by up to 0.1; "
        "`check` and `bisect` time it anyway with --different-outputs"
    )
    assert verdict.exit_code(result) == 5
    (row,) = [row for row in words.rows(result) if row.name == "fc"]
    assert row.details == (verdicts(result)["fc"].reason,), "said once"
    lenient = run(SAME, other, same_outputs=False)
    assert verdict.exit_code(lenient) == 0
    (row,) = [row for row in words.rows(lenient) if row.name == "fc"]
    assert row.details == ("output: tensor 0 of the output differs by up to 0.1",)


def test_no_further_pair_is_planned_if_the_next_decides():
    nearly = Timings({"gap": [outcome.Timing(((1.0, 1.0),))] * 3})
    assert decision.forecast(nearly.logs("gap"), Rule()) == ("ok", 1)
    assert decision.forecast(Timings().logs("gap"), Rule()) == ("ok", 4)
    assert decision.pairs_to_confirm(Timings().triples("gap"), Rule(), 1) == 5
    assert nearly.next_stage("gap", "pair", Rule(), 1) is None


@pytest.mark.parametrize(
    ("ratios", "following"),
    [([], "pair"), ([1.0] * 3, None), ([1.25], "confirm"), ([1.05] * 2, "pair"), ([1.05] * 5, "confirm")],
)
def test_the_next_stage_is_known_while_a_pair_is_timed(ratios, following):
    timed = Timings({"gap": [outcome.Timing(((1.0, ratio),)) for ratio in ratios]})
    assert timed.next_stage("gap", "pair", Rule(), 1) == following


def test_confirmation_continues_until_its_last_triple():
    timed = Timings(confirmation={"gap": [outcome.Timing(((1.0, 1.0, 1.25),))]})
    assert timed.next_stage("gap", "confirm", Rule(), 1) == "confirm"
    timed.confirmation["gap"] *= 2
    assert timed.next_stage("gap", "confirm", Rule(), 1) is None


NOISE = [1.3, 0.8] * 16


@pytest.mark.parametrize(
    ("ratios", "new", "stage"),
    [
        ([], [], "pair"), (NOISE[:31], [], "pair"), (NOISE, [], None), ([1.0] * 4, [], None),
        ([1.25] * 2, [], "confirm"),
        ([1.25] * 2, NOISE[:23], "confirm"), ([1.25] * 2, NOISE[:24], None), ([1.25] * 2, [1.25] * 2, "confirm"),
        ([1.25] * 2, [1.25] * 3, None), ([1.25] * 2, [1.0] * 5, None),
    ],
)  # fmt: skip
def test_a_case_is_measured_until_it_is_decided_or_has_all_pairs(ratios, new, stage):
    timed = Timings({"gap": [outcome.Timing(((1.0, ratio),)) for ratio in ratios]})
    timed.confirmation["gap"] = [outcome.Timing(((1.0, 1.0, ratio),)) for ratio in new]
    assert timed.stage("gap", Rule(), 1) == stage
    assert bool(timed.open_cases([pairs.CheckedCase("gap", {}, 0)], Rule(), 1)) == bool(stage)


def test_a_suspect_is_timed_in_three_processes_until_it_is_decided(monkeypatch, tmp_path):
    visited = []

    def measure(visits, settings, folder, stock, next_visits):
        (visit,) = visits
        visited.append([(arm.name, arm.side.label) for arm in visit.arms])
        following.append([len(next_visit.arms) for next_visit in next_visits])
        yield visit, outcome.Timing(((1.0,) * (len(visit.arms) - 1) + (1.3,),))

    following: list[list[int]] = []
    monkeypatch.setattr(pairs, "measure", measure)
    arms = tuple(pairs.Arm(name, Side(name, None, tmp_path, ())) for name in ("base", "head"))
    method = gate.Method(Settings(), Rule(), tmp_path)
    timed = gate.decide(arms, [pairs.CheckedCase("gap", {}, 0)], ["gap"], method, Timings())
    pair, triple = [("base", "base"), ("head", "head")], [("base", "base"), ("base again", "base"), ("head", "head")]
    assert visited == [pair] * 2 + [triple] * 3
    assert following == [[2], [3], [3], [3], []]
    assert (len(timed.pairs["gap"]), len(timed.confirmation["gap"]), len(timed.visit_seconds)) == (2, 3, 5)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="no core is free beside a pair")
def test_the_next_pairs_workers_start_during_the_current_pair(run, monkeypatch):
    """They start on a core that the pair leaves free and are then used: two for each pair, and none is left over."""
    timed = min(os.sched_getaffinity(0))
    monkeypatch.setattr("convbench.check.pairs.quietest_cores", lambda _: [timed])
    started, waited = [], []
    start, order = link.SideWorker.__init__, stock.Stock.order

    def count(worker, *others):
        started.append(worker)
        start(worker, *others)

    def look(stock, sides, *others):
        order(stock, sides, *others)
        waited.append([worker.process.pid for _, worker in stock._idle_workers])
        assert not any(timed in os.sched_getaffinity(pid) for pid in waited[-1])

    monkeypatch.setattr(link.SideWorker, "__init__", count)
    monkeypatch.setattr(stock.Stock, "order", look)
    judged = verdicts(run(SAME, SAME))
    pairs_timed = {len(case_verdict.case.pairs) for case_verdict in judged.values()}
    assert [len(pids) for pids in waited] == [2] * (max(pairs_timed) - 1)
    assert len(started) == 2 * max(pairs_timed)
    assert no_child_is_left()


def test_a_worker_that_died_before_its_pair_is_replaced(run, monkeypatch):
    """The case that would have used the worker is not to blame for its death."""
    monkeypatch.setattr("convbench.check.pairs.quietest_cores", lambda _: sorted(os.sched_getaffinity(0))[:1])
    order = stock.Stock.order

    def die(stock, *others):
        order(stock, *others)
        for _, worker in stock._idle_workers:
            worker.process.kill()

    monkeypatch.setattr(stock.Stock, "order", die)
    assert {case_verdict.word for case_verdict in verdicts(run(SAME, SAME)).values()} == {"ok"}


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_dying_worker_fails_only_its_own_case(run, side):
    dies = SAME | {"ends": {"fc": "die"}}
    result = run(*((dies, SAME) if side == "base" else (SAME, dies)))
    judged = verdicts(result)
    assert judged["fc"].reason == f"crash in {side}: killed by SIGABRT; last output: about to fall over"
    assert judged["gap"].word == "ok"
    assert verdict.exit_code(result) == 5


def test_a_worker_that_dies_at_start_fails_only_its_case(run, monkeypatch):
    monkeypatch.setattr(pairs.random, "sample", lambda population, _: sorted(population, key=str))
    result = run(SAME, SAME | {"ends": {"fc": "die at start"}})
    assert verdicts(result)["fc"].reason.startswith("crash in head: killed by SIGABRT")
    assert verdicts(result)["gap"].word == "ok"
    assert no_child_is_left()


def test_the_suites_time_limit_ends_a_hanging_worker(run):
    base, head = SAME | {"commit": "1" * 40}, SAME | {"commit": "2" * 40}
    result = run(base, head | {"ends": {"fc": "hang"}, "timeout": 3.0})
    judged = verdicts(result)
    assert judged["gap"].word == "ok"
    assert judged["fc"].reason == "timeout in head: no answer after 3 s (protocol.timeout)"
    assert verdict.exit_code(result) == 5
    assert no_child_is_left()
    resumed = run(base, head | {"timeout": 50.0}, earlier=result)  # a longer limit applies, and the case is tried again
    assert (resumed.settings.timeout, verdict.exit_code(resumed)) == (50.0, 0)
    assert verdicts(resumed)["gap"].case.pairs == judged["gap"].case.pairs


def test_exact_facts_are_reported_without_statistics(run):
    base = {"params": 10, "macs": 5, "gone": 1, "not counted": "nothing", "predicted_peak_bytes": 5 << 20}
    head = {"params": 11, "macs": 5, "not counted": "shop::proj", "predicted_peak_bytes": 5247764}
    result = run(SAME | {"facts": base}, SAME | {"facts": head})
    (facts, _) = (case.facts for case in result.cases)
    assert [words.fact(fact) for fact in facts] == [
        "parameters: 10 before, 11 now",
        "not counted: nothing before, shop::proj now",
        "predicted peak memory: 5,242,880 B before, 5,247,764 B now",
    ]
    fact = outcome.Fact("predicted_peak_bytes", 5 << 20, 6 << 20)
    assert words.fact(fact) == "predicted peak memory: 5.00 MiB before, 6.00 MiB now"
    assert verdict.exit_code(result) == 0


def test_a_check_says_where_memory_is_not_compared(run):
    """It did not, so a change of memory that could not be seen looked like none."""
    unknown = {"memory": "not predicted: its forward reads values"}
    result = run(SAME | {"facts": unknown}, SAME | {"facts": unknown})
    assert "memory is not compared in gap and fc: its forward reads values" in words.footing(result)
    result = run(SAME | {"facts": {"memory": "predicted"}}, SAME | {"facts": unknown})
    assert (
        words.fact(result.cases[0].facts[0]) == "memory: predicted before, not predicted: its forward reads values now"
    )
    result = run(SAME, SAME | {"facts": {"memory": "predicted"}})
    assert not any("memory" in line for line in words.footing(result))


def test_instruction_counts_come_with_their_limits_and_decide_nothing(run):
    counts = {"gap": 1e6, "fc": 2e6}
    result = run(SAME | {"instructions": counts}, SAME | {"instructions": counts | {"fc": 2.5e6}}, instructions=True)
    details = {row.name: row.details for row in words.rows(result)}
    assert details["fc"] == ("instructions a call, by valgrind: 2,000,000 before, 2,500,000 now (+25.0 %)",)
    assert details["gap"] == ("instructions a call, by valgrind: 1,000,000 before, 1,000,000 now (+0.0 %)",)
    assert any("valgrind has no AVX-512 and no AMX" in line for line in words.footing(result))
    assert verdict.exit_code(result) == 0


def test_valgrinds_limits_are_stated_only_where_it_counted():
    def footing(name: str) -> str:
        case = outcome.CaseOutcome("gap", facts=(outcome.Fact(name, 1.0, 1.0),))
        return " ".join(words.footing(replace(judged(), cases=(case,))))

    assert "instruction counts repeat within about 0.2 % under any load and decide nothing: valgrind has" in footing(
        f"{outcome.INSTRUCTIONS}, by valgrind"
    )
    assert "valgrind" not in footing(f"{outcome.INSTRUCTIONS}, by counters")
    assert "instruction counts repeat" not in footing(outcome.INSTRUCTIONS)


def test_a_spent_budget_leaves_instructions_uncounted(run):
    """The latency, which decides, comes first."""
    result = run(SAME | {"instructions": {}}, SAME, instructions=True, budget=0.001)
    assert words.rows(result)[0].details[-1] == "instructions a call: not counted (the time ran out)"
    assert verdict.exit_code(result) == 3


def test_latency_is_judged_even_if_instructions_cannot_be_counted(run):
    result = run(SAME, SAME, instructions=True)
    assert words.rows(result)[0].details == ("instructions a call: not counted (valgrind is not installed)",)
    assert verdict.exit_code(result) == 0


def test_a_failed_counting_worker_costs_no_verdict(run, monkeypatch):
    def fail(*_):
        raise BuildFailed("head (working tree) cannot be imported: invalid syntax")

    monkeypatch.setattr(counting, "_instructions", fail)
    result = run(SAME, SAME, instructions=True)
    assert "not counted (head (working tree) cannot be imported: invalid syntax)" in words.rows(result)[0].details[0]
    assert verdict.exit_code(result) == 0


def test_an_interrupted_count_keeps_the_earlier_ones(run, monkeypatch):
    kept: list[outcome.Outcome] = []
    counts = iter([{side: {"count": 1e6, "by": "valgrind"} for side in counting.SIDES}])

    def interrupted(*_):
        try:
            return next(counts)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(gate, "decide", lambda *_: None)
    monkeypatch.setattr(counting, "_instructions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(SAME, SAME, instructions=True, keep=kept.append)
    assert kept[-1].unfinished
    assert [len(case.facts) for case in kept[-1].cases] == [1, 0]


def test_the_footing_excepts_cases_with_their_own_threads(run):
    result = run(SAME, SAME)
    threaded = replace(result, cases=(replace(result.cases[0], id="gap/threads=4"), *result.cases[1:]))
    assert any("1 thread, allocator" in line for line in words.footing(result))
    assert any("1 thread unless a case names another number, allocator" in line for line in words.footing(threaded))


def test_a_side_that_cannot_be_imported_is_a_failed_build(run):
    with pytest.raises(BuildFailed, match=r"base \(base\) cannot be imported: no module named torch") as failed:
        run(SAME | {"broken": "no module named torch"}, SAME)
    assert failed.value.exit_code == 5
    assert no_child_is_left()


def test_heads_code_in_base_is_refused(run, tmp_path):
    leak = {"files": {"nets": str(tmp_path / "head" / "python" / "nets.py")}}
    with pytest.raises(Refused, match=r"base imports nets from the head's tree \(python/nets.py\)") as refused:
        run(SAME | leak, SAME)
    assert refused.value.exit_code == 4


def test_heads_code_is_refused_even_if_bases_last_case_fails(run, tmp_path):
    """The imports of the earlier cases must be read before the failing case ends their process."""
    leak = {"files": {"nets": str(tmp_path / "head" / "nets.py")}, "inspection fails": "fc"}
    with pytest.raises(Refused, match="base imports nets from the head's tree"):
        run(SAME | leak, SAME)


def test_different_environments_and_requirements_are_noted(run, monkeypatch):
    monkeypatch.setattr(
        gate.requirements, "notes", lambda base, head: [f"{base.label} and {head.label} require others"]
    )
    result = run({"seconds": {"gap": 0.01}, "torch": "2.12"}, {"seconds": {"gap": 0.01}})
    assert result.notes == ("the sides' environments differ: torch", "base and head require others")


def test_only_the_same_code_under_the_same_interpreter_is_noted_as_such(tmp_path):
    side = Side("main", None, tmp_path, (), commit="1" * 40)
    inspected = Inspection("suite", [], 1.0)
    (note,) = gate._notes(side, side, inspected)
    assert note.startswith("base and head are the same commit")
    for other in (replace(side, commit="2" * 40), replace(side, python="python3.99")):
        assert gate._notes(side, other, inspected) == ()
    changed = replace(side, changes=("a.py",))
    assert gate._notes(changed, side, inspected) == ()
    assert gate._notes(side, changed, inspected) == ("head has uncommitted changes: a.py",)


@pytest.mark.parametrize("by_norm", [False, True])
@pytest.mark.parametrize(
    ("base", "head", "words"),
    [
        ([1.0, 2.0], [1.0, 2.0], ""),
        ([1.0, math.nan], [1.0, math.nan], ""),
        ([1.0, math.inf], [1.0, math.inf], ""),
        ([1.0, 2.0], [1.0, 2.5], "tensor 0 of the output differs by up to 0.5"),
        ([1.0, math.nan], [2.0, math.nan], "tensor 0 of the output differs by up to 1"),
        (
            [1.0, 2.0],
            [1.0, math.nan],
            "tensor 0 of the output is NaN or infinite in head at 1 place of 2, where the other side is not",
        ),
        (
            [math.inf, math.nan],
            [1.0, 2.0],
            "tensor 0 of the output is NaN or infinite in base at 2 places of 2, where the other side is not",
        ),
        ([math.inf], [-math.inf], "tensor 0 of the output is NaN or infinite in both sides, but not in the same way"),
        ([3e38], [-3e38], "tensor 0 of the output differs by up to 6e+38"),
        ([1 + 2j], [1 + 2j], ""),
        ([1 + 2j], [1 - 2j], "tensor 0 of the output differs by up to 4"),
        ([complex(1, math.nan)], [complex(1, math.nan)], ""),
        ([2.0**24], [2.0**24 + 2], ""),
        ([2**53, 7], [2**53 + 1, 7], f"tensor 0 of the output differs at 1 place of 2: {WHOLE}"),
        ([True, False], [False, True], f"tensor 0 of the output differs at 2 places of 2: {WHOLE}"),
        ([True, 3], [1.0, 3.0], ""),
        ([3.0], [4], "tensor 0 of the output differs by up to 1"),
        ([], [], ""),
    ],
)
@pytest.mark.filterwarnings("error")
def test_outputs_that_are_not_finite_are_compared_like_others(tmp_path, base, head, words, by_norm):
    """A head whose output had become NaN used to be reported as differing by up to 0."""
    for name, values in (("base", base), ("head", head)):
        np.savez(tmp_path / f"{name}.npz", np.array(values))
    assert outputs.difference(tmp_path / "base.npz", tmp_path / "head.npz", 1e-4, by_norm) == words


@pytest.mark.parametrize(
    ("base", "head", "by_value", "by_norm"),
    [
        ([0.0], [0.0099], True, False),
        ([0.0], [0.0101], False, False),
        ([100.0, 0.0], [100.0, 0.5], False, True),
        ([0.1] * 100, [0.1105] * 100, True, False),
        ([1, 2], [1, 3], False, False),
        ([1, 100], [1.0, 100.5], True, True),  # not whole on both sides
    ],
)
def test_values_are_compared_one_by_one_and_gradients_by_norm(tmp_path, base, head, by_value, by_norm):
    for name, values in (("base", base), ("head", head)):
        np.savez(tmp_path / f"{name}.npz", **{"0 x": np.array(values)})
    files = (tmp_path / "base.npz", tmp_path / "head.npz")
    assert [outputs.difference(*files, 0.01, norm) == "" for norm in (False, True)] == [by_value, by_norm]


@pytest.mark.parametrize("large", [np.array([1000.0]), np.array([1000], np.uint16)])
def test_a_gradient_that_is_next_to_nothing_is_compared_with_all(tmp_path, large):
    """It counts as a hundredth of the norm of them all; tokens beside it do not overflow."""
    base, head, other = (tmp_path / f"{name}.npz" for name in ("base", "head", "other"))
    for file, value in ((base, 0.001), (head, 0.1), (other, 0.11)):
        np.savez(file, **{"0 large": large, "1 small": np.array([value])})
    assert outputs.difference(base, head, 0.01, True) == ""
    assert outputs.difference(base, other, 0.01, True) == "small of the output differs by up to 0.11"


def test_outputs_of_other_names_are_compared_in_their_order(tmp_path):
    """A side may have renamed some."""
    base, head = tmp_path / "base.npz", tmp_path / "head.npz"
    np.savez(base, **{"0 x": np.array([1.0]), "1 a": np.array([2.0])})
    np.savez(head, **{"0 b": np.array([1.0]), "1 y": np.array([2.0])})
    assert outputs.difference(base, head, 0.01, False) == ""


def test_an_output_without_numbers_is_noted_as_not_compared(run):
    silent = SAME | {"outputs": {"fc": None}}
    result = run(silent, silent)
    assert verdict.exit_code(result) == 0
    details = {row.name: row.details for row in words.rows(result)}
    assert details == {"gap": (), "fc": ("output: no numbers in it, so it was not compared",)}


def test_a_process_that_cannot_be_started_is_a_failed_build(run, monkeypatch):
    def full(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(link.subprocess, "Popen", full)
    with pytest.raises(BuildFailed, match=r"head \(head\) cannot be imported: no process of head can be started .*11"):
        run(SAME, SAME)


def test_the_file_of_a_newer_convbench_is_refused(tmp_path):
    path = outcome.write(replace(judged(), schema_version=outcome.SCHEMA_VERSION + 1), tmp_path / "x.json")
    with pytest.raises(StoreError, match=r"x\.json: written by a newer convbench \(schema 2\): upgrade"):
        outcome.read(path)


def test_an_outcome_keeps_its_verdicts_when_stored_and_read(run, tmp_path):
    result = run(SAME, {"seconds": {"gap": 0.010, "fc": 0.024}})
    back = outcome.read(outcome.write(result, tmp_path / "check.json"))
    assert back == result
    reader, writer = os.pipe()  # as a shell's <(...) gives one
    assert os.write(writer, (tmp_path / "check.json").read_bytes()) == (tmp_path / "check.json").stat().st_size
    os.close(writer)
    assert outcome.read(Path(f"/proc/self/fd/{reader}")) == result
    os.close(reader)
    assert verdict.exit_code(back) == 1


@pytest.mark.parametrize("text", ["", "{}", '{"suite": 1}', "[1, 2]"])
def test_a_file_that_is_no_outcome_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(StoreError, match=r"x\.json"):
        outcome.read(tmp_path / "x.json")
    with pytest.raises(StoreError, match="cannot be read"):
        outcome.read(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "read",
    [outcome.read, bisected.read, partial(selftest.stored_attempts, conditions={}),
     lambda path: executor_options("fake", [str(path)])],
    ids=["check", "bisect", "selftest", "executor"],
)  # fmt: skip
def test_a_device_that_never_ends_is_refused(monkeypatch, read):
    """They took all of the machine's memory."""
    monkeypatch.setattr(files.read, "__defaults__", (2**20,))
    with pytest.raises(ConvbenchError, match=r"/dev/zero.*\(it holds more than 1 MiB\)"):
        read(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("rounds", "again"),
    [((), ((1.0, 1.0, 1.2),)), (((1.0, 1.2),), ((1.0, 1.2),)), (((1.0, 0.0),), ((1.0, 1.0, 1.2),)),
     (((1.0, 1.2), (1.0,)), ((1.0, 1.0, 1.2),)), (((1.0, float("inf")),), ((1.0, 1.0, 1.2),))],
    ids=["no round", "an arm of three", "zero", "ragged", "infinite"],
)  # fmt: skip
def test_a_file_with_damaged_times_is_refused(tmp_path, rounds, again):
    case = outcome.CaseOutcome("gap", (outcome.Timing(rounds),), (outcome.Timing(again),))
    path = outcome.write(replace(judged(), cases=(case,)), tmp_path / "x.json")
    with pytest.raises(StoreError, match=r"x\.json: not the JSON of a check"):
        outcome.read(path)


@pytest.mark.parametrize(("tolerance", "guard"), [(-2.0, 0.04), (0.02, float("-inf")), (0.04, 0.02), (0.02, 20.0)])
def test_a_file_with_an_impossible_rule_is_refused(tmp_path, tolerance, guard):
    """To replay it ended in an error of the logarithm."""
    path = outcome.write(replace(judged(), rule=Rule(tolerance, guard)), tmp_path / "x.json")
    with pytest.raises(StoreError, match=r"x\.json: not the JSON of a check: .*guard"):
        outcome.read(path)


def judged() -> outcome.Outcome:
    """Return an outcome with one case of each verdict, written by hand."""
    steady = tuple(outcome.Timing(((1e-3, 1e-3 * (1 + i / 1e5)),)) for i in range(7))
    slow = tuple(outcome.Timing(((1e-3, 1.2e-3 * (1 + i / 1e5)),)) for i in range(2))
    again = tuple(outcome.Timing(((1e-3, 1e-3, 1.2e-3 * (1 + i / 1e5)),)) for i in range(3))
    null_off = tuple(outcome.Timing(((1e-3, 1.25e-3, 1.2e-3 * (1 + i / 1e5)),)) for i in range(12))
    cases = (
        outcome.CaseOutcome("a|b", steady, facts=(outcome.Fact("params", 1, 2),)),
        outcome.CaseOutcome("slow", slow, again),
        outcome.CaseOutcome("busy", slow, null_off),
        outcome.CaseOutcome("gone", invalid="missing in base: <no such reducer>"),
    )
    side = outcome.SideOutcome("main (abc)", "0123456789abcdef", False, {"torch": "2.13"})
    return outcome.Outcome("smoke", side, side, cases, Rule(), Settings(), "2026-11-22", 60.0, "0.1.0", floor=0.03)


def test_exit_codes_rank_regression_above_invalid_above_inconclusive():
    whole = judged()
    assert verdict.exit_code(whole) == 1
    assert verdict.exit_code(replace(whole, cases=(whole.cases[0], *whole.cases[2:]))) == 5
    assert verdict.exit_code(replace(whole, cases=(whole.cases[0], whole.cases[2]))) == 3
    assert verdict.exit_code(replace(whole, cases=whole.cases[:1])) == 0
    assert words.headline(whole) == "1 regression, 1 invalid, 1 inconclusive, 1 ok"


def test_a_base_that_differs_from_itself_is_never_red():
    busy = verdict.verdicts(judged())[2]
    assert (busy.word, busy.reason) == (
        "inconclusive",
        "suspected, but in 12 of 12 new pairs base differs from itself by more than 10 %: the machine is too busy",
    )


def test_junit_shows_each_verdict_as_ci_systems_do():
    suite = ElementTree.fromstring(ci.junit(judged()))
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    children = {test.get("name"): test[0].tag for test in suite}
    assert children == {"a|b": "system-out", "slow": "failure", "busy": "skipped", "gone": "error"}
    assert "ratio 1.200" in suite[1][0].get("message")
    assert suite[3][0].get("message").startswith("invalid: missing in base: ")
    assert [test[0].text for test in suite][1:] == [test[0].get("message") for test in suite][
        1:
    ]  # GitLab shows the text
    begun = outcome.CaseOutcome("begun", judged().cases[0].pairs[:2])
    suite = ElementTree.fromstring(ci.junit(replace(judged(), cases=(begun,))))
    assert suite[0][0].get("message").startswith("inconclusive: ratio 1.000; undecided after 2 pairs")


@pytest.mark.parametrize("summary", [None, Path("own.md")])
def test_a_check_has_a_default_file_and_writes_the_summary_of_ci_unless_another_is_named(
    tmp_path, monkeypatch, capsys, summary
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "step.md")
    CheckFiles("suites/smoke.yaml", FileOptions(summary=summary)).write(judged())
    assert outcome.read(Path("reports/check/smoke.json")) == judged()
    assert capsys.readouterr().err == "replay with: convbench replay reports/check/smoke.json\n"
    assert [path.name for path in tmp_path.glob("*.md")] == [str(summary or "step.md")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_check_whose_summary_finds_a_full_disk_tells_how_to_replay_it(tmp_path: Path):
    path = tmp_path / "check.json"
    with pytest.raises(StoreError, match=f"No space left.*all timings are stored: convbench replay {path}$"):
        CheckFiles("smoke", FileOptions(path, summary=Path("/dev/full"))).write(judged())
    assert outcome.read(path) == judged()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_check_whose_json_cannot_be_written_names_none_to_replay(tmp_path: Path, capsys):
    """The file at that place was of an earlier check: ``replay`` printed its verdicts."""
    with pytest.raises(StoreError, match=r"^/dev/full: .*choose another place with --json$"):
        CheckFiles("smoke", FileOptions(Path("/dev/full"), summary=tmp_path / "check.md")).write(judged())
    assert (tmp_path / "check.md").exists()
    assert not capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_full_disk_costs_neither_the_table_nor_the_other_files(tmp_path, in_process, monkeypatch, is_whole):
    """JUnit's file came before the summary, and both before the table; if a visit could not be stored, none came."""

    def check(request, *_):
        request.ledger.keep(replace(judged(), unfinished=True))
        if not is_whole:
            raise StoreError("check.json: cannot be written (No space left on device)")
        return against_base.Check(judged())

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(against_base, "check", check)
    words = ("check", "smoke", "--base", "main", "--json", "check.json", "--junit", "/dev/full", "--summary", "a.md")
    done = in_process(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be written (No space left on device)" in done.stderr
    assert f"{'' if is_whole else 'unfinished, so far '}1 regression, 1 invalid" in done.stdout
    assert (tmp_path / "a.md").exists() == is_whole


def test_an_interrupted_check_shows_its_verdicts_so_far(tmp_path, in_process, monkeypatch):
    """Ctrl-C while instructions were counted printed no table, though every case had its verdict."""

    def check(request, *_):
        request.ledger.keep(replace(judged(), unfinished=True))
        raise KeyboardInterrupt

    monkeypatch.setattr(against_base, "check", check)
    done = in_process("check", "smoke", "--base", "main", "--json", "check.json", cwd=tmp_path)
    assert done.returncode == 130
    assert "unfinished, so far 1 regression, 1 invalid" in done.stdout


def test_a_long_markdown_fits_into_a_comment_and_keeps_the_regressions():
    """It had no limit: GitHub refuses a comment of more than 65,536 characters, and so shows nothing of it."""
    passed, slow, _, gone = judged().cases
    cases = [replace(case, id=f"{case.id}{i}/{'n' * 300}") for i in range(150) for case in (passed, gone)]
    slow = replace(slow, pairs=10 * slow.pairs, confirmation=10 * slow.confirmation)
    whole = replace(judged(), cases=(*cases, slow))
    text = ci.markdown(whole)
    assert 0.8 * BUDGET < len(text) <= BUDGET
    assert "| 20 + 30 | regression |" in text
    left_out = int(re.search(r"characters: (\d+) rows of the table", text)[1])
    assert sum(text.count(f"| {word} |") for word in ("regression", "invalid", "ok")) + left_out == len(whole.cases)
    assert "\n\nHow it was decided:\n\n- " in text


def test_an_unfinished_check_is_never_red():
    unfinished = replace(judged(), unfinished=True)
    suite = ElementTree.fromstring(ci.junit(unfinished))
    assert [suite.get(key) for key in ("failures", "errors", "skipped")] == ["0", "0", "3"]
    assert [test[0].tag for test in suite] == ["system-out", "skipped", "skipped", "skipped"]
    assert suite[1][0].get("message").startswith("unfinished, so far regression: ratio 1.200")
    assert "### convbench check: unfinished, so far 1 regression, 1 invalid, 1 inc" in ci.markdown(unfinished)
    assert verdict.exit_code(unfinished) == 3


def test_markdown_is_a_table_whatever_the_names_contain():
    text = ci.markdown(judged())
    assert "### convbench check: 1 regression, 1 invalid, 1 inconclusive, 1 ok" in text
    assert "| a&#124;b | 1.00 ms | 1.00 ms | 1.000 | 1.000, 1.000 | 7 | ok |" in text
    assert "| slow | 1.00 ms | 1.20 ms | 1.200 | 1.091, 1.320 | 2 + 3 | regression |" in text
    assert "- a&#124;b: parameters: 1 before, 2 now" in text
    assert "&lt;no such reducer&gt;" in text
    assert "the selftest of this machine saw slowdowns of 3.0 % or more" in text


def test_a_suite_that_head_cannot_read_is_the_users_mistake(run):
    with pytest.raises(SuiteError):
        run(SAME, {"no seconds": 1})


def test_a_death_while_head_reads_the_suite_says_what_was_done():
    """The message was only that a process was killed."""
    head = Mock(ask=Mock(side_effect=CaseFailed("crash", "killed by SIGSEGV")))
    with pytest.raises(
        SuiteError, match=r"^mine\.yaml: importing the code that it names ended without a result: killed"
    ):
        _inspection(head, Request("mine.yaml"), Settings())


def test_trainings_are_left_out_with_a_note(run):
    """Both sides used to train them to the end before anything was timed, and then they were invalid."""
    quality = SAME | {"seconds": {"gap": 0.010, "digits": 9.0, "order": 9.0}}
    quality |= {"trials": {"digits": {"task": "digits"}, "order": {"task": "order"}}}
    result = run(quality, quality)
    assert ([case.id for case in result.cases], verdict.exit_code(result)) == (["gap"], 0)
    assert result.notes == ("2 trainings and read-outs left out: a check times calls",)
    alone = quality | {"seconds": {"digits": 9.0}}
    with pytest.raises(SuiteError, match="fake: only trainings and read-outs are selected, and a check times calls"):
        run(alone, alone)


def test_check_and_run_share_the_same_negligible_difference():
    assert outputs.NEXT_TO_NOTHING == parity.NEXT_TO_NOTHING
