"""Keep the machine busy for the benches: one process per core that computes endlessly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# A separate program, so that it does not run the bench's code again and ends with the bench, however that ends.
BUSY = """
import os, sys
core, parent = map(int, sys.argv[1:])
os.sched_setaffinity(0, {core})
while os.getppid() == parent:
    sum(range(10_000))
"""


@contextmanager
def hogs() -> Iterator[None]:
    """Occupy every core that this process may use with another process."""
    cores = sorted(os.sched_getaffinity(0))
    started = [subprocess.Popen([sys.executable, "-c", BUSY, str(core), str(os.getpid())]) for core in cores]
    try:
        time.sleep(1.0)
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
