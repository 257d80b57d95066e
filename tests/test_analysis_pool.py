"""The variance that more seeds cannot remove, because all draw from the same clips: closed forms and invented runs."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import records
from scipy import stats

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.choice.settling import settle
from convbench.analysis.inference.clip_pool import (
    ClipAnswers,
    count_tested,
    covariance_of,
    floor_of_mean,
    floors_of_gaps,
)
from convbench.analysis.inference.noninferior import hurdle, pairs
from convbench.analysis.inference.seed_table import SeedTable
from convbench.analysis.quality.qualities import qualities
from convbench.report.words.advice import sentences

POOL, TESTED = 100, 15


def drawn(right, seeds=20, rng=None):
    """Draw clips from a pool for each seed and return the answers; ``right`` says which clips are answered rightly."""
    rng = rng or np.random.default_rng(3)
    parts = [rng.choice(POOL, TESTED, replace=False) for _ in range(seeds)]
    return {seed: ClipAnswers(tuple(part), tuple(right(part)), POOL) for seed, part in enumerate(parts)}


def test_runs_without_a_pool_have_no_floor():
    assert floor_of_mean({}) == 0
    assert not floors_of_gaps([{}, {}]).any()


def test_consistent_answers_keep_all_the_variance_of_the_clips():
    """Every seed is right on the same half of the clips, so the mean varies as that of a sample of a hundred."""
    answers = drawn(lambda clips: clips % 2 == 0)
    assert floor_of_mean(answers) == pytest.approx(0.25 / POOL, rel=0.05)


def test_the_numbers_of_the_clips_do_not_matter():
    numbers = np.arange(POOL) * 1000 + 7
    answers = drawn(lambda clips: clips % 2 == 0)
    renumbered = {seed: run._replace(sources=tuple(numbers[list(run.sources)])) for seed, run in answers.items()}
    assert floor_of_mean(renumbered) == floor_of_mean(answers)


def test_answers_unrelated_to_the_clips_keep_little_variance():
    chance = np.random.default_rng(4)
    answers = drawn(lambda clips: chance.random(len(clips)) < 0.5, seeds=40)
    assert floor_of_mean(answers) < 0.2 * 0.25 / POOL


def test_without_shared_clips_all_the_variance_is_kept():
    chance = np.random.default_rng(5)
    answers = {
        s: ClipAnswers(tuple(range(20 * s, 20 * s + 20)), tuple(chance.random(20) < 0.5), POOL) for s in range(5)
    }
    assert floor_of_mean(answers) == pytest.approx(0.25 / POOL, rel=0.1)


def test_pools_of_two_sizes_share_no_clips():
    chance = np.random.default_rng(6)
    answers = drawn(lambda clips: chance.random(len(clips)) < 0.5, seeds=40)
    other = {seed: run._replace(pool=POOL + (seed > 20)) for seed, run in answers.items()}
    assert floor_of_mean(other) == pytest.approx(0.25 / POOL, rel=0.05)


def test_clips_of_one_recording_count_as_one_unit():
    """Ten recordings of ten clips, half of them answered rightly, are a sample of ten and not of a hundred."""
    recordings = np.repeat(np.arange(10), 10)
    answers = {s: ClipAnswers(tuple(recordings), tuple(recordings % 2 == 0), 10) for s in range(3)}
    assert floor_of_mean(answers) == pytest.approx(0.25 / 9)


def test_what_is_hard_for_both_models_cancels_in_their_difference():
    answers = drawn(lambda clips: clips % 2 == 0)
    better = {seed: run._replace(right=tuple(np.array(run.sources) % 4 < 3)) for seed, run in answers.items()}
    floors = floors_of_gaps([answers, answers, better])
    assert floors[0, 1] == 0
    assert floors[0, 2] == floors[1, 2] == pytest.approx(0.25 * 0.75 / POOL, rel=0.2)
    own = covariance_of(floors)
    variances = np.diag(own)
    assert variances[:, None] + variances - 2 * own == pytest.approx(floors)


def test_intervals_hold_for_new_clips_of_the_same_kind():
    """Each clip is hard or easy for all runs. Without the floor, only half of the intervals of twenty seeds held."""
    rng, plain, allowed = np.random.default_rng(7), [], []
    for _ in range(100):
        easy = rng.random(POOL) < 0.7
        answers = drawn(lambda clips, easy=easy: easy[clips], rng=rng)
        run_records = [
            records.lesson(float(np.mean(run.right)), seed=seed, clips=TESTED, answers=run)
            for seed, run in answers.items()
        ]
        (quality,) = qualities(run_records)
        for interval, holding in ((quality.interval, allowed), (replace(quality, answers={}).interval, plain)):
            holding.append(interval.low <= 0.7 <= interval.high)
    assert np.mean(plain) < 0.7
    assert np.mean(allowed) > 0.93


def test_all_right_is_limited_by_clips_and_not_seeds():
    answers = drawn(lambda clips: clips >= 0, seeds=100)
    (quality,) = qualities([records.lesson(1.0, seed=s, clips=TESTED, answers=run) for s, run in answers.items()])
    assert count_tested(answers) == POOL
    assert quality.interval.low == pytest.approx(0.025 ** (1 / POOL))


@pytest.mark.parametrize(("per_source", "noun"), [(1, "clips"), (2, "recordings")])
def test_more_clips_are_advised_if_more_seeds_cannot_tell(per_source, noun):
    """Two models are each right on 80 of a hundred clips, but not on the same 80. A source may have several clips."""
    rng = np.random.default_rng(9)
    easy = np.stack([rng.permutation(POOL) < 80, rng.permutation(POOL) < 80], axis=1)
    run_records = []
    for i in range(2):
        of = records.case(records.choice(f"own-{i}"), 32 + i)
        run_records.append(records.record(of, samples=12, latency=1e-3 * (i + 1)))
        for seed in range(10):
            part = np.random.default_rng(seed).choice(POOL, TESTED, replace=False)
            right = easy[part, i] ^ (rng.random(TESTED) < 0.02)
            answers = ClipAnswers(tuple(part) * per_source, tuple(right) * per_source, POOL)
            run_records.append(
                records.lesson(float(right.mean()), "identity", seed, of=of, clips=TESTED * per_source, answers=answers)
            )
    (answer,) = recommendations(run_records, Ask())
    assert answer.settle.seeds is None
    assert any(f"bring more {noun}: all seeds draw from the same 100" in line for line in sentences(answer))


def test_the_errors_include_the_floor_of_the_clips():
    """Two models: the part of their difference's error that stays is separate from what more seeds remove."""
    table, kept = SeedTable.of(np.random.default_rng(11).normal(0.8, 0.02, (8, 2))), 3e-4
    without, having = pairs(table), pairs(table._replace(gap_floors=np.array([[0, kept], [kept, 0]])))
    assert having.error[0, 1] ** 2 - without.error[0, 1] ** 2 == pytest.approx(kept)
    assert having.own_error**2 - without.own_error**2 == pytest.approx(
        [kept / 4, kept / 4]
    )  # the error of a model's distance from the mean of both
    assert having.floors[0, 1] == kept
    assert table._replace(gap_floors=having.floors).own_floor == pytest.approx(kept / 2)


@pytest.mark.parametrize("kept", [0.0, 1e-5])
def test_the_seeds_to_settle_it_follow_from_the_test(kept):
    """The gap is half a margin from the margin, with as large an error. More runs must make that error small enough."""
    margin, error, df, runs = 0.02, 0.01, 20.0, np.array([10.0, 14.0])
    contrasts = replace(
        pairs(SeedTable.of(np.full((2, 2), 0.5))), gap=np.array([[0.0, 0.01], [-0.01, 0.0]]), runs=runs,
        error=np.full((2, 2), error), df=np.full((2, 2), df), floors=np.full((2, 2), kept),
    )  # fmt: skip
    pool = [SimpleNamespace(quality=SimpleNamespace(seconds=seconds)) for seconds in (2.0, 3.0)]
    least = stats.t.ppf(1 - hurdle(2, 0.05), df)
    needed = runs.min() * (error**2 - kept) / ((0.01 / least) ** 2 - kept)
    settling = settle(pool, contrasts, 0, margin, 0.05)
    assert settling.seeds == math.ceil(needed - runs.min())
    assert settling.seconds == 5 * settling.seeds
