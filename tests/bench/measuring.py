"""Compare the speed of measuring with a script that uses torch.utils.benchmark in a fresh process for each case.

``python tests/bench/measuring.py`` prints and writes ``reports/bench/measuring.json``. Both sides of a ratio are
measured in the same run.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Record
from convbench.core.registry import executors
from convbench.core.statistics import Interval, median_interval
from convbench.measure import harness
from convbench.measure.machine.environment import describe
from convbench.measure.preflight import resolve
from convbench.runs.executor import Job
from convbench.suite import load

TARGET = 0.02
LIMIT = 10.0
PROTOCOL = Protocol(max_warmup=1.0, max_time=LIMIT, min_samples=20, target=TARGET)
PEER = Path(__file__).with_name("peer_timer.py")
OUT = Path("reports/bench/measuring.json")


def static_pass(count: int = 300) -> dict[str, float]:
    """Measure architectures a second, built on meta, with parameters and MACs by stage; one flattens to 131,072."""
    shelf = [("gap", None), ("fc", 128), ("hybrid", 64), ("flatten", None), ("attention", None), ("gdconv", None)]
    cases = [
        Case(Parts(Choice("conv", (("channels", 32 - n // len(shelf) % 4),)), Choice(name), size), Clip(frames=16))
        for n, (name, size) in enumerate(shelf * (count // len(shelf)))
    ]
    harness.measure(cases[0], PROTOCOL, ["params", "macs"])
    start = time.perf_counter()
    for case in cases:
        harness.measure(case, PROTOCOL, ["params", "macs"])
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"architectures_per_s": len(cases) / seconds, "goal": 100, "peak_rss_bytes": peak, "rss_goal": 1e9}


def help_seconds() -> dict[str, float]:
    command = [sys.executable, "-m", "convbench", "--help"]
    return {"seconds": min(_seconds(command) for _ in range(5)), "goal": 0.25}


def isolated(cases: list[Case], metrics: tuple[str, ...]) -> tuple[list[Record], list[float], float]:
    """Return records, wall seconds of each case in the parent, and total wall seconds including the forkserver."""
    begin = time.perf_counter()
    records, walls = [], []
    with executors.get("isolated").build("cpu", cases) as executor:
        for case in cases:
            start = time.perf_counter()
            records += [record for _, record in executor.run([Job(case, PROTOCOL, metrics)])]
            walls.append(time.perf_counter() - start)
    return records, walls, time.perf_counter() - begin


def overhead(cases: list[Case]) -> dict[str, float]:
    """Measure the seconds of an isolated case beyond its samples and its warm-up, with all probes on."""
    records, walls, _ = isolated(cases * 3, ())
    beyond = [wall - _own(record) for record, wall in zip(records, walls, strict=True)]
    return {"median_s": median(beyond[1:]), "goal": 1.0, "first_s": beyond[0]}


def side_by_side(cases: list[Case]) -> dict[str, object]:
    """Compare the time to the same interval of the median: convbench isolated and the peer, three times in turns."""
    ours, theirs = [], []
    rows: dict[str, list[dict[str, object]]] = {}
    for _ in range(3):
        records, _, seconds = isolated(cases, ("latency",))
        ours.append(seconds)
        start = time.perf_counter()
        peers = {case.id: _peer(case) for case in cases}
        theirs.append(time.perf_counter() - start)
        for record in records:
            mine = median_interval(record.samples("latency_s"))
            rows.setdefault(record.case.id, []).append(_row(mine, Interval(*peers[record.case.id])))
    return {"ours_s": ours, "timer_s": theirs, "ratio": median(ours) / median(theirs), "goal": 1.0, "medians": rows}


def _row(mine: Interval, timer: Interval) -> dict[str, object]:
    overlap = mine.low <= timer.high and timer.low <= mine.high
    return {"ours_s": mine, "timer_s": timer, "ratio": mine.median / timer.median, "intervals_meet": overlap}


def _peer(case: Case) -> list[float]:
    parts = case.architecture
    words = [sys.executable, str(PEER), parts.reducer.name, str(parts.lstm_input), str(TARGET), str(LIMIT)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def _own(record: Record) -> float:
    return sum(record.samples("latency_s")) + sum(record.samples("warmup_s"))


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    cases = [resolve(case) for case in load("article").cases]
    figures = {
        "static_pass": static_pass(),
        "help": help_seconds(),
        "overhead": overhead(cases),
        "side_by_side": side_by_side(cases),
        "environment": describe("cpu"),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
