"""Measure the cost and accuracy of the breakdown and the traces on the article's models, eager, on the CPU.

``python tests/bench/tracing.py`` prints its results and writes ``reports/bench/tracing.json``. All comparisons are made
within one run, with one thread, because two threads on a busy machine show nothing. Latency without and with the
breakdown alternates, each time in a fresh process.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

from convbench.core.metrics import OTHER
from convbench.core.record import Case, Choice, Parts, Protocol, Record
from convbench.core.registry import executors
from convbench.core.statistics import median_interval, ratio_interval
from convbench.measure.comparison import first_call
from convbench.measure.machine.environment import describe
from convbench.measure.preflight import resolve
from convbench.measure.stages.stopwatch import split_by_hooks
from convbench.measure.traces.capture import Capture
from convbench.plugins.probes import stages
from convbench.runs.executor import Job

ARTICLE = {"gap": None, "fc": 128, "hybrid": 64, "flatten": None}
FLOPS = {"gap": 234_225_664, "fc": 1_849_556_992, "hybrid": 235_995_136, "flatten": 6_675_103_744}
PROTOCOL = Protocol(max_warmup=1.0, max_time=2.0, min_samples=20, target=0.01)
ROUNDS = 3
OUT = Path("reports/bench/tracing.json")


def cases(scenario: str) -> dict[str, Case]:
    parts = {name: Parts(Choice("conv"), Choice(name), size) for name, size in ARTICLE.items()}
    return {name: resolve(Case(architecture, scenario=scenario)) for name, architecture in parts.items()}


def measured(case: Case, metrics: tuple[str, ...], last: tuple[Capture, ...] = ()) -> Record:
    with executors.get("isolated").build("cpu", [case]) as executor:
        ((_, record),) = executor.run([Job(case, PROTOCOL, metrics, probes=last)])
    return record


def value_of(record: Record, metric: str) -> float:
    return median(record.samples(metric))


def stages_against_whole(case: Case) -> dict[str, Any]:
    """Return medians with 95 % intervals: the stages' sum, and the whole split pass, over the plain pass before it."""
    subject, _ = first_call.open_case(case, seed=0)
    plain, splits = stages.alternate(subject, split_by_hooks, PROTOCOL)
    named = [sum(seconds for stage, seconds in split.items() if stage != OTHER) for split in splits]
    whole = [sum(split.values()) for split in splits]
    return {
        "stages_over_plain": median_interval([a / b for a, b in zip(named, plain, strict=True)]),
        "split_over_plain": median_interval([a / b for a, b in zip(whole, plain, strict=True)]),
        "pairs": len(plain),
        "goal": "0.95 to 1.05",
    }


def breakdown_on_latency(case: Case) -> dict[str, Any]:
    """Return ratios of the median with the breakdown to the median without, and whether each interval contains 1."""
    ratios = []
    for _ in range(ROUNDS):
        plain = median_interval(measured(case, ("latency",)).samples("latency_s"))
        split = median_interval(measured(case, ("latency", "stages")).samples("latency_s"))
        ratios.append(ratio_interval(split, plain))
    return {"ratios": ratios, "same": [ratio.low <= 1 <= ratio.high for ratio in ratios]}


def memory(record: Record, goal: float) -> dict[str, float]:
    predicted, peak = value_of(record, "predicted_peak_bytes"), value_of(record, "cpu_peak_tensor_bytes")
    return {"predicted": predicted, "measured": peak, "error": predicted / peak - 1, "goal": goal}


def traced(case: Case, folder: Path) -> dict[str, float]:
    record = measured(case, ("params",), (Capture(folder),))
    names = ("trace_steps", "trace_bytes", "trace_bytes_expected", "profile_s")
    return {name: value_of(record, name) for name in names} | {"goal_s": 10, "goal_bytes": 1_000_000}


def results(folder: Path) -> Iterator[tuple[str, Any]]:
    for scenario, goal in (("inference", 0.05), ("train", 0.10)):
        for name, case in cases(scenario).items():
            record = measured(case, ("macs", "prediction", "memory"))
            key = f"{name}, {scenario}"
            yield f"stages against the whole, {key}", stages_against_whole(case)
            yield f"predicted against measured peak, {key}", memory(record, goal)
            yield f"trace, {key}", traced(case, folder)
            if scenario == "train":
                yield f"forward and backward FLOPs, {key}", {"exact": value_of(record, "flops") == FLOPS[name]}
            else:
                yield f"latency with the breakdown, {key}", breakdown_on_latency(case)


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    report: dict[str, Any] = {"environment": describe("cpu")}
    for name, figures in results(folder):
        report[name] = figures
        print(name, json.dumps(figures), flush=True)
    shutil.rmtree(folder)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
