"""``triton.testing``, where there is no triton: one call on the host's clock, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def do_bench(run: Callable[[], Any], **_: Any) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


do_bench_cudagraph = do_bench
