"""A function to be called in a process of its own, and that call while its process runs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from convbench.core.errors import CaseFailed
from convbench.core.record import Failure
from convbench.measure.machine.process_end import explain_death
from convbench.measure.progress import Progress
from convbench.runs.script import UserImports

T = TypeVar("T")
NOTHING = UserImports()
SECONDS_TO_LEAVE = 2.0
"""What a process that has answered gets to end by itself and clean up, before it is killed."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A function and its arguments, all of which can be pickled, and how its process is started.

    ``variables`` are of its environment, ``timeout`` is in seconds and ``limited_by`` the setting that it is of. A call
    that ``compiles`` finds what calls with the same ``cache`` have compiled, or without one an empty cache, next
    to a ready toolchain. ``imports`` are made first. One that never ``forks`` from the server starts without torch.
    """

    work: Callable[..., T]
    args: tuple[Any, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300.0
    compiles: bool = False
    imports: UserImports = NOTHING
    forks: bool = True
    cache: str = ""
    limited_by: str = ""

    @property
    def is_forked(self) -> bool:
        """Whether its process comes from the server, whose variables and allocator are those of all others."""
        return self.forks and not self.variables


class Running(Generic[T]):
    """A call in its process; ``end`` it, whatever comes of it."""

    def __init__(self, call: Call[T], folder: Path) -> None:
        self.timeout, self.limited_by, self.folder = call.timeout, call.limited_by, folder
        self.at_end: Callable[[Running[T]], None] = lambda _: None
        self.begin_again: Callable[[], bool] = lambda: False
        """Starts it anew where its process was killed with the server that forked it; whether that was so."""
        self._answers = deque[Any]()

    def begins(self, process: BaseProcess, receiver: Connection) -> None:
        """Its process is this one, which is about to start."""
        self.process, self.receiver = process, receiver
        self._so_far, self._until = Progress(), time.monotonic() + self.timeout

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def ready(self) -> bool:
        """Whether ``result`` has not to wait: there is an answer, its process ended, or its time is up."""
        while not self._answers and self.receiver.poll(0):
            self._receive()
        return bool(self._answers) or not self.seconds_left

    def wait(self) -> None:
        """Wait until ``ready``."""
        while not self._answers and self.receiver.poll(self.seconds_left):
            self._receive()

    def result(self) -> T:
        """What the call returns, waited for. Raises CaseFailed with how its process ended where it did not return."""
        self.wait()
        so_far = self._so_far
        if not self._answers:
            setting = f" ({self.limited_by})" if self.limited_by else ""
            raise CaseFailed("timeout", f"no result after {self.timeout:g} s{setting}{so_far.words}", so_far.known)
        answer = self._answers.popleft()
        if isinstance(answer, CaseFailed):
            raise CaseFailed(answer.kind, f"{answer}{so_far.words}", so_far.known)
        self.process.join(SECONDS_TO_LEAVE)
        if isinstance(answer, Failure):
            raise CaseFailed(answer.kind, answer.message, so_far.known)
        returned: T = answer
        return returned

    def end(self) -> None:
        """Leave nothing of it: no process, no file but a compile cache that others share."""
        _kill(self.process)
        self.at_end(self)
        self.receiver.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _receive(self) -> None:
        """The next message: what is known so far, or the answer, or that the process ended without one."""
        try:
            message = self.receiver.recv()
        except (EOFError, OSError):
            self.process.join(5)
            try:
                if self.begin_again():
                    return
                message = explain_death(self.process.exitcode, self.folder / "output")
            except CaseFailed as error:
                message = error
        if isinstance(message, Progress):
            self._so_far = Progress(message.doing, self._so_far.known + message.known)
        else:
            self._answers.append(message)


def _kill(process: BaseProcess) -> None:
    """End the process, if it was started, and all that it started."""
    if process.pid is None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.join()
