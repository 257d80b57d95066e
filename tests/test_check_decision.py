"""The decision rule on invented pairs: what it calls, how often it is wrong, and how it confirms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convbench.check import decision, outcome, verdict
from convbench.check.decision import Triple
from convbench.check.rule import Rule

RULE = Rule()


def pairs(slowdown: float, spread: float, count: int, rng: np.random.Generator) -> list[float]:
    return list(math.log1p(slowdown) + spread * rng.standard_normal(count))


def triples(slowdown: float, spread: float, count: int, rng: np.random.Generator) -> list[Triple]:
    """As many new pairs whose arms each have their share of the spread of a pair."""
    arms = spread / math.sqrt(2) * rng.standard_normal((3, count)) + [[0], [0], [math.log1p(slowdown)]]
    return [Triple(again - first, head - first) for first, again, head in arms.T]


def calls(slowdown: float, spread: float, trials: int, rule: Rule = RULE) -> dict[str, float]:
    rng = np.random.default_rng(7)
    decisions = [decision.decide(pairs(slowdown, spread, 32, rng), rule) for _ in range(trials)]
    return {call: decisions.count(call) / trials for call in ("ok", "suspect", "undecided")}


def red(slowdown: float, spread: float, trials: int, rule: Rule = RULE) -> float:
    """Share of cases that end red: suspect, then confirmed by new pairs with base in them twice."""
    rng = np.random.default_rng(11)
    ended = 0
    for _ in range(trials):
        if decision.decide(pairs(slowdown, spread, 32, rng), rule) == "suspect":
            ended += decision.confirmation(triples(slowdown, spread, 24, rng), rule, 10) == "regression"
    return ended / trials


@pytest.mark.parametrize("spread", [0.005, 0.01, 0.03, 0.1, 0.3])
def test_the_same_code_is_never_red(spread):
    assert red(0.0, spread, 200) == 0


@pytest.mark.parametrize("spread", [0.005, 0.01, 0.02])
def test_the_same_code_is_passed_at_the_usual_spread(spread):
    assert calls(0.0, spread, 150)["ok"] == 1


def test_noise_costs_inconclusive_and_not_a_wrong_colour():
    noisy = calls(0.0, 0.3, 150)
    assert noisy["undecided"] > 0.5
    assert noisy["suspect"] <= 0.15


@pytest.mark.parametrize(("slowdown", "spread", "least"), [(0.05, 0.007, 1), (0.05, 0.015, 0.99), (0.1, 0.03, 0.98)])
def test_a_slowdown_is_red(slowdown, spread, least):
    assert red(slowdown, spread, 150) >= least


def test_three_per_cent_is_red_for_the_rule_that_detects_it():
    assert red(0.03, 0.007, 150, Rule.detecting(0.03)) >= 0.99


@pytest.mark.parametrize("spread", [0.007, 0.015, 0.03])
def test_five_per_cent_is_hardly_ever_passed(spread):
    assert calls(0.05, spread, 500)["ok"] <= 0.01


def test_a_slowdown_within_the_tolerance_is_no_regression():
    assert red(0.01, 0.007, 100) == 0


def test_large_effects_need_few_pairs_and_small_ones_more():
    """Beyond what luck makes of a process, two pairs and three triples; the more, the nearer to the tolerance."""
    rng = np.random.default_rng(4)
    counts = {}
    for slowdown in (0.25, 0.10, 0.05):
        logs, new = pairs(slowdown, 0.005, 32, rng), triples(slowdown, 0.005, 24, rng)
        confirmed = next(n for n in range(1, 25) if decision.confirmation(new[:n], RULE, 10) == "regression")
        suspect = next(n for n in range(1, 33) if decision.call(logs[:n], RULE) == "suspect")
        counts[slowdown] = (suspect, confirmed)
    assert counts == {0.25: (2, 3), 0.10: (3, 4), 0.05: (6, 5)}


def test_four_pairs_pass_where_they_agree_well_below_the_guard():
    quiet = [0.004, -0.006, 0.002, 0.001]
    assert [decision.call(quiet[:count], RULE) for count in range(1, 5)] == ["undecided"] * 3 + ["ok"]
    assert decision.call([0.004, -0.026, 0.002, 0.001], RULE) == "undecided"
    assert decision.call([0.024, 0.014, 0.022, 0.021], RULE) == "undecided"


def test_a_bad_pair_counts_as_one_pair_however_bad_it_is():
    """Three bad ones of twenty: the exact signed-rank test, which weighs them by size, missed its level for them."""
    rng = np.random.default_rng(3)
    for wild in (-0.05, -0.3, -3.0):
        logs = pairs(0.044, 0.006, 20, rng)
        logs[3] = logs[7] = logs[12] = wild
        assert decision.decide(logs, RULE) == "suspect"
        assert decision.ratio(logs).low > 1.02
    assert decision.decide([0.3, *pairs(0, 0.006, 20, rng)], RULE) == "ok"


def test_what_is_shown_is_what_decides():
    """Suspect where the interval lies above the tolerance, ok where it lies below the guard, and nowhere else."""
    rng = np.random.default_rng(9)
    for slowdown in rng.uniform(-0.1, 0.3, 200):
        logs = pairs(slowdown, rng.uniform(0.001, 0.05), int(rng.integers(1, 33)), rng)
        ratio = decision.ratio(logs)
        expected = "suspect" if ratio.low > 1.02 else "ok" if ratio.high < 1.04 else "undecided"
        assert decision.call(logs, RULE) == expected


@pytest.mark.parametrize(
    "test", [decision.SLOWER, decision.PASS, decision.suspect_test(10), decision.suspect_test(200)]
)
def test_all_looks_together_are_wrong_with_the_level_at_most_and_nearly(test):
    """By walking through every path of strays, which the table was not made with."""
    wrong, paths = 0.0, {0: 1.0}
    for number in range(1, test.max_pairs + 1):
        after: dict[int, float] = {}
        for strays, chance in paths.items():
            for more, share in ((0, test.chance), (1, 1 - test.chance)):
                after[strays + more] = after.get(strays + more, 0.0) + chance * share
        allowed = test.strays(number)
        stopped = [strays for strays in after if allowed is not None and strays <= allowed]
        wrong += sum(after.pop(strays) for strays in stopped)
        paths = after
    assert 0.8 * test.level < wrong <= test.level * (1 + 1e-9)


def test_the_interval_covers_at_its_level_wherever_one_stops():
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        logs = pairs(0.05, 0.02, 32, rng)
        ends = [decision.bounds(logs[:n], logs[:n], decision.SLOWER, decision.PASS) for n in range(1, 33)]
        missed += not all(low <= math.log(1.05) <= high for low, high in ends)
    assert missed / 400 <= 0.07


def test_the_error_of_a_run_is_one_per_cent_whatever_the_number_of_cases():
    """What a test lets through, and each slack besides, on a machine on which one process in ten is slower by 10 %."""
    for cases in (1, 10, 100, 1000):
        test = decision.suspect_test(cases)
        slacks = [slack.chance ** decision.enough(slack, test) for slack in decision.SLACKS]
        first = [slack.chance ** decision.enough(slack, decision.SLOWER) for slack in decision.SLACKS]
        assert decision.SLOWER.level + sum(first) <= decision.OF_SUSPECT
        assert (
            decision.SMALL.chance ** decision.enough(decision.SMALL, decision.PASS)
            <= decision.SHARE * decision.PASS.level
        )
        assert cases * decision.OF_SUSPECT * (test.level + sum(slacks)) <= decision.OF_RUN * 1.0001


def test_no_red_where_base_differs_from_itself_as_much():
    rng = np.random.default_rng(5)
    slow = triples(0.1, 0.005, 24, rng)
    assert decision.confirmation(slow, RULE, 1) == "regression"
    either = [triple._replace(null=triple.slower * (number % 2)) for number, triple in enumerate(slow)]
    assert decision.confirmation(either, RULE, 1) == "undecided"
    assert decision.confirmation(triples(0.0, 0.005, 24, rng), RULE, 10) == "ok"


def test_a_machine_whose_base_is_off_is_said_to_be_busy():
    pairs_of_suspect = tuple(outcome.Timing(((1.0, 1.06 + 0.001 * i),)) for i in range(6))
    off = (outcome.Timing(((1.0, 2.0, 1.06),)), outcome.Timing(((1.0, 1.0, 1.06),)))
    busy = verdict.verdict(outcome.CaseOutcome("gap", pairs_of_suspect, off * 6), RULE, 1)
    assert (busy.word, busy.reason) == (
        "inconclusive",
        "suspected, but in 6 of 12 new pairs base differs from itself by more than 10%: the machine is too busy",
    )
    assert repr(busy).startswith("CaseVerdict('gap', inconclusive, 0.891 (0.530 to 1.060), suspected, ")


def test_one_bad_base_among_the_new_pairs_does_not_undo_a_regression():
    pairs_of_suspect = tuple(outcome.Timing(((1.0, 1.06 + 0.001 * i),)) for i in range(6))
    new = tuple(outcome.Timing(((1.0, 1.0 + 0.001 * i, 1.06 + 0.002 * i),)) for i in range(11))
    suspect = outcome.CaseOutcome("gap", pairs_of_suspect, (outcome.Timing(((2.0, 1.0, 1.06),)), *new))
    assert verdict.verdict(suspect, RULE, 10).word == "regression"


def test_the_default_rule_is_the_one_that_detects_five_per_cent():
    assert Rule.detecting(0.05) == Rule(pytest.approx(0.02), pytest.approx(0.04))


def test_one_pair_has_no_interval():
    assert decision.ratio([0.1]) == (pytest.approx(math.exp(0.1)), 0, math.inf)


def test_what_could_have_been_seen_would_have_been():
    """Pairs of the same spread around the smallest visible slowdown are just called."""
    logs = pairs(0.0, 0.03, 20, np.random.default_rng(2))
    visible = decision.smallest_visible(logs, RULE)
    moved = math.log1p(visible) - float(np.median(logs))
    assert decision.call([log + moved + 1e-9 for log in logs], RULE) == "suspect"
    assert decision.call([log + moved - 1e-3 for log in logs], RULE) == "undecided"
    assert decision.smallest_visible(logs[:1], RULE) == math.inf


def test_what_is_needed_is_what_comes():
    assert decision.forecast([], RULE) == ("ok", 4)
    assert decision.forecast([0.05, 0.051], RULE) == ("suspect", 4)
    assert decision.forecast([0.3], RULE) == ("suspect", 1)
    steady = Triple(0.001, 0.06)
    assert decision.pairs_to_confirm([steady] * 3, RULE, 10) == 2
