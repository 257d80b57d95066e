"""Run the command line on mutated suites, arguments, stored files and traces. ``fuzz.py KIND|quick COUNT [SEED]``.

A COUNT of 0 runs the number in ``WHOLE``; ``quick`` runs COUNT inputs of every kind. The script reports tracebacks
(exit code 70), inputs that take more than 10 s of processor time, the peak of memory in MiB with the input that raised
it most, and control characters in the output. Commands run in forked processes, each under an alarm. Nothing is
measured.
"""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import mutate
import torch

from convbench.check import outcome as outcomes
from convbench.check.outcome import CaseOutcome, Outcome, SideOutcome, Timing
from convbench.check.settings import Rule, Settings
from convbench.cli import ending
from convbench.cli.app import app
from convbench.cli.terminal import CleanStream, Stream
from convbench.core.storage import profiles
from convbench.suite import shipped_suites

SECONDS, MEBIBYTES = 10.0, 500
WHOLE = {"suites": 2000, "arguments": 1000, "stored": 1500, "traces": 500}
HOSTILE = (
    "",
    "-",
    "--",
    "\x00",
    "\x1b[31m",
    "²/²",
    "9" * 5000 + "/2",
    "1/1",
    "2/1",
    "nan",
    "inf",
    "-1",
    "1e400",
    "a" * 6000,
    "../..",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "~nouser",
    "'",
    '"',
    "\udcff",
    "*",
    "[",
    "gap,fc",
    "cuda:99",
    "\u202e",
    "=",
    "html",
    "md",
)


class TooLong(BaseException):
    """Raised if an input takes longer than its alarm allows."""


def command(*words: str) -> tuple[int, str]:
    """Return the exit code of a command and everything that it printed."""
    output = io.StringIO()
    clean = CleanStream(Stream(output))
    with contextlib.redirect_stdout(clean), contextlib.redirect_stderr(clean):
        code = ending.code_of(partial(app, list(words), standalone_mode=False))
    return code, output.getvalue()


def timed(work: Callable[[], tuple[int, str]]) -> tuple[int, str, float]:
    def ring(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, ring)
    start = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, 12 * SECONDS)  # for inputs that wait; the machine may be busy
    try:
        code, output = work()
    except TooLong:
        code, output = 70, "too long"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return code, output, time.process_time() - start


def suites(chance: random.Random, room: Path) -> Iterator[tuple[str, ...]]:
    texts = [path.read_text() for path in shipped_suites().values()]
    while True:
        path = room / "suite.yaml"
        path.write_bytes(mutate.encoded(mutate.text(chance.choice(texts), texts, chance), chance))
        overrides = [] if chance.random() < 0.6 else [f"{chance.choice(KEYS)}={chance.choice(mutate.SCALARS)}"]
        yield ("run", str(path), *overrides, "--dry-run", "--executor", "fake", "--only", "nothing-of-this-name")


KEYS = (
    "reducer",
    "variant",
    "clip.frames",
    "rnn",
    "protocol.seed",
    "protocol.max_time",
    "name",
    "metrics",
    "model",
    "a.b",
    "",
)


def arguments(chance: random.Random, room: Path) -> Iterator[tuple[str, ...]]:
    verbs = (
        "report",
        "compare",
        "merge",
        "export",
        "advise",
        "replay",
        "trace",
        "list",
        "schema",
        "check",
        "selftest",
        "run",
    )
    options = (
        "--out",
        "--format",
        "--run",
        "--only",
        "--shard",
        "--base",
        "--json",
        "--detect",
        "--minutes",
        "--memory",
        "--metrics",
        "--budget",
        "--task",
        "--device",
        "--threads",
        "--allocator",
        "--build",
        "--port",
        "--resume",
    )
    while True:
        verb = chance.choice(verbs)
        words = [chance.choice(HOSTILE) for _ in range(chance.randrange(3))]
        for _ in range(chance.randrange(3)):
            words += [chance.choice(options), chance.choice(HOSTILE)]
        if verb in ("check", "selftest", "run"):
            words = ["no-such-suite", *words] if chance.random() < 0.7 else ["smoke", "--only", "no-such-case", *words]
        yield (verb, *words, *(["--dry-run", "--executor", "fake"] if verb == "run" else []))


def stored(chance: random.Random, room: Path) -> Iterator[tuple[str, ...]]:
    with tempfile.TemporaryDirectory() as whole:
        run, check = Path(whole) / "run", Path(whole) / "check.json"
        assert command("run", "smoke", "--executor", "fake", "--out", str(run), "-q")[0] == 0
        outcomes.write(sample_outcome(), check)
        texts = {name: (run / name).read_text() for name in ("run.json", "results.jsonl")}
        while True:
            name = chance.choice(("run.json", "results.jsonl", "results.jsonl", "check.json", "profile.json"))
            yield from one_stored(name, texts, check.read_text(), room, chance)


def one_stored(
    name: str, texts: dict[str, str], check: str, room: Path, chance: random.Random
) -> Iterator[tuple[str, ...]]:
    if name == "check.json":
        (room / name).write_bytes(mutate.json_text(check, chance))
        yield "replay", str(room / name)
        return
    run = room / "run"
    run.mkdir(exist_ok=True)
    for file, content in texts.items():
        (run / file).write_bytes(mutate.json_text(content, chance) if file == name else content.encode())
    profile = profiles.directory_of(run / profiles.PROFILES, PROFILE["case"])
    profile.mkdir(parents=True, exist_ok=True)
    (profile / f"cpu.1{profiles.TRACE}").write_bytes(gzip.compress(b'{"traceEvents": []}'))
    content = json.dumps(PROFILE)
    (profile / profiles.SUMMARY).write_bytes(
        mutate.json_text(content, chance) if name == "profile.json" else content.encode()
    )
    if name == "profile.json":
        yield "report", str(run), "--out", str(room / "page.html")
        return
    out = str(room / "merged")
    yield chance.choice(
        (
            ("report", str(run), "--format", "md"),
            ("report", str(run), "--out", str(room / "page.html")),
            ("compare", str(run), str(run)),
            ("merge", str(run), str(run), "--out", out),
            ("advise", str(run)),
            ("export", str(run), "--format", "bencher"),
            ("export", str(run), "--format", "pytest-benchmark"),
        )
    )


def traces(chance: random.Random, room: Path) -> Iterator[tuple[str, ...]]:
    events = [
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": i, "dur": 1} for i in range(30)
    ]
    whole = json.dumps({"traceEvents": events})
    path = room / f"cpu.1{profiles.TRACE}"
    while True:
        content = mutate.damaged(whole.encode(), chance)
        packed = gzip.compress(content)
        match chance.randrange(5):
            case 0:
                packed = mutate.damaged(packed, chance)
            case 1:
                packed = gzip.compress(b"[" * chance.randrange(1, 200_000))
            case 2 if chance.random() < 0.05:
                path.write_bytes(_bomb())
                yield "trace", str(path)
        path.write_bytes(packed)
        if not _opens(packed):
            yield "trace", str(path)


def _opens(packed: bytes) -> bool:
    """Whether ``packed`` is a whole trace, which the command would serve until somebody interrupts it."""
    try:
        return isinstance(json.loads(gzip.decompress(packed))["traceEvents"], list)
    except Exception:
        return False


def _bomb() -> bytes:
    """A gigabyte of zeros, compressed to a megabyte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(2**20)
    return b"".join(packer.compress(chunk) for _ in range(1024)) + packer.flush()


PROFILE = {
    "case": "conv/gap/64/eager/inference/cpu",
    "eager": "conv/gap/64/eager/inference/cpu",
    "trace": f"cpu.1{profiles.TRACE}",
    "steps": 2,
    "step_s": [0.1, 0.2],
    "operators": [
        {
            "name": "aten::mm",
            "stage": "lstm",
            "phase": "forward",
            "calls": 2,
            "self_s": 0.1,
            "total_s": 0.1,
            "device_s": 0.0,
            "self_bytes": 10,
        }
    ],
    "memory": {"peak_bytes": 100, "at_peak": [["weights", "lstm", 60]], "timeline": [[0.0, 10], [0.1, 100]]},
}


def sample_outcome() -> Outcome:
    side = SideOutcome("main", "0" * 40, False, {"device": "cpu", "cpu": "a"})
    pairs = tuple(Timing(((1e-3, 1.1e-3), (1.01e-3, 1.1e-3))) for _ in range(6))
    again = tuple(Timing(((1e-3, 1e-3, 1.1e-3), (1e-3, 1.01e-3, 1.1e-3))) for _ in range(6))
    cases = (CaseOutcome("conv/gap/64/eager", pairs, again), CaseOutcome("conv/fc/64/eager", invalid="broken"))
    return Outcome("smoke", side, side, cases, Rule(), Settings(), "2026-01-01T00:00:00+00:00", 10.0, "0.1.0")


KINDS = {"suites": suites, "arguments": arguments, "stored": stored, "traces": traces}


def fuzz(kind: str, count: int, seed: int) -> dict[str, object]:
    """Run ``count`` inputs of a kind and return the faults, the slowest time, the peak and the input that raised it."""
    faults, slowest, heaviest = [], 0.0, (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        inputs = KINDS[kind](random.Random(seed), Path(folder))
        for number in range(count):
            words, before = next(inputs), peak()
            code, output, seconds = timed(partial(command, *words))
            slowest = max(slowest, seconds)
            heaviest = max(heaviest, (peak() - before, f"{kind} {number} of seed {seed}: {words!r:.200}"))
            if bad := _bad(code, output, seconds):
                faults.append(f"{kind} {number} of seed {seed}: {', '.join(bad)}: {words!r:.300}\n{output[-1500:]}")
        os.chdir("/")
    faults += [f"{kind}: {peak():.0f} MB, most by {heaviest[1]}"] if peak() > MEBIBYTES else []
    return {
        "kind": kind,
        "inputs": count,
        "faults": faults,
        "slowest_s": round(slowest, 2),
        "peak_MB": round(peak()),
        "heaviest": (round(heaviest[0]), heaviest[1]),
    }


def _bad(code: int, output: str, seconds: float) -> list[str]:
    """Names of what is wrong with the result of a command."""
    is_so = {
        "traceback": code == ending.INTERNAL,
        "slow": seconds > SECONDS,
        "control characters": any(char in output for char in "\x00\x1b\u202e"),
    }
    return [name for name, wrong in is_so.items() if wrong]


def peak() -> float:
    """Peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CHUNK = 20
"""Inputs per process. It is small, so that the peak shows one input's memory and not that of all earlier inputs."""


def in_child(work: Callable[[], dict[str, object]]) -> dict[str, object]:
    """Return the result of the work in a forked process, which inherits the imports of this process."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as file:
                json.dump(work(), file)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        content = file.read()
    os.waitpid(child, 0)
    ended = {"faults": ["the process ended"], "slowest_s": 0.0, "peak_MB": 0, "heaviest": [0, ""]}
    return json.loads(content) if content else ended


@cache
def warm() -> None:
    """Import once, in this process, what the commands import, including scikit-learn and matplotlib.

    One thread only: a process that is forked from one with OpenMP threads waits for these threads for ever.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        command("list")
        command("run", "quality", "--dry-run", "--executor", "fake", "--only", "nothing-of-this-name")
        command("run", "smoke", "--executor", "fake", "--out", f"{folder}/run", "-q")
        command("compare", f"{folder}/run", f"{folder}/run")
    gc.freeze()  # so that no forked process searches imports for garbage


def whole(kind: str, count: int, seed: int) -> dict[str, object]:
    """Run ``count`` inputs, ``CHUNK`` to a process."""
    warm()
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    parts = [in_child(partial(fuzz, kind, size, 1000 * seed + at)) for at, size in enumerate(sizes)]
    faults = [fault for part in parts for fault in part["faults"]]
    worst = {name: max(part[name] for part in parts) for name in ("slowest_s", "peak_MB", "heaviest")}
    return {"kind": kind, "inputs": count, "faults": faults, **worst}


def main(kind: str, count: int, seed: int) -> int:
    """Print a line for each kind, after its first twenty faults. Return 1 if there are faults."""
    ended = 0
    for input_kind in KINDS if kind == "quick" else [kind]:
        result = whole(input_kind, count or WHOLE[input_kind], seed)
        for fault in result["faults"][:20]:
            print(fault)
        print({**result, "faults": len(result["faults"])}, flush=True)
        ended = ended or (1 if result["faults"] else 0)
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
