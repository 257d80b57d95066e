"""Training runs become qualities: by seed, at the rate that validation chose, cut at an equal budget."""

from dataclasses import replace

import numpy as np
import pytest
import records
from scipy import stats

from convbench.analysis.inference.clip_pool import ClipAnswers, floors_of_gaps
from convbench.analysis.quality.collapse import collapse_often, fallen_seeds, fisher, is_at_chance
from convbench.analysis.quality.controls import controls, linear_probes
from convbench.analysis.quality.lessons import equal_limits, lessons
from convbench.analysis.quality.qualities import costs_of, has_training, qualities, seed_table
from convbench.analysis.quality.standing import standings
from convbench.analysis.results import results
from convbench.core.findings import TEST_CLIPS_KNOWN
from convbench.core.record import Choice, Finding, Whole
from convbench.report.words import quality as words
from convbench.report.words.numbers import chance

FC = records.case("fc(activation=true)", 32)


def only(run_records, **cut):
    (quality,) = qualities(run_records, **cut)
    return quality


def test_a_lesson_is_read_completely():
    (lesson,) = lessons([records.lesson(0.8, seed=3), records.record()])
    assert (lesson.task, lesson.seed, lesson.learning_rate, lesson.flag) == ("direction", 3, 2e-3, None)
    assert lesson.architecture.head is None
    assert lesson.at() == lesson.curve[-1]
    assert lesson.at().test == pytest.approx(0.8)
    assert lesson.at("steps", 349).steps == 280
    assert lesson.at("steps", 69) is None
    constants = [replace(lesson, majority=share).constant for share in (0.1, 0.98)]
    assert constants == [0.125, 0.98]
    assert replace(lesson, classes=0, majority=0.0).constant == 0.0
    assert lessons([replace(records.lesson(), status="failed", readings=())]) == []


def test_a_checkpoint_exactly_at_the_limit_counts():
    (lesson,) = lessons([records.lesson()])
    assert lesson.at("flops", lesson.curve[3].flops) == lesson.curve[3]


def test_quality_is_the_mean_over_seeds_with_its_t_interval():
    accuracies = [0.8, 0.85, 0.83, 0.9, 0.79]
    quality = only([records.lesson(a, seed=i) for i, a in enumerate(accuracies)])
    assert dict(quality.by_seed) == pytest.approx(dict(enumerate(accuracies)))
    low, high = stats.t.interval(0.95, 4, loc=quality.mean, scale=stats.sem(accuracies))
    assert (quality.interval.low, quality.interval.high) == pytest.approx((low, high))
    assert (quality.chance, quality.majority) == pytest.approx((0.125, 0.13))
    assert quality.train == pytest.approx(quality.mean + 0.05)


def test_an_interval_stays_within_the_range_of_accuracy():
    assert only([records.lesson(a, seed=i) for i, a in enumerate((0.99, 1.0, 0.8))]).interval.high == 1.0


def test_one_seed_has_a_mean_and_no_interval():
    quality = only([records.lesson(0.8)])
    assert quality.mean == pytest.approx(0.8)
    assert quality.interval is None


def test_the_rate_is_chosen_by_validation_not_test_accuracy():
    run_records = [records.lesson(0.6, seed=s, rate=5e-4, val=0.9) for s in range(3)]
    run_records += [records.lesson(0.95, seed=s, rate=2e-3, val=0.7) for s in range(3)]
    quality = only(run_records)
    assert quality.learning_rate == 5e-4
    assert quality.mean == pytest.approx(0.6)
    assert quality.by_rate == pytest.approx({5e-4: 0.9, 2e-3: 0.7})
    assert quality.spread == pytest.approx(0.2)


def test_later_seeds_do_not_change_the_chosen_rate():
    """Two seeds tried both rates; a third, at the chosen rate, goes badly."""
    run_records = [
        records.lesson(0.9, seed=s, rate=rate, val=val) for s in (0, 1) for rate, val in ((5e-4, 0.9), (2e-3, 0.8))
    ]
    quality = only([*run_records, records.lesson(0.5, seed=2, rate=5e-4, val=0.2)])
    assert (quality.learning_rate, quality.ended) == (5e-4, 3)
    assert quality.by_rate == pytest.approx({5e-4: 0.9, 2e-3: 0.8})


def test_a_variant_uses_the_rate_chosen_in_eager():
    """Its own validation accuracies would choose the other rate, at which later seeds are not trained."""
    run_records = []
    for variant, vals in (("eager", (0.9, 0.8)), ("int8", (0.7, 0.75))):
        of = records.case(variant=variant)
        run_records += [
            records.lesson(0.8, seed=seed, rate=rate, val=val, of=of)
            for seed in (0, 1)
            for rate, val in zip((5e-4, 2e-3), vals, strict=True)
        ]
        run_records.append(records.lesson(0.8, seed=2, rate=5e-4, of=of))
    tried = qualities(run_records, in_variants=True)
    assert [(quality.variant, quality.learning_rate, quality.ended) for quality in tried] == [
        ("eager", 5e-4, 3), ("int8", 5e-4, 3),
    ]  # fmt: skip


def test_dead_runs_are_counted_and_never_averaged_in():
    run_records = [
        records.lesson(0.9, seed=0),
        records.lesson(0.9, seed=1),
        records.lesson(0.125, seed=2, flag="dead_run"),
    ]
    quality = only(run_records)
    assert quality.mean == pytest.approx(0.9)
    assert (sorted(quality.by_seed), quality.dead, quality.collapsed, quality.ended) == ([0, 1], 1, 1, 3)


def test_a_run_still_learning_is_averaged_in_and_counted():
    """A run at 90.9 % was dropped as unconverged, which left the worse runs."""
    run_records = [
        records.lesson(a, seed=s, flag="unconverged" if s == 1 else None) for s, a in enumerate((0.7, 0.909, 0.8))
    ]
    quality = only(run_records)
    assert quality.mean == pytest.approx(0.803)
    assert quality.unconverged == 1
    still_learning = "Still learning when training ended, and averaged in: 1 run."
    assert words.task([quality])[-1] == still_learning
    crash = replace(records.failed(run_records[0].case), case=records.lesson(seed=4).case)
    spoilt = only([*run_records, records.lesson(0.125, seed=3, flag="dead_run"), crash])
    assert words.task([spoilt])[-1] == f"Not averaged in, at the rates chosen: 1 collapsed, 1 failed. {still_learning}"


@pytest.mark.parametrize(("reached", "fallen"), [(0.126, 1), (0.15, 1), (0.4, 1), (0.6, 0)])
def test_a_run_far_below_the_others_counts_as_collapsed(reached, fallen):
    """A run at 12.6 % of eight classes used to count as sound."""
    quality = only([records.lesson(a, seed=s) for s, a in enumerate((0.9, 0.91, 0.89, 0.9, reached))])
    assert (quality.fallen, len(quality.by_seed)) == (fallen, 5 - fallen)


def test_on_few_clips_a_run_learnt_if_beyond_halfway():
    """Runs with 8 of 8 clips right had learnt nothing: so few never differ from chance at 99.9 %."""
    reached = (1.0, 0.625, 0.875, 0.5, 0.125)
    quality = only([records.lesson(a, "sides", s, clips=8) for s, a in enumerate(reached)])
    assert sorted(quality.by_seed) == [0, 2]


def test_bad_luck_on_few_clips_is_no_collapse():
    accuracies = (0.9, 0.9, 0.5, 0.9, 0.5)
    few, many = ([records.lesson(a, seed=s, clips=n) for s, a in enumerate(accuracies)] for n in (20, 1000))
    assert (only(few).collapsed, only(many).collapsed) == (0, 2)


def test_noise_is_no_collapse():
    quality = only([records.lesson(a, seed=s) for s, a in enumerate((0.9, 0.75, 0.82, 0.7, 0.95))])
    assert quality.fallen == 0


def test_a_best_rate_at_the_grids_end_is_noted():
    run_records = [
        records.lesson(0.6 + i / 10, seed=s, rate=rate) for i, rate in enumerate((5e-4, 2e-3, 8e-3)) for s in (0, 1)
    ]
    assert only(run_records).rate_edge == "highest"
    assert only([*run_records, records.lesson(0.3, seed=0, rate=3e-2)]).rate_edge is None
    assert only(run_records[:2]).rate_edge is None
    perfect = [records.lesson(1.0, seed=seed, rate=rate) for rate in (5e-4, 2e-3) for seed in (0, 1)]
    assert only(perfect).rate_edge is None
    two = [records.lesson(0.6 + rate, seed=seed, rate=rate) for rate in (5e-4, 2e-3) for seed in (0, 1)]
    assert only(two).rate_edge == "highest"


def test_the_majority_share_is_given_for_unequal_classes():
    """With 98 % of the clips in one class, 99 % read "99.0 % (chance 50.0 %)"."""
    quality = only([records.lesson(0.99, "sides", seed) for seed in range(3)])
    assert chance(quality) == " (chance 50.0 %)"
    assert chance(replace(quality, majority=0.98)) == " (chance 50.0 %, the commonest class alone 98.0 %)"


def test_there_is_no_quality_if_every_run_died():
    quality = only([records.lesson(0.125, seed=s, flag="dead_run") for s in range(3)])
    assert (dict(quality.by_seed), quality.mean, quality.interval, quality.train, quality.dead) == (
        {},
        None,
        None,
        None,
        3,
    )


def test_a_rate_with_dead_runs_does_not_win():
    run_records = [records.lesson(0.9, seed=s, rate=2e-3) for s in range(3)]
    run_records += [records.lesson(0.95, seed=0, rate=8e-3)]
    run_records += [records.lesson(0.125, seed=s, rate=8e-3, flag="dead_run") for s in (1, 2)]
    assert only(run_records).learning_rate == 2e-3


def test_failed_runs_are_counted_at_their_rate():
    done = records.lesson(0.9, seed=0)
    lost = replace(records.lesson(seed=1), status="failed", readings=())
    quality = only([lost, done])
    assert (quality.failed, dict(quality.by_seed), quality.chance) == (1, {0: pytest.approx(0.9)}, 0.125)
    gone = only([lost])
    assert (gone.failed, dict(gone.by_seed), gone.chance, gone.majority) == (1, {}, None, None)


def test_a_skipped_training_does_not_count_as_a_run():
    skipped = replace(records.lesson(), status="skipped", readings=())
    assert qualities([skipped]) == []


def test_tasks_architectures_and_clips_have_separate_qualities():
    run_records = [records.lesson(0.9), records.lesson(0.8, "identity"), records.lesson(0.7, of=FC)]
    longer = replace(records.case(), clip=replace(records.case().clip, frames=32))
    assert len(qualities([*run_records, records.lesson(0.6, of=longer)])) == 4


def test_every_run_of_a_task_reaches_its_equal_budget():
    cheap, dear = records.lesson(0.8), records.lesson(0.9, of=FC)
    limits = equal_limits([cheap, dear], "flops")
    assert limits == {("direction", records.case().clip): cheap.samples("train_flops")[-1]}
    small, large = qualities([cheap, dear], "flops", limits)
    assert small.mean == pytest.approx(0.8)
    assert large.mean < 0.9
    assert [quality.mean for quality in qualities([cheap, dear], "steps", 700)] == pytest.approx([0.8, 0.9])


def test_each_clip_has_its_own_equal_budget():
    longer = replace(records.case(), clip=replace(records.case().clip, frames=32))
    short, long = records.lesson(0.8), records.lesson(0.8, of=longer)
    long = replace(long, readings=tuple(replace(r, samples=r.samples[:5]) for r in long.readings))
    first, second = qualities([short, long], "steps", equal_limits([short, long], "steps"))
    assert first.mean == pytest.approx(0.8)
    assert second.mean < 0.8


def test_controls_are_separate_and_keep_their_dead_runs():
    permuted = [records.lesson(0.12 + s / 100, seed=s, control="label-permutation", flag="dead_run") for s in (1, 0)]
    run_records = [records.lesson(0.9), *permuted]
    (control,) = controls(run_records)
    assert (control.task, control.control, control.chance) == ("direction", "label-permutation", 0.125)
    assert dict(control.by_seed) == pytest.approx({0: 0.12, 1: 0.13})
    assert (only(run_records).mean, only(run_records).ended) == (pytest.approx(0.9), 1)
    assert equal_limits(permuted, "steps") == {}


def test_linear_probes_are_grouped_by_seed():
    (probe,) = linear_probes([records.probed(0.98, 0.7, 1), records.probed(0.97, 0.6), records.record()])
    assert (dict(probe.where), dict(probe.what)) == ({0: 0.97, 1: 0.98}, {0: 0.6, 1: 0.7})
    in_int8 = records.probed(0.9, 0.5, of=records.case(variant="int8"))
    skipped = replace(records.probed(0.1, 0.1, 2), status="skipped", readings=())
    run_records = [records.probed(0.98, 0.7), in_int8, skipped, records.lesson()]
    assert [(probe.variant, dict(probe.where)) for probe in linear_probes(run_records)] == [("eager", {0: 0.98})]
    assert [probe.variant for probe in linear_probes(run_records, in_variants=True)] == ["eager", "int8"]


def test_a_control_is_read_at_the_rate_that_validates_best_and_expects_at_least_the_majority():
    shuffled = [
        records.lesson(val / 2, control="frame-shuffle", rate=rate, val=val) for rate, val in ((2e-3, 0.9), (8e-3, 0.8))
    ]
    permuted = records.lesson(0.1, control="label-permutation")
    run_records = [*shuffled, permuted, records.lesson(0.1, control="other")]
    assert [(control.expected, dict(control.by_seed)) for control in controls(run_records)] == [
        (0.5, {0: 0.45}), (0.13, {0: 0.1}), (None, {0: 0.1}),
    ]  # fmt: skip


def test_of_equally_good_rates_the_lowest_is_chosen():
    quality = only([records.lesson(0.9, rate=rate) for rate in (8e-3, 2e-3)])
    assert (quality.learning_rate, list(quality.by_rate)) == (2e-3, [2e-3, 8e-3])


def test_collapse_is_told_from_luck_by_fishers_test_and_the_clips():
    assert is_at_chance(0.515, 0.5, 10_000)
    assert not is_at_chance(0.516, 0.5, 10_000)
    assert (fallen_seeds({0: 0.9}, 0.1, 1000), fallen_seeds({0: 0.9, 1: 0.3}, 0.1, 1000)) == (set(), {1})
    spread = {0: 0.9, 1: 0.9, 2: 0.75, 3: 0.72}  # four standard deviations are 0.38, half of the lead over chance 0.2
    assert [fallen_seeds(spread | {4: test}, 0.5, 10_000) for test in (0.65, 0.51)] == [set(), {4}]
    assert fallen_seeds({0: 0.9, 1: 0.72, 2: 0.65}, 0.5, 10_000) == set()
    for count, runs, other_count, other_runs in ((3, 5, 2, 9), (2, 5, 0, 9), (5, 5, 4, 9), (0, 3, 2, 3)):
        table = [[count, runs - count], [other_count, other_runs - other_count]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        assert fisher(count, runs, other_count, other_runs) == pytest.approx(expected)
    assert collapse_often([0, 2, 0], [5, 5, 5]) == [False, True, False]
    assert collapse_often([1, 1, 1], [5, 5, 5]) == [False, False, False]
    assert collapse_often([0, 0], [1, 1]) == [False, False]


def test_costs_match_by_model_and_clip():
    quality = only([records.lesson()])
    headed = records.case(parts={"head": 8}, variant="compile")
    smaller = replace(records.case(), clip=replace(records.case().clip, height=32))
    own_model = replace(records.case(), architecture=Whole(Choice("net:build")))
    others = [FC, smaller, records.case(scenario="streaming"), own_model]
    case_results = results([records.record(case) for case in (records.case(), headed, *others)] + [records.lesson()])
    assert [result.case.variant_name for result in costs_of(quality, case_results)] == ["eager", "compile"]


def test_one_run_that_learned_test_clips_makes_them_known():
    known = records.lesson(seed=1)
    known = replace(known, findings=(Finding(TEST_CLIPS_KNOWN, {}),))
    assert [only([records.lesson(), *more]).knows_test_clips for more in ((), (known,))] == [False, True]


def test_a_table_takes_the_fewest_clips_its_seeds_in_order_and_the_floors_of_its_qualities():
    draws = {seed: ClipAnswers((1, 2, 3, 4), (True, True, seed > 1, False), 8) for seed in (2, 0, 1)}
    few = only([records.lesson(0.7 + seed / 10, seed=seed, clips=4, answers=run) for seed, run in draws.items()])
    other = ClipAnswers((1, 2, 3, 4), (True, False, True, True), 8)
    many = only([records.lesson(0.9, seed=seed, of=FC, clips=8, answers=other) for seed in (0, 3)])
    table = seed_table([few, many])
    assert np.isnan(table.values).tolist() == [[False, False], [False, True], [False, True], [True, False]]
    assert table.values[:3, 0] == pytest.approx([0.7, 0.8, 0.9])
    assert (table.clips, table.floor.tolist()) == (4, [few.floor, many.floor])
    assert few.floor != many.floor
    assert table.gap_floors.tolist() == floors_of_gaps([few.answers, many.answers]).tolist()
    assert table.gap_floors.any()


def test_trainings_count_as_quality_unless_skipped():
    assert not has_training([records.record(), records.probed(0.9, 0.9)])
    assert has_training([replace(records.lesson(), status="failed", readings=())])
    assert not has_training([replace(records.lesson(), status="skipped", readings=())])


def test_equally_good_configurations_are_seldom_called_worse():
    """Of 16 equally good ones the luckiest leads. In four of five tables of five seeds, it was told from another."""
    rng, cases = np.random.default_rng(1), [records.case("fc", size) for size in range(8, 136, 8)]
    tables = []
    for _ in range(12):
        accuracies = 0.8 + rng.normal(0, 0.01, (5, 1)) + rng.normal(0, 0.015, (5, len(cases)))
        lessons_of_table = [
            records.lesson(accuracy, "identity", seed, of=case)
            for seed, row in enumerate(accuracies)
            for case, accuracy in zip(cases, row, strict=True)
        ]
        tables.append({standing.place for standing in standings(qualities(lessons_of_table))})
    assert sum("" in places for places in tables) <= 5
