"""Put real work into a case's forward pass, so that the gate can be tested on a known slowdown.

This program belongs to head. The workers of both sides load it by its path.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

MATMUL_SIZES = (128, 96, 64, 48, 32, 16)
LARGE, MOST_MATMULS = 0.4, 100_000
Work = tuple[int, int]
"""The number of matmuls and their size."""


def inject(subject: Any, work: Work) -> Any:
    """Return ``subject`` with matmuls added to every forward pass, whose results are discarded."""
    count, size = work
    multiply, forward = _matmul(size, subject.device), subject.forward

    def slow_forward(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            for _ in range(count):
                multiply()
        return forward(*args, **kwargs)

    return replace(subject, forward=slow_forward)


def calibrated(server: Any, subject: Any, slowdown: float) -> dict[str, Any]:
    """Return the count and size of matmuls that make a call slower by ``slowdown``, found by timing in alternation.

    The server must have ``subject`` prepared, and keeps it with the work injected. The count is scaled down from a
    slowdown so large that the noise of the alternation is small in comparison.
    """
    size, count, excess = _size(server, subject, slowdown), 1, 0.0
    while excess < LARGE and count < MOST_MATMULS:
        count = min(MOST_MATMULS, 2 * count if excess <= 0 else math.ceil(count * min(8, 1.2 * LARGE / excess)))
        server.run = inject(subject, (count, size)).run
        excess = _ratio(server, subject.run, 1.0) - 1
    count = max(1, round(count * slowdown / excess))
    server.run = inject(subject, (count, size)).run
    return {"injected": (count, size), "achieved": _ratio(server, subject.run, 4.0) - 1}


def _matmul(size: int, device: str) -> Callable[[], Any]:
    left, right, out = (torch.full((size, size), 0.5, device=device) for _ in range(3))
    return functools.partial(torch.mm, left, right, out=out)


def _size(server: Any, subject: Any, slowdown: float) -> int:
    """Return the largest size of matmul that takes at most 3 % of the work to inject, or else the smallest size."""
    call = min(server.timed() for _ in range(20))
    for size in MATMUL_SIZES:
        server.run = _matmul(size, subject.device)
        if min(server.timed() for _ in range(50)) <= 0.03 * slowdown * call:
            return size
    return MATMUL_SIZES[-1]


def _ratio(server: Any, other_run: Callable[[], Any], seconds: float) -> float:
    """Return the prepared call's time over another call's: the median ratio of the fastest calls of paired slices."""
    prepared_run, start = server.run, time.perf_counter()
    ratios: list[float] = []
    while len(ratios) < 5 or time.perf_counter() - start < seconds:
        pair = []
        for run in (prepared_run, other_run):
            server.run = run
            pair.append(server.slice(0.01, leading=True)["best"])
        ratios.append(pair[0] / pair[1])
    server.run = prepared_run
    return float(statistics.median(ratios))
