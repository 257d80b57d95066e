"""Count the instructions of a call, which a busy machine does not change: by the processor's counters, or by valgrind.

This program belongs to head. The workers of both sides load it by its path; it uses the standard library and torch. The
counters cover one thread, so calls on several threads are counted by valgrind, which runs them on one. Valgrind
emulates a processor without AVX-512 and AMX, so other kernels run than on the real one.
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
"""``exclude_kernel`` and ``exclude_hv``: the kernel's work for a call varies from one call to the next."""
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
    """Return the instructions of a call of ``run`` as ``count``, and ``by``, what counted them.

    If the processor's counters are not available, valgrind counts the same case, built anew by the program ``worker``.
    """
    import torch

    threads = torch.get_num_threads()
    count = _count_by_counters(run) if threads == 1 else None
    if count is not None:
        return {"count": count, "by": "counters"}
    if shutil.which("valgrind") is None:
        reason = "are not available here" if threads == 1 else "count only one of several threads"
        raise RuntimeError(f"the processor's counters {reason}, and valgrind is not installed: apt install valgrind")
    from torch.utils.benchmark import Timer

    # torch starts valgrind with the first "python" on the path, which must be this one.
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")  # noqa: PTH120
    setup = SETUP.format(worker=worker, case=json.dumps(case), seed=seed, injected=injected, warm=WARM)
    timer: Any = Timer("subject.run()", setup=setup)
    statistics = timer.collect_callgrind(number=CALLS, collect_baseline=False)
    return {"count": statistics.counts(denoise=True) / CALLS, "by": "valgrind"}


def _count_by_counters(run: Callable[[], Any]) -> float | None:
    """Count this thread's instructions outside the kernel by ``perf_event_open``; None if the system forbids it."""
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
