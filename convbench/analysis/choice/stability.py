"""What resampling says of a choice: how likely each candidate is on the front, how often the same one is picked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convbench.analysis.choice.candidates import Candidate, CostName, by_seed
from convbench.analysis.choice.dominance import Floats, means, medians, probability, seed_rows
from convbench.analysis.choice.noninferior import pairs, shown
from convbench.core import metrics

DRAWS = 500


def on_front(pool: Sequence[Candidate], name: CostName, rng: np.random.Generator) -> list[float]:
    """For each candidate the probability that none is both cheaper and better, seeds and latency drawn jointly."""
    table = by_seed(pool)
    quality = means(table, seed_rows(len(table), rng))
    return [float(p) for p in probability([cost_draws(pool, name, rng, len(quality)), -quality])]


def agreement(pool: Sequence[Candidate], pick: Candidate, name: CostName, within: float, seed: int) -> float:
    """The share of resamples of seeds and latency samples in which the same rule picks the same candidate."""
    rng = np.random.default_rng(seed)
    table = by_seed(pool)
    rows, costs = seed_rows(len(table), rng, DRAWS), cost_draws(pool, name, rng, DRAWS)
    chunk = max(1, 400_000 // table.size // len(pool))
    passed = np.concatenate([shown(pairs(table[rows[i : i + chunk]]), within) for i in range(0, DRAWS, chunk)])
    ranked = np.where(passed, costs, np.inf)
    same = (ranked.argmin(axis=1) == pool.index(pick)) & passed.any(axis=1)
    return float(same.mean())


def cost_draws(pool: Sequence[Candidate], name: CostName, rng: np.random.Generator, draws: int) -> Floats:
    """Costs (D, k): bootstrap medians of latency; the others are exact."""
    drawn = [_draws(one, name, rng, draws) for one in pool]
    return np.stack(drawn, axis=1)


def _draws(one: Candidate, name: CostName, rng: np.random.Generator, draws: int) -> Floats:
    samples = one.result.record.samples(metrics.LATENCY) if name == metrics.LATENCY.option else ()
    return medians(samples, rng, draws) if samples else np.full(draws, one.cost(name))
