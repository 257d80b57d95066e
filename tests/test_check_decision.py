"""The decision rule on invented pairs: its calls, its error rates, and how it confirms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convbench.check import decision, outcome, verdict
from convbench.check.decision import Triple
from convbench.check.settings import Rule

RULE = Rule()


def pairs(slowdown: float, spread: float, count: int, rng: np.random.Generator) -> list[float]:
    return list(math.log1p(slowdown) + spread * rng.standard_normal(count))


def triples(slowdown: float, spread: float, count: int, rng: np.random.Generator) -> list[Triple]:
    """Draw ``count`` new pairs with base twice, in which each arm has its share of a pair's spread."""
    arms = spread / math.sqrt(2) * rng.standard_normal((3, count)) + [[0], [0], [math.log1p(slowdown)]]
    return [Triple(again - first, head - first) for first, again, head in arms.T]


def calls(slowdown: float, spread: float, trials: int, rule: Rule = RULE) -> dict[str, float]:
    rng = np.random.default_rng(7)
    decisions = [decision.decide(pairs(slowdown, spread, 32, rng), rule) for _ in range(trials)]
    return {call: decisions.count(call) / trials for call in ("ok", "suspect", "undecided")}


def red(slowdown: float, spread: float, trials: int, rule: Rule = RULE) -> float:
    """Return the share of cases that end red: suspect, then confirmed by new pairs with base in them twice."""
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
def test_the_same_code_passes_at_the_usual_spread(spread):
    assert calls(0.0, spread, 150)["ok"] == 1


def test_noise_gives_undecided_and_seldom_a_suspect():
    noisy = calls(0.0, 0.3, 150)
    assert noisy["undecided"] > 0.5
    assert noisy["suspect"] <= 0.15


@pytest.mark.parametrize(("slowdown", "spread", "least"), [(0.05, 0.007, 1), (0.05, 0.015, 0.99), (0.1, 0.03, 0.98)])
def test_a_slowdown_is_red(slowdown, spread, least):
    assert red(slowdown, spread, 150) >= least


def test_three_per_cent_is_red_for_a_rule_detecting_it():
    assert red(0.03, 0.007, 150, Rule.detecting(0.03)) >= 0.99


@pytest.mark.parametrize("spread", [0.007, 0.015, 0.03])
def test_five_per_cent_hardly_ever_passes(spread):
    assert calls(0.05, spread, 500)["ok"] <= 0.01


def test_a_slowdown_within_the_tolerance_is_no_regression():
    assert red(0.01, 0.007, 100) == 0


def test_large_slowdowns_need_few_pairs_and_small_slowdowns_more():
    """Two pairs and three triples suffice far beyond a process's luck; near the tolerance it takes more."""
    rng = np.random.default_rng(4)
    counts = {}
    for slowdown in (0.25, 0.10, 0.05):
        logs, new = pairs(slowdown, 0.005, 32, rng), triples(slowdown, 0.005, 24, rng)
        confirmed = next(n for n in range(1, 25) if decision.confirmation(new[:n], RULE, 10) == "regression")
        suspect = next(n for n in range(1, 33) if decision.conclusion(logs[:n], RULE) == "suspect")
        counts[slowdown] = (suspect, confirmed)
    assert counts == {0.25: (2, 3), 0.10: (3, 4), 0.05: (6, 5)}


def test_four_pairs_pass_if_they_agree_well_below_the_guard():
    quiet = [0.004, -0.006, 0.002, 0.001]
    assert [decision.conclusion(quiet[:count], RULE) for count in range(1, 5)] == ["undecided"] * 3 + ["ok"]
    assert decision.conclusion([0.004, -0.026, 0.002, 0.001], RULE) == "undecided"
    assert decision.conclusion([0.024, 0.014, 0.022, 0.021], RULE) == "undecided"


def test_a_bad_pair_counts_once_however_bad_it_is():
    """With three bad pairs of twenty, the exact signed-rank test, which weighs pairs by size, missed its level."""
    rng = np.random.default_rng(3)
    for wild in (-0.05, -0.3, -3.0):
        logs = pairs(0.044, 0.006, 20, rng)
        logs[3] = logs[7] = logs[12] = wild
        assert decision.decide(logs, RULE) == "suspect"
        assert decision.ratio(logs).low > 1.02
    assert decision.decide([0.3, *pairs(0, 0.006, 20, rng)], RULE) == "ok"


def test_the_interval_shown_makes_the_decision():
    """Suspect if the interval lies above the tolerance, ok if it lies below the guard, and undecided otherwise."""
    rng = np.random.default_rng(9)
    for slowdown in rng.uniform(-0.1, 0.3, 200):
        logs = pairs(slowdown, rng.uniform(0.001, 0.05), int(rng.integers(1, 33)), rng)
        ratio = decision.ratio(logs)
        expected = "suspect" if ratio.low > 1.02 else "ok" if ratio.high < 1.04 else "undecided"
        assert decision.conclusion(logs, RULE) == expected


@pytest.mark.parametrize(
    "test", [decision.SLOWER, decision.PASS, decision.suspect_test(10), decision.suspect_test(200)]
)
def test_all_looks_together_err_at_nearly_the_level(test):
    """This walks through every path of strays, a method independent of the one that made the table."""
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


def test_the_interval_covers_at_its_level_at_any_stop():
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        logs = pairs(0.05, 0.02, 32, rng)
        ends = [decision.bounds(logs[:n], logs[:n], decision.SLOWER, decision.PASS) for n in range(1, 33)]
        missed += not all(low <= math.log(1.05) <= high for low, high in ends)
    assert missed / 400 <= 0.07


def test_a_runs_error_is_one_per_cent_at_any_size():
    """Adds up a test's error and each slack's, on a machine where one process in ten is 10 % slower."""
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


def test_no_red_if_base_differs_from_itself_as_much():
    rng = np.random.default_rng(5)
    slow = triples(0.1, 0.005, 24, rng)
    assert decision.confirmation(slow, RULE, 1) == "regression"
    either = [triple._replace(null=triple.slower * (number % 2)) for number, triple in enumerate(slow)]
    assert decision.confirmation(either, RULE, 1) == "undecided"
    assert decision.confirmation(triples(0.0, 0.005, 24, rng), RULE, 10) == "ok"


@pytest.mark.parametrize(("first", "later", "outcome"), [([0.0] * 4, 0.3, "ok"), ([0.3] * 2, 0.0, "suspect")])
def test_the_first_call_of_a_case_counts_whatever_later_pairs_say(first, later, outcome):
    logs = [*first, *[later] * 28]
    assert decision.decide(logs, RULE) == outcome != decision.conclusion(logs, RULE)


@pytest.mark.parametrize(
    ("first", "later", "outcome"), [([0.0] * 11, 0.3, "ok"), ([0.3] * 3, 0.0, "regression"), ([], 0.3, "regression")]
)
def test_the_first_call_of_a_suspect_counts_whatever_later_triples_say(first, later, outcome):
    new = [Triple(0.0, log) for log in (*first, *[later] * 13)]
    assert decision.confirmation(new, RULE, 10) == outcome


def test_head_has_to_be_slower_than_the_slower_base_and_to_pass_beside_the_faster():
    again_slower, again_faster = Triple(0.02, 0.05), Triple(-0.02, 0.05)
    assert (again_slower.low, again_slower.middle, again_slower.high) == pytest.approx((0.03, 0.04, 0.05))
    assert (again_faster.low, again_faster.middle, again_faster.high) == pytest.approx((0.05, 0.06, 0.07))


@pytest.mark.parametrize(("cases", "level", "least"), [(1, 0.0065, 5), (17, 0.0065, 5), (100, 0.2 / 180, 7)])
def test_a_suspects_level_shrinks_with_the_number_of_cases(cases, level, least):
    """If all of a triple are equally fast, head is the slowest by chance one time in three."""
    test = decision.suspect_test(cases)
    assert (test.chance, test.level, test.min_pairs) == (pytest.approx(1 / 3), pytest.approx(level), least)
    assert 3.0**-least <= level
    assert test.strays(least - 1) is None
    assert test.strays(least) == 0


def test_a_machine_whose_base_varies_is_called_busy():
    pairs_of_suspect = tuple(outcome.Timing(((1.0, 1.06 + 0.001 * i),)) for i in range(6))
    off = (outcome.Timing(((1.0, 2.0, 1.06),)), outcome.Timing(((1.0, 1.0, 1.06),)))
    busy = verdict.verdict(outcome.CaseOutcome("gap", pairs_of_suspect, off * 6), RULE, 1)
    assert (busy.word, busy.reason) == (
        "inconclusive",
        "suspected, but in 6 of 12 new pairs base differs from itself by more than 10 %: the machine is too busy",
    )
    assert repr(busy).startswith("CaseVerdict('gap', inconclusive, 0.891 [0.530, 1.060], suspected, ")


def test_one_bad_base_does_not_undo_a_regression():
    pairs_of_suspect = tuple(outcome.Timing(((1.0, 1.06 + 0.001 * i),)) for i in range(6))
    new = tuple(outcome.Timing(((1.0, 1.0 + 0.001 * i, 1.06 + 0.002 * i),)) for i in range(11))
    suspect = outcome.CaseOutcome("gap", pairs_of_suspect, (outcome.Timing(((2.0, 1.0, 1.06),)), *new))
    assert verdict.verdict(suspect, RULE, 10).word == "regression"


def test_the_default_rule_detects_five_per_cent():
    assert Rule.detecting(0.05) == Rule(pytest.approx(0.02), pytest.approx(0.04))


def test_one_pair_has_no_interval():
    assert decision.ratio([0.1]) == (pytest.approx(math.exp(0.1)), 0, math.inf)


def test_the_slack_of_pairs_that_agree_is_taken_off_the_least_and_added_to_the_greatest():
    assert decision.ratio([0.35, 0.3]).low == pytest.approx(math.exp(0.3) / 1.10)
    assert decision.ratio([0.001, 0.002, -0.006, 0.0]).high == pytest.approx(math.exp(0.002) * 1.02)
    assert decision.ratio([0.401, 0.3]).low == 0  # they differ by more than the slack


def test_the_smallest_visible_slowdown_is_just_called():
    """Pairs with the same spread around it are suspect, and slightly smaller ones are undecided."""
    logs = pairs(0.0, 0.03, 20, np.random.default_rng(2))
    visible = decision.smallest_visible(logs, RULE)
    moved = math.log1p(visible) - float(np.median(logs))
    assert decision.conclusion([log + moved + 1e-9 for log in logs], RULE) == "suspect"
    assert decision.conclusion([log + moved - 1e-3 for log in logs], RULE) == "undecided"
    assert decision.smallest_visible(logs[:1], RULE) == math.inf


def test_the_forecast_names_the_call_and_the_pairs_needed():
    assert decision.forecast([], RULE) == ("ok", 4)
    assert decision.forecast([0.05, 0.051], RULE) == ("suspect", 4)
    assert decision.forecast([0.3], RULE) == ("suspect", 1)
    noise = [0.3, -0.3] * 16
    assert decision.forecast(noise, RULE) is None
    assert decision.forecast(noise[:30], RULE) is None
    steady = Triple(0.001, 0.06)
    assert decision.pairs_to_confirm([steady] * 3, RULE, 10) == 2
    assert decision.pairs_to_confirm([Triple(0.0, log) for log in noise[:20]], RULE, 10) is None
    unsorted = [Triple(0.0, 0.06), Triple(0.0, 0.0), Triple(0.0, 0.061)]
    assert decision.pairs_to_confirm(unsorted, RULE, 10) == 7
    assert decision.confirmation([*unsorted, *unsorted[:1] * 6], RULE, 10) == "undecided"
    assert decision.confirmation([*unsorted, *unsorted[:1] * 7], RULE, 10) == "regression"
