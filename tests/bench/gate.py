"""Measure false alarms and power of the latency gate and its peers, with real checks of real commits.

``python tests/bench/gate.py --minutes 30`` appends a line per verdict to ``reports/gate/trials.jsonl`` and writes a
table of all stored verdicts to ``docs/method/gate-table.md``. Run it several times: on a quiet machine and with
``--hogs``, and with each ``--allocator``. ``--figures`` instead measures the cells of the figures table
(``figures_of_gate.py``) that still lack verdicts, and writes ``reports/gate/figures.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections import defaultdict
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from hogs import hogs
from peer_gates import TOOLS, Missing
from project_of_gate import KINDS, make
from scipy.stats import binomtest, median_abs_deviation

from convbench.check.link import ALLOCATORS, SideWorker
from convbench.check.settings import Settings
from convbench.check.trees import sides
from convbench.check.trees.sides import Side, WorkingTree
from convbench.core.scales import percent
from convbench.measure.machine.environment import describe

OUT, TABLE = Path("reports/gate"), Path("docs/method/gate-table.md")
HEADER = """\
Made by `tests/bench/gate.py` from `reports/gate/trials.jsonl`. A verdict is one case. *Red* is `regression` or the
tool's word for it. *Passed* is `ok`, which is wrong if work was put in. *Spread* is that of a pair's ratio. A check has
six cases. In the column `allocator`, the words behind a comma name earlier versions of `check`: before it fixed glibc's
settings (`its threshold moving`), trimmed the heap (`its top left over`), looked twice at a suspect
(`twelve to confirm`), stopped its clock while another process has the core (`waits counted`), measured slices by that
clock (`short slices`), decided by order statistics after any pair (`five looks`), and timed a call that fills a slice
alone (`a call before each slice`)."""
HEADINGS = (
    "tool", "allocator", "hogs a core", "beside", "rule", "put in", "timed as", "seen as", "spread", "verdicts", "red",
    "95 % bounds", "passed", "undecided", "s a case",
)  # fmt: skip
Work = dict[str, tuple[int, int]]


def calibrated(slowdown: float, settings: Settings) -> tuple[Work, dict[str, float]]:
    """Return the work that slows each case by ``slowdown`` with these settings, and the slowdown that was timed.

    Three processes calibrate, and the middle result is used.
    """
    if not slowdown:
        return dict.fromkeys(KINDS, (0, 16)), dict.fromkeys(KINDS, 0.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = make(folder / "calibration", dict.fromkeys(KINDS, (0, 16)))
        with sides.materialise(".", WorkingTree.at(project, str(project / "suite.yaml")), folder) as side:
            calibrations = [_calibrated_once(side, slowdown, settings, folder) for _ in range(3)]
    middle = {kind: sorted((calibration[kind] for calibration in calibrations), key=_flops)[1] for kind in KINDS}
    work = {kind: tuple(calibration["injected"]) for kind, calibration in middle.items()}
    return work, {kind: calibration["achieved"] for kind, calibration in middle.items()}


def _calibrated_once(side: Side, slowdown: float, settings: Settings, folder: Path) -> dict[str, dict[str, Any]]:
    with SideWorker(side, settings, folder) as worker:
        worker.greet()
        worker.await_greeting()
        plan = worker.ask("plan", suite="suite.yaml", overrides=[], device="cpu", only=[], skip=[])
        answers = {}
        for kind, case in zip(KINDS, plan["cases"], strict=True):
            answers[kind] = worker.ask("calibrate", case=case["case"], seed=0, slowdown=slowdown)
            worker.ask("release")
        return answers


def _flops(calibration: dict[str, Any]) -> int:
    count, size = calibration["injected"]
    return int(count * size**3)


def trial(
    tool: str, slowdown: float, put_in: tuple[Work, dict[str, float]], arguments: argparse.Namespace
) -> list[dict[str, object]]:
    """Let one tool decide on a fresh project, and return a line per case."""
    work, achieved = put_in
    with tempfile.TemporaryDirectory() as name:
        project, load = make(Path(name) / "trial", work), os.getloadavg()[0]
        with hogs() if arguments.hogs else nullcontext():
            start = time.monotonic()
            verdicts = TOOLS[tool](project, arguments.seconds, arguments.detect, ALLOCATORS[arguments.allocator])
            seconds = (time.monotonic() - start) / len(verdicts)
    same = {
        "tool": tool, "slowdown": slowdown, "detect": arguments.detect, "allocator": arguments.allocator,
        "hogs": int(arguments.hogs), "beside": arguments.beside, "commit": arguments.commit, "seconds": seconds,
        "campaign": arguments.figures, "load_before": load, "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return [{**same, "case": kind, "achieved": achieved[kind], **verdicts[kind]} for kind in verdicts]


def run(arguments: argparse.Namespace) -> None:
    """Make decisions in random order of tools and slowdowns until the time is up, and store each at once."""
    OUT.mkdir(parents=True, exist_ok=True)
    facts = describe("cpu")
    (OUT / "environment.json").write_text(json.dumps(facts, indent=1) + "\n")
    slowdowns = [float(part) / 100 for part in arguments.slowdowns.split(",")]
    pairs = [(tool, slowdown) for tool in arguments.tools for slowdown in slowdowns]
    arguments.commit = facts["commit"]
    settings = Settings(allocator=arguments.allocator)
    put_in = {slowdown: calibrated(slowdown, settings) for slowdown in slowdowns}
    start, waiting = time.monotonic(), list[tuple[str, float]]()
    while time.monotonic() - start < 60 * arguments.minutes:
        waiting = waiting or random.sample(pairs, len(pairs))
        tool, slowdown = waiting.pop()
        try:
            lines = trial(tool, slowdown, put_in[slowdown], arguments)
        except Missing as error:
            print(error)
            pairs = [pair for pair in pairs if pair[0] != tool]
            waiting = [pair for pair in waiting if pair[0] != tool]
            continue
        with (OUT / "trials.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        change, words = percent(slowdown, places=0, signed=True), [line["word"] for line in lines]
        print(f"{tool}, {change}: {words}, {lines[0]['seconds']:.0f} s a case")


def table() -> str:
    """Return a table of all stored trials by setting: the share of red verdicts with exact 95 % bounds."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in (OUT / "trials.jsonl").read_text().splitlines():
        entry = json.loads(line)
        key = ("tool", "allocator", "hogs", "beside", "detect", "slowdown")
        groups[tuple(entry[name] for name in key)].append(entry)
    rows = ["# Every verdict of the gate and its peers", "", HEADER]
    rows += ["", "| " + " | ".join(HEADINGS) + " |"]
    rows += ["|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    rows += [_row(*item) for item in sorted(groups.items(), key=lambda item: tuple(map(str, item[0])))]
    return "\n".join(rows) + "\n"


def _row(key: tuple[Any, ...], trials: list[dict[str, Any]]) -> str:
    words = [entry["word"] for entry in trials]
    red = words.count("regression")
    bounds = binomtest(red, len(words)).proportion_ci(method="exact")
    tool, allocator, count, beside, detect, slowdown = key
    timed = median(float(entry["achieved"]) for entry in trials)
    slowdowns = [float(entry["seen"]) for entry in trials if "seen" in entry]
    spread = [_spread(entry["logs"]) for entry in trials if "logs" in entry]
    undecided = sum(word in ("inconclusive", "invalid") for word in words)
    passed = len(words) - red - undecided
    seconds = median(float(entry["seconds"]) for entry in trials)
    changes = (percent(slowdown, places=0, signed=True), percent(timed, signed=True))
    cells = (tool, allocator, count, beside, f"{detect:g} %", *changes)
    shares = (
        percent(median(slowdowns), signed=True) if slowdowns else "",
        percent(median(spread)) if spread else "",
        len(words),
        percent(red / len(words)),
        percent(bounds.low, bounds.high),
        passed,
        undecided,
        f"{seconds:.0f}",
    )
    return "| " + " | ".join(map(str, (*cells, *shares))) + " |"


def _spread(logs: list[float]) -> float:
    """Return the standard deviation of a pair's log ratio, estimated from the median absolute deviation."""
    return float(median_abs_deviation(logs, scale="normal"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS), metavar="TOOL")
    parser.add_argument("--slowdowns", default="0,3,5,10")
    parser.add_argument("--detect", type=float, default=5)
    parser.add_argument("--allocator", choices=list(ALLOCATORS), default="glibc")
    parser.add_argument("--hogs", action="store_true", help="a busy process on each core that this one may use")
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine, in words")
    parser.add_argument("--seconds", type=float, default=10, help="what a peer may measure a side of a case for")
    parser.add_argument("--figures", action="store_true", help="the cells of the figures table that lack verdicts")
    arguments = parser.parse_args()
    if arguments.figures:
        import figures_of_gate

        figures_of_gate.measure(arguments)
        return
    run(arguments)
    TABLE.write_text(table())
    print(table())


if __name__ == "__main__":
    main()
