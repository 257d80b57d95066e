"""Kill commands at random moments and count lost records, processes and folders: ``kills.py COUNT [SEED]``.

A run of a small suite is started, killed and resumed, over and over. The victim is the command, its group, a case or
the server that forks the cases; the signal is SIGKILL, SIGTERM, SIGHUP or SIGINT, once or twice, sometimes after a stop
(SIGSTOP, SIGCONT). In between, the verbs that read the run or measure beside it are killed too: they must leave the run
as it is, and every file that they write whole. Every experiment has its own temporary folder, which must be empty once
the next command has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from convbench.core.system import scratch

SUITE = """\
name: kills
matrix:
  backbone: parts:trunk
  reducer: [gap, gmp]
  rnn: lstm8
  clip: [1x2x1x8x8, 1x3x1x8x8]
protocol: {max_warmup: 0.01, max_time: 0.02, min_samples: 5, visits: 2}
metrics: [params, latency]
"""
PARTS = """\
from torch import nn


def trunk(channels):
    return nn.Sequential(nn.Conv2d(channels, 2, 3, padding=1), nn.ReLU())
"""
CASES, VISITS, INCOMPLETE = 4, 2, 5
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TARGETS = ("command", "command", "group", "case", "forkserver")
SECONDS = 240.0
STOPPED = 0.2
"""Share of the commands that are stopped for a while before they are killed."""
LONGEST = 12.0
"""Seconds after which a command is killed at the latest; longer where a whole run takes longer."""
OTHER_VERBS = 0.6
"""Share of the kills that hit other verbs than run."""


class Place:
    """A folder with a suite, its own temporary folder, and the commands that are started there."""

    def __init__(self, root: Path) -> None:
        self.root, self.temporary = root, root / "tmp"
        self.temporary.mkdir()
        (root / "suite.yaml").write_text(SUITE)
        self.git("init", "-q")
        (root / ".gitignore").write_text("tmp/\nout/\nwhole/\nreports/\nmerged*/\nmade/\n__pycache__/\n")
        (root / "made").mkdir()
        (root / "parts.py").write_text(PARTS)
        for name in ("one", "two"):
            self.git("add", ".")
            self.git("-c", "user.name=k", "-c", "user.email=k@k", "commit", "-qm", name)
            (root / "parts.py").write_text(f"{PARTS}# {name}\n")
        folders = dict.fromkeys(("TMPDIR", "CONVBENCH_LOCKS"), str(self.temporary))
        self.environment = os.environ | folders | {"OMP_NUM_THREADS": "1"}

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "convbench", *words]
        return subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def left(self) -> list[str]:
        """Return leftover folders and processes of commands, except torch's own cache, which every user has."""
        rooms_left = (entry.name for entry in self.temporary.iterdir() if entry.is_dir())
        folders = [name for name in rooms_left if not name.startswith("torchinductor_")]
        return [*folders, *(f"process {number}" for number in self.processes())]

    def processes(self) -> list[int]:
        return list(scratch.processes(self.temporary)) + [
            number for folder in self.temporary.glob("convbench-*") for number in scratch.processes(folder)
        ]

    def records(self, out: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the complete records of a run, each after its case."""
        path = self.root / out / "results.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        for record in (json.loads(line) for line in lines if line.endswith(b"\n")):
            yield json.dumps(record["case"], sort_keys=True), record

    def stored(self, out: str) -> Counter[tuple[str, int]]:
        """Count the stored records of each visit, by case and round."""
        return Counter((case, visit["round"]) for case, record in self.records(out) for visit in record["visits"])

    def damaged(self) -> Iterator[str]:
        """Yield the files that a verb wrote only in part; hidden ones are what a killed writer left beside its file."""
        ends = {".html": "</html>", ".svg": "</svg>", ".xml": ">"}
        for path in (path for name in ("made", "merged", "reports") for path in (self.root / name).rglob("[!.]*.*")):
            text = path.read_text(errors="replace").rstrip()
            try:
                if path.suffix == ".json":
                    json.loads(text)
            except ValueError:
                text = ""
            if not text.endswith(ends.get(path.suffix, "")) or not text:
                yield path.name

    def failed(self, out: str) -> set[str]:
        """Return the cases whose process we killed while the command lived: they are recorded as failed, not lost."""
        return {case for case, record in self.records(out) if "killed by" in str(record.get("failure"))}


def kill(place: Place, words: tuple[str, ...], chance: random.Random, longest: float) -> str:
    """Start a command, kill it or a part of it at a random moment, and return what was done."""
    command = place.start(*words)
    time.sleep(chance.uniform(0, longest))
    target, number = chance.choice(TARGETS), chance.choice(SIGNALS)
    victims = [command.pid]
    if chance.random() < STOPPED:
        os.kill(command.pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0, 2))
        os.kill(command.pid, signal.SIGCONT)
    if target in ("case", "forkserver"):
        number = signal.SIGKILL
        victims = [pid for pid in place.processes() if ("forkserver" in _line(pid)) == (target == "forkserver")][:1]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number) if target == "group" else os.kill(pid, number)
            time.sleep(chance.choice((0, 0.05, 0.5)))
            if number == signal.SIGINT and chance.random() < 0.5:
                os.kill(pid, number)
    if target in ("case", "forkserver"):
        time.sleep(chance.uniform(0, 2))
        command.kill()
    wait(command)
    return f"{words[0]}: {target} by {number.name}, exit {command.returncode}"


def wait(command: subprocess.Popen[bytes]) -> int:
    try:
        return command.wait(SECONDS)
    except subprocess.TimeoutExpired:
        command.kill()
        raise AssertionError(f"{command.args} went on for {SECONDS:g} s after it was killed") from None


def campaign(root: Path, kills: int, chance: random.Random) -> list[str]:
    """Kill a run, or another verb beside a whole run, ``kills`` times, and return the faults found."""
    place, faults = Place(root), []
    run = ("run", "suite.yaml", "--out", "out", "--resume", "-q")
    longest, whole = LONGEST, Counter[tuple[str, int]]()
    for number in range(kills):
        if chance.random() < OTHER_VERBS:
            if not whole:
                start = time.monotonic()
                wait(place.start("run", "suite.yaml", "--out", "whole", "-q"))
                longest, whole = max(LONGEST, time.monotonic() - start), place.stored("whole")
            done = kill(place, chance.choice(OTHERS), chance, longest)
            faults += [f"{done}: the run is another"] if place.stored("whole") != whole else []
            faults += [f"{done}: {name} is not whole" for name in place.damaged()]
        else:
            if len(cases(place.stored("out"))) == CASES and chance.random() < 0.5:
                subprocess.run(["rm", "-rf", str(place.root / "out")], check=True)
            done = kill(place, run, chance, longest)
        twice = [visit for visit, count in place.stored("out").items() if count > 1]
        faults += [f"{done}: {len(twice)} visits twice"] if twice else []
        print(f"{number + 1}/{kills} {done}, {place.stored('out').total()} cases stored", flush=True)
    ended, killed = wait(place.start(*run)), place.failed("out")
    if ended != (INCOMPLETE if killed else 0):
        faults.append(f"the last resume ends with {ended}")
    stored = place.stored("out")
    for number in range(-1, VISITS):
        there = killed | {case for case, other in stored if other == number}
        faults += [f"{CASES - len(there)} cases lost in round {number}"] if len(there) != CASES else []
    faults += ["visits twice"] if stored.total() != len(stored) else []
    wait(place.start("check", "suite.yaml", "--base", "nothing"))
    faults += [f"left behind: {left}" for left in place.left()]
    return faults


OTHERS = (
    ("merge", "whole", "--out", "merged"),
    ("report", "whole", "--out", "made/report.html"),
    ("claims", "whole", "--out", "made"),
    ("history", "whole", "--store", "made/store", "--out", "made/history.html"),
    ("export", "whole", "--format", "bencher", "--out", "made/bencher.json"),
    ("export-model", "*gap*2x1*", "--run", "whole", "--to", "made/model.onnx"),
    ("check", "suite.yaml", "--base", "HEAD", "--only", "*gap*2x1*"),
    ("check", "suite.yaml", "--base", "HEAD", "--only", "*gap*2x1*", "--resume"),
    ("bisect", "suite.yaml", "--good", "HEAD~1", "--only", "*gap*2x1*"),
    ("selftest", "suite.yaml", "--only", "*gap*2x1*", "--minutes", "0.1", "--slowdowns", "0"),
)


def cases(stored: Counter[tuple[str, int]]) -> set[str]:
    return {case for case, _ in stored}


def _line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def main(kills: int, seed: int) -> int:
    chance, faults, start = random.Random(seed), [], time.monotonic()
    for earlier in range(0, kills, 25):
        with tempfile.TemporaryDirectory() as root:
            faults += campaign(Path(root), min(25, kills - earlier), chance)
    print(f"{kills} kills in {time.monotonic() - start:.0f} s: {len(faults)} faults", *faults, sep="\n  ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
