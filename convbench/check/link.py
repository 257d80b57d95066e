"""The driver's end of a worker: start it in its side, send it commands, and end it with all processes it started."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from convbench.check.settings import Settings
from convbench.check.trees.sides import Side
from convbench.core.errors import CaseFailed, FailureKind, Refused
from convbench.core.system import scratch
from convbench.measure.attempts import explain_death
from convbench.measure.machine import malloc
from convbench.runs.process.start import DISCIPLINE

PROGRAM = Path(__file__).parent / "programs" / "worker.py"
START_TIMEOUT = 120.0
PROTOCOL = 1
"""The ``convbench.measure.side.PROTOCOL`` that a side must speak."""
ALLOCATORS = {"glibc": malloc.variables(malloc.GLIBC), "glibc-arena": malloc.variables(malloc.GLIBC_ARENA)}
"""By allocator, the variables that set it for every worker, whatever this process was started with."""
FREED = ("PYTHONPATH", "LD_PRELOAD", "MALLOC_ARENA_MAX", *malloc.NUMBERS)


class Link:
    """A channel to a process of a side, fresh or a copy. Raises CaseFailed if it dies, hangs or reports an error."""

    channel: Any
    output: Path
    side: Side
    settings: Settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, do: str, **arguments: Any) -> None:
        """Send a command without waiting, so that two workers can run at once; ``receive`` waits for the answer."""
        try:
            self.channel.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self.channel.flush()
        except OSError:
            return

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        limit = timeout or self.settings.timeout
        self.socket.settimeout(limit)
        try:
            line = self.channel.readline()
        except TimeoutError:
            setting = "" if timeout else " (protocol.timeout)"
            raise CaseFailed("timeout", f"no answer after {limit:g} s{setting}") from None
        except OSError:
            line = b""
        if not line.endswith(b"\n"):  # empty, or cut off if the process was killed while it answered
            raise explain_death(self._code(), self.output)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kind: FailureKind = answer["error"]["kind"]
            raise CaseFailed(kind, answer["error"]["message"])
        return answer

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.send(do, **arguments)
        return self.receive()

    def close(self) -> None:
        """Close the channel and remove the folder. Subclasses first end the process and all that it started."""
        with suppress(OSError):  # the process has died: closing tries to send what it never read
            self.channel.close()
        self.socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # now: an exported model in it may take hundreds of megabytes

    def _open(self, folder: Path) -> socket.socket:
        """Make a folder and both ends of a channel. Returns the end that the process gets."""
        self.folder = folder / f"worker-{random.getrandbits(64):016x}"
        self.folder.mkdir()
        self.output = self.folder / "output"
        self.socket, other_end = socket.socketpair()
        self.channel = self.socket.makefile("rwb")
        return other_end

    @property
    def _own_variables(self) -> dict[str, str]:
        """The variables that keep what the process starts and its temporary files in its folder."""
        return {**scratch.mark(self.folder), "TMPDIR": str(self.folder)}

    def _code(self) -> int | None:
        """Return the return code of the process, which has closed its channel; None if it keeps running."""
        raise NotImplementedError


class SideWorker(Link):
    """A fresh process of a side, which may be copied once it has been greeted."""

    forks = False
    cores: Sequence[int] = ()
    _is_confined = False

    def __init__(
        self, side: Side, settings: Settings, folder: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        self.side, self.settings = side, settings
        self._hello_sent, self._versions = False, dict[str, Any]()
        try:
            self._start(folder, variables or {})
        except OSError as error:  # for example no space on the disk, or too many processes
            raise CaseFailed("error", f"no process of {side.label} can be started ({error})") from error

    def _start(self, folder: Path, variables: Mapping[str, str]) -> None:
        other_end = self._open(folder)
        self.line, line = socket.socketpair()
        with other_end, line, self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [self.side.python, "-P", str(PROGRAM), str(other_end.fileno()), str(line.fileno())],
                cwd=self.side.cwd,
                env={**_environment(self.side, self.settings, folder), **variables, **self._own_variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(other_end.fileno(), line.fileno()),
                start_new_session=True,
            )

    def greet(self, case: dict[str, Any] | None = None) -> None:
        """Let the process import its side and what building the case needs; ``await_greeting`` waits for it."""
        if not self._hello_sent:
            self.send("hello", threads=self.settings.threads, device=self.settings.device, case=case)
        self._hello_sent = True

    def await_greeting(self) -> dict[str, Any]:
        """Return the versions of the side. Raises Refused if its convbench speaks another protocol."""
        if not self._versions:
            answer = self.receive(max(START_TIMEOUT, self.settings.timeout))
            if answer["protocol"] != PROTOCOL:
                raise Refused(_other_protocol(answer["protocol"], answer["convbench"], self.side.label))
            self.forks = bool(answer.get("forks"))
            self._versions = answer
        return self._versions

    def confine(self, cores: Sequence[int]) -> None:
        """Restrict its import to these cores, until ``hurry``."""
        self._is_confined = True
        self._allow(cores)

    def hurry(self) -> None:
        """Lift the restriction of ``confine``, if any: something waits for the import now."""
        if self._is_confined:
            self._is_confined = False
            self._allow(os.sched_getaffinity(0))

    def _allow(self, cores: Iterable[int]) -> None:
        with suppress(OSError):  # the process has died: whoever waits for it reports how
            os.sched_setaffinity(self.process.pid, cores)

    def pin(self, cores: Sequence[int]) -> None:
        """Restrict the process to these cores from now on."""
        self.ask("pin", cores=list(cores))
        self.cores = cores

    def close(self) -> None:
        scratch.end_processes(self.folder)  # while it lives, its descendants are known as such
        scratch.kill_group(self.process)
        self.process.wait()
        self.line.close()
        super().close()

    def _code(self) -> int | None:
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            return None


class Copy(Link):
    """A process forked from a worker: fresh, but with all that its original has imported."""

    def __init__(self, original: SideWorker, folder: Path) -> None:
        self.original, self.side, self.settings = original, original.side, original.settings
        with self._open(folder) as other_end:
            with suppress(OSError):  # the original has died: the command below reports how
                socket.send_fds(original.line, [b"+"], [other_end.fileno()])
            answer = original.ask("fork", output=str(self.output), variables=self._own_variables)
            self.pid: int = answer["pid"]
        self.has_ended = False

    def close(self) -> None:
        if not self.has_ended:
            for end in (os.killpg, os.kill):
                with suppress(ProcessLookupError, PermissionError):
                    end(self.pid, signal.SIGKILL)
            with suppress(CaseFailed):
                self._code()
        scratch.end_processes(self.folder)
        super().close()

    def _code(self) -> int | None:
        code: int | None = self.original.ask("reap", pid=self.pid)["code"]
        self.has_ended = code is not None
        return code


def _other_protocol(protocol: int, version: str, label: str) -> str:
    age, choice = ("new", "an earlier") if protocol > PROTOCOL else ("old", "a later")
    speaks = f"speaks protocol {protocol}" if protocol else "speaks no protocol"
    return (
        f"the convbench of {label} is too {age} for this one: in a check, convbench {version} {speaks}, "
        f"this one protocol {PROTOCOL}: choose {choice} version"
    )


def _environment(side: Side, settings: Settings, folder: Path) -> dict[str, str]:
    """Return a worker's environment: alike on both sides, apart from their paths and two variables.

    The hash seed and the size of the environment are random on purpose, so that they vary between processes.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FREED}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(settings.threads))
    code = f"{zlib.crc32(repr((side.python, side.paths)).encode()):x}"
    return {
        **variables,
        **threads,
        **DISCIPLINE,
        **ALLOCATORS[settings.allocator],
        "CONVBENCH_PATH": os.pathsep.join(map(str, side.paths)),
        "CONVBENCH_PATH_NOT": os.pathsep.join(map(str, side.not_from)),
        "CONVBENCH_PATH_FIRST": "1" if side.is_elsewhere else "",
        "PYTHONHASHSEED": str(random.randrange(1, 2**32)),
        "CONVBENCH_PADDING": "x" * random.randrange(4096),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / f"inductor-{code}"),
        # At its default place, base would load the extension that head has built from C++ under the same name.
        "TORCH_EXTENSIONS_DIR": str(folder / f"extensions-{code}"),
    }
