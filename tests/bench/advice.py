"""The advice's figures to reach, on simulated sweeps whose truth is known: right, outside the margin, abstained.

``python tests/bench/advice.py`` prints a line a sweep and writes ``reports/bench/advice.json``. Nothing is timed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest
import simulated

RUNS = 1000
SEEDS = (3, 5, 10)
OUT = Path("reports/bench/advice.json")


def main() -> None:
    found: dict[str, dict[str, object]] = {}
    print(f"{'sweep':<42} seeds  right  within  outside  abstained")
    with pytest.MonkeyPatch.context() as patch:
        simulated.without_resampling(patch)
        for name, truth in simulated.TRUTHS.items():
            for seeds in SEEDS:
                one = simulated.tally(truth, seeds, RUNS)
                found.setdefault(name, {})[str(seeds)] = asdict(one)
                numbers = f"{one.right:6.1%} {one.within:7.1%} {one.outside:8.1%} {one.abstained:9.1%}"
                print(f"{name:<42} {seeds:>5} {numbers}  {one.reasons}", flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"runs": RUNS, "sweeps": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
