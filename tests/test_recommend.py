"""The rule on sweeps whose truth is known: what it picks, what binds, when it abstains, and how often it is right."""

from dataclasses import replace

import numpy as np
import pytest
import records
import simulated
from scipy import stats

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.candidates import Candidate, cheapest_each
from convbench.analysis.choice.choose import Ask, recommend
from convbench.analysis.choice.noninferior import ON_THE_CEILING, moderate, p_values, pairs, shortfalls, shown
from convbench.analysis.quality.effect import p_value
from convbench.analysis.quality.qualities import qualities
from convbench.analysis.results import result

FC = "fc(activation=true)"


def one(found, ask=None, **how):
    (answer,) = recommendations(found, ask or Ask(), **how)
    return answer


def name(candidate):
    return candidate and (candidate.quality.architecture.reducer.name, candidate.quality.architecture.lstm_input)


def sweep(means, sizes, *, noise=0.002, seeds=5, reducer=FC, task="direction"):
    """Costs and lessons of one reducer over LSTM input sizes; seeds differ by the same small steps everywhere."""
    found, rng = [], np.random.default_rng(1)
    for i, (mean, size) in enumerate(zip(means, sizes, strict=True)):
        of = records.case(reducer, size)
        found.append(records.record(of, latency=1e-3 * (i + 1)))
        found += [records.lesson(mean + rng.normal(0, noise), task, seed, of=of) for seed in range(seeds)]
    return found


CURVE = sweep((0.30, 0.60, 0.952, 0.955, 0.957), (8, 16, 32, 64, 128))


def test_the_pick_is_the_cheapest_shown_to_be_within_the_margin():
    answer = one(CURVE)
    assert (name(answer.pick), answer.reason) == (("fc", 32), None)
    assert 0.003 < answer.shortfall < 0.02
    assert answer.stability > 0.9
    assert answer.front == 1.0
    assert [runner.shown for runner in answer.runners] == [True, True, False, False]


def test_a_tighter_margin_costs_more():
    assert name(one(sweep((0.30, 0.93, 0.96), (8, 16, 32)), Ask(within=0.05)).pick) == ("fc", 16)
    assert name(one(sweep((0.30, 0.93, 0.96), (8, 16, 32), noise=0.001), Ask(within=0.032)).pick) == ("fc", 16)
    assert name(one(sweep((0.30, 0.945, 0.96), (8, 16, 32)), Ask(within=0.015)).pick) == ("fc", 32)


def test_adding_what_is_worse_does_not_move_the_pick():
    worse = sweep((0.2, 0.25), (4, 6))
    assert name(one([*CURVE, *worse]).pick) == name(one(CURVE).pick)


def test_the_price_of_the_next_point_is_that_of_the_front():
    price = one(sweep((0.90, 0.905, 0.95), (8, 16, 32), noise=0.001), Ask(within=0.08)).price
    assert name(price.candidate) == ("fc", 16)
    assert price.gain == pytest.approx(0.005, abs=0.002)
    assert one(sweep((0.95, 0.90), (8, 16))).price is None


def test_a_constraint_binds_where_its_relaxation_alone_changes_the_answer():
    answer = one(CURVE, Ask({"latency": 2.5e-3, "params": 1e12, "memory": 1e12}))
    assert name(answer.pick) == ("fc", 16)
    assert answer.binding == ("latency",)
    assert one(CURVE, Ask({"latency": 1.0})).binding == ()


def test_nothing_within_the_budget_names_each_miss():
    answer = one(CURVE, Ask({"latency": 1e-4, "params": 10, "flops": 1e15}))
    least = min(result(r).params for r in CURVE if not r.case.trial)
    assert (answer.reason, answer.pick) == ("over-budget", None)
    assert answer.numbers == pytest.approx({"latency": 1e-3, "params": least}, rel=0.05)


def test_two_limits_that_only_together_exclude_everything_are_both_named():
    fast_and_large = records.record(records.case(FC, 512), latency=1e-3)
    slow_and_small = records.record(records.case("gap"), latency=9e-3)
    lessons = [
        records.lesson(0.9 + s / 500, seed=s, of=r.case) for r in (fast_and_large, slow_and_small) for s in range(5)
    ]
    answer = one([fast_and_large, slow_and_small, *lessons], Ask({"latency": 2e-3, "params": 1e5}))
    assert set(answer.numbers) == {"latency", "params"}


def test_what_was_not_measured_meets_no_limit():
    untimed = [records.record(r.case, samples=0) if not r.case.trial else r for r in CURVE]
    assert one(untimed, Ask({"latency": 1.0})).reason == "over-budget"
    assert name(one(untimed, Ask(cheapest="params")).pick) == ("fc", 32)


def test_cheapest_may_mean_another_cost():
    slow = records.record(records.case("gap"), latency=8e-3)
    fast = records.record(records.case(FC, 512), latency=2e-3)
    poor = records.record(records.case("gmp"), latency=1e-3)
    found = [slow, fast, poor]
    means = {"gap": 0.9, "fc": 0.902, "gmp": 0.3}
    for r in (slow, fast, poor):
        mean = means[r.case.architecture.reducer.name]
        found += [records.lesson(mean + 0.001 * (s % 2), seed=s, of=r.case) for s in range(5)]
    assert name(one(found).pick)[0] == "fc"
    assert name(one(found, Ask(cheapest="params")).pick)[0] == "gap"


def test_the_fastest_variant_stands_for_its_architecture():
    of = records.case("gap", variant="compile")
    quick = [
        records.record(of, latency=1e-4),
        records.record(records.case("gap", variant="autocast(dtype=7)"), latency=1e-6),
    ]
    base = [*sweep((0.9,), (None,), reducer="gap"), *sweep((0.3,), (32,))]
    assert one([*base, *quick]).pick.result.case.variant_name == "compile"


def test_what_is_the_same_function_is_one_candidate():
    quality, *_ = qualities(CURVE)
    twin = replace(quality, architecture=records.parts("flatten"))
    measured = [result(records.record(records.case(FC, 8), latency=t)) for t in (2e-3, 1e-3)]
    (kept,) = cheapest_each([Candidate(quality, measured[0]), Candidate(twin, measured[1])], "latency")
    assert kept.result is measured[1]
    assert kept.equal == (measured[0],)


def test_it_abstains_where_nothing_differs_and_names_the_cheapest():
    rng = np.random.default_rng(3)
    answer = one(sweep(0.6 + rng.normal(0, 1e-4, 6), (8, 16, 32, 64, 128, 256), noise=0.02))
    assert (answer.pick, answer.reason, name(answer.leading)) == (None, "no-effect", ("fc", 8))
    assert answer.numbers["p"] > 0.05
    assert 0.01 < answer.numbers["detectable"] < 0.1


def test_it_abstains_at_the_edge_of_a_sweep_that_still_rises():
    rising = sweep((0.3, 0.5, 0.8), (8, 16, 32))
    answer = one(rising)
    assert (answer.reason, name(answer.leading)) == ("edge", ("fc", 32))
    assert (answer.numbers["size"], answer.numbers["smaller"]) == (32, 16)
    assert answer.numbers["gain"] == pytest.approx(0.3, abs=0.01)
    assert one(rising, Ask({"latency": 2.5e-3})).reason is None


def test_fewer_than_three_seeds_are_no_ground_for_advice():
    answer = one(sweep((0.3, 0.9), (8, 16), seeds=2))
    assert (answer.reason, {e.why for e in answer.excluded}) == ("few-seeds", {"few-seeds"})


def test_too_much_noise_is_undecided_and_says_what_would_do():
    answer = one(sweep((0.2, 0.9, 0.91), (8, 16, 16 + 1), noise=0.03))
    assert answer.reason == "undecided"
    assert answer.numbers["margin"] > 0.02
    assert answer.numbers["needed"] > answer.numbers["seeds"] == 5
    wide = Ask(within=answer.numbers["margin"] + 0.001)
    assert one(sweep((0.2, 0.9, 0.91), (8, 16, 16 + 1), noise=0.03), wide).pick


def test_dead_runs_and_missing_costs_are_listed():
    dead = [records.lesson(0.125, seed=s, of=records.case("gmp"), flag="dead_run") for s in range(5)]
    uncosted = [records.lesson(0.99, seed=s, of=records.case("gem")) for s in range(5)]
    answer = one([*CURVE, *dead, *uncosted])
    assert {(e.quality.architecture.reducer.name, e.why) for e in answer.excluded} == {
        ("gmp", "dead"),
        ("gem", "no-cost"),
    }
    assert one(dead).reason == "no-sound-run"
    assert one(uncosted).reason == "no-cost"


def test_a_task_that_was_not_run_is_said_so():
    assert one(CURVE, tasks=["order"]).reason == "not-run"


def test_one_run_of_several_tasks_has_an_answer_each():
    found = recommendations(records.quality_records(), Ask())
    assert [(a.task, name(a.pick)[0]) for a in found] == [("direction", "conv1x1-avg-k"), ("identity", "gap")]
    assert [a.task for a in recommendations(records.quality_records(), Ask(), ["identity"])] == ["identity"]


def test_the_only_configuration_within_the_budget_is_the_pick():
    answer = one(CURVE, Ask({"latency": 1.5e-3}))
    assert name(answer.pick) == ("fc", 8)
    assert (answer.runners, answer.price) == ((), None)


def test_it_repeats_exactly():
    first, second = one(CURVE), one(CURVE)
    assert (first.stability, first.front, first.numbers) == (second.stability, second.front, second.numbers)


def test_two_configurations_are_compared_by_the_paired_t_test():
    table = np.array([[0.6, 0.5], [0.61, 0.55], [0.60, 0.52], [0.60, 0.58]])
    expected = stats.ttest_1samp(table[:, 1] - table[:, 0], 0.02, alternative="less").pvalue
    assert p_values(pairs(table), 0.02)[0] == pytest.approx(expected / (1 - ON_THE_CEILING))
    assert p_value(table) == pytest.approx(stats.ttest_rel(table[:, 1], table[:, 0]).pvalue)


def test_a_seed_without_a_sound_run_is_left_out_of_its_pairs_only():
    table = np.random.default_rng(0).normal(0.6, 0.02, (6, 3))
    holed = table.copy()
    holed[2, 1] = np.nan
    whole, found = pairs(table), pairs(holed)
    assert found.gap[0, 2] == whole.gap[0, 2]
    assert found.gap[0, 1] == pytest.approx(np.delete(table[:, 1] - table[:, 0], 2).mean())


def test_moderated_variances_have_the_common_value_where_they_agree_and_their_own_where_not():
    df = np.full((4, 4), 4.0)
    alike, _ = moderate(np.full((4, 4), 2e-4), df, np.array(12.0))
    assert alike == pytest.approx(np.full((4, 4), alike[0, 1]))
    unlike = np.geomspace(1e-9, 1e-1, 16).reshape(4, 4)
    unlike = np.triu(unlike) + np.triu(unlike, 1).T
    kept, freedom = moderate(unlike, df, np.array(12.0))
    assert np.abs(np.log(kept / unlike)).max() < 1.5
    assert (freedom < 5).all()


def test_one_seed_compares_nothing_and_warns_of_nothing(recwarn):
    found = pairs(np.array([[0.9, 0.8, 0.7]]))
    assert np.isinf(found.error[0, 1])
    assert not recwarn.list


def test_shortfalls_bound_the_distance_to_the_best():
    rng, held = np.random.default_rng(0), 0
    truth = np.array([0.90, 0.92, 0.91])
    for _ in range(400):
        held += shortfalls(pairs(truth + rng.normal(0, 0.01, (5, 3))))[0] >= 0.02
    assert held / 400 >= 0.95


def test_what_reaches_the_ceiling_is_shown_however_noisy_others_are():
    noisy = np.array([0.39, 1.0, 0.53, 0.999, 0.95])
    table = np.stack([np.full(5, 1.0), noisy, noisy[::-1]], axis=1)
    assert shown(pairs(table), 0.02).tolist() == [True, False, False]
    assert not shown(pairs(table - 0.2), 0.02).any()


def test_what_is_far_worse_costs_the_others_nothing():
    rng = np.random.default_rng(0)
    best = 0.9 + rng.normal(0, 0.02, (5, 2)) - [0.06, 0.0]
    poor = rng.normal(0.4, 0.02, (5, 20))
    alone, among = (shown(pairs(table), 0.02) for table in (best, np.hstack([best, poor])))
    assert alone.tolist() == among[:2].tolist() == [False, True]


def test_all_that_are_shown_are_within_the_margin_at_once():
    """Seven are exactly at the margin, so that showing any of them is an error."""
    rng = np.random.default_rng(0)
    for sds in (0.015, np.array(simulated.TRUTHS["the same, unequal noise"].sds)):
        tables = np.array((0.93,) * 7 + (0.95,)) + sds * rng.standard_normal((4000, 5, 8))
        assert shown(pairs(tables), 0.02)[:, :7].any(axis=1).mean() <= 0.055


@pytest.mark.parametrize("truth", ["pilot identity", "pilot direction", "saturating curve, sd 0.005"])
def test_it_is_right_on_the_pilots_curves(monkeypatch, truth):
    simulated.without_resampling(monkeypatch)
    found = simulated.tally(simulated.TRUTHS[truth], 5, 200)
    assert found.right >= 0.95


@pytest.mark.parametrize("truth", ["pilot binding", "saturating curve, sd 0.012"])
def test_where_noise_hides_the_cheapest_it_stays_within_the_margin_or_abstains(monkeypatch, truth):
    simulated.without_resampling(monkeypatch)
    assert simulated.tally(simulated.TRUTHS[truth], 5, 200).outside <= 0.05


@pytest.mark.parametrize("truth", ["pure noise", "pure noise, unequal"])
def test_it_abstains_on_pure_noise(monkeypatch, truth):
    simulated.without_resampling(monkeypatch)
    assert simulated.tally(simulated.TRUTHS[truth], 5, 300).abstained >= 0.95


def test_nothing_to_choose_from_is_not_run():
    assert recommend("order", None, (), (), Ask()).reason == "not-run"


def test_the_effect_test_is_that_of_a_randomised_block_design():
    """Montgomery, Design and Analysis of Experiments, table 4.3: six batches of resin as blocks, four pressures."""
    table = np.array(
        [[90.3, 92.5, 85.5, 82.5], [89.2, 89.5, 90.8, 89.5], [98.2, 90.6, 89.6, 85.6],
         [93.9, 94.7, 86.2, 87.4], [87.4, 87.0, 88.0, 78.9], [97.9, 95.8, 93.4, 90.7]]
    )  # fmt: skip
    assert p_value(table) == pytest.approx(0.0019, abs=5e-5)
