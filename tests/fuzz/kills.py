"""Kill commands at random moments and count lost records, processes and folders: ``kills.py COUNT [SEED]``.

A run of a small suite is started, killed and resumed, over and over. The victim is the command, its group, a case or
the server that forks the cases; the signal is SIGKILL, SIGTERM, SIGHUP or SIGINT. In between, merge, report and check
are killed too. Every experiment has its own temporary folder, which must be empty once the next command has ended.
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
  backbone: conv(channels=2)
  reducer: [gap, gmp]
  rnn: lstm8
  clip: [1x2x1x8x8, 1x3x1x8x8]
protocol: {max_warmup: 0.01, max_time: 0.02, min_samples: 5, visits: 2}
metrics: [params, latency]
"""
CASES, VISITS, INCOMPLETE = 4, 2, 5
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TARGETS = ("command", "command", "group", "case", "forkserver")
SECONDS = 240.0
LONGEST = 12.0
"""Seconds after which a command is killed at the latest: about the time of a whole run with its imports."""


class Place:
    """A folder with a suite, its own temporary folder, and the commands that are started there."""

    def __init__(self, root: Path) -> None:
        self.root, self.temporary = root, root / "tmp"
        self.temporary.mkdir()
        (root / "suite.yaml").write_text(SUITE)
        self.git("init", "-q")
        (root / ".gitignore").write_text("tmp/\nout*/\nreports/\nmerged*/\n")
        self.git("add", ".")
        self.git("-c", "user.name=k", "-c", "user.email=k@k", "commit", "-qm", "one")
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

    def failed(self, out: str) -> set[str]:
        """Return the cases whose process we killed while the command lived: they are recorded as failed, not lost."""
        return {case for case, record in self.records(out) if "killed by" in str(record.get("failure"))}


def kill(place: Place, words: tuple[str, ...], chance: random.Random, longest: float) -> str:
    """Start a command, kill it or a part of it at a random moment, and return what was done."""
    command = place.start(*words)
    time.sleep(chance.uniform(0, longest))
    target, number = chance.choice(TARGETS), chance.choice(SIGNALS)
    victims = [command.pid]
    if target in ("case", "forkserver"):
        number = signal.SIGKILL
        victims = [pid for pid in place.processes() if ("forkserver" in _line(pid)) == (target == "forkserver")][:1]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number) if target == "group" else os.kill(pid, number)
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
    """Kill a run, or a merge, report or check after it, ``kills`` times, and return the faults found."""
    place, faults = Place(root), []
    run = ("run", "suite.yaml", "--out", "out", "--resume", "-q")
    for number in range(kills):
        out = place.root / "out"
        if len(cases(place.stored("out"))) == CASES and (out / "index.html").exists():
            other = chance.choice(OTHERS)
            before = place.stored("out")
            done = kill(place, other, chance, LONGEST)
            if place.stored("out") != before:
                faults.append(f"{done}: the run is another")
            if chance.random() < 0.5:
                subprocess.run(["rm", "-rf", str(out)], check=True)
        else:
            done = kill(place, run, chance, LONGEST)
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
    ("merge", "out", "--out", "merged"),
    ("report", "out"),
    ("check", "suite.yaml", "--base", "HEAD"),
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
