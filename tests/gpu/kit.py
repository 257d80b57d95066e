"""Proves convbench on a GPU, in one command and within a time limit: ``python tests/gpu/kit.py PART --out DIR``.

A part is a list of steps. Each step has its own process and time limit, so a failing or hanging step does not affect
the others. DIR then holds four files, whatever happened: ``summary.md`` (which checks agree), ``checks.json``,
``log.txt``, and ``runs.tar.gz`` with the runs and everything else that the steps wrote. The exit code is 1 if a check
does not agree or a step did not end well.

The parts and their steps are ordered by importance: figures, the suite for GPUs, the gate, and what other runs repeat.
Besides torch with CUDA, they need the dependencies in ``pyproject.toml``, ``nvidia-ml-py`` and pytest. The log begins
with the driver's state and all packages' versions; it has the traceback of every case that failed.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROOFS = [sys.executable, str(HERE / "proofs.py")]
MACHINE = (("nvidia-smi", "-q"), (sys.executable, "-m", "pip", "list"))
"""Commands that describe the machine in the log, before the first step."""
COMMAND = [sys.executable, "-m", "convbench"]
GPU = ("--device", "cuda")
SMALL_PROOFS = str(HERE / "rehearsal/small.py")
TINY = ("clip.batch=1", "clip.frames=2", "clip.height=16", "clip.width=16", "protocol.visits=1",
        "protocol.max_warmup=0.02", "protocol.max_time=0.02", "protocol.timeout=400")  # fmt: skip
"""A rehearsal's changes of a suite."""
ARCHIVE, KEPT = "runs.tar.gz", 15 << 20
"""The file of the runs, and the bytes that it may have: 16 MiB less what a compressor holds back."""
PATIENCE, BETWEEN_SAVES = 10, 60
"""Seconds that an interrupted step has to write its results, and seconds after which a running step's are saved."""
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Step:
    """A command with its time limit in seconds. ``{out}`` in it stands for the folder that it may write to."""

    name: str
    limit: float
    words: tuple[str, ...]


def proof(name: str, limit: float) -> Step:
    return Step(name, limit, (*PROOFS, name, *GPU, "--out", "{out}"))


def verb(name: str, limit: float, *words: str) -> Step:
    return Step(name, limit, (*COMMAND, *words))


def small(step: Step) -> Step:
    """Return the step with tiny cases, and with time for a busy CPU to do a GPU's work."""
    words = tuple(SMALL_PROOFS if word == PROOFS[1] else word for word in step.words)
    if {"run", "profile"} & {*step.words[3:4]}:
        words += TINY
    return Step(step.name, 4 * step.limit, words)


TESTS = (sys.executable, "-m", "pytest", str(HERE), "-o", "addopts=-q", "-p", "no:cacheprovider",
         "--junitxml", "{out}/tests.xml", "-rs")  # fmt: skip
SECONDS = 540.0
"""Seconds for a part, which the limits of its steps fit into."""
PARTS = {
    "1": (
        verb("doctor", 45, "doctor"),
        proof("variants", 110),
        proof("memory", 90),
        proof("stages", 60),
        proof("timing", 50),
        proof("contexts", 40),
        proof("traces", 40),
        proof("cudnn", 50),
        proof("failures", 45),
    ),
    "2": (
        verb("gpu", 465, "run", "suites/gpu.yaml", "protocol.visits=1", *GPU, "--budget", "7m", "--resume",
             "--out", "{out}/gpu"),
        proof("failures", 60),
    ),
    "3": (
        proof("gate", 480),
        verb("profile", 50, "profile", "suites/article.yaml", *GPU, "--only", "gap*", "--out", "{out}/profile"),
    ),
    "4": (
        Step("tests", 150, TESTS),
        verb("smoke", 80, "run", "suites/smoke.yaml", *GPU, "--resume", "--out", "{out}/smoke"),
        verb("article", 265, "run", str(HERE / "article.yaml"), *GPU, "--budget", "4m", "--resume",
             "--out", "{out}/article"),
        proof("failures", 30),
    ),
}  # fmt: skip


def run(step: Step, out: Path, log: Path, device: str, save: Callable[[], None]) -> dict[str, object]:
    """Run a step under its limit, with its output in the log. At the limit its whole process group is stopped.

    ``save`` is called now and then meanwhile. The step ends with the kit, however that is ended.
    """
    words = [word.replace("{out}", str(out)) for word in step.words]
    words = [device if word == "cuda" else word for word in words]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    start = time.monotonic()
    with log.open("a") as lines:
        lines.write(f"\n=== {step.name}: {' '.join(words)}\n")
        lines.flush()
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=lines, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            while (code := wait(process, start + step.limit - time.monotonic())) is None:
                if time.monotonic() - start >= step.limit:
                    code = f"over {step.limit:.0f} s"
                    os.killpg(process.pid, signal.SIGINT)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(PATIENCE)
                    break
                save()
        finally:  # also if the kit itself is ended: a session of its own would go on, beside the next call
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return {"step": step.name, "ended": code, "seconds": round(time.monotonic() - start, 1)}


def describe(log: Path, *commands: tuple[str, ...]) -> None:
    """Write what these commands print into the log. One that this machine lacks, or that hangs, is left out."""
    for words in commands:
        with log.open("a") as lines, suppress(OSError, subprocess.TimeoutExpired):
            lines.write(f"\n=== {' '.join(words)}\n")
            lines.flush()
            subprocess.run(words, stdout=lines, stderr=subprocess.STDOUT, timeout=20, check=False)


def die_with_parent() -> None:
    """Let the kernel kill this process with the kit, which may be killed itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait(process: subprocess.Popen[bytes], seconds_left: float) -> int | str | None:
    """Return the exit code of a process, or None if it still runs when it is time to save or its limit is over."""
    try:
        return process.wait(max(0.0, min(BETWEEN_SAVES, seconds_left)))
    except subprocess.TimeoutExpired:
        return None


def checks(out: Path) -> Iterator[dict[str, object]]:
    """Yield the checks that the proofs wrote, each a line of JSON."""
    for path in sorted(out.glob("checks-*.jsonl")):
        yield from map(json.loads, path.read_text().splitlines())


def failures(steps: list[dict[str, object]], comparisons: list[dict[str, object]]) -> list[str]:
    """Return the steps that did not end well and the checks that do not agree."""
    ended = [f"{step['step']} ({step['ended']})" for step in steps if step["ended"] != 0]
    return ended + [f"{row['check']} of {row['case']}" for row in comparisons if not row["agrees"]]


def tables(out: Path) -> Iterator[str]:
    """Yield the lines of the tables whose rows the proofs wrote, each a line of JSON."""
    for path in sorted(out.glob("table-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        names = list(dict.fromkeys(name for row in rows for name in row))
        yield from (
            "",
            f"{path.stem.removeprefix('table-')}:",
            "",
            f"| {' | '.join(names)} |",
            "|---" * len(names) + "|",
        )
        yield from (f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows)


def summary(steps: list[dict[str, object]], comparisons: list[dict[str, object]], more: Iterable[str] = ()) -> str:
    rows = [f"| {step['step']} | {step['ended']} | {step['seconds']} |" for step in steps]
    lines = ["| step | ended | s |", "|---|---|--:|", *rows, ""]
    lines += ["| check | case | ours | theirs | within | agrees |", "|---|---|--:|--:|--:|---|"]
    lines += [
        f"| {row['check']} | {row['case']} | {row['ours']} | {row['theirs']} | {row['within']} | {row['agrees']} |"
        for row in comparisons
    ]
    agreed = sum(bool(row["agrees"]) for row in comparisons)
    failed = "; ".join(failures(steps, comparisons)) or "nothing"
    lines += [*more, "", f"{agreed} of {len(comparisons)} checks agree. Not well: {failed}."]
    return "\n".join(lines) + "\n"


def pack(room: Path, out: Path) -> list[str]:
    """Pack the steps' files into one archive, the smallest first. Return the names of those that find no room in it."""
    left_out = []
    with tarfile.open(out / "new.tar.gz", "w:gz") as archive:
        for content, member in sorted(contents(room, archive), key=lambda entry: len(entry[0])):
            if (out / "new.tar.gz").stat().st_size + len(content) < KEPT:
                archive.addfile(member, io.BytesIO(content))
            else:
                left_out.append(member.name)
    (out / "new.tar.gz").rename(out / ARCHIVE)
    return left_out


def contents(room: Path, archive: tarfile.TarFile) -> Iterator[tuple[bytes, tarfile.TarInfo]]:
    """Yield each file's content and description, as they are now: a running step may write and remove files."""
    for path in room.rglob("*"):
        with suppress(OSError):
            content, member = path.read_bytes(), archive.gettarinfo(path, str(path.relative_to(room)))
            member.size = len(content)
            yield content, member


def _runs_only(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Keep what later calls add to: runs, by their step's name, and the gate's verdicts."""
    names = {"trials.jsonl", *(step.name for steps in PARTS.values() for step in steps if "--resume" in step.words)}
    return tarfile.data_filter(member, folder) if Path(member.name).parts[0] in names else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="no further step once so much is over")
    parser.add_argument("--only", help="these steps, comma-separated")
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with the runs that an earlier call left there"
    )
    parser.add_argument("--small", action="store_true", help="tiny cases, to rehearse the kit without a GPU")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="convbench-gpu-") as folder:
        if args.resume:
            with tarfile.open(args.resume / ARCHIVE) as archive:
                archive.extractall(folder, filter=_runs_only)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("the kit was ended"))
        failed = prove(args, Path(folder))
    print((args.out / "summary.md").read_text())
    return 1 if failed else 0


def prove(args: argparse.Namespace, room: Path) -> list[str]:
    """Run the steps of a part in turn, save the results so far now and then, and return the failures."""
    start, steps, log = time.monotonic(), list[dict[str, object]](), args.out / "log.txt"
    describe(log, *MACHINE)
    for step in PARTS[args.part]:
        if args.only and step.name not in args.only.split(","):
            continue
        left = args.seconds - (time.monotonic() - start)
        result: dict[str, object] = {"step": step.name, "ended": "the kit was ended", "seconds": 0.0}
        steps.append(result)
        save = partial(write_results, steps, room, args.out)
        try:
            if left < 15:
                result["ended"] = "not begun: no time was left"
            else:
                full = small(step) if args.small else step
                limited = Step(step.name, min(full.limit, left - 10), full.words)
                result |= run(limited, room, log, args.device, save)
                if result["ended"] != 0:
                    describe(log, ("nvidia-smi",))
        finally:
            save()
    return failures(steps, list(checks(room)))


def write_results(steps: list[dict[str, object]], room: Path, out: Path) -> None:
    """Write what the steps have found so far: the kit may be ended at any moment."""
    comparisons, left_out = list(checks(room)), pack(room, out)
    text = summary(steps, comparisons, tables(room)) + (
        f"\nNo room in {ARCHIVE}: {', '.join(left_out)}.\n" if left_out else ""
    )
    (out / "summary.md").write_text(text)
    (out / "checks.json").write_text(json.dumps({"steps": steps, "checks": comparisons}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
