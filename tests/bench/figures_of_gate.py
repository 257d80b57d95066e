"""The table of the gate's figures, made cell by cell: ``python tests/bench/gate.py --figures --minutes 60``.

A cell is a tool, a slowdown and a load, with the number of verdicts that it needs. Stored verdicts count,
so the script can be stopped at any time and run again. The cell with the smallest share of its verdicts is next.
Searches by ``bisect`` and checks of the smoke suite are cells too, in ``searches.jsonl`` and ``smoke.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from gate import OUT, Work, calibrated, trial
from peer_gates import TOOLS, Missing
from project_of_gate import KINDS, NETS, make
from scipy.stats import binomtest

from convbench.check.settings import Settings
from convbench.core.scales import percent

SEARCHES, SMOKE, TRIALS = OUT / "searches.jsonl", OUT / "smoke.jsonl", OUT / "trials.jsonl"
COMMITS = 16
PEERS = ("pytest-benchmark min", "pyperf", "asv", "tango's rule")
"""One rule of each peer, because a second rule of pytest-benchmark's would take as many runs again."""
GATE, ALONE = "convbench", "convbench, one case"
SLOWDOWNS = (0.0, 0.05, 0.10, 0.25)


class Cell(NamedTuple):
    """A number of verdicts of a tool with a given slowdown, beside no busy process or one on each core."""

    tool: str
    slowdown: float
    hogs: int
    verdicts: int

    def holds(self, line: dict[str, Any]) -> bool:
        same = line.get("campaign") and line["allocator"] == "glibc" and line["detect"] == 5
        return bool(same) and (line["tool"], line["slowdown"], line["hogs"]) == self[:3]


def cells() -> list[Cell]:
    """Return the cells: 1,000 verdicts on the same code, 30 to 100 per slowdown, 20 of one case, 24 per peer."""
    return [
        Cell(GATE, 0.0, 0, 600), Cell(GATE, 0.0, 1, 400), Cell(GATE, 0.05, 0, 100), Cell(GATE, 0.05, 1, 100),
        Cell(GATE, 0.10, 0, 30), Cell(GATE, 0.25, 0, 30), *(Cell(ALONE, slowdown, 0, 20) for slowdown in SLOWDOWNS),
        *(Cell(peer, slowdown, 0, 24) for peer in PEERS for slowdown in SLOWDOWNS[:3]),
    ]  # fmt: skip


def measure(args: argparse.Namespace) -> None:
    """Run trials of incomplete cells, the least complete first, until the time is up."""
    end = time.monotonic() + 60 * args.minutes
    missing = set(TOOLS) - set(args.tools)
    args.commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    while time.monotonic() < end and (lacking := _lacking(missing)):
        cell = lacking[0]
        if not isinstance(cell, Cell):
            cell()
        else:
            args.hogs = bool(cell.hogs)
            try:
                _append(TRIALS, trial(cell.tool, cell.slowdown, _put_in(cell.slowdown), args))
            except Missing as error:
                print(error)
                missing.add(cell.tool)
        (OUT / "figures.md").write_text(table())
    print(table())


def _lacking(missing: set[str]) -> list[Cell | Callable[[], None]]:
    """Return the cells, searches and smoke checks to measure next, the least complete first."""
    trials = _lines(TRIALS)
    shares: list[tuple[float, Cell | Callable[[], None]]] = [
        (sum(map(cell.holds, trials)) / cell.verdicts, cell) for cell in cells() if cell.tool not in missing
    ]
    shares += [(len(_searches()) / 20, _search), (len(_lines(SMOKE)) / 5, _smoke)]
    return [cell for share, cell in sorted(shares, key=lambda pair: pair[0]) if share < 1]


@cache
def _put_in(slowdown: float) -> tuple[Work, dict[str, float]]:
    """Return the work that makes a slowdown. It is found once, because that takes longer than a search."""
    return calibrated(slowdown, Settings())


def _smoke() -> None:
    """Check the ten smoke cases on the same code."""
    start = time.monotonic()
    command = [sys.executable, "-m", "convbench", "check", "smoke", "--base", "HEAD", "--json", str(OUT / "smoke.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _append(SMOKE, [{"seconds": time.monotonic() - start, "code": done.returncode}])
    (OUT / "smoke.json").unlink(missing_ok=True)


def _search() -> None:
    """Bisect sixteen commits after good, one of which adds 5 % of work to a case of some 5 ms."""
    work, _ = _put_in(0.05)
    first = random.randint(1, COMMITS)
    with tempfile.TemporaryDirectory() as name:
        project = make(Path(name) / "search", dict.fromkeys(KINDS, (0, 16)))
        commits = [_commit(project, number, work if number >= first else None) for number in range(1, COMMITS + 1)]
        start = time.monotonic()
        words = ["bisect", "suite.yaml", "--good", "base", "--bad", "HEAD", "--only", f"*kind={KINDS[2]})*"]
        command = [sys.executable, "-m", "convbench", *words]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        named = f"first slower: {commits[first - 1][:12]}" in done.stdout
        text = done.stdout.splitlines()[:1] or done.stderr.splitlines()[-1:]
    line = {"first": first, "named": named, "code": done.returncode, "seconds": time.monotonic() - start, "said": text}
    _append(SEARCHES, [line])


def _commit(project: Path, number: int, work: Work | None) -> str:
    doing = work or dict.fromkeys(KINDS, (0, 16))
    (project / "nets.py").write_text(NETS.replace("{work!r}", repr(doing)) + f"# {number}\n")
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    git = ["git", *identity]
    subprocess.run([*git, "commit", "-qam", f"number {number}"], cwd=project, check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True, check=True).stdout


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _searches() -> list[dict[str, Any]]:
    """Return the searches whose code looks at outputs before timing; older ones are marked ``looks: false``."""
    return [line for line in _lines(SEARCHES) if line.get("looks", True)]


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    print(path.stem, [line.get("word", line.get("code")) for line in lines], f"{lines[0]['seconds']:.0f} s")


def table() -> str:
    """Return the table of all measured cells, as Markdown."""
    trials = _lines(TRIALS)
    rows = [
        "| tool | put in | hogs a core | verdicts | red | 95 % bounds | passed | undecided | s a case, median |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(row for cell in cells() for row in _row(cell, [line for line in trials if cell.holds(line)])),
    ]
    searches, smoke = _searches(), _lines(SMOKE)
    if smoke:
        seconds = median(line["seconds"] for line in smoke)
        rows += ["", f"Ten smoke cases on the same code: {seconds:.0f} s (median of {len(smoke)} checks)."]
    if searches:
        named, wrong = sum(line["named"] for line in searches), sum(_is_wrong(line) for line in searches)
        seconds = median(line["seconds"] for line in searches)
        sentence = f"the right commit in {named} of {len(searches)}, a wrong one in {wrong}, {seconds:.0f} s a search"
        rows += ["", f"Bisect over {COMMITS} commits, +5 % in one: {sentence}."]
    return "# The gate's figures\n\nMade by `tests/bench/gate.py --figures`.\n\n" + "\n".join(rows) + "\n"


def _is_wrong(line: dict[str, Any]) -> bool:
    return line["code"] == 0 and not line["named"]


def _row(cell: Cell, lines: list[dict[str, Any]]) -> Iterator[str]:
    if not lines:
        return
    words = [line["word"] for line in lines]
    red = words.count("regression")
    bounds = binomtest(red, len(words)).proportion_ci(method="exact")
    undecided = sum(word in ("inconclusive", "invalid") for word in words)
    cells_of_row = (
        cell.tool, percent(cell.slowdown, places=0, signed=True), cell.hogs, f"{len(words)} of {cell.verdicts}", red,
        percent(bounds.low, bounds.high), len(words) - red - undecided, undecided,
        f"{median(line['seconds'] for line in lines):.1f}",
    )  # fmt: skip
    yield "| " + " | ".join(map(str, cells_of_row)) + " |"
