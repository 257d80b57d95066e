"""Write how often intervals of simulated machines hold, ``reports/repeat/coverage.md``, in seconds.

The first table is about latencies. A run has 78 cases whose visits are drawn alike. The truth is the median over
processes; if half of them are slow, the middle between the two speeds.

The second table is about ratios of two equally fast cases. It compares ratios by shared rounds, which
convbench states, with ratios of the medians of all rounds and their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from convbench.analysis.latencies import Latency, ratios
from convbench.core.scales import percent
from convbench.core.spread import estimate, prior
from convbench.core.statistics import Interval, ratio_interval

OUT = Path("reports/repeat/coverage.md")
CASES, RUNS, VISITS = 78, 30, (2, 3, 5, 8, 12, 30)
Machine = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""A function that draws the logs of visits, as (cases, visits)."""
Divide = Callable[[list[tuple[Latency, Latency]]], list[Interval]]
"""A function that divides the first latency of each pair by the second."""


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


ROUNDS: dict[str, tuple[int, int]] = {"3 and 3": (3, 3), "3 and 8": (3, 8), "8 and 8": (8, 8)}
"""The rounds of the case and of the one that it is divided by; the fewer are shared."""
MOMENTS = (0.0, 0.03, 0.15)
"""Standard deviations of the log by which a moment slows all cases of a round, unseen by the reference workload."""
DIVIDED = ("normal, 3 %", "heavy tails (t with 2.5 degrees), 5 %", "half twice as slow", "half slower by 15 %")


def by_medians(pairs: list[tuple[Latency, Latency]]) -> list[Interval]:
    """Divide the medians of all rounds, with intervals from the spread of each case's own visits."""
    return [ratio_interval(first.by_visits, second.by_visits) for first, second in pairs]


def ratio_errors(machine: Machine, moments: float, rounds: tuple[int, int], divide: Divide) -> list[float]:
    """Return the share of ratio intervals that hold 1, their median half width, and the ratios' error (logarithms)."""
    rng, intervals = np.random.default_rng(sum(rounds)), list[Interval]()
    for _ in range(RUNS):
        logs = machine(rng, (CASES, max(rounds))) + rng.normal(0, moments, max(rounds))
        visits = [values[: rounds[place % 2]].tolist() for place, values in enumerate(logs)]
        common = prior(visits)
        timings = [Latency(estimate(values, common), dict(enumerate(values)), common) for values in visits]
        intervals += divide(list(zip(timings[::2], timings[1::2], strict=True)))
    centers, lows, highs = np.log(intervals).T
    is_held = (lows <= 0) & (highs >= 0)
    return [float(is_held.mean()), float(np.median(highs - lows)) / 2, float(np.sqrt(np.mean(centers**2)))]


def lines() -> Iterator[str]:
    yield f"| processes | {' | '.join(f'{visits} visits' for visits in VISITS)} |\n|---|{'--:|' * len(VISITS)}"
    for name, (machine, truth) in MACHINES.items():
        shares = " | ".join(percent(share_held(machine, truth, visits), places=0) for visits in VISITS)
        yield f"| {name} | {shares} |"
    yield "\nBy shared rounds / by medians: share held, half width, error"
    yield f"| processes | moments | {' | '.join(ROUNDS)} |\n|---|--:|{'--:|' * len(ROUNDS)}"
    for name in DIVIDED:
        for moments in MOMENTS:
            cells = [
                " / ".join(
                    f"{percent(share, places=0)}, {percent(width)}, {percent(error)}" for share, width, error in both
                )
                for rounds in ROUNDS.values()
                for both in [[ratio_errors(MACHINES[name][0], moments, rounds, way) for way in (ratios, by_medians)]]
            ]
            yield f"| {name} | {percent(moments, places=0)} | {' | '.join(cells)} |"


def main() -> None:
    with OUT.open("w") as file:
        print("Written by `tests/bench/coverage.py`.\n", file=file)
        for line in lines():
            print(line, flush=True)
            print(line, file=file)


if __name__ == "__main__":
    main()
