"""The decision rule on invented pairs: what it calls, how often it is wrong, and how it confirms."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from convbench.check import decision, outcome, verdict
from convbench.check.rule import Rule

RULE = Rule()


def pairs(slowdown: float, spread: float, count: int, rng: np.random.Generator) -> list[float]:
    return list(math.log1p(slowdown) + spread * rng.standard_normal(count))


def calls(slowdown: float, spread: float, trials: int, rule: Rule = RULE, cases: int = 10) -> dict[str, float]:
    rng = np.random.default_rng(7)
    made = [decision.decide(pairs(slowdown, spread, 32, rng), rule, cases) for _ in range(trials)]
    return {call: made.count(call) / trials for call in ("ok", "suspect", "undecided")}


def red(slowdown: float, spread: float, trials: int, rule: Rule = RULE) -> float:
    """Share of cases that end red: suspect, then confirmed on new pairs beside a null arm."""
    rng = np.random.default_rng(11)
    ended = 0
    for _ in range(trials):
        if decision.decide(pairs(slowdown, spread, 32, rng), rule, 10) == "suspect":
            ended += confirmed(pairs(slowdown, spread, 20, rng), pairs(0, spread, 20, rng), rule)
    return ended / trials


def confirmed(slower: list[float], null: list[float], rule: Rule = RULE) -> bool:
    return decision.confirmation(slower, null, rule) == "regression"


@pytest.mark.parametrize("spread", [0.005, 0.01, 0.03, 0.1])
def test_the_same_code_is_never_red(spread):
    assert red(0.0, spread, 200) == 0


@pytest.mark.parametrize("spread", [0.005, 0.01])
def test_the_same_code_is_passed_at_the_usual_spread(spread):
    assert calls(0.0, spread, 150)["ok"] == 1


def test_noise_costs_inconclusive_and_not_a_wrong_colour():
    noisy = calls(0.0, 0.15, 100)
    assert noisy["undecided"] > 0.5
    assert noisy["suspect"] == 0


@pytest.mark.parametrize(("spread", "least"), [(0.007, 0.99), (0.015, 0.9)])
def test_five_per_cent_is_red(spread, least):
    assert red(0.05, spread, 150) >= least


def test_ten_per_cent_is_red():
    assert red(0.10, 0.015, 100) == 1


def test_three_per_cent_is_red_for_the_rule_that_detects_it():
    assert red(0.03, 0.007, 150, Rule.detecting(0.03)) >= 0.95


@pytest.mark.parametrize("spread", [0.007, 0.015, 0.03])
def test_five_per_cent_is_hardly_ever_passed(spread):
    assert calls(0.05, spread, 200)["ok"] <= 0.01


def test_a_slowdown_within_the_tolerance_is_no_regression():
    assert red(0.01, 0.007, 100) == 0


def test_one_wild_pair_decides_nothing():
    rng = np.random.default_rng(3)
    logs = pairs(0, 0.006, 32, rng)
    logs[4] = 0.3
    assert decision.decide(logs, RULE, 10) == "ok"


def test_eight_pairs_can_pass_but_never_accuse():
    assert decision.call([0.5 + i / 1e3 for i in range(8)], RULE, 1) == "undecided"
    assert decision.call([-0.001 * i for i in range(8)], RULE, 1) == "ok"


def test_nothing_is_called_between_looks():
    assert decision.call([0.0] * 7, RULE, 1) == "undecided"
    assert [decision.next_look(n) for n in (0, 8, 13, 32)] == [8, 14, 14, None]


def test_alpha_is_spent_whole_and_shared_by_the_cases():
    assert sum(decision.SPENT.values()) == pytest.approx(1)
    borderline = [0.05 + 0.0001 * i for i in range(13)] + [0.0]
    assert decision.call(borderline, RULE, 1) == "suspect"
    assert decision.call(borderline, RULE, 1000) == "undecided"


def test_no_red_where_base_differs_from_itself():
    rng = np.random.default_rng(5)
    slower = pairs(0.1, 0.005, 12, rng)
    assert confirmed(slower, pairs(0, 0.005, 12, rng))
    assert not confirmed(slower, pairs(0.05, 0.005, 12, rng))
    assert not confirmed(slower, pairs(-0.05, 0.005, 12, rng))


def test_a_suspect_has_a_second_look_and_one_per_cent_in_all():
    assert sum(decision.CONFIRM_LEVELS.values()) == pytest.approx(0.01)
    rng = np.random.default_rng(8)
    drawn = [(pairs(0.05, 0.025, 20, rng), pairs(0, 0.025, 20, rng)) for _ in range(100)]
    first = sum(confirmed(slower[:12], null[:12]) for slower, null in drawn)
    assert first < sum(confirmed(slower, null) for slower, null in drawn) >= 90
    assert decision.confirmation(pairs(0.0, 0.005, 12, rng), pairs(0, 0.005, 12, rng), RULE) == "ok"


def test_pairs_in_which_base_is_off_do_not_count():
    """One base of twelve that is slow as a process makes its pair the strongest vote against a true slowdown."""
    rng = np.random.default_rng(6)
    three = [outcome.Timing(((1.0, 1.0 + wobble, 1.06 + wobble),)) for wobble in rng.normal(0, 0.01, 12)]
    off = outcome.Timing(((2.0, 1.0, 1.06),))
    slower = [timing.log_ratio() for timing in (*three[1:], off)]
    assert not confirmed(slower, [0.0] * 12)
    pairs_of_suspect = tuple(outcome.Timing(((1.0, 1.06 + 0.001 * i),)) for i in range(14))
    suspect = outcome.CaseOutcome("gap", pairs_of_suspect, (*three, off))
    assert len(suspect.confirming.timings) == 12
    assert verdict.verdict(suspect, RULE, 1).word == "regression"
    busy = verdict.verdict(replace(suspect, confirmation=(*three[:11], off, off)), RULE, 1)
    assert (busy.word, busy.reason) == (
        "inconclusive",
        "suspected, but in 2 of 13 pairs base differs from itself by more than 10%: the machine is too busy",
    )


def test_the_default_rule_is_the_one_that_detects_five_per_cent():
    assert Rule.detecting(0.05) == Rule(pytest.approx(0.02), pytest.approx(0.04))


@pytest.mark.parametrize(("n", "statistic"), [(8, 3), (12, 13), (20, 52)])
def test_the_interval_ranks_are_those_of_the_published_table(n, statistic):
    """Critical values of the signed-rank test, two-sided 5 % (Wilcoxon 1947)."""
    assert decision._walsh_rank(n, 0.025) == statistic + 1


def test_the_interval_covers_at_its_level():
    rng = np.random.default_rng(1)
    found = [decision.ratio(pairs(0.05, 0.01, 12, rng)) for _ in range(1000)]
    covered = sum(one.low <= 1.05 <= one.high for one in found) / len(found)
    assert 0.94 <= covered <= 0.965


def test_five_pairs_have_no_interval():
    assert decision.ratio([0.0, 0.1, 0.2, 0.3, 0.4]) == (pytest.approx(math.exp(0.2)), 0, math.inf)


def test_what_could_have_been_seen_is_seen_in_half_of_such_cases():
    """At the smallest visible slowdown the last look's power is about one half, by construction."""
    rng = np.random.default_rng(2)
    visible = float(np.median([decision.smallest_visible(pairs(0, 0.03, 32, rng), RULE, 1) for _ in range(60)]))
    power = np.mean([decision.call(pairs(visible, 0.03, 32, rng), RULE, 1) == "suspect" for _ in range(400)])
    assert 0.35 <= power <= 0.65
    z = norm.isf(0.01 * decision.SPENT[32])
    assert visible == pytest.approx(0.02 + z * 0.03 / math.sqrt(32), rel=0.2)
