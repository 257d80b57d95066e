"""Print how often the intervals of simulated machines hold, in seconds: ``python tests/bench/coverage.py``.

A run has 78 cases whose visits are drawn alike. The truth is the median over processes; if half of them are slow, the
middle between the two speeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from convbench.core.spread import estimate, prior

CASES, RUNS, VISITS = 78, 30, (2, 3, 5, 8, 12, 30)
Machine = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""A function that draws the logs of visits, as (cases, visits)."""


def two_speeds(share: float, factor: float) -> Machine:
    """Return a machine on which this share of the processes takes ``factor`` times as long."""
    return lambda rng, shape: math.log(factor) * (rng.random(shape) < share) + rng.normal(0, 0.02, shape)


MACHINES: dict[str, tuple[Machine, float]] = {
    "normal, 3 %": (lambda rng, shape: rng.normal(0, 0.03, shape), 0.0),
    "normal, 14 %": (lambda rng, shape: rng.normal(0, 0.14, shape), 0.0),
    "heavy tails (t with 2.5 degrees), 5 %": (lambda rng, shape: 0.05 * rng.standard_t(2.5, shape), 0.0),
    "one process in 10 twice as slow": (two_speeds(0.1, 2), 0.0),
    "three in 10 twice as slow": (two_speeds(0.3, 2), 0.0),
    "half twice as slow": (two_speeds(0.5, 2), math.log(2) / 2),
    "half slower by 15 %": (two_speeds(0.5, 1.15), math.log(1.15) / 2),
}


def share_held(machine: Machine, truth: float, visits: int) -> float:
    """Return the share of intervals that hold the truth, a logarithm."""
    rng, held = np.random.default_rng(visits), []
    for _ in range(RUNS):
        logs = machine(rng, (CASES, visits))
        common = prior(logs)
        intervals = [estimate(values, common) for values in logs]
        held += [interval.low <= math.exp(truth) <= interval.high for interval in intervals]
    return float(np.mean(held))


def main() -> None:
    print(f"| processes | {' | '.join(f'{visits} visits' for visits in VISITS)} |\n|---|{'--:|' * len(VISITS)}")
    for name, (machine, truth) in MACHINES.items():
        shares = " | ".join(f"{share_held(machine, truth, visits):.0%}" for visits in VISITS)
        print(f"| {name} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
