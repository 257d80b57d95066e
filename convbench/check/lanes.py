"""Pairs on several cores at the same time: each lane has cores and processes of its own, and measures a pair by itself.

What lanes take from each other, such as the memory's bandwidth, they take from base and head alike: within a lane, both
are timed in turns of milliseconds.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from convbench.check import pairs
from convbench.check.link import Settings, Stock
from convbench.check.pairs import Measured, Visit
from convbench.core import rooms
from convbench.measure.machine.cgroup import available_cores

MOST = 4
"""More lanes than this wait for the memory, and for each other's imports."""
Result = tuple[Visit, Measured]


def fitting(threads: int, device: str) -> int:
    """How many lanes this machine has room for; a GPU is one."""
    if device.startswith("cuda") or not hasattr(os, "sched_getaffinity"):
        return 1
    return max(1, min(MOST, available_cores() // threads))


def measure(
    lanes: Sequence[Sequence[Visit]], settings: Settings, room: Path, stock: Stock | None = None
) -> Generator[Result, None, None]:
    """The visits of every lane, in whatever order they end. Ends all lanes where it is closed before that."""
    if len(lanes) == 1:
        yield from pairs.measure(lanes[0], settings, room, stock)
        return
    results: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()
    stopping = threading.Event()

    def run(visits: Sequence[Visit], cores: Sequence[int]) -> None:
        try:
            with closing(pairs.measure(visits, settings, room, stock, cores)) as measured:
                for result in measured:
                    results.put(result)
                    if stopping.is_set():
                        break
        except BaseException as error:
            results.put(error)
        results.put(None)

    cores = pairs.quietest(settings.threads * len(lanes))
    shares = [cores[at :: len(lanes)] for at in range(len(lanes))]
    running = [
        threading.Thread(target=run, args=each, name=f"lane {number}", daemon=True)
        for number, each in enumerate(zip(lanes, shares, strict=True))
    ]
    for lane in running:
        lane.start()
    try:
        yield from _until_all_end(results, len(running))
    finally:
        stopping.set()
        while any(lane.is_alive() for lane in running):  # what it waits for is ended, so that no lane waits on
            rooms.end_processes(room)
            running[0].join(0.05)


def _until_all_end(results: queue.SimpleQueue[Result | BaseException | None], lanes: int) -> Iterator[Result]:
    while lanes:
        result = results.get()
        if isinstance(result, BaseException):
            raise result
        if result is None:
            lanes -= 1
        else:
            yield result
