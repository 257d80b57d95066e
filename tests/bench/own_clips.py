"""Check whether intervals hold if all seeds share the same few clips: pools of real pictures, against the others.

``python tests/bench/own_clips.py [pools]`` prints a line per size and writes ``reports/bench/own_clips.json``. Three
scikit-learn classifiers learn its digits from 70 % of a pool and are tested on 15 %, with a different split per seed.
Their true accuracy is what they reach on the pictures outside the pool, over all pools. Nothing is timed.
"""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from convbench.analysis.inference.clip_pool import ClipAnswers, count_tested, floor_of_mean, floors_of_gaps
from convbench.core.statistics import Interval, accuracy_interval, mean_interval

OUT = Path("reports/bench/own_clips.json")
SIZES = ((100, 5), (100, 20), (400, 10))
HELD_OUT, POOLS, START = 0.15, 150, 5
MODELS = (lambda: KNeighborsClassifier(1), lambda: RidgeClassifier(10.0), lambda: GaussianNB(var_smoothing=0.02))
PICTURES, LABELS = load_digits(return_X_y=True)


def run(rng: np.random.Generator, size: int, seeds: int) -> tuple[list[dict[int, ClipAnswers]], list[float]]:
    """Return each classifier's answers by seed on one pool, and its first seed's accuracy outside the pool."""
    pool = rng.choice(len(LABELS), size, replace=False)
    outside, count = np.setdiff1d(np.arange(len(LABELS)), pool), round(HELD_OUT * size)
    answers: list[dict[int, ClipAnswers]] = [{} for _ in MODELS]
    worth = []
    for seed in range(seeds):
        order = rng.permutation(size)
        test, train = order[:count], pool[order[2 * count :]]
        for build, by_seed in zip(MODELS, answers, strict=True):
            model = build().fit(PICTURES[train], LABELS[train])
            right = model.predict(PICTURES[pool[test]]) == LABELS[pool[test]]
            by_seed[seed] = ClipAnswers(tuple(test.tolist()), tuple(right.tolist()), size)
            if seed == 0:
                worth.append(float((model.predict(PICTURES[outside]) == LABELS[outside]).mean()))
    return answers, worth


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def row(size: int, seeds: int, pools: int) -> dict[str, Any]:
    """Return the shares of 95 % intervals that hold, with and without the floor that a shared pool sets."""
    rng = np.random.default_rng(START)
    runs = [run(rng, size, seeds) for _ in range(pools)]
    truth = np.mean([worth for _, worth in runs], axis=0)
    kinds: dict[str, list[bool]] = {"means, without": [], "means": [], "gaps, without": [], "gaps": []}
    for answers, _ in runs:
        reached = [[float(np.mean(by_seed[seed].right)) for seed in range(seeds)] for by_seed in answers]
        clips, gaps = len(answers[0][0].right), floors_of_gaps(answers)
        for accuracies, by_seed, worth in zip(reached, answers, truth, strict=True):
            with_pool = accuracy_interval(accuracies, clips, count_tested(by_seed), floor_of_mean(by_seed))
            kinds["means, without"].append(holds(accuracy_interval(accuracies, clips), worth))
            kinds["means"].append(holds(with_pool, worth))
        for i, j in combinations(range(len(MODELS)), 2):
            differences, gap = list(np.subtract(reached[i], reached[j])), truth[i] - truth[j]
            kinds["gaps, without"].append(holds(mean_interval(differences), gap))
            kinds["gaps"].append(holds(mean_interval(differences, float(gaps[i, j])), gap))
    return {"clips": size, "seeds": seeds} | {
        name: round(float(np.mean(holding)), 4) for name, holding in kinds.items()
    }


def main() -> None:
    pools = int(sys.argv[1]) if len(sys.argv) > 1 else POOLS
    rows = []
    for size, seeds in SIZES:
        rows.append(row(size, seeds, pools))
        print(rows[-1], flush=True)
    OUT.write_text(json.dumps({"pools": pools, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
