"""Compare each runtime in convbench with a ten-line script that uses the runtime directly. The goal is within 3 %.

``python tests/bench/deploy.py [visits [part of a case's name]]`` alternates between the two, each in a fresh process on
the same core with one thread, prints the ratios and writes ``reports/deploy/bench.json``. Each side exports a model
once.

The script runs with glibc's settings held, as in every measuring process of convbench. The script of int8, whose blocks
are PyTorch's, also runs with glibc's defaults, where glibc moves the size from which it maps blocks anew.
``convert_s`` is the extra cost of a call that converts its inputs from tensors and its outputs to tensors. Neither
side's time includes it.
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
    """Return the median seconds of a call, as a run measures it. The first visit exports the model."""
    job = Job(case, PROTOCOL, ("latency",), visit, cores=(core,), checked=visit > 0)
    ((_, record),) = executor.run([job])
    if record.status != "ok":
        raise SystemExit(f"{case.id}: {record.failure}")
    return median(record.samples("latency_s"))


def theirs(case: Case, core: int, folder: str, variables: Mapping[str, str]) -> float:
    """Return the seconds of a call in the script, which is started with ``variables``."""
    parts = case.architecture
    assert isinstance(parts, Parts)
    words = (case.variant_name, case.scenario, parts.reducer.name, str(parts.lstm_input), folder)
    done = subprocess.run(
        [sys.executable, str(PEER), *words], capture_output=True, text=True, check=True,
        env={**os.environ, **PASSIVE, **variables}, preexec_fn=partial(os.sched_setaffinity, 0, {core}),
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def converting(subject: Subject) -> float:
    """Return the seconds to convert a call's tensors to arrays and its arrays to tensors; 0 without a conversion."""
    if subject.deployment is None:
        return 0.0
    model, tensors = subject.deployment.model, subject.deployment.example.tensors
    outputs = model.run(model.arrays(tensors))
    return min(timeit.repeat(lambda: (model.arrays(tensors), model.tensors(outputs)), number=1000, repeat=5)) / 1000


def compared(executor: Executor, case: Case, visits: int) -> Row:
    """Return the ratio of convbench's time over the script's, visit by visit. The order alternates.

    For int8 the script runs twice: with glibc's settings held, as in every measuring process, and with its defaults.
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
    """Return the geometric mean of the ratios of the rows that have this ratio, or None."""
    logs = [math.log(row[name]) for row in rows if name in row]
    return math.exp(sum(logs) / len(logs)) if logs else None


def write(rows: list[Row]) -> None:
    """Write all rows, the number within the goal, and the machine."""
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
