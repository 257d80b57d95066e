"""Instructions of a call, which no busy machine changes: by the processor's counters, or else by valgrind.

A program of the head's that every side runs, loaded by its path: standard library and torch. The counters are of one
thread, so that what computes on several is counted by valgrind, on one. Valgrind runs a processor of its own, which has
no AVX-512 and no AMX: other kernels run than in reality.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import sys
from collections.abc import Callable
from typing import Any

CALLS, WARM = 10, 3
PERF_EVENT_OPEN = 298
"""The number of the system call on x86-64; elsewhere valgrind counts."""
HARDWARE, INSTRUCTIONS, SIZE = 0, 1, 128
USER_ONLY = 1 << 5 | 1 << 6
"""``exclude_kernel`` and ``exclude_hv``: what the kernel does for a call changes from one to the next."""
SETUP = """
import importlib.util, json
spec = importlib.util.spec_from_file_location("convbench_worker", {worker!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker.find_side()
server = worker.Server()
server.hello(1)
subject = server._subject(json.loads({case!r}), {seed}, {injected!r})
for _ in range({warm}):
    subject.run()
"""


def counted(run: Callable[[], Any], worker: str, case: Any, seed: int, injected: Any) -> dict[str, Any]:
    """Instructions of a call of ``run``, and ``by`` what they were counted.

    Where the processor has no counters for us, valgrind counts the same case, built anew by the program ``worker``.
    """
    import torch

    threads = torch.get_num_threads()
    count = _count_by_counters(run) if threads == 1 else None
    if count is not None:
        return {"count": count, "by": "counters"}
    if shutil.which("valgrind") is None:
        reason = "are not to be had here" if threads == 1 else "count one thread of several"
        raise RuntimeError(f"the processor's counters {reason}, and valgrind is not installed: apt install valgrind")
    from torch.utils.benchmark import Timer

    # torch starts valgrind with the "python" that it finds first: that has to be this one.
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")  # noqa: PTH120
    setup = SETUP.format(worker=worker, case=json.dumps(case), seed=seed, injected=injected, warm=WARM)
    timer: Any = Timer("subject.run()", setup=setup)
    statistics = timer.collect_callgrind(number=CALLS, collect_baseline=False)
    return {"count": statistics.counts(denoise=True) / CALLS, "by": "valgrind"}


def _count_by_counters(run: Callable[[], Any]) -> float | None:
    """By ``perf_event_open``, of this thread outside of the kernel; None where the system does not let us."""
    descriptor = _open_counter()
    if descriptor is None:
        return None
    try:
        for _ in range(WARM):
            run()
        start = _read(descriptor)
        for _ in range(CALLS):
            run()
        count = (_read(descriptor) - start) / CALLS
    finally:
        os.close(descriptor)
    return count or None


def _open_counter() -> int | None:
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return None
    attributes = struct.pack("=IIQQQQQ", HARDWARE, SIZE, INSTRUCTIONS, 0, 0, 0, USER_ONLY).ljust(SIZE, b"\0")
    descriptor = int(ctypes.CDLL(None, use_errno=True).syscall(PERF_EVENT_OPEN, attributes, 0, -1, -1, 0))
    return descriptor if descriptor >= 0 else None


def _read(descriptor: int) -> int:
    return int(struct.unpack("=Q", os.read(descriptor, 8))[0])
