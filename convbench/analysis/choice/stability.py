"""Draw what the data allow, to see how likely a candidate is within the margin, on the front, or the right pick."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from convbench.analysis.choice.candidates import Candidate, CostName, table_of
from convbench.analysis.costs.pareto import probability
from convbench.analysis.inference.arrays import Flags, Floats
from convbench.analysis.inference.two_way import fit
from convbench.core import metrics
from convbench.core.statistics import NORMAL

DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Draws:
    """Means (D, k) that the runs allow, and costs (D, k) that the timings allow."""

    quality: Floats
    costs: Floats

    def shares_within(self, margin: float) -> Floats:
        """Return each candidate's share of draws in which it is within the margin of the best."""
        return np.asarray((self.quality.max(axis=1, keepdims=True) - self.quality < margin).mean(axis=0))

    def shares_right(self, margin: float, is_eligible: Flags) -> Floats:
        """Return each candidate's share of draws in which it is the cheapest eligible one within the margin.

        ``is_eligible`` (k,) flags who may be picked. In a draw without an eligible one within the margin, none is
        right.
        """
        is_able = (self.quality.max(axis=1, keepdims=True) - self.quality < margin) & is_eligible
        picks = np.where(is_able, self.costs, np.inf).argmin(axis=1)[is_able.any(axis=1)]
        return np.bincount(picks, minlength=is_able.shape[1]) / len(is_able)

    def shares_best(self) -> Floats:
        """Return each candidate's share of draws in which its quality is the highest."""
        return np.bincount(self.quality.argmax(axis=1), minlength=self.quality.shape[1]) / len(self.quality)


def draws(pool: Sequence[Candidate], name: CostName, seed: int, price: Floats) -> Draws:
    """Draw for a pool; ``price`` (k,), what each candidate's cost is worth in accuracy, is taken from its means."""
    rng = np.random.default_rng(seed)
    return Draws(quality_draws(pool, rng) - price, cost_draws(pool, name, rng, DRAWS))


def front_shares(pool: Sequence[Candidate], against: Sequence[CostName], quality: Floats, seed: int = 0) -> list[float]:
    """Return each candidate's probability that no other is as good and as cheap in every cost, and better in one.

    ``quality`` holds draws of their means (D, k). Costs that some candidate has no value of are left out.
    """
    rng = np.random.default_rng(seed)
    costs = [cost_draws(pool, name, rng, len(quality)) for name in common_costs(pool, against)]
    return [float(p) for p in probability([*costs, -quality])]


def common_costs(pool: Sequence[Candidate], names: Sequence[CostName]) -> tuple[CostName, ...]:
    """Return the costs that were measured of all candidates."""
    return tuple(name for name in names if all(np.isfinite(candidate.cost(name)) for candidate in pool))


def membership(pool: Sequence[Candidate], against: Sequence[CostName]) -> list[float]:
    """Return each candidate's probability of being on the front of quality and these costs, as in an answer."""
    return front_shares(pool, against, quality_draws(pool, np.random.default_rng(0)))


def quality_draws(pool: Sequence[Candidate], rng: np.random.Generator) -> Floats:
    """Draw means (D, k) over the seeds that were run, at most 1.

    They are normal with the fit's covariance, each widened as its degrees of freedom require (Student's t).
    """
    table = table_of(pool)
    estimates = fit(table)
    has_noise = np.isfinite(estimates.noise)
    covariance = np.where(has_noise & has_noise[:, None], estimates.covariance, np.eye(len(has_noise)))
    values, vectors = np.linalg.eigh(covariance)
    deviates = rng.standard_normal((DRAWS, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    level = np.nanmean(table.values - estimates.mean)
    deviations = deviates * np.sqrt(estimates.df / rng.chisquare(estimates.df, deviates.shape))
    return np.asarray(np.minimum(level + estimates.mean + deviations, 1.0))


def cost_draws(pool: Sequence[Candidate], name: CostName, rng: np.random.Generator, count: int) -> Floats:
    """Draw costs (D, k): latency from its interval, other costs exactly.

    The interval is one between processes if there were visits.
    """
    return np.stack([_candidate_draws(candidate, name, rng, count) for candidate in pool], axis=1)


def _candidate_draws(candidate: Candidate, name: CostName, rng: np.random.Generator, count: int) -> Floats:
    latency = candidate.result.latency if name == metrics.LATENCY.option else None
    if latency is None or latency.low <= 0:  # minus infinity without an interval
        return np.full(count, min(candidate.cost(name), sys.float_info.max))  # those without it come last, in order
    spread = math.log(latency.high / latency.low) / 2 / NORMAL
    return np.asarray(latency.median * np.exp(spread * rng.standard_normal(count)))
