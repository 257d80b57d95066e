"""The clock for all CPU times, in run and check alike; it stops while another process has the core.

Standard library only: a worker of ``check`` loads this file by its path, so that both sides are timed by one clock.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Moment(NamedTuple):
    """In ns: the time, how long this thread was ready and did not run, how long the process's other threads ran."""

    time: int
    wait: int
    other_threads: int

    def seconds_to(self, end: Moment) -> float:
        """Seconds until a later moment, without the time for which other processes had the core."""
        wait = (end.wait - self.wait) - max(0, end.other_threads - self.other_threads)
        return max(0, end.time - self.time - max(0, wait)) * 1e-9


class RunningClock:
    """A clock that stops while the call could run but another process has its core, if Linux reports that time.

    It never deducts time that other processes may not have caused: waits that may have been before or after the call,
    and waits for as long as other threads of this process ran.
    """

    def __init__(self) -> None:
        self.statistics: int | None = None
        with contextlib.suppress(OSError):
            self.statistics = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def __del__(self) -> None:
        if self.statistics is not None:
            os.close(self.statistics)

    def moment(self) -> Moment:
        return Moment(time.perf_counter_ns(), self._waiting_ns(), self._other_threads_ns())

    def timed(self, run: Callable[[], Any]) -> float:
        """Time one call, in seconds."""
        begin, wait, other_threads = time.perf_counter_ns(), self._waiting_ns(), self._other_threads_ns()
        start = time.perf_counter_ns()
        run()
        end = time.perf_counter_ns()
        wait, other_threads = self._waiting_ns() - wait, self._other_threads_ns() - other_threads
        overhead = time.perf_counter_ns() - begin - (end - start)
        return (end - start - max(0, wait - max(0, other_threads) - overhead)) * 1e-9

    def _waiting_ns(self) -> int:
        """Nanoseconds for which this thread was ready to run and did not."""
        return int(os.pread(self.statistics, 64, 0).split()[1]) if self.statistics is not None else 0

    def _other_threads_ns(self) -> int:
        """Nanoseconds for which other threads of this process ran.

        Under a limit of CPU time (``ulimit -t``, ITIMER_PROF) Linux updates the process's time only every few
        milliseconds, so that a later reading may be less.
        """
        return time.process_time_ns() - time.thread_time_ns()
