"""The driver's end of a worker: start it in its side, ask it, and end it with all that it started."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from convbench.check.sides import Side
from convbench.core import rooms
from convbench.core.errors import CaseFailed, FailureKind, Refused
from convbench.measure.machine import malloc
from convbench.measure.machine.process_end import death

PROGRAM = Path(__file__).with_name("worker.py")
START_TIMEOUT = 120.0
PROTOCOL = 1
"""The ``convbench.measure.side.PROTOCOL`` that a side has to speak."""
ALLOCATORS = {"glibc": malloc.variables(malloc.HELD), "glibc-arena": malloc.variables(malloc.KEPT)}
"""The variables that fix the C allocator of every worker, whatever this process was started with."""
FREED = ("PYTHONPATH", "LD_PRELOAD", "MALLOC_ARENA_MAX", *malloc.NUMBERS)


@dataclass(frozen=True, slots=True)
class Settings:
    """What both sides share: threads, C allocator, device, seconds of a slice and most seconds of a case in a pair."""

    threads: int = 1
    allocator: str = "glibc"
    device: str = "cpu"
    slice_s: float = 0.015
    case_s: float = 3.0
    timeout: float = 300.0


class Worker:
    """A fresh process of a side. Raises CaseFailed where it dies, hangs or refuses."""

    def __init__(self, side: Side, settings: Settings, room: Path, variables: Mapping[str, str] | None = None) -> None:
        self.side, self.settings = side, settings
        self.room = room / f"worker-{random.getrandbits(64):016x}"
        self.room.mkdir()
        self.output = self.room / "output"
        ours, theirs = socket.socketpair()
        with theirs, self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [side.python, "-P", str(PROGRAM), str(theirs.fileno())],
                cwd=side.cwd,
                env={**_environment(side, settings, room), **dict(variables or {}), **rooms.mark(self.room)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self.socket, self.channel = ours, ours.makefile("rwb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, do: str, **words: Any) -> None:
        """Ask without waiting, so that two workers can work on it at once; ``receive`` waits."""
        try:
            self.channel.write(json.dumps({"do": do, **words}).encode() + b"\n")
            self.channel.flush()
        except OSError:
            return

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        limit = timeout or self.settings.timeout
        self.socket.settimeout(limit)
        try:
            line = self.channel.readline()
        except TimeoutError:
            raise CaseFailed("timeout", f"no answer after {limit:g} s (protocol.timeout)") from None
        except OSError:
            line = b""
        if not line:
            raise self._death()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind: FailureKind = answer["error"]["kind"]
            raise CaseFailed(kind, answer["error"]["message"])
        return answer

    def greet(self, case: dict[str, Any] | None = None) -> None:
        """Let the process import its side, and what building a case needs besides; ``greeted`` waits."""
        self.send("hello", threads=self.settings.threads, case=case)

    def greeted(self) -> dict[str, Any]:
        """The versions of the side. Raises Refused where its convbench speaks another protocol."""
        answer = self.receive(START_TIMEOUT)
        if answer["protocol"] != PROTOCOL:
            raise Refused(_other_protocol(answer["protocol"], answer["convbench"], self.side.label))
        return answer

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        self.send(do, **words)
        return self.receive()

    def close(self) -> None:
        """End the process and all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.process.kill()
        self.process.wait()
        rooms.end_processes(self.room)
        self.channel.close()
        self.socket.close()

    def _death(self) -> CaseFailed:
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            return CaseFailed("crash", "the process closed its channel and went on")
        return death(self.process.returncode, self.output)


def _other_protocol(protocol: int, version: str, label: str) -> str:
    age, choice = ("new", "an earlier") if protocol > PROTOCOL else ("old", "a later")
    speaks = f"speaks number {protocol}" if protocol else "knows none"
    return (
        f"base's convbench is too {age} for this head: of the protocol between them {label} (convbench {version}) "
        f"{speaks}, this head number {PROTOCOL}: choose {choice} --base"
    )


def _environment(side: Side, settings: Settings, room: Path) -> dict[str, str]:
    """The same for both sides but for what is random on purpose: hash seed and size of the environment."""
    kept = {name: value for name, value in os.environ.items() if name not in FREED}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(settings.threads))
    passive = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    cache = room / f"inductor-{zlib.crc32(repr((side.python, side.paths)).encode()):x}"
    return {
        **kept,
        **threads,
        **passive,
        **ALLOCATORS[settings.allocator],
        "CONVBENCH_PATH": os.pathsep.join(map(str, side.paths)),
        "PYTHONHASHSEED": str(random.randrange(1, 2**32)),
        "CONVBENCH_PADDING": "x" * random.randrange(4096),
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
    }
