"""Measure whether two runs of the default suite agree: quiet, with one busy process a core, and next to peers.

    python tests/bench/repeat.py --part quiet-1     # one piece, under nine minutes; an unfinished piece is continued
    python tests/bench/repeat.py --part quiet-7     # one more run, quiet or ``hogs-``: the table compares every two
    python tests/bench/repeat.py                    # all missing pieces, then the table

The runs are kept in ``build/repeat``; ``reports/repeat/repeat.json`` and ``table.md`` are made from them. Nothing else
may run meanwhile, except the hogs that a piece starts itself.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from hogs import hogs

from convbench.analysis.latencies import machines
from convbench.analysis.results import results
from convbench.analysis.run_agreement import Agreement, agreement
from convbench.cli.app import INCOMPLETE, MEASURED
from convbench.core.record import Record
from convbench.core.scales import percent
from convbench.core.spread import LIMIT_OF_MEDIAN
from convbench.core.storage import store
from convbench.measure.machine import malloc
from convbench.measure.machine.environment import describe

RUNS, OUT = Path("build/repeat"), Path("reports/repeat")
LIMIT = 520.0
SUITE = "suites/default.yaml"
THREADS = ["--only", "gap", "--only", "fc", "--skip", "*compile*", "--skip", "streaming"]
PIECES = {
    "quiet-1": (False, []),
    "quiet-2": (False, []),
    "hogs-1": (True, []),
    "hogs-2": (True, []),
    "threads-quiet": (False, [*THREADS, "matrix.threads=2"]),
    "threads-hogs": (True, [*THREADS, "matrix.threads=2"]),
}
"""Runs by name: whether hogs run beside it, and extra words of the command. Others: ``quiet-N`` and ``hogs-N``."""
PAIRS = {
    "quiet, twice": ("quiet-1", "quiet-2"),
    "quiet, and one busy process a core": ("quiet-1", "hogs-1"),
    "one busy process a core, twice": ("hogs-1", "hogs-2"),
    "two threads asked for, quiet and beside hogs": ("threads-quiet", "threads-hogs"),
}
METHODS = {"timer": 6, "script": 10, "optimum": 4}
"""Processes per case for each peer's method."""
PEER_CASES = {"gap": 32, "fc": 128, "hybrid": 64}
PRECISION = 0.05
"""Target relative half width of the interval between processes, at which the methods' seconds are compared."""


def run(name: str) -> None:
    """Run the suite once, or continue its unfinished run, and store beside it how long it took."""
    busy, words = PIECES.get(name, (name.startswith("hogs"), []))
    directory, clock = RUNS / name, RUNS / f"{name}.json"
    seconds = json.loads(clock.read_text())["seconds"] if clock.exists() else 0.0
    if seconds and json.loads(clock.read_text())["done"]:
        return
    resume = ["--resume"] if (directory / "run.json").exists() else []
    command = [sys.executable, "-m", "convbench", "run", SUITE, *words, "--out", str(directory), "-q", *resume]
    start, done = time.monotonic(), False
    with hogs() if busy else nullcontext():
        process = subprocess.Popen(command)
        try:
            done = process.wait(LIMIT) in (MEASURED, INCOMPLETE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.terminate()
            process.wait(20)
    clock.write_text(json.dumps({"seconds": seconds + time.monotonic() - start, "done": done}))
    print(f"{name}: {'done' if done else 'not done yet: run this piece again'}")


def peers(method: str) -> None:
    """Time calls by a peer's method in fresh processes, one after another, and store each process's wall time."""
    path = RUNS / f"peer-{method}.json"
    processes = json.loads(path.read_text()) if path.exists() else []
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | malloc.variables(malloc.GLIBC)
    script, start = Path(__file__).with_name("peer_repeat.py"), time.monotonic()
    repetitions = [(case, number) for number in range(METHODS[method]) for case in PEER_CASES]
    for case, number in repetitions[len(processes) :]:
        if time.monotonic() - start > LIMIT:
            print(f"{method}: not done yet: run this piece again")
            return
        command = [sys.executable, str(script), method, case, str(PEER_CASES[case])]
        begun = time.monotonic()
        seconds = json.loads(subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout)
        processes.append({"case": case, "number": number, "seconds": seconds, "wall": time.monotonic() - begun})
        path.write_text(json.dumps(processes))


def compared(first: str, second: str) -> Agreement | None:
    if not all((RUNS / name / "run.json").exists() for name in (first, second)):
        return None
    return agreement(*(results(store.load(RUNS / name)[1]) for name in (first, second)))


def every_two() -> dict[str, object]:
    """Return how far all runs of the whole suite agree, two by two. Empty for fewer than two runs."""
    paths = [*RUNS.glob("quiet-*/run.json"), *RUNS.glob("hogs-*/run.json")]
    stored = [results(store.load(path.parent)[1]) for path in paths]
    agreements = [agreed for pair in combinations(stored, 2) if (agreed := agreement(*pair))]
    if not agreements:
        return {}
    return {
        "runs": len(stored),
        "pairs": len(agreements),
        "meet": median(agreed.meet for agreed in agreements),
        "least_meet": min(agreed.meet for agreed in agreements),
        "worst_factor": max(agreed.factors[2] for agreed in agreements),
        "contradicted": sum(agreed.contradictions for agreed in agreements),
        "apart": sum(agreed.apart for agreed in agreements),
        "same_pick": sum(agreed.same_pick for agreed in agreements),
    }


def side_by_side() -> dict[str, object]:
    """Return, for each method, the spread between processes, seconds a process, and seconds to one precision."""
    rows: dict[str, object] = {}
    if (RUNS / "quiet-1" / "run.json").exists():
        rows["convbench"] = _ours(store.load(RUNS / "quiet-1")[1])
    for method in METHODS:
        path = RUNS / f"peer-{method}.json"
        if path.exists():
            rows[method] = _theirs(json.loads(path.read_text()))
    return rows


def _ours(records: Sequence[Record]) -> dict[str, object]:
    """Return the spread between visits over all cases of the run, the seconds of a visit, and the medians."""
    eager = [record for record in records if not record.case.variant and record.case.scenario == "inference"]
    walls = [visit.seconds for record in eager for visit in record.visits if visit.is_timed]
    (machine,) = machines(eager).values()
    medians = {
        result.case.architecture.reducer.name: result.latency
        for result in results(records)
        if PEER_CASES.get(result.case.architecture.reducer.name) == result.lstm_input
        and not result.case.variant
        and result.case.scenario == "inference"
        and result.latency
    }
    return _row(math.sqrt(machine.prior.variance), median(walls), medians)


def _theirs(processes: Sequence[dict[str, Any]]) -> dict[str, object]:
    logs = {
        case: [math.log(process["seconds"]) for process in processes if process["case"] == case] for case in PEER_CASES
    }
    spread = math.sqrt(np.mean([np.var(values, ddof=1) for values in logs.values() if len(values) > 1]))
    medians = {case: math.exp(median(values)) for case, values in logs.items() if values}
    return _row(spread, median(process["wall"] for process in processes), medians)


def _row(spread: float, wall: float, medians: Mapping[str, object]) -> dict[str, object]:
    """Return the number of processes (at least three) that reach ``PRECISION`` for the median, and their seconds."""
    processes = max(3, math.ceil((1.96 * LIMIT_OF_MEDIAN * spread / PRECISION) ** 2))
    return {
        "spread": spread,
        "seconds_a_process": wall,
        "processes": processes,
        "seconds_a_case": processes * wall,
        "medians_s": medians,
    }


def table() -> None:
    agreements = {title: compared(*names) for title, names in PAIRS.items()}
    walls = {path.stem: json.loads(path.read_text()) for path in RUNS.glob("*.json") if "peer" not in path.stem}
    figures = {
        "runs": {title: asdict(agreed) for title, agreed in agreements.items() if agreed},
        "every_two": every_two(),
        "seconds": walls,
        "side_by_side": side_by_side(),
        "environment": describe("cpu"),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "repeat.json").write_text(json.dumps(figures, indent=1) + "\n")
    (OUT / "table.md").write_text("\n".join(_lines(agreements, figures)) + "\n")
    print((OUT / "table.md").read_text())


def _lines(agreements: dict[str, Agreement | None], figures: dict[str, Any]) -> Iterator[str]:
    yield "| default suite, two runs | cases | intervals meet | factor: median, p90, worst | opposite | half width |"
    yield "|---|--:|--:|---|--:|--:|"
    for title, comparison in agreements.items():
        if comparison:
            factors = ", ".join(f"{factor:.2f}" for factor in comparison.factors)
            contradictions = f"{comparison.contradictions} of {comparison.apart}"
            withheld = f" ({comparison.withheld} withheld by one)" if comparison.withheld else ""
            meet, half_width = percent(comparison.meet, places=0), percent(comparison.half_width)
            cells = (title, f"{comparison.cases}{withheld}", meet, factors, contradictions, half_width)
            yield f"| {' | '.join(cells)} |"
    yield ""
    if all_runs := figures["every_two"]:
        yield (
            "Every two of {runs} runs, {pairs} pairs: {meet} of the intervals meet, {least_meet} in the worst "
            "pair; worst factor {worst_factor:.2f}; opposite {contradicted} of {apart}; the same pick, or one not told "
            "from it, in {same_pick}."
        ).format_map({**all_runs, **{name: percent(all_runs[name], places=0) for name in ("meet", "least_meet")}})
    yield ""
    yield "Seconds: " + ", ".join(f"{name} {wall['seconds']:.0f}" for name, wall in sorted(figures["seconds"].items()))
    yield ""
    precision = percent(PRECISION, places=0)
    yield f"| method | spread of processes | seconds a process | seconds a case to ±{precision} | medians, ms |"
    yield "|---|--:|--:|--:|---|"
    for name, row in figures["side_by_side"].items():
        medians = {case: value[0] if isinstance(value, tuple) else value for case, value in row["medians_s"].items()}
        milliseconds = ", ".join(f"{case} {1e3 * value:.2f}" for case, value in sorted(medians.items()))
        cost = f"{row['seconds_a_process']:.2f} | {row['seconds_a_case']:.1f}"
        yield f"| {name} | {percent(row['spread'])} | {cost} | {milliseconds} |"


def main() -> None:
    parts = [*PIECES, *(f"peer-{method}" for method in METHODS), "table"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="all", help=", ".join([*parts, "quiet-N", "hogs-N"]))
    choice = parser.parse_args().part
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that hogs and runs end too
    RUNS.mkdir(parents=True, exist_ok=True)
    for part in parts if choice == "all" else [choice]:
        if part == "table":
            table()
        elif part.startswith("peer-"):
            peers(part.removeprefix("peer-"))
        elif part in PIECES or part.startswith(("quiet-", "hogs-")):
            run(part)
        else:
            parser.error(f"no part {part!r}")


if __name__ == "__main__":
    main()
