"""A function to be called in a process of its own, and that call while its process runs."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from convbench.core import scratch
from convbench.core.errors import CaseFailed
from convbench.core.record import Failure
from convbench.measure.machine.process_end import explain_death
from convbench.measure.progress import Progress
from convbench.runs.script import UserImports

T = TypeVar("T")
NOTHING = UserImports()
SECONDS_TO_LEAVE = 2.0
"""What a process that has answered gets to end by itself and clean up, before it is killed."""

SECONDS_TO_CLOSE = 1.0
SECONDS_BETWEEN_LOOKS = 1.0
"""How soon the end of a process is noticed that nothing tells of: what it started may hold its pipes open."""


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


class RunningCall(Generic[T]):
    """A call in its process; ``end`` it, whatever comes of it."""

    def __init__(self, call: Call[T], folder: Path) -> None:
        self.timeout, self.limited_by, self.folder = call.timeout, call.limited_by, folder
        self.at_end: Callable[[RunningCall[T]], None] = lambda _: None
        self.begin_again: Callable[[], bool] = lambda: False
        """Starts it anew where its process was killed with the server that forked it; whether that was so."""
        self._answers = deque[Any]()

    def begins(self, process: BaseProcess, receiver: Connection) -> None:
        """Its process is this one, which is about to start."""
        self.process, self.receiver = process, receiver
        self._progress, self._deadline = Progress(), time.monotonic() + self.timeout

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    @property
    def signs(self) -> tuple[Connection, int]:
        """What to wait for, up to ``SECONDS_BETWEEN_LOOKS`` at a time, before asking whether it is ``is_ready``."""
        return self.receiver, self.process.sentinel

    def is_ready(self) -> bool:
        """Whether ``result`` has not to wait: there is an answer, its process ended, or its time is up."""
        while not self._answers and self._hears():
            pass
        return bool(self._answers) or not self.seconds_left

    def wait(self) -> None:
        """Wait until ``is_ready``."""
        while not self.is_ready():
            wait(self.signs, min(self.seconds_left, SECONDS_BETWEEN_LOOKS))

    def result(self) -> T:
        """What the call returns, waited for. Raises CaseFailed with how its process ended where it did not return."""
        self.wait()
        progress = self._progress
        if not self._answers:
            setting = f" ({self.limited_by})" if self.limited_by else ""
            raise CaseFailed("timeout", f"no result after {self.timeout:g} s{setting}{progress.words}", progress.known)
        answer = self._answers.popleft()
        if isinstance(answer, CaseFailed):
            raise CaseFailed(answer.kind, f"{answer}{progress.words}", progress.known)
        self.process.join(SECONDS_TO_LEAVE)
        if isinstance(answer, Failure):
            raise CaseFailed(answer.kind, answer.message, progress.known)
        value: T = answer
        return value

    def final_result(self) -> T:
        """``result``, and then ``end``."""
        try:
            return self.result()
        finally:
            self.end()

    def end(self) -> None:
        """Leave nothing of it: no process, no file but a compile cache that others share."""
        _kill(self.process)
        self.at_end(self)
        self.receiver.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hears(self) -> bool:
        """Take the next message, where there is one, or note that the process ended without an answer."""
        has_ended = not self.process.is_alive()  # asked first: all that it sent is there by then
        # The pipe of one that has ended closes at once, unless what it started holds the other end.
        if not self.receiver.poll(SECONDS_TO_CLOSE if has_ended else 0):
            if has_ended:
                self._ends()
            return has_ended
        try:
            message = self.receiver.recv()
        except (EOFError, OSError):
            self._ends()
            return True
        if isinstance(message, Progress):
            self._progress = Progress(message.doing, self._progress.known + message.known)
        else:
            self._answers.append(message)
        return True

    def _ends(self) -> None:
        """The process ended without an answer: it begins again, or how it ended is the answer."""
        self.process.join(5)
        try:
            if not self.begin_again():
                self._answers.append(explain_death(self.process.exitcode, self.folder / "output"))
        except CaseFailed as error:
            self._answers.append(error)


def _kill(process: BaseProcess) -> None:
    """End the process, if it was started, and all that it started."""
    if process.pid is None:
        return
    scratch.kill_group(process)
    process.join()
