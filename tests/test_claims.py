"""The article's claims: algebra and arithmetic on real models, and each rule's verdicts on synthetic evidence."""

import random
import re
from dataclasses import replace
from types import SimpleNamespace

import claims_evidence as synthetic
import numpy as np
import pytest
import records

from convbench.analysis.claims import standings
from convbench.analysis.claims.claim import VERDICTS, Judgement, Lacking, Number, all_claims, claim, tally
from convbench.analysis.claims.evidence import Evidence, ratio_of
from convbench.analysis.claims.paired import (
    ALL,
    MOST,
    SOME,
    Difference,
    by_verdict,
    gains,
    mean_difference,
    pair_difference,
    welch,
)
from convbench.core import installed, metrics
from convbench.core.record import Choice, Reading, Visit, Whole
from convbench.core.registry import Plugin, claims
from convbench.core.statistics import Interval
from convbench.plugins.claims import (
    algebra,
    arithmetic,
    choice,
    layers,
    ordering,
    overfitting,
    saturation,
    shifting,
    spatial,
    timing,
)
from convbench.plugins.claims import (
    sizes as sizes_claim,
)
from convbench.plugins.claims.saturation import Gates

NOTHING = Evidence()
UP, NONE, DOWN = (Difference("direction", mean, mean - 0.01, mean + 0.01, 5) for mean in (0.2, 0.0, -0.2))
UNSURE = Difference("binding", 0.05, -0.1, 0.2, 5)


def of(number, *parts):
    return claims.get(f"C{number}").build(synthetic.evidence(*parts))


def value(claim, label):
    return next(number.value for number in claim.numbers if label in number.label)


@pytest.fixture(scope="module")
def without_runs():
    return {claim.number: claim for claim in all_claims(NOTHING)}


@pytest.fixture(scope="module")
def pilot():
    return {claim.number: claim for claim in all_claims(synthetic.everything())}


# --- The list ---------------------------------------------------------------------------------------------------------


def test_all_seventeen_claims_are_listed_in_order(without_runs):
    assert list(without_runs) == [f"C{i}" for i in range(1, 18)]
    for answer in without_runs.values():
        assert all((answer.claim, answer.quote, answer.prediction, answer.experiment, answer.why))
        assert answer.verdict in VERDICTS


def test_without_runs_only_claims_without_experiments_are_tested(without_runs):
    tested = {number for number, claim in without_runs.items() if claim.verdict != "not tested"}
    assert tested == {"C1", "C2", "C3", "C4", "C8", "C9", "C12", "C14"}
    assert all("run the suite" in claim.why for number, claim in without_runs.items() if number not in tested)


def test_partial_evidence_never_contradicts_the_full_verdict(without_runs, pilot):
    pairs = [(without_runs[number].verdict, pilot[number].verdict) for number in pilot]
    assert not {("refuted", "supported"), ("supported", "refuted")} & set(pairs)


def test_verdicts_match_the_pilot(pilot):
    assert {number: claim.verdict for number, claim in pilot.items()} == {
        "C1": "supported", "C2": "supported", "C3": "supported", "C4": "supported", "C5": "supported", "C6": "refuted",
        "C7": "supported", "C8": "supported", "C9": "refuted", "C10": "supported", "C11": "refuted", "C12": "refuted",
        "C13": "refuted", "C14": "supported", "C15": "supported", "C16": "supported", "C17": "supported",
    }  # fmt: skip
    assert tally(pilot.values()) == {"supported": 12, "refuted": 5}
    assert dict(pilot["C6"].quantified) == {SOME: "supported", MOST: "refuted", ALL: "refuted"}


# --- Arithmetic and algebra -------------------------------------------------------------------------------------------


def test_a_stated_size_off_by_one_is_refuted():
    assert arithmetic.judge_size("flatten", 131_072, 131_072).verdict == "supported"
    assert arithmetic.judge_size("flatten", 131_071, 131_072).verdict == "refuted"


@pytest.mark.parametrize(("units", "verdict"), [(128, "supported"), (40_000, "supported"), (65_536, "refuted")])
def test_an_fc_layer_of_half_the_map_refutes_the_claim(units, verdict):
    assert arithmetic.judge_half(units, 131_072).verdict == verdict


def test_half_describes_only_a_layer_that_keeps_about_half():
    near, far = arithmetic.judge_half(10, 100), arithmetic.judge_half(4, 100)
    assert near.why == "It keeps 10 of 100: less than half, and near it."
    assert far.why.startswith("True, and of no use as a guide: 4 of 100 is 12 times less than half")


def test_the_articles_fc_keeps_a_thousandth(without_runs):
    claim = without_runs["C14"]
    assert value(claim, "Share") == 128 / 131_072
    assert value(claim, "less than half") == 512
    assert value(claim, "keeps half") == (131_072 + 1) * 65_536


@pytest.mark.parametrize(
    ("takes", "verdict"),
    [({3: True, 4: False, 5: False}, "supported"), ({3: True, 4: True, 5: False}, "refuted"),
     ({3: False, 4: False, 5: False}, "refuted")],
)  # fmt: skip
def test_an_lstm_accepting_maps_or_rejecting_vectors_refutes_vectors_only(takes, verdict):
    assert algebra.judge_vectors_only(takes).verdict == verdict


def test_parameters_are_linear_in_the_input(without_runs):
    claim = without_runs["C4"]
    assert value(claim, "each further") == 512
    assert value(claim, "at D = 131,072") == 67_175_424
    assert value(claim, "over those") == pytest.approx(67_175_424 / 82_944)


@pytest.mark.parametrize(
    "counts", [{32: 82_944, 64: 99_328, 128: 132_097}, {32: 82_944, 64: 99_328}], ids=["bent", "small"]
)
def test_nonlinear_or_few_parameters_refute_the_claim(counts):
    assert algebra.judge_parameters(counts, 128).verdict == "refuted"


def test_fc_maps_two_different_inputs_to_one_output(without_runs):
    claim = without_runs["C9"]
    assert value(claim, "Rank") == 128
    assert value(claim, "of the two inputs") > 0.1
    assert value(claim, "of their outputs") < 1e-12


@pytest.mark.parametrize(
    ("rank", "outputs", "inputs"), [(64, 0.0, 0.2), (32, 0.1, 0.2), (32, 0.0, 0.0)], ids=["full", "seen", "same"]
)
def test_full_rank_or_no_colliding_pair_supports_retention(rank, outputs, inputs):
    assert algebra.judge_retention(64, rank, outputs, inputs).verdict == "supported"
    assert algebra.judge_retention(64, 32, 0.0, 0.2).verdict == "refuted"


def test_the_hybrid_folds_into_gap_exactly(without_runs):
    claim = without_runs["C12"]
    assert value(claim, "Hybrid less GAP") < 1e-5
    assert value(claim, "ReLU") > 0.01
    assert value(claim, "fewer") == 18_496


@pytest.mark.parametrize(
    ("plain", "outputs", "verdict"),
    [(1e-7, 64, "refuted"), (1e-7, 16, "depends"), (0.3, 64, "depends"), (0.3, 16, "supported")],
)
def test_a_folding_or_non_reducing_hybrid_weakens_the_claim(plain, outputs, verdict):
    assert layers.judge_hybrid(plain, 0.3, 32, outputs).verdict == verdict


def test_a_folding_check_without_power_tests_nothing():
    with pytest.raises(Lacking):
        layers.judge_hybrid(1e-7, 1e-7, 32, 64)


# --- GAP and shifts ---------------------------------------------------------------------------------------------------


def test_a_shift_changes_position_features_but_not_gap(without_runs):
    claim = without_runs["C8"]
    assert value(claim, "GAP's features") < 1e-6
    assert value(claim, "4×4 cells") > 0.01


def runs_of_gap(mean, sd=0.0):
    trainings = synthetic.lessons("gap", "direction", mean, sd=sd, backbone=synthetic.CIRCULAR)
    return synthetic.evidence(trainings).lessons


@pytest.mark.parametrize(
    ("change", "accuracy", "verdict"),
    [(1e-8, 0.125, "supported"), (1e-8, 0.6, "depends"), (0.1, 0.125, "depends"), (0.1, 0.6, "refuted"),
     (1e-8, None, "supported"), (0.1, None, "refuted")],
)  # fmt: skip
def test_gap_discards_positions_unless_features_or_trainings_reveal_them(change, accuracy, verdict):
    wrapped = runs_of_gap(accuracy) if accuracy else []
    assert shifting.judge(change, 0.1, wrapped, []).verdict == verdict


def test_trainings_of_gap_are_told_apart_by_padding_and_ground():
    trainings = {
        "wrapped": synthetic.lessons("gap", "direction", 0.13, 2, backbone=synthetic.CIRCULAR, flag="dead_run"),
        "sound": synthetic.lessons("gap", "direction", 0.4, 3),
        "dead": synthetic.lessons("gap", "direction", 0.1, 4, flag="dead_run")[3:],
        "norm": synthetic.lessons("gap", "direction", 0.5, 2, layer_norm=True),
        "elsewhere": synthetic.lessons("gap", "direction", 0.5, 2, backbone=Choice("strided")),
        "other": [*synthetic.lessons("fc64", "direction", 0.9, 2), *synthetic.lessons("gap", "identity", 0.9, 2)],
    }
    wrapped, other = shifting._lessons(synthetic.evidence(*trainings.values()))
    assert [round(lesson.curve[-1].test, 1) for lesson in wrapped] == [0.1] * 2
    assert [round(lesson.curve[-1].test, 1) for lesson in other] == [0.4] * 3


@pytest.mark.parametrize(
    ("gains", "verdict", "words"),
    [
        ((-0.010, 0.003, 0.013), "undecided", "whether direction is learnt better than chance these seeds do not tell"),
        ((-0.001, 0.000, 0.001), "supported", "and direction is learnt no better than chance"),
        ((0.014, 0.015, 0.016), "supported", "and direction is learnt at most 3 points better than chance"),
        ((0.024, 0.025, 0.029), "depends", "and direction is learnt better than chance"),
    ],
)  # fmt: skip
def test_what_gap_learns_near_chance_is_said_as_its_interval_has_it(gains, verdict, words):
    """Three seeds at chance, scattered as a thousand clips scatter them, were "better than chance".

    And a small gain whose whole interval lies above 0 was "no better than chance".
    """
    wrapped = [
        lesson
        for seed, gain in enumerate(gains)
        for lesson in synthetic.evidence(
            [records.lesson(0.125 + gain, "direction", seed, of=synthetic.case("gap", backbone=synthetic.CIRCULAR))]
        ).lessons
    ]
    judgement = shifting.judge(1e-8, 0.1, wrapped, [])
    assert judgement.verdict == verdict
    assert judgement.why.endswith(f" {words}.")


def test_dead_runs_keep_their_accuracy_if_chance_is_predicted(pilot):
    assert value(pilot["C8"], "wraps around: accuracy less chance") == pytest.approx(0, abs=1e-6)
    assert "leak" in pilot["C8"].why


# --- Saturation -------------------------------------------------------------------------------------------------------


def inits(default, fan_in):
    return {name: {32: Gates(0.2, 0.0), 131_072: Gates(1.0, share)} for name, share in
            (("torch's default", default), ("LayerNorm", default), ("fan-in", fan_in))}  # fmt: skip


@pytest.mark.parametrize(
    ("default", "fan_in", "worse", "verdict"),
    [(0.7, 0.0, [], "not tested"), (0.7, 0.7, [], "supported"), (0.0, 0.0, [], "not tested"),
     (0.0, 0.0, [NONE], "refuted"),
     (0.7, 0.0, [UP], "supported"), (0.7, 0.0, [UP, NONE], "supported"), (0.0, 0.0, [UNSURE], "undecided"),
     (0.7, 0.3, [], "not tested"), (0.7, 0.0, [NONE], "refuted")],
)  # fmt: skip
def test_the_whole_map_harms_if_inits_saturate_or_trainings_lose(default, fan_in, worse, verdict):
    assert saturation.judge(inits(default, fan_in), worse, []).verdict == verdict


@pytest.mark.parametrize(("fan_in", "cause"), [(0.01, "the initialisation"), (0.9, "the size")])
def test_saturation_names_its_cause_and_the_tasks_that_it_hurts(fan_in, cause):
    losses = [Difference("direction", 0.1, 0.05, 0.15, 5), Difference("identity", 0.0, -0.01, 0.01, 5), UNSURE]
    why = saturation.judge(inits(0.9, fan_in), losses, [UP, NONE]).why
    assert f"it is {cause} that saturates them." in why
    assert "best smaller input on direction, and to be less than 2 points below it on identity; " in why
    assert why.endswith("is shown to help it on direction.")


def test_the_trained_map_is_named_with_its_own_size(pilot):
    assert "Trained (a map of 1,024), flatten is shown" in pilot["C17"].why
    larger = [
        replace(lesson, case=replace(lesson.case, architecture=replace(lesson.case.architecture, lstm_input=4096)))
        for lesson in synthetic.lessons("flatten", "identity", 0.6)
    ]
    assert "Trained (a map of 4,096), flatten is shown" in of(17, larger, synthetic.lessons("fc8", "identity", 0.9)).why


def test_torchs_initialisation_saturates_gates_of_large_inputs(without_runs):
    claim = without_runs["C17"]
    spread = value(claim, "torch's default, D = 131,072: standard")
    assert spread == pytest.approx((131_072 * 0.5 / (3 * 128)) ** 0.5, rel=0.1)
    assert value(claim, "torch's default, D = 131,072: gates") > 0.6
    assert value(claim, "fan-in, D = 131,072: gates") == 0
    assert value(claim, "LayerNorm, D = 131,072: gates") > 0.6


# --- Costs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency", "verdict"),
    [(lambda size: 0.02 + 4e-6 * size, "supported"), (lambda _: 0.02, "refuted")],
    ids=["rising", "flat"],
)
def test_latency_rising_with_size_supports_longer_training(latency, verdict):
    assert of(5, synthetic.by_size(latency)).verdict == verdict


def test_indistinguishable_training_times_are_undecided():
    few = [
        records.record(record.case, samples=3, latency=record.samples("latency_s")[0])
        for record in synthetic.by_size(lambda _: 0.02)
    ]
    assert of(5, few).verdict == "undecided"


@pytest.mark.parametrize(("fixed", "each", "size"), [(2e-3, 1e-6, 2000), (-1e-5, 1e-6, None), (1e-3, -1e-7, None)])
def test_the_size_that_doubles_a_step_needs_time_of_both_kinds(fixed, each, size):
    steps = [SimpleNamespace(lstm_input=d, cost=lambda _, d=d: fixed + each * d) for d in (32, 512, 2048)]
    assert timing.bend(steps) == (size and pytest.approx(size))


def test_a_step_that_grows_at_once_has_no_flat_part():
    assert "yet up to" not in of(5, synthetic.by_size(lambda size: 1e-4 * size)).why
    assert "yet up to 512 less than" in of(5, synthetic.by_size(lambda size: 1e-3 + 1e-4 * max(0, size - 512))).why


def test_the_size_from_which_time_grows_is_fitted_beside_the_closed_form(pilot):
    claim = pilot["C5"]
    assert value(claim, "fitted") == pytest.approx(0.02 / 4e-6, rel=0.05)
    assert value(claim, "closed form") == pytest.approx(6784)
    assert value(claim, "Last size") == 2048
    assert re.match(r"A training step at 131,072 takes [\d.]+× as long as at 32, yet up to 2,048 less than", claim.why)


def test_the_size_from_which_macs_grow_is_that_at_which_those_of_the_input_equal_all_others():
    steps = [SimpleNamespace(macs=500 + 10 * size, lstm_input=size) for size in (32, 512, 2048)]
    assert timing.bend_of_macs(steps) == pytest.approx(50)
    assert timing.bend_of_macs([replaced(steps[0], macs=1), replaced(steps[2], macs=1)]) is None, "none grow"
    assert timing.bend_of_macs([steps[0], replaced(steps[2], macs=None)]) is None


def replaced(step, **values):
    return SimpleNamespace(**vars(step) | values)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.85, 1, "supported"), (0.2, 0.7, "refuted"), (0.5, 0.9, "undecided")]
)
def test_rank_correlation_decides_whether_parameters_predict_cost(low, high, verdict):
    assert ordering.judge({"parameters": Interval((low + high) / 2, low, high)}, 9).verdict == verdict


@pytest.mark.parametrize(("low", "verdict"), [(2.2, "refuted"), (1.2, "undecided")])
def test_equal_parameters_at_twice_the_latency_are_a_counterexample(low, verdict):
    label = f"one has {ordering._fewer_words(1.003)} parameters than the other, and its latency is"
    assert label == "one has no more parameters than the other, and its latency is"
    upset = Number(label, low + 0.1, "×", low, low + 0.2)
    assert ordering.judge({"parameters": Interval(0.72, 0.25, 1.0)}, 9, upset).verdict == verdict


def test_a_weak_pair_does_not_hide_a_counterexample():
    """Only the pair of far fewer parameters and slightly higher latency was shown, which decides nothing."""
    seconds = {32: 1.2e-3, 512: 0.9e-3, 2048: 0.95e-3, 32_768: 2e-3, 131_072: 1e-3}
    claim = of(16, synthetic.by_size(lambda size: seconds[size], "inference"))
    assert claim.verdict == "refuted"
    assert 1.5 < claim.numbers[-1].value < 2.5


def test_a_pair_of_equal_parameters_is_a_counterexample():
    """Only pairs of fewer parameters were looked at."""
    slow = records.record(records.case("gmp", 32, scenario="inference"), latency=2e-3)
    claim = of(16, synthetic.by_size(lambda size: 1e-3 + 1e-6 * size, "inference"), [slow])
    assert claim.verdict == "refuted"
    assert claim.numbers[-1].label == "gmp 32 has no more parameters than avg-k 32, and its latency is"


def test_parameters_that_reverse_the_order_refute_the_claim():
    backwards = synthetic.by_size(lambda size: 1 / size, "inference")
    claim = of(16, backwards)
    assert claim.verdict == "refuted"
    assert claim.numbers[0].value == pytest.approx(-1)
    assert claim.numbers[-1].label.startswith("avg-k 32 has 801.2 times fewer parameters than avg-k 131,072, ")


def test_configurations_of_equal_parameters_order_nothing():
    """The verdict named a τ of nan."""
    same = (records.reading("params", 7.0), records.reading("macs", 9.0))
    costs = [replace(record, readings=(*(r for r in record.readings if r.metric.name not in ("params", "macs")), *same))
             for record in synthetic.by_size(lambda size: 1 / size, "inference")]  # fmt: skip
    claim = of(16, costs)
    assert claim.verdict == "not tested"
    assert claim.why.startswith("Parameters were not counted, or are the same in every configuration: ")


# --- Trainings --------------------------------------------------------------------------------------------------------


def test_bounds_allow_for_selecting_the_best_by_its_seeds():
    """Of eight equal models the luckiest is best; the bounds below it hold for all but few of the others."""
    generator, missed, naive, rounds = np.random.default_rng(0), 0, 0, 200
    for _ in range(rounds):
        pool = [
            SimpleNamespace(by_seed=dict(enumerate(generator.normal(0.7, 0.03, 5))), clips=1000, floor=0.0, answers={})
            for _ in range(8)
        ]
        best = max(range(8), key=lambda at: np.mean(list(pool[at].by_seed.values())))
        gaps = [gap for at, gap in enumerate(standings.below("identity", pool)) if at != best]
        missed += sum(not gap.low <= 0 <= gap.high for gap in gaps)
        plain = [
            pair_difference("identity", pool[best].by_seed, other.by_seed) for other in pool if other is not pool[best]
        ]
        naive += sum(not gap.low <= 0 <= gap.high for gap in plain)
    assert missed <= 0.05 * 7 * rounds < naive


def test_one_sound_seed_gives_no_gap_below_the_best():
    accuracies = {0: 0.9, 1: 0.8, 2: 0.85}, {0: 0.7}, {0: 0.8, 1: 0.7, 2: 0.7}
    pool = [SimpleNamespace(by_seed=values, clips=1000, floor=0.0, answers={}) for values in accuracies]
    first, second, third = standings.below("identity", pool)
    assert (first.mean, first.low, first.high) == (0, 0, 0)
    assert second is None
    assert third.mean == pytest.approx(0.35 / 3)


def test_a_paired_difference_matches_scipy():
    from scipy import stats

    a, b = {0: 0.9, 1: 0.8, 2: 0.85, 7: 1.0}, {0: 0.7, 1: 0.75, 2: 0.6}
    difference = pair_difference("direction", a, b)
    interval = stats.ttest_rel([0.9, 0.8, 0.85], [0.7, 0.75, 0.6]).confidence_interval(0.95)
    assert (difference.low, difference.high, difference.n) == pytest.approx((interval.low, interval.high, 3))
    with pytest.raises(Lacking):
        pair_difference("direction", {0: 1.0}, {0: 1.0})


@pytest.mark.parametrize(
    ("differences", "verdicts"),
    [([UP, UP], ("supported",) * 3), ([NONE, DOWN], ("refuted",) * 3),
     ([UP, NONE], ("supported", "refuted", "refuted")), ([UP, UP, NONE], ("supported", "supported", "refuted")),
     ([UP, UP, UNSURE], ("supported", "supported", "undecided")),
     ([UNSURE], ("undecided",) * 3), ([UP, UNSURE], ("supported", "undecided", "undecided"))],
)  # fmt: skip
def test_gains_are_judged_for_some_most_and_all_tasks(differences, verdicts):
    assert gains(differences) == tuple(zip((SOME, MOST, ALL), verdicts, strict=True))


def test_an_undecided_gain_names_the_detectable_difference():
    assert by_verdict([UNSURE]) == "undecided on binding (gains below 20.1 points are mostly missed)"


def test_different_seeds_are_compared_by_welchs_test():
    """GAP's lead over FC by jitter rested on the two seeds that all four trainings had in common."""
    from scipy import stats

    a, b = [0.03, -0.02, -0.01], [0.40, 0.52, 0.55, 0.46]
    difference = welch("identity", a, b)
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (difference.low, difference.high, difference.n) == pytest.approx((interval.low, interval.high, 3))
    assert pair_difference("identity", dict(enumerate(a)), dict(enumerate(b, start=2))) == difference


@pytest.mark.parametrize(
    ("flat", "verdict"), [((0.6, 0.9), "supported"), ((0.85, 0.88), "refuted")], ids=["overfits", "does not"]
)
def test_a_wider_train_test_gap_counts_as_overfitting(flat, verdict):
    gap = synthetic.lessons("gap", "identity", 0.86, train=0.93)
    assert of(6, gap, synthetic.lessons("flatten", "identity", flat[0], train=flat[1])).verdict == verdict


def test_overfitting_is_plotted_against_the_number_of_clips():
    trainings = []
    for task in ("identity", "identity(train_clips=250)"):
        trainings += synthetic.lessons("gap", task, 0.8, train=0.9) + synthetic.lessons("flatten", task, 0.6, train=0.9)
    claim = of(6, trainings)
    assert [number.label for number in claim.numbers[:2]] == [
        "identity (250 clips): train-test gap, flatten less GAP",
        "identity (4,000 clips): train-test gap, flatten less GAP",
    ]
    assert [[point.x for point in curve.points] for curve in claim.plot.curves] == [[250, 4000], [250, 4000]]


def test_conditions_where_flatten_still_wins_are_joined_with_and():
    cells = [UP._replace(where=f"identity ({number} clips)") for number in ("250", "1,000", "4,000")]
    why = overfitting.judge([NONE] * 3, cells).why
    assert why.endswith("accuracy on identity (250 clips), identity (1,000 clips) and identity (4,000 clips).")


def sizes(**means):
    return [record for name, mean in means.items() for record in synthetic.lessons(name, "direction", mean)]


@pytest.mark.parametrize(
    ("means", "verdict"),
    [({"gap": 0.4, "fc64": 0.95, "flatten": 0.95}, "supported"),
     ({"gap": 0.4, "fc64": 0.5, "flatten": 0.95}, "refuted")],
)  # fmt: skip
def test_only_the_smallest_sufficient_size_supports_the_claim(means, verdict):
    assert of(7, sizes(**means)).verdict == verdict


def test_without_a_small_input_the_claim_is_not_refuted():
    """All of no configurations fell short."""
    whole, small = (
        standings.Shortfall(name, size, 0.1, 0.08, 0.12, 5, 0.12) for name, size in (("flatten", 1024), ("fc 128", 128))
    )
    best = standings.Shortfall("fc 256", 256, 0.0, 0.0, 0.0, 5, 0.0)
    assert sizes_claim.judge({"direction": [whole, best]}, 1024).verdict == "undecided"
    assert sizes_claim.judge({"direction": [whole, best, small]}, 1024).verdict == "refuted"


def test_a_configuration_that_a_task_lacks_is_not_shown_to_fall_short():
    """“Every configuration is shown to fall short”, although one sufficed wherever it was tried.

    One that only collapsed on a task has no standing there, and falls short.
    """
    good, bad = (standings.Shortfall("fc 64", 64, gap, gap - 0.01, gap + 0.01, 5, gap + 0.01) for gap in (0.0, 0.2))
    tasks = {"identity": [bad, good._replace(name="gap 64")], "direction": [good]}
    judgement = choice.judge(tasks, {})
    assert judgement.verdict == "undecided"
    assert "not excluded is gap 64." in judgement.why
    assert (value(judgement, "tried"), value(judgement, "sound runs"), value(judgement, "fall short")) == (2, 1, 1)
    assert choice.judge(tasks, {}, collapsing=frozenset({"gap 64"})).verdict == "supported"


def test_configurations_of_single_tasks_show_no_magic_number():
    """All of no configurations fell short on some task."""
    by_task = {task: [standings.Shortfall(task, 64, 0.1, 0.08, 0.12, 5, 0.12)] for task in ("identity", "direction")}
    with pytest.raises(Lacking, match=r"^Trainings of the same configuration on all tasks are needed"):
        choice.judge(by_task, {})


def test_a_collapsing_whole_map_is_not_called_below_the_best():
    """Its collapses counted as lost points, although the seeds that learnt are as good as the best."""
    learnt = sizes(gap=0.4, fc64=0.95)
    bad = synthetic.lessons("flatten", "direction", 0.2, seeds=3, sd=0.0)
    claim = of(7, learnt, bad, synthetic.lessons("flatten", "direction", 0.95)[3:])
    assert "below the best on none. Collapsing too often: flatten 1024 on direction (3 of 5 seeds)." in claim.why


def test_noise_shows_no_sufficient_size():
    noisy = [
        record for name in ("gap", "fc64", "flatten") for record in synthetic.lessons(name, "direction", 0.6, sd=0.1)
    ]
    assert of(7, noisy).verdict == "undecided"


def tasks(first, second):
    table = {"identity": first, "direction": second}
    return synthetic.trained(table)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ({"gap": 0.9, "conv1x1": 0.5, "flatten": 0.6}, {"gap": 0.3, "conv1x1": 0.9, "flatten": 0.6}, "supported"),
        ({"gap": 0.9, "fc64": 0.5, "flatten": 0.6}, {"gap": 0.3, "fc64": 0.9, "flatten": 0.6}, "supported"),
        ({"gap": 0.9, "fc64": 0.5, "flatten": 0.6}, {"gap": 0.9, "fc64": 0.5, "flatten": 0.6}, "refuted"),
    ],
    ids=["none", "a size", "a configuration"],
)  # fmt: skip
def test_a_size_is_magic_only_if_it_suffices_everywhere(first, second, verdict):
    claim = of(15, tasks(first, second))
    assert claim.verdict == verdict
    size = "fc64" in first and verdict == "supported"
    assert ("an LSTM input of 64 suffices on all" in claim.why) == size


def test_a_configuration_collapsing_in_many_seeds_falls_short():
    """Its bimodal interval excluded nothing, but three of five seeds that learn nothing are enough to decide."""
    first = {"gap": 0.9, "fc64": 0.5, "flatten": 0.6}
    bad = synthetic.lessons("gap", "direction", 0.2, seeds=3, sd=0.0) + synthetic.lessons("gap", "direction", 0.9)[3:]
    others = list(synthetic.trained({"direction": {"fc64": 0.9, "flatten": 0.6}}))
    claim = of(15, synthetic.trained({"identity": first}), bad, others)
    assert claim.verdict == "supported"
    assert "Collapsing too often: gap 64 on direction (3 of 5 seeds)" in claim.why


def test_the_magic_number_claim_names_the_recommendations(pilot):
    assert "gmp 64 (sure) on identity" in pilot["C15"].why
    assert choice.no_magic is claims.get("C15").build


def test_advised_models_are_named_with_options_and_layernorm():
    """They were dropped, so the plain reducers, which were tried too, seemed to be advised."""
    plain = tasks({"gap": 0.5, "fc64+relu": 0.5, "flatten": 0.6}, {"gap": 0.3, "fc64+relu": 0.95, "flatten": 0.6})
    layered = [
        *synthetic.lessons("gap", "identity", 0.9, layer_norm=True),
        *synthetic.lessons("gap", "direction", 0.4, layer_norm=True),
    ]
    layered.append(records.record(replace(synthetic.case("gap", layer_norm=True), scenario="inference")))
    advised = "Advised: gap 64 + LayerNorm (sure) on identity and fc(activation=true) 64 (sure) on direction."
    assert advised in of(15, plain, layered, synthetic.small_costs()).why


def test_advice_on_another_backbone_names_that_backbone():
    plain = tasks({"gap": 0.9, "fc64": 0.5, "flatten": 0.6}, {"gap": 0.3, "fc64": 0.95, "flatten": 0.6})
    elsewhere = synthetic.lessons("gap", "direction", 0.95, backbone=synthetic.CIRCULAR)
    cost = records.record(replace(synthetic.case("gap", synthetic.CIRCULAR), scenario="inference"), latency=1e-4)
    advised = "gap 64 (sure) on identity and gap 8 on conv(channels=8,padding_mode=circular) with lstm64 (sure) on dir"
    assert f"Advised: {advised}" in of(15, plain, elsewhere, [cost], synthetic.small_costs()).why


@pytest.mark.parametrize(
    ("fc", "verdict"), [((0.99, 0.9), "supported"), ((0.36, 0.5), "refuted"), ((0.99, 0.5), "refuted")]
)
def test_fc_must_beat_gap_on_most_spatial_tasks(fc, verdict):
    trainings = []
    for task, mean, gap in (("direction", fc[0], 0.36), ("binding", fc[1], 0.5)):
        trainings += synthetic.lessons("fc64", task, mean) + synthetic.lessons("gap", task, gap)
    assert of(10, trainings).verdict == verdict


def test_a_smaller_reducer_that_matches_fc_is_named(pilot):
    assert "conv1x1-avg-k 128" in pilot["C10"].why


@pytest.mark.parametrize(
    ("centred", "verdict"), [((0.9, 0.5), "supported"), ((0.5, 0.9), "refuted")], ids=["gains", "loses"]
)
def test_gaps_lead_must_grow_as_positions_vary_less(centred, verdict):
    still = synthetic.lessons("gap", "identity(jitter=0.0)", centred[0]) + synthetic.lessons(
        "fc64", "identity(jitter=0.0)", centred[1]
    )
    anywhere = synthetic.lessons("gap", "identity", 0.8) + synthetic.lessons("fc64", "identity", 0.7)
    assert of(11, still, anywhere).verdict == verdict


def test_published_undecided_figures_refute_the_claim():
    """GAP's leads were +0.0 (sd 0.03, three seeds) and +48.2 points (sd 0.11, four), two seeds in common."""
    least, most = np.array([-1.0, 0.0, 1.0]), np.array([-1.0, -1.0, 1.0, 1.0]) * 3**0.5 / 2
    change = welch("identity", 0.0003 + 0.0298 * least, 0.4815 + 0.1102 * most)
    assert (change.mean, change.n) == (pytest.approx(-0.48, abs=0.005), 3)
    leads = {0.0: mean_difference("identity", 0.0298 * least), 1.0: mean_difference("identity", 0.4815 + 0.1102 * most)}
    refuted = spatial.judge_variability(change, leads)
    assert refuted.verdict == "refuted"
    assert "less, it loses (it helps where positions vary and do not matter): its lead is " in refuted.why


def test_leads_cross_only_if_both_signs_are_shown():
    """Means of opposite signs gave "they cross", however uncertain they were."""
    lead, loss = (Difference("identity", mean, mean - 0.05, mean + 0.05, 5) for mean in (0.1, -0.1))
    unknown = Difference("identity", -0.01, -0.06, 0.04, 5)
    change = Difference("identity", 0.2, 0.1, 0.3, 5)
    assert "(they cross)" in spatial.judge_variability(change, {0.0: lead, 1.0: loss}).why
    assert "(they are not shown to cross)" in spatial.judge_variability(change, {0.0: lead, 1.0: unknown}).why


def test_noisy_leads_leave_variability_undecided():
    task = "identity(jitter=0.0)"
    still = synthetic.lessons("gap", task, 0.8, sd=0.1) + synthetic.lessons("fc64", task, 0.7, sd=0.1)
    anywhere = synthetic.lessons("gap", "identity", 0.8, sd=0.1) + synthetic.lessons("fc64", "identity", 0.7, sd=0.1)
    assert of(11, still, anywhere).verdict == "undecided"


def test_the_rank_correlation_matches_scipy():
    from scipy import stats

    x, y = [1.0, 2.0, 2.0, 5.0, 4.0, 9.0], [2.0, 1.0, 3.0, 3.0, 5.0, 4.0]
    correlation = ordering.tau(x, y)
    assert correlation.median == pytest.approx(stats.kendalltau(x, y).statistic)
    rng = random.Random(0)
    picks = [[rng.randrange(6) for _ in x] for _ in range(1000)]
    draws = [stats.kendalltau([x[i] for i in pick], [y[i] for i in pick]).statistic for pick in picks]
    assert (correlation.low, correlation.high) == pytest.approx(np.nanquantile(draws, (0.025, 0.975)), abs=0.1)


@pytest.mark.parametrize(
    ("active", "verdict"), [(0.9, "supported"), (0.8, "refuted"), (0.7, "refuted")], ids=["helps", "same", "hurts"]
)
def test_the_activation_claim_holds_if_accuracy_rises(active, verdict):
    trainings = synthetic.lessons("fc64", "direction", 0.8) + synthetic.lessons("fc64+relu", "direction", active)
    assert of(13, trainings).verdict == verdict


def test_runs_left_out_of_means_are_counted():
    trainings = synthetic.lessons("fc64", "direction", 0.8) + synthetic.lessons("fc64+relu", "direction", 0.9)
    trainings[0] = next(iter(synthetic.lessons("fc64", "direction", 0.1, seeds=1, flag="dead_run")))
    last = next(number for number in of(13, trainings).numbers if "left out" in number.label)
    assert (last.label, last.value, last.n) == ("Runs left out of every mean: 1 collapsed", 1, 10)


def test_one_sound_seed_is_no_evidence():
    trainings = synthetic.lessons("fc64", "direction", 0.8, seeds=1) + synthetic.lessons(
        "fc64+relu", "direction", 0.9, seeds=1
    )
    assert of(13, trainings).verdict == "not tested"


def test_a_case_in_several_runs_counts_once():
    trainings = synthetic.trained()
    run = records.run_of(trainings)
    twice = Evidence(((run, trainings[:40]), (run, trainings)))
    assert len(twice.records) == len(trainings)
    assert standings.standings(twice) == standings.standings(Evidence(((run, trainings),)))


def test_visits_of_different_runs_are_not_paired():
    """Rounds of two runs were paired, so disturbances of either run were taken to be shared."""
    seconds = ((1e-3, 2e-3, 8e-3), (8e-3, 1e-3, 2e-3))  # equal medians, but other ratios by round
    cases = [
        replace(record, visits=tuple(Visit(number) for number in range(3)),
                readings=(Reading(metrics.LATENCY, samples, (1, 1, 1)),))
        for record, samples in zip(synthetic.by_size(lambda _: 1e-3)[:2], seconds, strict=True)
    ]  # fmt: skip
    together = Evidence(((records.run_of(cases), cases),))
    apart = Evidence(tuple((records.run_of([case]), [case]) for case in cases))
    by_round, by_median = (ratio_of(*evidence.costs).median for evidence in (together, apart))
    assert (by_round, by_median) == pytest.approx((2, 1))


def test_evaluations_in_other_variants_do_not_count_as_seeds():
    trainings = synthetic.trained()
    quantised = [replace(record, case=replace(record.case, variant=(Choice("int8"),))) for record in trainings]
    run = records.run_of(trainings)
    both = Evidence(((run, [*trainings, *quantised]),))
    assert both.lessons == Evidence(((run, trainings),)).lessons


def test_costs_are_those_of_eager_models_that_were_measured():
    eager, *others = synthetic.small_costs()[:3]
    others[0] = replace(others[0], case=replace(others[0].case, variant=(Choice("compile"),)))
    others[1] = replace(others[1], status="failed")
    own = records.record(replace(eager.case, architecture=Whole(Choice("net:build"))))
    evidence = synthetic.evidence([eager, *others, own], synthetic.lessons("gap", "direction", 0.5))
    assert [result.case for result in evidence.costs] == [eager.case]


def test_the_ground_is_the_one_on_which_most_architectures_were_trained():
    """A task with options is no task of its own."""
    few = synthetic.lessons("gap", "direction", 0.4) + synthetic.lessons("gap", "identity", 0.4)
    many = [
        lesson
        for name in ("gap", "gmp")
        for lesson in synthetic.lessons(name, "identity(jitter=0.5)", 0.9, backbone=synthetic.CIRCULAR)
    ]
    evidence = synthetic.evidence(few, many)
    assert {quality.architecture.backbone for quality in evidence.qualities} == {synthetic.CIRCULAR}
    assert (evidence.tasks, synthetic.evidence(few).tasks) == ([], ["direction", "identity"])


def test_a_claim_reports_that_every_run_died():
    trainings = synthetic.lessons("fc64", "direction", 0.9) + synthetic.lessons("fc64", "binding", 0.9)
    trainings += synthetic.lessons("gap", "direction", 0.12, flag="dead_run") + synthetic.lessons("gap", "binding", 0.5)
    assert of(10, trainings).verdict == "not tested"
    assert "left out of every mean: 5 collapsed; train them longer" in of(10, trainings).why


def test_a_registered_non_claim_is_reported_as_missing(monkeypatch):
    """``convbench.register`` accepts functions that are no claims, and such a function ended the command."""
    monkeypatch.setitem(claims._plugins, "wild-2", Plugin("wild-2", lambda _: 3, "", {}))
    monkeypatch.setattr(installed, "_missing_plugins", {})
    assert "wild-2" not in [claim.number for claim in all_claims(NOTHING)]
    (lacking,) = installed.missing_plugins()
    assert "the claim 'wild-2' raised TypeError: it returns int: register it with" in lacking.reason


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda: ("supported", "why"), "TypeError: it returns tuple, not a Judgement"),
        (lambda: Judgement("yes", "why"), "ValueError: unknown verdict 'yes'; known: supported, refuted,"),
    ],
)
def test_a_claim_must_return_a_valid_judgement(returned, words, monkeypatch):
    """An unknown verdict used to end the command as an internal error."""
    monkeypatch.setattr(claims, "_plugins", {plugin.name: plugin for plugin in claims})
    claim("odd", "odd", quote="", prediction="", experiment="")(lambda _: returned())
    monkeypatch.setattr(installed, "_missing_plugins", {})
    assert "odd" not in [answer.number for answer in all_claims(NOTHING)]
    (lacking,) = installed.missing_plugins()
    assert f"the claim 'odd' raised {words}" in lacking.reason


def test_a_raising_claim_of_another_package_is_reported_as_missing(monkeypatch):
    """The article's claims were lost together with the plug-in's claim."""

    def wild(evidence):
        raise IndexError("no such number")

    own = [claim.number for claim in all_claims(NOTHING)]
    monkeypatch.setitem(claims._plugins, "wild-1", Plugin("wild-1", wild, "", {}))
    monkeypatch.setattr(installed, "_missing_plugins", {})
    assert [claim.number for claim in all_claims(NOTHING)] == own
    assert [lacking.reason for lacking in installed.missing_plugins()] == [
        f"the claim 'wild-1' raised IndexError: no such number (test_claims.py:{wild.__code__.co_firstlineno + 1})"
    ]
