"""Write ``reports/gate/simulated.md``, the gate's decision on invented noise: ``python tests/bench/simulated_gate.py``.

Every case is drawn pair by pair, decided as ``convbench.check.decision`` does, and confirmed with three arms. The
table has the red cases of 100,000 on the same code, and shares at each slowdown. The ends of the intervals are computed
for all cases at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convbench.check import decision
from convbench.check.decision import PASS, SLOWER, Test
from convbench.check.settings import Rule
from convbench.core.scales import percent

Arms = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""A function that draws each process's luck, as a log ratio. The noise of a pair is the difference of two draws."""
CASES, SAME, SLOWED = 10, 100_000, 20_000
SLOWDOWNS = (0.0, 0.05, 0.10, 0.25)
RULE = Rule()
TRIALS, OUT = Path("reports/gate/trials.jsonl"), Path("reports/gate/simulated.md")
HEAD = (
    "| noise | red of 100,000 on the same code | red at +5 % | +10 % | +25 % | +5 % passed | pairs, same code "
    "| pairs + threes at +5, +10, +25 % |\n|---|--:|--:|--:|--:|--:|--:|--:|"
)


class Result(NamedTuple):
    """Shares of red and ok cases, and the mean numbers of pairs and of confirming triples."""

    red: float
    ok: float
    pairs: float
    triples: float


def normal(spread: float) -> Arms:
    """Return normal luck, in which ``spread`` is that of a pair."""
    return lambda rng, shape: spread / math.sqrt(2) * rng.standard_normal(shape)


def tailed(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.015 / math.sqrt(6) * rng.standard_t(3, shape)


def slow_processes(share: float, size: float) -> Arms:
    """Return normal luck with a share of processes that are slower for their whole life."""
    quiet = normal(0.015)
    return lambda rng, shape: quiet(rng, shape) + size * (rng.random(shape) < share)


def neighbours(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw normal luck in which one process in twenty is off by 15 % either way."""
    return normal(0.015)(rng, shape) + 0.15 * rng.choice([-1, 1], shape) * (rng.random(shape) < 0.05)


def drifting(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw luck that gets noisier with time, from 1 % to 4 % over 32 pairs."""
    return np.linspace(0.01, 0.04, shape[1]) / math.sqrt(2) * rng.standard_normal(shape)


def recorded() -> Arms:
    """Return luck drawn from the log ratios of real pairs of the same code, each divided by the root of two."""
    lines = map(json.loads, TRIALS.read_text().splitlines())
    logs = np.concatenate([line["logs"] for line in lines if "logs" in line and line["slowdown"] == 0])
    return lambda rng, shape: rng.choice(logs, shape) / math.sqrt(2)


def simulate(slowdown: float, luck: Arms, count: int, rng: np.random.Generator) -> Result:
    """Simulate ``count`` cases, from the first pair to the verdict."""
    most, test = SLOWER.max_pairs, decision.suspect_test(CASES)
    logs = math.log1p(slowdown) + luck(rng, (count, most)) - luck(rng, (count, most))
    called, pairs = _called(logs, logs, SLOWER, PASS)
    suspects = called == 1
    first, again, head = (luck(rng, (int(suspects.sum()), test.max_pairs)) for _ in range(3))
    head = head + math.log1p(slowdown)
    confirmed, triples = _called(head - np.maximum(first, again), head - np.minimum(first, again), test, test)
    ok = (called == -1).sum() + (confirmed == -1).sum()
    return Result((confirmed == 1).sum() / count, ok / count, pairs.mean(), triples.mean() if len(triples) else 0.0)


def _called(lows: np.ndarray, highs: np.ndarray, lower: Test, upper: Test) -> tuple[np.ndarray, np.ndarray]:
    """Return each case's call (1 slower, -1 ok, 0 undecided) and the number of pairs it took."""
    called, after = np.zeros(len(lows), int), np.full(len(lows), lower.max_pairs)
    for pairs in range(1, lower.max_pairs + 1):
        open_cases = np.flatnonzero(called == 0)
        low = _ends(lows[open_cases, :pairs], lower)
        high = -_ends(-highs[open_cases, :pairs], upper)
        slower = low > math.log1p(RULE.tolerance)
        verdicts = np.where(slower, 1, np.where(high < math.log1p(RULE.guard), -1, 0))
        called[open_cases] = verdicts
        after[open_cases[verdicts != 0]] = pairs
    return called, after


def _ends(values: np.ndarray, test: Test) -> np.ndarray:
    """Return ``decision._end`` of each row."""
    ordered, pairs = np.sort(values, axis=1), values.shape[1]
    strays = test.strays(pairs)
    ends = np.full(len(ordered), -math.inf) if strays is None else ordered[:, strays]
    for slack in test.slacks:
        if pairs >= decision.enough(slack, test) and len(ordered):
            agree = ordered[:, -1] - ordered[:, 0] <= slack.size
            ends = np.where(agree, np.maximum(ends, ordered[:, 0] - slack.size), ends)
    return ends


def kinds() -> dict[str, Arms]:
    return {
        "normal, 0.7 %": normal(0.007),
        "normal, 1.5 %": normal(0.015),
        "normal, 3 %": normal(0.03),
        "heavy tails (t with 3 degrees), 1.5 %": tailed,
        "drifting from 1 to 4 %": drifting,
        "one process in 20 off by 15 %": neighbours,
        "one process in 10 slower by a half": slow_processes(0.1, 0.4),
        "one process in 5 slower by 4 %": slow_processes(0.2, 0.04),
        "as recorded in `reports/gate/trials.jsonl`": recorded(),
        "three processes in 10 twice as slow": slow_processes(0.3, math.log(2)),
        "half of the processes slower by 15 %": slow_processes(0.5, math.log1p(0.15)),
    }


def main() -> None:
    rng, rows = np.random.default_rng(0), [HEAD]
    for name, luck in kinds().items():
        same, *slowed = (simulate(slowdown, luck, SLOWED if slowdown else SAME, rng) for slowdown in SLOWDOWNS)
        shares = " | ".join(percent(result.red) for result in slowed)
        counts = ", ".join(f"{result.pairs:.1f} + {result.triples:.1f}" for result in slowed)
        passed = percent(slowed[0].ok, places=2)
        rows.append(f"| {name} | {same.red * SAME:.0f} | {shares} | {passed} | {same.pairs:.1f} | {counts} |")
        print(rows[-1], flush=True)
    OUT.write_text("\n".join(["Written by `tests/bench/simulated_gate.py`.", "", *rows]) + "\n")


if __name__ == "__main__":
    main()
