"""What no number of seeds takes away where all draw of the same clips: closed forms, and invented runs."""

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
from convbench.analysis.inference.noninferior import hurdle, pairs
from convbench.analysis.inference.pool import Answers, count_tested, covariance_of, floor_of_mean, floors_of_gaps
from convbench.analysis.inference.seed_table import SeedTable
from convbench.analysis.quality.qualities import qualities
from convbench.report.words.advice import sentences

POOL, TESTED = 100, 15


def drawn(right, seeds=20, rng=None):
    """Answers by seed to clips drawn of a pool; ``right`` says of clips, by their numbers, which are named rightly."""
    rng = rng or np.random.default_rng(3)
    parts = [rng.choice(POOL, TESTED, replace=False) for _ in range(seeds)]
    return {seed: Answers(tuple(part), tuple(right(part)), POOL) for seed, part in enumerate(parts)}


def test_runs_without_a_pool_keep_nothing():
    assert floor_of_mean({}) == 0
    assert not floors_of_gaps([{}, {}]).any()


def test_where_a_clip_is_always_answered_alike_all_of_its_variance_stays():
    """Half of the clips are named by every seed: the mean is that of a sample of a hundred."""
    answers = drawn(lambda clips: clips % 2 == 0)
    assert floor_of_mean(answers) == pytest.approx(0.25 / POOL, rel=0.05)


def test_where_answers_have_nothing_to_do_with_clips_little_stays():
    chance = np.random.default_rng(4)
    answers = drawn(lambda clips: chance.random(len(clips)) < 0.5, seeds=40)
    assert floor_of_mean(answers) < 0.2 * 0.25 / POOL


def test_what_no_two_seeds_were_tested_on_counts_as_staying():
    chance = np.random.default_rng(5)
    answers = {s: Answers(tuple(range(20 * s, 20 * s + 20)), tuple(chance.random(20) < 0.5), POOL) for s in range(5)}
    assert floor_of_mean(answers) == pytest.approx(0.25 / POOL, rel=0.1)


def test_clips_of_pools_of_two_sizes_have_no_numbers_in_common():
    chance = np.random.default_rng(6)
    answers = drawn(lambda clips: chance.random(len(clips)) < 0.5, seeds=40)
    other = {seed: run._replace(pool=POOL + (seed > 20)) for seed, run in answers.items()}
    assert floor_of_mean(other) == pytest.approx(0.25 / POOL, rel=0.05)


def test_of_clips_of_a_recording_the_recording_is_the_unit():
    """Ten recordings of ten clips each, a half of them named: a sample of ten, not of a hundred."""
    recordings = np.repeat(np.arange(10), 10)
    answers = {s: Answers(tuple(recordings), tuple(recordings % 2 == 0), 10) for s in range(3)}
    assert floor_of_mean(answers) == pytest.approx(0.25 / 9)


def test_models_that_answer_alike_differ_by_nothing_and_what_is_hard_for_all_is_not_in_their_difference():
    answers = drawn(lambda clips: clips % 2 == 0)
    better = {seed: run._replace(right=tuple(np.array(run.sources) % 4 < 3)) for seed, run in answers.items()}
    floors = floors_of_gaps([answers, answers, better])
    assert floors[0, 1] == 0
    assert floors[0, 2] == floors[1, 2] == pytest.approx(0.25 * 0.75 / POOL, rel=0.2)
    own = covariance_of(floors)
    variances = np.diag(own)
    assert variances[:, None] + variances - 2 * own == pytest.approx(floors)


def test_intervals_hold_for_further_clips_of_the_kind():
    """Twenty seeds of a hundred clips: of clips that are hard or easy for every run, without it half of them held."""
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


def test_all_right_is_as_sure_as_there_are_clips_however_many_seeds():
    answers = drawn(lambda clips: clips >= 0, seeds=100)
    (quality,) = qualities([records.lesson(1.0, seed=s, clips=TESTED, answers=run) for s, run in answers.items()])
    assert count_tested(answers) == POOL
    assert quality.interval.low == pytest.approx(0.025 ** (1 / POOL))


def test_where_more_seeds_cannot_tell_more_clips_are_the_cure():
    """Two models are right on 80 of a hundred clips, and these are not the same ones."""
    rng = np.random.default_rng(9)
    easy = np.stack([rng.permutation(POOL) < 80, rng.permutation(POOL) < 80], axis=1)
    run_records = []
    for i in range(2):
        of = records.case(records.choice(f"own-{i}"), 32 + i)
        run_records.append(records.record(of, samples=12, latency=1e-3 * (i + 1)))
        for seed in range(10):
            part = np.random.default_rng(seed).choice(POOL, TESTED, replace=False)
            right = easy[part, i] ^ (rng.random(TESTED) < 0.02)
            answers = Answers(tuple(part), tuple(right), POOL)
            run_records.append(
                records.lesson(float(right.mean()), "identity", seed, of=of, clips=TESTED, answers=answers)
            )
    (answer,) = recommendations(run_records, Ask())
    assert answer.settle.seeds is None
    assert any("bring more clips: all seeds draw from the same 100" in line for line in sentences(answer))


def test_what_stays_of_the_clips_is_in_the_errors():
    """Two models: what their difference keeps is told apart from what more seeds take away."""
    table, kept = SeedTable.of(np.random.default_rng(11).normal(0.8, 0.02, (8, 2))), 3e-4
    without, having = pairs(table), pairs(table._replace(gap_floors=np.array([[0, kept], [kept, 0]])))
    assert having.error[0, 1] ** 2 - without.error[0, 1] ** 2 == pytest.approx(kept)
    assert having.own_error**2 - without.own_error**2 == pytest.approx(
        [kept / 4, kept / 4]
    )  # of its distance from the mean of both
    assert having.floors[0, 1] == kept
    assert table._replace(gap_floors=having.floors).own_floor == pytest.approx(kept / 2)


@pytest.mark.parametrize("kept", [0.0, 1e-5])
def test_the_seeds_that_would_settle_it_are_those_of_the_test(kept):
    """Half a margin from the margin, at an error of as much: as many runs as make that error small enough to say so."""
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
