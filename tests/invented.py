"""Test the advice on runs with a known truth: define kinds of truth, draw a run's records from one, judge the answer.

A kind is a function (random numbers) -> Truth. The worth of a configuration is the mean accuracy of its sound runs.
Its rate of collapse is kept apart, because a few seeds cannot tell a collapse that none of them shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import records
from numpy.typing import NDArray
from scipy.stats import norm

from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.inference.clip_pool import ClipAnswers
from convbench.core.record import Case, Record

CHANCE = 0.1
"""The chance accuracy of the task ``identity``, which all invented runs train on."""

Floats = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Truth:
    """Configurations by rising cost: the worth of each, the noise of its seeds, and how its runs end.

    ``shared`` is the noise that a seed adds to all configurations. ``lost`` is the share of runs that fail. With
    ``lose_one``, each configuration loses one seed, a different one each. ``collapses`` is the share of runs that end
    near ``collapsed`` (chance), which the runs report if ``flagged``. ``tail`` is the degrees of freedom of the noise.
    With ``skewed`` the noise is one-sided: most runs reach the model's limit, and some stay below.
    With a ``pool``, every seed draws its test clips from this number of clips. Some are harder than others, in part
    for all configurations and in part for one. The variance of an answer is then shared out: ``sds`` is the share of
    the run, and ``shared`` the share of clips that are hard for all.
    """

    means: Floats
    sds: Floats
    seeds: int = 5
    shared: float = 0.01
    lost: float = 0.0
    lose_one: bool = False
    collapses: Floats | None = None
    collapsed: float = CHANCE
    flagged: bool = True
    rising: float = 0.0
    tail: float = np.inf
    skewed: bool = False
    clips: int = 1000
    pool: int = 0
    costs: Floats | None = None
    edge: bool = False
    ask: Ask = field(default_factory=Ask)

    @property
    def worth(self) -> Floats:
        """The mean accuracy of a sound run: the mean of a normal variable clipped to 0 and 1."""
        sd = np.sqrt(self.sds**2 + self.shared**2)
        if np.isfinite(self.tail) or self.skewed or self.pool:
            return self.means
        low, high = -self.means / sd, (1 - self.means) / sd
        inside = self.means * (norm.cdf(high) - norm.cdf(low)) + sd * (norm.pdf(low) - norm.pdf(high))
        return np.asarray(inside + norm.sf(high))

    @property
    def latency(self) -> Floats:
        return 1e-3 * np.arange(1, len(self.means) + 1) if self.costs is None else self.costs

    @property
    def able(self) -> NDArray[np.bool_]:
        return self.latency <= self.ask.constraints.get("latency", np.inf)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Whether each configuration is in the budget and within the margin of the best in the budget."""
        if not self.able.any():
            return self.able
        short = self.worth[self.able].max() - self.worth
        return self.able & (short < self.ask.within - 1e-9)


def spread(rng: Random, k: int, low: float, high: float) -> Floats:
    return rng.uniform(low, high, k)


def clear_winner(rng: Random) -> Truth:
    k = int(rng.integers(4, 9))
    means = spread(rng, k, 0.3, 0.8)
    means[rng.integers(k)] = 0.9
    return Truth(means, np.full(k, rng.uniform(0.005, 0.02)))


def ties_at_the_top(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    means = spread(rng, k, 0.4, 0.75)
    means[rng.choice(k, 3, replace=False)] = 0.88
    return Truth(means, np.full(k, rng.uniform(0.01, 0.03)))


def around_the_margin(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    means = np.where(rng.random(k) < 0.5, 0.95 - 0.0201, 0.95 - 0.0075)
    means[-1] = 0.95
    return Truth(means, np.full(k, rng.uniform(0.004, 0.015)))


def small_differences(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    return Truth(spread(rng, k, 0.86, 0.92), np.full(k, rng.uniform(0.005, 0.02)))


def one_noisy(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    means = spread(rng, k, 0.5, 0.88)
    sds = np.full(k, 0.008)
    noisy, best = rng.choice(k, 2, replace=False)
    means[best], means[noisy], sds[noisy] = 0.9, rng.uniform(0.8, 0.88), 0.08
    return Truth(means, sds)


def _collapsing(rng: Random, **how: object) -> Truth:
    k = int(rng.integers(4, 8))
    means, rates = spread(rng, k, 0.5, 0.85), np.zeros(k)
    means[rng.choice(k, 2, replace=False)] = 0.9
    rates[rng.choice(k, 2, replace=False)] = 0.13
    return Truth(means, np.full(k, 0.01), collapses=rates, **how)  # type: ignore[arg-type]


def collapses_flagged(rng: Random) -> Truth:
    return _collapsing(rng)


def collapses_unflagged(rng: Random) -> Truth:
    return _collapsing(rng, flagged=False)


def lost_seeds(rng: Random) -> Truth:
    k = 5
    means = rng.permutation([0.5, 0.6, 0.7, 0.8, 0.9])
    return Truth(means, np.full(k, 0.015), lose_one=True)


def bad_runs(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    means = spread(rng, k, 0.4, 0.85)
    means[rng.choice(k, 2, replace=False)] = 0.9
    return Truth(means, np.full(k, 0.015), collapses=np.full(k, 0.15), lost=0.1)


def two_seeds(rng: Random) -> Truth:
    return replace(clear_winner(rng), seeds=2)


def three_seeds(rng: Random) -> Truth:
    return replace(ties_at_the_top(rng), seeds=3)


def near_the_ceiling(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    means = rng.choice([0.999, 0.996, 0.985, 0.93, 0.7], k)
    means[rng.integers(k)] = 0.999
    return Truth(means, np.where(means > 0.98, 0.003, 0.02), shared=0.001)


def at_chance(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    return Truth(np.full(k, CHANCE), np.full(k, 0.01), shared=0.003)


def pure_noise(rng: Random) -> Truth:
    k = int(rng.integers(4, 9))
    return Truth(np.full(k, 0.6), np.full(k, rng.uniform(0.005, 0.03)))


def unequal_pure_noise(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    return Truth(np.full(k, 0.6), np.exp(rng.uniform(np.log(0.003), np.log(0.09), k)))


def at_the_edge(rng: Random) -> Truth:
    k = int(rng.integers(4, 7))
    return Truth(np.linspace(0.4, rng.uniform(0.75, 0.9), k), np.full(k, 0.012), edge=True)


def nothing_feasible(rng: Random) -> Truth:
    return replace(clear_winner(rng), ask=Ask({"latency": 5e-4}))


def unequal_noise(rng: Random) -> Truth:
    k = int(rng.integers(6, 10))
    means = spread(rng, k, 0.5, 0.9)
    return Truth(means, np.exp(rng.uniform(np.log(0.003), np.log(0.04), k)))


def many(rng: Random) -> Truth:
    k = int(rng.integers(11, 17))
    means = spread(rng, k, 0.4, 0.88)
    means[rng.choice(k, 3, replace=False)] = 0.9
    return Truth(means, np.full(k, rng.uniform(0.005, 0.02)))


def correlated_seeds(rng: Random) -> Truth:
    return replace(ties_at_the_top(rng), shared=0.05)


def cost_ties(rng: Random) -> Truth:
    truth = ties_at_the_top(rng)
    return replace(truth, costs=1e-3 * np.sort(rng.integers(1, 4, len(truth.means))).astype(float))


def budget_binds(rng: Random) -> Truth:
    truth = clear_winner(rng)
    return replace(truth, ask=Ask({"latency": 1e-3 * rng.integers(2, len(truth.means)) + 5e-4}))


def undertrained(rng: Random) -> Truth:
    return replace(ties_at_the_top(rng), rising=0.4)


def saturating(rng: Random) -> Truth:
    means = 0.95 - 0.6 * np.exp(-np.array((8, 16, 32, 64, 128, 256, 512, 1024)) / rng.uniform(20, 60))
    return Truth(means, np.full(8, rng.uniform(0.004, 0.012)))


def heavy_tails(rng: Random) -> Truth:
    return replace(ties_at_the_top(rng), tail=3.0)


def half_collapses(rng: Random) -> Truth:
    return replace(_collapsing(rng, flagged=False), collapsed=0.45)


def two_only(rng: Random) -> Truth:
    means = np.array([0.9, 0.9 - rng.choice([0.0, 0.01, 0.1])])
    return Truth(rng.permutation(means), np.full(2, 0.01))


def thirty(rng: Random) -> Truth:
    means = spread(rng, 30, 0.4, 0.9)
    return Truth(means, np.full(30, 0.012))


def ten_seeds(rng: Random) -> Truth:
    return replace(small_differences(rng), seeds=10)


def lost_at_random(rng: Random) -> Truth:
    return replace(clear_winner(rng), lost=0.3)


def few_clips(rng: Random) -> Truth:
    return replace(ties_at_the_top(rng), clips=200)


def ten_clips(rng: Random) -> Truth:
    """A user's own data with few clips, in the middle of the accuracy range: seeds agree by luck."""
    k = int(rng.integers(2, 4))
    return Truth(spread(rng, k, 0.7, 0.8), np.full(k, rng.uniform(0.01, 0.03)), clips=10)


def twenty_clips(rng: Random) -> Truth:
    return replace(ten_clips(rng), clips=20, seeds=3)


def _own_clips(rng: Random, pool: int, seeds: int) -> Truth:
    """A user's own clips: 15 % are test clips, and a hard clip is hard in every run."""
    k = int(rng.integers(3, 6))
    means = spread(rng, k, 0.6, 0.9)
    return Truth(means, np.full(k, 0.03), seeds, shared=0.3, clips=round(0.15 * pool), pool=pool)


def own_clips(rng: Random) -> Truth:
    return _own_clips(rng, 100, 5)


def own_clips_many_seeds(rng: Random) -> Truth:
    return _own_clips(rng, 100, 20)


def many_own_clips(rng: Random) -> Truth:
    return _own_clips(rng, 600, 10)


def two_seeds_lost(rng: Random) -> Truth:
    return replace(lost_seeds(rng), seeds=3)


def noisy_and_three(rng: Random) -> Truth:
    return replace(one_noisy(rng), seeds=3)


def noise_falls_with_accuracy(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    means = rng.permutation(np.append(spread(rng, k - 2, 0.4, 0.9), (0.93, 0.92)))
    return Truth(means, 0.15 * (1 - means))


def skewed_seeds(rng: Random) -> Truth:
    return replace(ties_at_the_top(rng), skewed=True)


def rise_and_fall(rng: Random) -> Truth:
    size, best = np.arange(9), rng.uniform(3, 6)
    return Truth(0.9 - 0.015 * (size - best) ** 2, np.full(9, rng.uniform(0.005, 0.015)))


def five_of_seven_tied(rng: Random) -> Truth:
    return Truth(rng.permutation([0.82] * 5 + [0.7, 0.5]), np.full(7, rng.uniform(0.01, 0.025)), seeds=7)


def two_noisy_of_eight(rng: Random) -> Truth:
    means, sds = spread(rng, 8, 0.5, 0.86), np.full(8, 0.01)
    places = rng.choice(8, 3, replace=False)
    means[places], sds[places] = (0.9, 0.85, 0.87), (0.01, 0.06, 0.1)
    return Truth(means, sds, seeds=4)


def ceiling_four_seeds(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    means = rng.choice([0.998, 0.99, 0.97, 0.9], k)
    means[rng.integers(k)] = 0.998
    return Truth(means, np.where(means > 0.98, 0.004, 0.015), seeds=4, shared=0.002, clips=500)


def narrow_margin(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    return Truth(spread(rng, k, 0.7, 0.95), np.full(k, 0.006), ask=Ask(within=0.01))


def wide_margin(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    return Truth(spread(rng, k, 0.6, 0.95), np.full(k, 0.02), ask=Ask(within=0.05))


def little_above_chance(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    return Truth(spread(rng, k, 0.17, 0.3), np.full(k, 0.012), shared=0.005)


def all_collapse_at_times(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    means = spread(rng, k, 0.5, 0.85)
    means[rng.choice(k, 2, replace=False)] = 0.88
    return Truth(means, np.full(k, 0.012), seeds=6, collapses=np.full(k, 0.1), flagged=False)


def pure_noise_four_seeds(rng: Random) -> Truth:
    k = int(rng.integers(5, 10))
    return Truth(np.full(k, 0.75), np.full(k, rng.uniform(0.008, 0.025)), seeds=4)


def half_are_noisy(rng: Random) -> Truth:
    means, sds = rng.permutation([0.9, 0.86, 0.84, 0.8, 0.7, 0.6]), np.full(6, 0.01)
    noisy = rng.choice(np.flatnonzero(means < 0.9), 3, replace=False)
    sds[noisy] = rng.uniform(0.04, 0.1, 3)
    return Truth(means, sds, seeds=3)


def heavy_tails_and_noisy(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    means, sds = spread(rng, k, 0.5, 0.85), np.full(k, 0.012)
    best, noisy = rng.choice(k, 2, replace=False)
    means[best], means[noisy], sds[noisy] = 0.9, 0.86, 0.06
    return Truth(means, sds, seeds=4, tail=4.0)


def ceiling_and_lost(rng: Random) -> Truth:
    k = int(rng.integers(4, 8))
    means = rng.choice([0.997, 0.985, 0.96, 0.9], k)
    means[rng.integers(k)] = 0.997
    return Truth(means, np.where(means > 0.98, 0.004, 0.02), shared=0.002, lost=0.25, clips=400)


def lost_and_collapsing(rng: Random) -> Truth:
    k = int(rng.integers(5, 9))
    means, rates = spread(rng, k, 0.5, 0.86), np.zeros(k)
    means[rng.choice(k, 2, replace=False)] = 0.9
    rates[rng.choice(k, 3, replace=False)] = 0.25
    sds = np.exp(rng.uniform(np.log(0.005), np.log(0.04), k))
    return Truth(means, sds, seeds=4, lost=0.15, collapses=rates, collapsed=0.35, flagged=False)


def noise_of_all_sizes_close_together(rng: Random) -> Truth:
    k = int(rng.integers(6, 10))
    means = rng.permutation(np.append(spread(rng, k - 1, 0.83, 0.87), 0.9))
    return Truth(means, np.exp(rng.uniform(np.log(0.004), np.log(0.08), k)))


Kinds = Mapping[str, Callable[[Random], Truth]]
KINDS: Kinds = {
    "clear winner": clear_winner, "ties at the top": ties_at_the_top, "around the margin": around_the_margin,
    "small differences": small_differences, "one noisy": one_noisy, "rare collapses, flagged": collapses_flagged,
    "rare collapses, unflagged": collapses_unflagged, "each lost another seed": lost_seeds, "25 % bad runs": bad_runs,
    "two seeds": two_seeds, "three seeds": three_seeds, "near the ceiling": near_the_ceiling, "at chance": at_chance,
    "pure noise": pure_noise, "at the edge": at_the_edge, "nothing feasible": nothing_feasible,
    "unequal noise": unequal_noise, "many configurations": many, "correlated seeds": correlated_seeds,
    "cost ties": cost_ties, "budget binds": budget_binds, "undertrained runs": undertrained,
}  # fmt: skip
HELD_OUT: Kinds = {
    "saturating curve": saturating, "heavy tails": heavy_tails, "collapses half way": half_collapses,
    "two only": two_only, "thirty configurations": thirty, "ten seeds, small differences": ten_seeds,
    "30 % lost at random": lost_at_random, "200 test clips": few_clips, "three seeds, one lost each": two_seeds_lost,
    "three seeds, one noisy": noisy_and_three, "pure noise, unequal": unequal_pure_noise,
    "10 test clips": ten_clips, "20 test clips, three seeds": twenty_clips,
    "15 of 100 own clips": own_clips, "15 of 100 own clips, 20 seeds": own_clips_many_seeds,
    "90 of 600 own clips, 10 seeds": many_own_clips,
}  # fmt: skip
SEEN: Kinds = {
    "noise falls with accuracy": noise_falls_with_accuracy, "skewed seeds": skewed_seeds,
    "rise and fall": rise_and_fall, "seven seeds, five tied": five_of_seven_tied,
    "four seeds, two noisy": two_noisy_of_eight, "near the ceiling, four seeds": ceiling_four_seeds,
    "a margin of 1 point": narrow_margin, "a margin of 5 points": wide_margin,
    "little above chance": little_above_chance, "all collapse at times": all_collapse_at_times,
    "pure noise, four seeds": pure_noise_four_seeds,
}  # fmt: skip
"""Kinds that were blind once: their first results led to the present method."""

BLIND: Kinds = {
    "three seeds, half noisy": half_are_noisy, "four seeds, heavy tails, one noisy": heavy_tails_and_noisy,
    "near the ceiling, runs lost": ceiling_and_lost, "lost and collapsing, four seeds": lost_and_collapsing,
    "noise of all sizes, close together": noise_of_all_sizes_close_together,
}  # fmt: skip
"""Kinds that were written before the last changes to the method and not run until these were done."""

ALL: Kinds = {**KINDS, **HELD_OUT, **SEEN, **BLIND}

UNSURE = ("at chance", "pure noise", "pure noise, unequal", "at the edge", "nothing feasible", "pure noise, four seeds")
"""Kinds in which no pick may be called sure."""

FEW_SEEDS = (
    "two seeds", "three seeds", "three seeds, one lost each", "three seeds, one noisy", "four seeds, two noisy",
    "near the ceiling, four seeds", "pure noise, four seeds", "three seeds, half noisy",
    "four seeds, heavy tails, one noisy", "lost and collapsing, four seeds",
)  # fmt: skip
"""Kinds of fewer than five seeds."""

NO_ANSWER = (
    "at chance", "pure noise", "pure noise, unequal", "nothing feasible", "pure noise, four seeds", "10 test clips",
    "20 test clips, three seeds", "15 of 100 own clips", "15 of 100 own clips, 20 seeds",
)  # fmt: skip
"""Kinds in which an answer without a pick is right: all configurations tie, none is in budget, or none stands out."""


@lru_cache(maxsize=4096)
def case(i: int, edge: bool) -> Case:
    if edge:
        return records.case("fc(activation=true)", 8 * 2**i)
    return records.case(records.choice(f"own-{i}"), 32 + i)


@lru_cache(maxsize=4096)
def cost(i: int, edge: bool, latency: float) -> Record:
    return records.record(case(i, edge), samples=12, latency=latency)


def draw(truth: Truth, rng: Random) -> list[Record]:
    """Return the records of a run: costs, and a training of every configuration from every seed."""
    run_records = [cost(i, truth.edge, float(latency)) for i, latency in enumerate(truth.latency)]
    k, n = len(truth.means), truth.seeds
    reached = np.clip(truth.means + truth.sds * _noise(truth, rng) + truth.shared * rng.standard_normal((n, 1)), 0, 1)
    collapsed = rng.random((n, k)) < (np.zeros(k) if truth.collapses is None else truth.collapses)
    lost = rng.random((n, k)) < truth.lost
    if truth.lose_one:
        lost[(rng.permutation(max(n, k))[:k]) % n, range(k)] = True
    rising = rng.random((n, k)) < truth.rising
    bottom = np.clip(truth.collapsed + 0.01 * rng.standard_normal((n, k)), 0, 1)
    table = rng.binomial(truth.clips, np.where(collapsed, bottom, reached)) / truth.clips
    answers = _answers(truth, rng) if truth.pool else None
    for i in range(k):
        for seed in range(n):
            flag = "dead_run" if collapsed[seed, i] and truth.flagged else "unconverged" if rising[seed, i] else None
            lesson = _run(
                case(i, truth.edge), seed, float(table[seed, i]), flag, truth.clips, answers and answers[seed][i]
            )
            run_records.append(_failed(lesson) if lost[seed, i] else lesson)
    return run_records


def _noise(truth: Truth, rng: Random) -> Floats:
    """Return the noise of every run (seeds, k), of mean 0 and variance 1."""
    shape = (truth.seeds, len(truth.means))
    if truth.skewed:
        return 1 - rng.exponential(1.0, shape)
    return rng.standard_normal(shape) if np.isinf(truth.tail) else rng.standard_t(truth.tail, shape) / 3**0.5


def _answers(truth: Truth, rng: Random) -> list[list[ClipAnswers]]:
    """Return the answers of every seed and configuration to test clips of one pool.

    An answer is right if a normal variable is below a bound. It is the sum of four parts: of the clip, of the clip for
    this configuration, of the run and of the answer.
    """
    k, parts = len(truth.means), np.sqrt((truth.shared, 0.3, truth.sds[0], 0.7 - truth.shared - truth.sds[0]))
    hard = parts[0] * rng.standard_normal((truth.pool, 1)) + parts[1] * rng.standard_normal((truth.pool, k))
    answers = []
    for _ in range(truth.seeds):
        tested = rng.choice(truth.pool, truth.clips, replace=False)
        own = parts[2] * rng.standard_normal(k) + parts[3] * rng.standard_normal((truth.clips, k))
        right = hard[tested] + own < norm.ppf(truth.means)
        answers.append([ClipAnswers(tuple(tested), tuple(column), truth.pool) for column in right.T])
    return answers


def _run(of: Case, seed: int, accuracy: float, flag: str | None, clips: int, answers: ClipAnswers | None) -> Record:
    reached = np.mean(answers.right) if answers else accuracy
    return records.lesson(float(reached), "identity", seed, of=of, flag=flag, clips=clips, answers=answers)


def _failed(run: Record) -> Record:
    return records.failed(run.case, "the loss is not finite", "error")


@dataclass
class Tally:
    """The results of the answers to one kind: counts, and whether each stated 95 % bound holds."""

    runs: int = 0
    exact: int = 0
    valid: int = 0
    wrong: int = 0
    none: int = 0
    sure: int = 0
    sure_and_wrong: int = 0
    means: list[bool] = field(default_factory=list)
    gains: list[bool] = field(default_factory=list)
    bounds: list[bool] = field(default_factory=list)
    rates: list[bool] = field(default_factory=list)

    @property
    def right(self) -> float:
        return (self.exact + self.valid) / self.runs


def tally(kind: Callable[[Random], Truth], runs: int, start: int = 0) -> Tally:
    """Judge the answers to this number of runs of one kind."""
    rng, counts = np.random.default_rng(start), Tally()
    for _ in range(runs):
        judge(kind(rng), rng, counts)
    return counts


def judge(truth: Truth, rng: Random, counts: Tally) -> None:
    """Draw a run, get the answer, and count whether it is right."""
    (answer,) = recommendations(draw(truth, rng), truth.ask)
    at = {case(i, truth.edge).architecture: i for i in range(len(truth.means))}
    worth, counts.runs = truth.worth, counts.runs + 1
    for candidate in answer.pool:
        interval, i = candidate.quality.interval, at[candidate.quality.architecture]
        if interval:
            counts.means.append(bool(interval.low - 1e-9 <= worth[i] <= interval.high + 1e-9))
        if bounds := getattr(candidate.quality, "collapse_interval", None):
            true = 0.0 if truth.collapses is None else truth.collapses[i]
            counts.rates.append(bool(bounds[0] <= true <= bounds[1]))
    if other := answer.pick or answer.leading:
        for runner in answer.runners:
            gain = worth[at[runner.candidate.quality.architecture]] - worth[at[other.quality.architecture]]
            counts.gains.append(bool(runner.low - 1e-9 <= gain <= runner.high + 1e-9))
    if answer.pick is None:
        counts.none += 1
        return
    pick = at[answer.pick.quality.architecture]
    cheapest = truth.latency[truth.good].min() if truth.good.any() else np.inf
    good = bool(truth.good[pick])
    counts.exact += int(good and truth.latency[pick] == cheapest)
    counts.valid += int(good and truth.latency[pick] > cheapest)
    counts.wrong += int(not good)
    sure = getattr(answer, "grade", "sure") == "sure"
    counts.sure += int(sure)
    counts.sure_and_wrong += int(sure and not good)
    if answer.shortfall is not None:
        pooled = [at[pooled_candidate.quality.architecture] for pooled_candidate in answer.pool]
        counts.bounds.append(bool(worth[pooled].max() - worth[pick] <= answer.shortfall + 1e-9))
