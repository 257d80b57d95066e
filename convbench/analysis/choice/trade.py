"""Compare a trained model with itself in eager: what it loses, and gains in speed, in int8 or another runtime."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.inference.clip_pool import floors_of_gaps
from convbench.analysis.results import latency_ratios
from convbench.core.record import EAGER
from convbench.core.statistics import Interval, mean_interval


@dataclass(frozen=True, eq=False)
class Trade:
    """A model in a variant in which it was evaluated itself, beside the same model as it was trained.

    ``gain`` is its accuracy less eager's from the same seeds, a share with its 95 % interval over seeds. ``speedup`` is
    eager's latency over its own, None if either was not timed.
    """

    eager: Candidate
    variant: Candidate
    gain: Interval
    speedup: Interval | None

    @property
    def factor(self) -> float:
        """How many times as fast it is; minus infinity if that was not measured."""
        return self.speedup.median if self.speedup else -math.inf


def trades(candidates: Sequence[Candidate]) -> list[Trade]:
    """Compare each model evaluated in a variant with itself in eager, by two shared seeds or more; fastest first."""
    eager = {
        candidate.quality.architecture: candidate
        for candidate in candidates
        if candidate.quality.variant == EAGER and not candidate.result.case.variant
    }
    pairs = [
        (eager[candidate.quality.architecture], candidate)
        for candidate in candidates
        if candidate.quality.variant != EAGER and candidate.quality.architecture in eager
    ]
    speedups = latency_ratios([(base.result, candidate.result) for base, candidate in pairs])
    comparisons = [
        Trade(base, candidate, gain, speedup)
        for (base, candidate), speedup in zip(pairs, speedups, strict=True)
        if (gain := _gain(base, candidate)) is not None
    ]
    return sorted(comparisons, key=lambda trade: -trade.factor)


def _gain(eager: Candidate, candidate: Candidate) -> Interval | None:
    """Return the gain seed by seed, so that the effects of training cancel; None with fewer than two shared seeds."""
    before, after = eager.quality.by_seed, candidate.quality.by_seed
    differences = [after[seed] - before[seed] for seed in after if seed in before]
    if len(differences) < 2:
        return None
    floor = floors_of_gaps([eager.quality.answers, candidate.quality.answers])[0, 1]
    return mean_interval(differences, float(floor))
