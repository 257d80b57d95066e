"""Each runtime as convbench runs it, beside a ten-line script that uses it directly: within 3 %.

``python tests/bench/deploy.py [visits]`` takes turns between the two, each in a fresh process on the same core with one
thread, prints the ratios and writes ``reports/deploy/bench.json``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median

from convbench.core.record import Case, Choice, Parts, Protocol
from convbench.core.registry import executors
from convbench.core.statistics import median_interval
from convbench.measure.machine.environment import describe
from convbench.measure.preflight import resolve
from convbench.runs.executor import Job

GOAL = 0.03
PEER = Path(__file__).with_name("peer_deploy.py")
OUT = Path("reports/deploy/bench.json")
PROTOCOL = Protocol(max_warmup=0.15, max_time=0.6, min_samples=10, target=0.001)
MODELS = (("gap", None), ("fc", 128))
RUNTIMES = ("onnxruntime", "openvino", "aot-inductor", "int8")
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def ours(case: Case, core: int) -> float:
    """Median seconds of a call, as a run measures it."""
    with executors.get("isolated").build("cpu", [case]) as executor:
        ((_, record),) = executor.run([Job(case, PROTOCOL, ("latency",), cores=(core,))])
    if record.status != "ok":
        raise SystemExit(f"{case.id}: {record.failure}")
    return median(record.samples("latency_s"))


def theirs(case: Case, core: int) -> float:
    """The same by the script."""
    parts = case.architecture
    assert isinstance(parts, Parts)
    words = (case.variant_name, case.scenario, parts.reducer.name, str(parts.lstm_input), "1")
    done = subprocess.run(
        [sys.executable, str(PEER), *words], capture_output=True, text=True, check=True, env=os.environ | PASSIVE,
        preexec_fn=partial(os.sched_setaffinity, 0, {core}),
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def compared(case: Case, visits: int) -> dict[str, float | str | bool]:
    """The ratio of ours over the script's, visit by visit, the one first that was second before."""
    cores, logs, pairs = sorted(os.sched_getaffinity(0)), [], []
    for visit in range(visits):
        core, order = cores[visit % len(cores)], (ours, theirs) if visit % 2 else (theirs, ours)
        taken = {each.__name__: each(case, core) for each in order}
        pairs.append(taken)
        logs.append(math.log(taken["ours"] / taken["theirs"]))
    ratio = math.exp(median(logs))
    interval = median_interval([math.exp(each) for each in logs])
    row = {
        "case": case.id, "ratio": ratio, "low": interval.low, "high": interval.high, "visits": visits,
        "ours_s": median(each["ours"] for each in pairs), "script_s": median(each["theirs"] for each in pairs),
        "within_goal": abs(ratio - 1) <= GOAL,
    }  # fmt: skip
    print(f"{row['case']:75} {row['ours_s']:.6f} s, script {row['script_s']:.6f} s, ratio {ratio:.3f}", flush=True)
    return row


def main(visits: int) -> None:
    rows: list[dict[str, float | str | bool]] = []
    for runtime in RUNTIMES:
        for scenario in ("inference", "streaming"):
            for name, size in MODELS:
                parts = Parts(Choice("conv"), Choice(name), size)
                rows.append(compared(resolve(Case(parts, variant=(Choice(runtime),), scenario=scenario)), visits))
                write(rows)
    within = sum(bool(row["within_goal"]) for row in rows)
    print(f"geometric mean of {len(rows)} ratios: {mean(rows):.3f}; {within} within 3 %")


def mean(rows: list[dict[str, float | str | bool]]) -> float:
    """The geometric mean of the ratios."""
    return math.exp(sum(math.log(float(row["ratio"])) for row in rows) / len(rows))


def write(rows: list[dict[str, float | str | bool]]) -> None:
    OUT.parent.mkdir(parents=True, exist_ok=True)
    facts = describe("cpu", ("onnxruntime", "openvino", "onnx"))
    found = {"goal": GOAL, "geometric_mean": mean(rows), "rows": rows, "machine": facts}
    OUT.write_text(json.dumps(found, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
