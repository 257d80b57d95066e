"""How many passes over a call measure its stages or phases."""

from __future__ import annotations

import time
from collections.abc import Iterator

from convbench.core.record import Protocol

LEAST, MOST = 6, 40
SHARE_OF_TIME = 0.3
"""Share of the time that the protocol gives to samples of the latency."""


def passes(protocol: Protocol) -> Iterator[int]:
    """Yield the numbers of the passes to make, one after another, as long as there is time."""
    until = time.perf_counter() + SHARE_OF_TIME * protocol.max_time
    for number in range(MOST):
        if number >= LEAST and time.perf_counter() >= until:
            return
        yield number
