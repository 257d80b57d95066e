"""Each runtime as convbench runs it, beside a ten-line script that uses it directly: within 3 %.

``python tests/bench/deploy.py [visits [part of a case's name]]`` takes turns between the two, each in a fresh process
on the same core with one thread, prints the ratios and writes ``reports/deploy/bench.json``. Either side exports a
model once.

The script runs with glibc held, as every process of convbench that measures holds it; that of int8, whose blocks are
PyTorch's, also as a process comes by itself, whose glibc moves the size from which it maps blocks anew. Beside them,
what a call would cost more whose inputs are tensors and whose outputs are made tensors (``convert_s``): that is in no
side's time.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import timeit
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from convbench.core.record import Case, Choice, Parts, Protocol
from convbench.core.registry import executors
from convbench.core.statistics import median_interval
from convbench.measure.machine import malloc
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
Row = dict[str, Any]
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def ours(executor: Executor, case: Case, core: int, visit: int) -> float:
    """Median seconds of a call, as a run measures it; the first visit exports."""
    job = Job(case, PROTOCOL, ("latency",), visit, cores=(core,), checked=visit > 0)
    ((_, record),) = executor.run([job])
    if record.status != "ok":
        raise SystemExit(f"{case.id}: {record.failure}")
    return median(record.samples("latency_s"))


def theirs(case: Case, core: int, folder: str, variables: Mapping[str, str]) -> float:
    """The same by the script, started with these variables."""
    parts = case.architecture
    assert isinstance(parts, Parts)
    words = (case.variant_name, case.scenario, parts.reducer.name, str(parts.lstm_input), folder)
    done = subprocess.run(
        [sys.executable, str(PEER), *words], capture_output=True, text=True, check=True,
        env=os.environ | PASSIVE | variables, preexec_fn=partial(os.sched_setaffinity, 0, {core}),
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def converting(subject: Subject) -> float:
    """Seconds that making arrays of a call's tensors, and tensors of its arrays, takes; 0 where nothing is made."""
    if subject.deployment is None:
        return 0.0
    model, tensors = subject.deployment.model, subject.deployment.example.tensors
    outputs = model.run(model.arrays(tensors))
    return min(timeit.repeat(lambda: (model.arrays(tensors), model.tensors(outputs)), number=1000, repeat=5)) / 1000


def compared(executor: Executor, case: Case, visits: int) -> Row:
    """The ratio of ours over the script's, visit by visit, the one first that was last before.

    Of int8 the script runs twice: with glibc held as every process that measures holds it, and as a process comes.
    """
    cores, seconds = sorted(os.sched_getaffinity(0)), defaultdict[str, list[float]](list)
    with tempfile.TemporaryDirectory() as folder:
        for visit in range(visits):
            core = cores[visit % len(cores)]
            sides = {
                "ours": partial(ours, executor, case, core, visit),
                "held": partial(theirs, case, core, folder, malloc.variables(malloc.GLIBC)),
            }
            if case.variant_name == "int8":
                sides["free"] = partial(theirs, case, core, folder, {})
            for name in list(sides)[:: 1 if visit % 2 else -1]:
                seconds[name].append(sides[name]())
    row: Row = {"case": case.id, "visits": visits, "ours_s": median(seconds["ours"])}
    for name in seconds.keys() - {"ours"}:
        ratios = [mine / script for mine, script in zip(seconds["ours"], seconds[name], strict=True)]
        interval = median_interval(ratios)
        row[f"script_{name}_s"] = median(seconds[name])
        row[f"ratio_{name}"] = median(ratios)
        row[f"low_{name}"], row[f"high_{name}"] = (
            bound if math.isfinite(bound) else None for bound in (interval.low, interval.high)
        )
        row[f"least_{name}"] = min(seconds["ours"]) / min(seconds[name])
    row["convert_s"] = converting(transform(assemble(case, 0)))
    figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if isinstance(value, float))
    print(f"{case.id}: {figures}", flush=True)
    return row


def main(visits: int, only: str) -> None:
    cases = [
        resolve(Case(Parts(Choice("conv"), Choice(name), size), variant=(Choice(runtime),), scenario=scenario))
        for runtime in RUNTIMES for scenario in ("inference", "streaming") for name, size in MODELS
    ]  # fmt: skip
    rows = {row["case"]: row for row in json.loads(OUT.read_text())["rows"]} if only and OUT.exists() else {}
    with executors.get("isolated").build("cpu", cases) as executor:
        for case in cases:
            if only in case.id:
                rows[case.id] = compared(executor, case, visits)
                write(list(rows.values()))


def mean(rows: list[Row], name: str) -> float | None:
    """The geometric mean of the ratios, of as many rows as have one."""
    logs = [math.log(row[name]) for row in rows if name in row]
    return math.exp(sum(logs) / len(logs)) if logs else None


def write(rows: list[Row]) -> None:
    """All rows, beside how many of them are within the goal and on what machine they were measured."""
    OUT.parent.mkdir(parents=True, exist_ok=True)
    names = ("ratio_held", "least_held", "ratio_free", "least_free")
    table = {
        "goal": GOAL, "geometric_means": {name: mean(rows, name) for name in names},
        "within_goal": {name: sum(abs(row.get(name, math.inf) - 1) <= GOAL for row in rows) for name in names},
        "rows": rows, "load": os.getloadavg()[0], "machine": describe("cpu", ("onnxruntime", "openvino", "onnx")),
    }  # fmt: skip
    OUT.write_text(json.dumps(table, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9, sys.argv[2] if len(sys.argv) > 2 else "")
