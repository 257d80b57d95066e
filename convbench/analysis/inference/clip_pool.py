"""Estimate the variance that no number of seeds removes: if all seeds draw from one pool, its clips stay the same.

A mean over seeds tells how a model answers the clips of the pool. For further clips of the kind it is as uncertain as a
sample of the pool's size. That part of its variance is the part of a clip's variance that stays from seed to seed, over
the number of clips. It is estimated from clips that more than one seed was tested on (components of variance of a
two-way layout, clips by seeds). What too few such clips cannot tell counts as staying. Without answers clip by clip,
nothing is known of it, and the share of the pool that is tested on would bound it (Nadeau and Bengio 2003, "Inference
for the generalization error").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from convbench.analysis.inference.arrays import Floats


class ClipAnswers(NamedTuple):
    """The answers of one run to its test clips.

    ``sources`` is for each clip the number of its source, a clip or a recording, in a pool of ``pool`` sources.
    ``right`` says for each clip whether its class was named rightly.
    """

    sources: tuple[int, ...]
    right: tuple[bool, ...]
    pool: int


BySeed = Mapping[int, ClipAnswers]


def floor_of_mean(answers: BySeed) -> float:
    """Estimate the variance of a mean accuracy over seeds that stays however many there are; 0 without answers."""
    if not answers:
        return 0.0
    pools = _pools([answers])
    components = _components(_table([answers])[..., 0], min(pools))
    return _share([components], pools) * components.variance / min(pools)


def floors_of_gaps(answers: Sequence[BySeed]) -> Floats:
    """Estimate the same for the difference between any two of k configurations, (k, k), by the seeds that both have.

    All are 0 if any configuration has no answers.
    """
    k = len(answers)
    floors = np.zeros((k, k))
    if not all(answers):
        return floors
    pools, table = _pools(answers), _table(answers)
    gaps = {(i, j): _components(table[..., i] - table[..., j], min(pools)) for i, j in combinations(range(k), 2)}
    share = _share(list(gaps.values()), pools)
    for (i, j), components in gaps.items():
        floors[i, j] = floors[j, i] = share * components.variance / min(pools)
    return floors


def count_tested(answers: BySeed) -> int:
    """Count the sources that any seed was tested on."""
    return len(_sources([answers]))


def covariance_of(gaps: Floats) -> Floats:
    """Return a covariance (k, k) whose contrasts have these variances (k, k), without what is common to all."""
    centring = np.eye(len(gaps)) - 1 / len(gaps)
    return np.asarray(-centring @ gaps @ centring / 2)


def _pools(answers: Sequence[BySeed]) -> set[int]:
    """Return the sizes of the pools. Runs may have several pools, whose numbers have nothing in common."""
    return {run.pool for runs in answers for run in runs.values()}


def _sources(answers: Sequence[BySeed]) -> list[int]:
    return sorted({source for runs in answers for run in runs.values() for source in run.sources})


def _table(answers: Sequence[BySeed]) -> Floats:
    """Return the shares of right answers as a table (seeds, n, k).

    n is the number of sources that any seed was tested on. NaN marks the sources that a seed was not tested on.
    """
    seeds, sources = sorted({seed for runs in answers for seed in runs}), _sources(answers)
    table = np.full((len(seeds), len(sources), len(answers)), np.nan)
    for i, runs in enumerate(answers):
        for seed, run in runs.items():
            indices = np.searchsorted(sources, run.sources)
            count = np.bincount(indices, minlength=len(sources))
            hits = np.bincount(indices, np.asarray(run.right, dtype=float), minlength=len(sources))
            table[seeds.index(seed), count > 0, i] = hits[count > 0] / count[count > 0]
    return table


class _Components(NamedTuple):
    """What the answers to one table of sources and seeds tell about their variance.

    ``variance`` is the variance between the sources that one seed was tested on, 0 if there was only one. ``product``
    sums the products of what a source has in two seeds, over ``pairs`` of seeds. It would be ``full_product`` if all
    the variance stayed.
    """

    variance: float
    product: float
    pairs: float
    full_product: float


def _components(table: Floats, pool: int) -> _Components:
    """Estimate the components of a table (seeds, n)."""
    is_tested = ~np.isnan(table)
    source_counts, seed_counts = is_tested.sum(axis=1), is_tested.sum(axis=0)
    mean = np.nansum(table, axis=1) / np.maximum(source_counts, 1)
    deviations = np.where(is_tested, table - mean[:, None], 0.0)
    squares, df = float((deviations**2).sum()), int((source_counts - 1)[source_counts > 1].sum())
    variance = squares / df if df else 0.0
    pairs = float((seed_counts * (seed_counts - 1.0)).sum())
    mean_count = source_counts.sum() / max(1, (source_counts > 0).sum())
    # Subtracting each seed's mean leaves this part of a product.
    factor = max(0.0, 1 - 2 / max(mean_count, 2.0) + 1 / pool)
    return _Components(variance, float((deviations.sum(axis=0) ** 2).sum()) - squares, pairs, pairs * factor * variance)


def _share(components: Sequence[_Components], pools: set[int]) -> float:
    """Estimate the part of the variance, from 0 to 1, that stays from seed to seed, over all of these together.

    It is a standard error more than the estimate, and so 1 if no source was tested on twice.
    """
    if len(pools) > 1:
        return 1.0
    full_product = sum(component.full_product for component in components)
    estimate = sum(component.product for component in components) / full_product if full_product else 1.0
    repeats = max((component.pairs / 2 for component in components), default=0.0)
    return float(np.clip(estimate + 1 / np.sqrt(max(repeats, 1.0)), 0.0, 1.0))
