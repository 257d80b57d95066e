"""A function to call in a process of its own, and the call while its process runs."""

from __future__ import annotations

import logging
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from convbench.core.errors import CaseFailed
from convbench.core.record import Failure
from convbench.core.system import scratch
from convbench.measure.attempts import explain_death
from convbench.measure.progress import Progress
from convbench.runs.process.script import UserImports
from convbench.runs.process.start import end_stopped_forkserver

T = TypeVar("T")
log = logging.getLogger("convbench")
NOTHING = UserImports()
SECONDS_TO_LEAVE = 2.0
"""Seconds that a process has after its answer to clean up and end by itself, before it is killed."""

SECONDS_OF_SILENCE = 20.0
"""Seconds after which the user is told of a call that names its ``activity``."""
SECONDS_TO_CLOSE = 1.0
SECONDS_BETWEEN_LOOKS = 1.0
"""Seconds until a silent end of a process is noticed: processes that it started may hold its pipes open."""


@dataclass(frozen=True)
class ProcessCall(Generic[T]):
    """A function and its arguments, all of which can be pickled, and how its process starts.

    ``variables`` are added to its environment. ``timeout`` is in seconds, and ``limited_by`` names the setting that it
    comes from. A call that ``compiles`` finds a ready toolchain, and what calls with the same ``cache`` have compiled;
    without a ``cache``, its compile cache is empty. ``imports`` are made first. A call that never ``forks`` from the
    server starts without torch. The user is told of a long wait for a call if its ``activity`` is named, which no other
    progress shows.
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
    activity: str = ""

    @property
    def is_forked(self) -> bool:
        """Whether its process is forked from the server, whose variables and allocator all such processes share."""
        return self.forks and not self.variables


class RunningCall(Generic[T]):
    """A call in its process. The caller must ``end`` it, whatever its result."""

    def __init__(self, call: ProcessCall[T], folder: Path) -> None:
        self.timeout, self.limited_by, self.folder = call.timeout, call.limited_by, folder
        self.untold_activity = call.activity
        self.at_end: Callable[[RunningCall[T]], None] = lambda _: None
        self.begin_again: Callable[[], bool] = lambda: False
        """Begins the call again if its process was killed with the server that forked it. Returns whether it did."""
        self._answers = deque[Any]()

    def begins(self, process: BaseProcess, receiver: Connection) -> None:
        """Note the process of the call, which is about to start."""
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
        """Whether ``result`` need not wait: there is an answer, the process ended, or its time is up."""
        while not self._answers and self._hears():
            pass
        return bool(self._answers) or not self.seconds_left

    def wait(self) -> None:
        """Wait until ``is_ready``."""
        while not self.is_ready():
            wait(self.signs, min(self.seconds_left, SECONDS_BETWEEN_LOOKS))
            self._tell()

    def _tell(self) -> None:
        if self.untold_activity and self.timeout - self.seconds_left >= SECONDS_OF_SILENCE:
            activity, self.untold_activity = self.untold_activity, ""
            log.warning(
                "convbench: %s takes longer than %.0f s: waiting for up to %.0f s",
                activity, SECONDS_OF_SILENCE, self.timeout,
            )  # fmt: skip

    def result(self) -> T:
        """Wait for what the call returns. If it does not return, raises CaseFailed with how its process ended."""
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
        """Return ``result``, and ``end`` the call."""
        try:
            return self.result()
        finally:
            self.end()

    def end(self) -> None:
        """End the process and remove the call's files, except a compile cache that other calls share."""
        _kill(self.process, self.timeout)
        self.at_end(self)
        self.receiver.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hears(self) -> bool:
        """Take the next message, if there is one, or note that the process ended without an answer.

        Returns whether there was either.
        """
        has_ended = not self.process.is_alive()  # asked first: everything that it sent is there by then
        # The pipe of a process that has ended closes at once, unless a process that it started holds the other end.
        if not self.receiver.poll(SECONDS_TO_CLOSE if has_ended else 0):
            if has_ended:
                self._ends()
            return has_ended
        try:
            message = self.receiver.recv()
        except Exception:  # the end, or what the user's code wrote into the pipe
            self._ends()
            return True
        if isinstance(message, Progress):
            self._progress = Progress(message.doing, self._progress.known + message.known)
        else:
            self._answers.append(message)
        return True

    def _ends(self) -> None:
        """Begin the call again after its process ended without an answer, or take how it ended as the answer."""
        self.process.join(5)
        try:
            if not self.begin_again():
                self._answers.append(explain_death(self.process.exitcode, self.folder / "output"))
        except CaseFailed as error:
            self._answers.append(error)


def _kill(process: BaseProcess, seconds: float) -> None:
    """Kill the process, if it was started, and the processes that it started.

    If the server that reports its end does not do so in ``seconds``, and some more, the server is killed, too.
    """
    if process.pid is None:
        return
    scratch.kill_group(process)
    with end_stopped_forkserver(process, seconds):
        process.join()
