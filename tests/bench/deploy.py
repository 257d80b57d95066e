"""Each runtime as convbench runs it, beside a ten-line script that uses it directly: within 3 %.

``python tests/bench/deploy.py [visits [part of a case's name]]`` takes turns between the two, each in a fresh process
on the same core with one thread, prints the ratios and writes ``reports/deploy/bench.json``. Either side exports a
model once.

Beside them, what a call would cost more whose inputs are tensors and whose outputs are made tensors (``convert_s``):
that is in neither side's time.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import timeit
from functools import partial
from pathlib import Path
from statistics import median

from convbench.core.record import Case, Choice, Parts, Protocol
from convbench.core.registry import executors
from convbench.core.statistics import median_interval
from convbench.measure.machine.environment import describe
from convbench.measure.preflight import resolve
from convbench.models.subject import Subject, assemble, transform
from convbench.runs.executor import Executor, Job

GOAL = 0.03
PEER = Path(__file__).with_name("peer_deploy.py")
OUT = Path("reports/deploy/bench.json")
PROTOCOL = Protocol(max_warmup=0.15, max_time=0.6, min_samples=10, target=0.001, visits=2)
MODELS = (("gap", None), ("fc", 128))
RUNTIMES = ("onnxruntime", "openvino", "aot-inductor", "int8")
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def ours(executor: Executor, case: Case, core: int, visit: int) -> float:
    """Median seconds of a call, as a run measures it; the first visit exports."""
    job = Job(case, PROTOCOL, ("latency",), visit, cores=(core,), checked=visit > 0)
    ((_, record),) = executor.run([job])
    if record.status != "ok":
        raise SystemExit(f"{case.id}: {record.failure}")
    return median(record.samples("latency_s"))


def theirs(case: Case, core: int, folder: str) -> float:
    """The same by the script."""
    parts = case.architecture
    assert isinstance(parts, Parts)
    words = (case.variant_name, case.scenario, parts.reducer.name, str(parts.lstm_input), folder)
    done = subprocess.run(
        [sys.executable, str(PEER), *words], capture_output=True, text=True, check=True, env=os.environ | PASSIVE,
        preexec_fn=partial(os.sched_setaffinity, 0, {core}),
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def converting(held: Subject) -> float:
    """Seconds that making arrays of a call's tensors, and tensors of its arrays, takes; 0 where nothing is made."""
    if held.deployment is None:
        return 0.0
    model, tensors = held.deployment.loaded, held.deployment.example.tensors
    outputs = model.run(model.arrays(tensors))
    return min(timeit.repeat(lambda: (model.arrays(tensors), model.tensors(outputs)), number=1000, repeat=5)) / 1000


def compared(executor: Executor, case: Case, visits: int) -> dict[str, float | str | bool]:
    """The ratio of ours over the script's, visit by visit, the one first that was second before."""
    cores, pairs = sorted(os.sched_getaffinity(0)), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as folder:
        for visit in range(visits):
            core = cores[visit % len(cores)]
            sides = [partial(ours, executor, case, core, visit), partial(theirs, case, core, folder)]
            taken = [side() for side in (sides if visit % 2 else sides[::-1])]
            pairs.append((taken[0], taken[1]) if visit % 2 else (taken[1], taken[0]))
    ratios = [mine / script for mine, script in pairs]
    interval = median_interval(ratios)
    row = {
        "case": case.id, "ratio": median(ratios), "low": interval.low, "high": interval.high, "visits": visits,
        "ratio_of_least": min(mine for mine, _ in pairs) / min(script for _, script in pairs),
        "ours_s": median(mine for mine, _ in pairs), "script_s": median(script for _, script in pairs),
        "within_goal": abs(median(ratios) - 1) <= GOAL, "convert_s": converting(transform(assemble(case, 0))),
    }  # fmt: skip
    print(
        f"{case.id:75} {row['ours_s']:.6f} s, script {row['script_s']:.6f} s, ratio {row['ratio']:.3f} "
        f"({row['ratio_of_least']:.3f} of the least), converting {row['convert_s']:.1e} s", flush=True,
    )  # fmt: skip
    return row


def main(visits: int, only: str) -> None:
    cases = [
        resolve(Case(Parts(Choice("conv"), Choice(name), size), variant=(Choice(runtime),), scenario=scenario))
        for runtime in RUNTIMES for scenario in ("inference", "streaming") for name, size in MODELS
    ]  # fmt: skip
    rows: list[dict[str, float | str | bool]] = []
    with executors.get("isolated").build("cpu", cases) as executor:
        for case in cases:
            if only in case.id:
                rows.append(compared(executor, case, visits))
                write(rows)
    within = sum(bool(row["within_goal"]) for row in rows)
    print(f"geometric mean of {len(rows)} ratios: {mean(rows):.3f}; {within} within 3 %")


def mean(rows: list[dict[str, float | str | bool]]) -> float:
    """The geometric mean of the ratios."""
    return math.exp(sum(math.log(float(row["ratio"])) for row in rows) / len(rows))


def write(rows: list[dict[str, float | str | bool]]) -> None:
    OUT.parent.mkdir(parents=True, exist_ok=True)
    facts = describe("cpu", ("onnxruntime", "openvino", "onnx"))
    table = {"goal": GOAL, "geometric_mean": mean(rows), "rows": rows, "machine": facts}
    OUT.write_text(json.dumps(table, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9, sys.argv[2] if len(sys.argv) > 2 else "")
