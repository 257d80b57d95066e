"""Break a real Ray cluster during a run and count the lost results. ``faults.py COUNT [SEED]``.

Three nodes on this machine, each with its own temporary folder, measure one suite. Nodes, workers and the driver are
killed. Nodes are stopped and continue later, which looks like a network partition to the driver. The object store is
filled, one case hangs and one node's clock is two hours off. The driver is resumed until the run has ended. At the end
every case must have every visit once. Only the hanging case is a failed record.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SUITE = """\
name: faults
matrix:
  backbone: conv(channels=4)
  reducer: [gap, gmp, fc]
  lstm_input: [8, 16]
  rnn: [lstm8, gru8]
  clip: 8x3x1x16x16
include:
  - model: hanging:build
    clip: 8x3x1x16x16
protocol: {max_warmup: 0.01, max_time: 0.02, min_samples: 5, visits: 3, timeout: 20}
metrics: [params, latency]
quality: train
training: {tasks: [identity], seeds: 2, learning_rates: [0.01], batch: 8, steps: 6, checkpoints: 3, train_clips: 40,
  val_clips: 20, test_clips: 20}
"""
HANGING = """\
import time

from torch import nn


class Hanging(nn.Module):
    def forward(self, clip):
        time.sleep(3600)


def build():
    return Hanging()
"""
CLOCK = """\
import datetime
import os
import time

if os.environ.get("CLOCK_IS_OFF"):
    ahead = float(os.environ["CLOCK_IS_OFF"])
    plain, true_time = datetime.datetime, time.time

    class Off(plain):
        @classmethod
        def now(cls, tz=None):
            return plain.now(tz) + datetime.timedelta(seconds=ahead)

    datetime.datetime = Off
    time.time = lambda: true_time() + ahead
"""
VISITS, SILENCE, SECONDS, INCOMPLETE = 3, 20.0, 900.0, 5
NODES = 3
HOURS_OFF = 7200.0
KINDS = ("node", "node", "worker", "driver", "driver", "Ctrl-C", "stopped node", "full store")


class Site:
    """A cluster, a folder with the suite, and the driver, which is started there repeatedly."""

    def __init__(self, root: Path) -> None:
        from ray.cluster_utils import Cluster

        self.root, self.numbers = root, 0
        (root / "suite.yaml").write_text(SUITE)
        (root / "hanging.py").write_text(HANGING)
        (root / "clock").mkdir()
        (root / "clock" / "sitecustomize.py").write_text(CLOCK)
        head = {"num_cpus": 0, "include_dashboard": False}
        head["_system_config"] = {"automatic_object_spilling_enabled": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        for number in range(NODES):
            self.add_node(off=number == 0)
        self.driver: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def add_node(self, off: bool = False) -> None:
        folder = self.root / f"node-{self.numbers}"
        folder.mkdir()
        self.numbers += 1
        variables = {"TMPDIR": str(folder), "CONVBENCH_LOCKS": str(folder)}
        if off:
            path = os.pathsep.join(filter(None, [str(self.root / "clock"), os.environ.get("PYTHONPATH")]))
            variables |= {"CLOCK_IS_OFF": str(HOURS_OFF), "PYTHONPATH": path}
        self.cluster.add_node(
            num_cpus=1, include_dashboard=False, env_vars=variables, object_store_memory=100 * 2**20, wait=False
        )

    def start(self) -> None:
        options = [f"address={self.cluster.address}", f"silence={SILENCE:g}", "start=300"]
        words = [word for option in options for word in ("--executor-options", option)]
        command = [
            sys.executable,
            "-m",
            "convbench",
            "run",
            "suite.yaml",
            "--device",
            "cpu",
            "--executor",
            "ray",
            *words,
        ]
        self.starts += 1
        with (self.root / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                [*command, "--out", "out", "--resume"], cwd=self.root, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip

    def running(self) -> bool:
        return self.driver is not None and self.driver.poll() is None

    def records(self) -> Iterator[dict[str, Any]]:
        path = self.root / "out" / "results.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return (json.loads(line) for line in lines if line.endswith(b"\n"))

    def made(self) -> Counter[tuple[str, int]]:
        """Count the stored records of each visit to each case, by (case, round). A trial has round 0."""
        counted: Counter[tuple[str, int]] = Counter()
        for record in self.records():
            case = json.dumps(record["case"], sort_keys=True)
            counted.update((case, visit["round"]) for visit in record.get("visits") or [{"round": 0}])
        return counted

    def progress(self, seconds: float) -> None:
        """Wait until another record is stored or the driver has ended, for at most ``seconds``."""
        before, until = self.made().total(), time.monotonic() + seconds
        while self.running() and self.made().total() == before and time.monotonic() < until:
            time.sleep(0.3)


def fault(site: Site, kind: str, chance: random.Random) -> None:
    nodes = list(site.cluster.worker_nodes)
    match kind:
        case "node":
            site.cluster.remove_node(chance.choice(nodes), allow_graceful=False)
            site.add_node()
        case "worker":
            for pid in _processes("ray::Worker")[:1]:
                os.kill(pid, signal.SIGKILL)
        case "driver" | "Ctrl-C" if site.driver:
            site.driver.send_signal(signal.SIGKILL if kind == "driver" else signal.SIGINT)
            site.driver.wait(120)
        case "stopped node":
            folder = chance.choice(nodes)
            pids = _of_node(folder)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(0.5, 1.5) * SILENCE)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        case "full store":
            _fill(site)


def _fill(site: Site) -> None:
    """Fill the object store of every node for a while, as another user of the cluster would."""
    code = (
        "import sys, time, ray\n"
        "ray.init(address=sys.argv[1], log_to_driver=False, logging_level='ERROR')\n"
        "@ray.remote(num_cpus=0)\n"
        "class Hog:\n"
        "    def fill(self):\n"
        "        import numpy, ray\n"
        "        self.refs = []\n"
        "        try:\n"
        "            for _ in range(40): self.refs.append(ray.put(numpy.ones(2**20)))\n"
        "        except Exception as error: return type(error).__name__\n"
        "        return 'all'\n"
        "hogs = [Hog.options(scheduling_strategy='SPREAD').remote() for _ in range(3)]\n"
        "print(ray.wait([hog.fill.remote() for hog in hogs], num_returns=3, timeout=15))\n"
        "time.sleep(8)\n"
    )
    subprocess.run([sys.executable, "-c", code, site.cluster.address], timeout=120, capture_output=True, check=False)


def _processes(words: str) -> list[int]:
    return [pid for pid in _pids() if words in _read(pid, "cmdline")]


def _of_node(node: Any) -> list[int]:
    """Return the processes of a node: its raylet and all descendants."""
    raylets = [info.process.pid for kinds in node.all_processes.values() for info in kinds]
    children: dict[int, list[int]] = {}
    for pid in _pids():
        with contextlib.suppress(IndexError, ValueError):
            children.setdefault(int(_read(pid, "stat").rpartition(")")[2].split()[1]), []).append(pid)
    pids, ahead = [], raylets
    while ahead:
        pid = ahead.pop()
        pids.append(pid)
        ahead += children.get(pid, [])
    return pids


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def campaign(site: Site, count: int, chance: random.Random) -> list[str]:
    """Cause ``count`` faults, let the run end, and return the problems in the stored runs."""
    began = datetime.now(UTC)
    kinds = [KINDS[number % len(KINDS)] for number in range(count)]
    chance.shuffle(kinds)
    for number, kind in enumerate(kinds):
        if not site.running():
            if site.driver is not None and site.driver.returncode in (0, INCOMPLETE):
                (site.root / "out").rename(site.root / f"out-{number}")
                site.check = [*getattr(site, "check", []), f"out-{number}"]  # type: ignore[attr-defined]
            site.start()
        site.progress(chance.uniform(20, 120))
        time.sleep(chance.uniform(0, 3))
        fault(site, kind, chance)
        print(f"{number + 1}/{count} {kind}, {site.made().total()} visits stored", flush=True)
    end(site)
    wrong = []
    for name in [*getattr(site, "check", []), "out"]:
        wrong += [f"{name}: {problem}" for problem in judged(site.root / name, began)]
    return wrong


def end(site: Site) -> None:
    """Wait until the run ends, and resume it if the driver was killed."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if not site.running():
            if site.driver is not None and site.driver.returncode in (0, INCOMPLETE):
                return
            site.start()
        time.sleep(1)
    if site.driver:
        site.driver.kill()


def judged(out: Path, began: datetime) -> Iterator[str]:
    """Yield the problems of a run that has ended: lost, repeated, wrongly failed or misdated records."""
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    planned = json.loads((out / "run.json").read_text())["planned"]
    counted: Counter[tuple[str, int]] = Counter()
    failed: set[str] = set()
    for record in records:
        case = json.dumps(record["case"], sort_keys=True)
        counted.update((case, visit["round"]) for visit in record.get("visits") or [{"round": 0}])
        if record["status"] != "ok":
            failed.add(case)
            if "hanging" not in case:
                yield f"failed: {record['failure']}"
        started = datetime.fromisoformat(record["started"])
        if not began - timedelta(minutes=1) < started < datetime.now(UTC) + timedelta(minutes=1):
            yield f"dated {record['started']}"
    twice = [visit for visit, times in counted.items() if times > 1]
    yield from [f"{len(twice)} visits twice: {twice[0]}"] if twice else []
    cases = {case for case, _ in counted}
    yield from [f"{len(planned) - len(cases)} cases lost"] if len(cases) != len(planned) else []
    for case in cases - failed:
        rounds = {0} if json.loads(case).get("trial") else set(range(-1, VISITS))
        missing = rounds - {number for other, number in counted if other == case}
        yield from [f"rounds {sorted(missing)} of {case} lost"] if missing else []
    yield from ["the case that hangs is not a failed record"] if not failed else []


def main(count: int, seed: int) -> int:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as root:
        site = Site(Path(root))
        try:
            wrong = campaign(site, count, random.Random(seed))
        finally:
            if site.driver and site.running():
                site.driver.kill()
            log = (Path(root) / "driver.log").read_text()
            site.cluster.shutdown()
        issued = log.count("its work is issued again")
        print(
            f"{count} faults in {time.monotonic() - start:.0f} s, {site.starts} starts of the driver, "
            f"{issued} times work was issued again: {len(wrong)} faults found", *wrong, sep="\n  ",
        )  # fmt: skip
        if wrong:
            print(log[-4000:])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
