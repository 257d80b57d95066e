"""Sweeps with a known truth: what each configuration would reach, the noise of its seeds, and the rule tried on draws.

Means and standard deviations of the first three are those of the pilot (DOMAIN.md 5.3: 3 strided convs, 700 steps; of
direction it gives one run, so its noise is assumed: 0.02, less near the ceiling).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import records

from convbench.analysis.choice import stability
from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.choice.choose import Ask, Recommendation, recommend
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Result, result

SHARED = 0.01
"""What seeds have in common between configurations: clips, order, backbone."""

TEST_CLIPS = 1000


@dataclass(frozen=True)
class Truth:
    """Configurations by rising cost."""

    means: tuple[float, ...]
    sds: tuple[float, ...]
    within: float = 0.02

    @property
    def good(self) -> list[bool]:
        """Which are within the margin of the best; one that is exactly at it is not."""
        return [max(self.means) - mean < self.within - 1e-9 for mean in self.means]


GROWTH = tuple(0.95 - 0.6 * np.exp(-size / 40) for size in (8, 16, 32, 64, 128, 256, 512, 1024))
TRUTHS = {
    "pilot identity": Truth(
        (0.384, 0.856, 0.924, 0.664, 0.524, 0.759, 0.657, 0.665, 0.643, 0.638),
        (0.003, 0.029, 0.011, 0.009, 0.082, 0.033, 0.018, 0.036, 0.095, 0.043),
    ),
    "pilot direction": Truth(
        (0.217, 0.361, 0.370, 0.855, 0.966, 0.229, 0.998, 0.994, 0.991, 0.984),
        (0.020, 0.020, 0.020, 0.020, 0.010, 0.020, 0.002, 0.003, 0.004, 0.005),
    ),
    "pilot binding": Truth(
        (0.867, 0.509, 0.599, 0.868, 0.876, 0.510, 0.873, 0.884, 0.865, 0.866),
        (0.012, 0.011, 0.027, 0.009, 0.003, 0.011, 0.014, 0.009, 0.024, 0.006),
    ),
    "saturating curve, sd 0.005": Truth(GROWTH, (0.005,) * 8),
    "saturating curve, sd 0.012": Truth(GROWTH, (0.012,) * 8),
    "all cheaper ones exactly at the margin": Truth((0.93,) * 7 + (0.95,), (0.015,) * 8),
    "the same, unequal noise": Truth(
        (0.93,) * 7 + (0.95,), (0.003, 0.03, 0.01, 0.02, 0.015, 0.01, 0.03, 0.01)
    ),
    "pure noise": Truth((0.6,) * 8, (0.02,) * 8),
    "pure noise, unequal": Truth((0.6,) * 8, (0.003, 0.08, 0.01, 0.03, 0.02, 0.01, 0.095, 0.004)),
}  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """Shares of simulated runs: the cheapest within the margin picked, one within picked, one outside, none."""

    right: float
    within: float
    outside: float
    abstained: float
    reasons: dict[str, float]


def tally(truth: Truth, seeds: int, runs: int, start: int = 0) -> Tally:
    """The rule on so many simulated sweeps of so many seeds."""
    rng = np.random.default_rng([start, seeds])
    costs, cheapest = [cost(i) for i in range(len(truth.means))], truth.good.index(True)
    answers = [answer(truth, draw(truth, seeds, rng), costs) for _ in range(runs)]
    picks = [None if one.pick is None else costs.index(one.pick.result) for one in answers]
    good = [pick for pick in picks if pick is not None and truth.good[pick]]
    reasons = [str(one.reason) for one in answers if one.reason]
    return Tally(
        right=picks.count(cheapest) / runs,
        within=len(good) / runs,
        outside=(runs - len(good) - picks.count(None)) / runs,
        abstained=picks.count(None) / runs,
        reasons={reason: reasons.count(reason) / runs for reason in sorted(set(reasons))},
    )


def draw(truth: Truth, seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Accuracies (seeds, k) as a test of a thousand clips would give them."""
    shape = (seeds, len(truth.means))
    noise = rng.standard_normal(shape) * np.array(truth.sds) + SHARED * rng.standard_normal((seeds, 1))
    return np.round(np.clip(np.array(truth.means) + noise, 0, 1) * TEST_CLIPS) / TEST_CLIPS


def cost(i: int) -> Result:
    """The i-th cheapest of models that differ in all but the size of a reducer's output."""
    return result(records.record(records.case(records.choice(f"own-{i}"), 32 + i), samples=12, latency=1e-3 * (i + 1)))


def candidates(accuracies: np.ndarray, costs: list[Result]) -> list[Candidate]:
    return [Candidate(_quality(column, one), one) for column, one in zip(accuracies.T, costs, strict=True)]


def answer(truth: Truth, accuracies: np.ndarray, costs: list[Result]) -> Recommendation:
    return recommend("simulated", None, candidates(accuracies, costs), (), Ask(within=truth.within))


def without_resampling(monkeypatch) -> None:
    """Leave out what follows a choice and does not touch it."""
    monkeypatch.setattr(stability, "on_front", lambda pool, *_: [0.0] * len(pool))
    monkeypatch.setattr(stability, "agreement", lambda *_: 0.0)


def _quality(column: np.ndarray, one: Result) -> Quality:
    parts = replace(one.case.architecture, head=None)
    seeds = {seed: float(value) for seed, value in enumerate(column)}
    return Quality(parts, one.case.clip, "simulated", 2e-3, seeds, None, 0, 0, 0, {2e-3: 0.5}, 0.1, 0.1)
