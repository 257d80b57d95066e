"""Start workers before a pair needs them: importing takes longer than timing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from convbench.check.link import SideWorker
from convbench.check.settings import Settings
from convbench.check.trees.sides import Side
from convbench.core.errors import CaseFailed

Variables = tuple[tuple[str, str], ...]
"""Variables added to a worker's environment, as pairs of name and value."""
MOST = 4
"""Greatest number of idle workers at a time: each takes hundreds of megabytes."""


class Stock:
    """Idle workers that import their side and then wait for a pair to take them. It closes those that are left."""

    def __init__(self) -> None:
        self._idle_workers: list[tuple[Variables, SideWorker]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _, worker in self._idle_workers:
            worker.close()
        self._idle_workers.clear()

    def put(self, worker: SideWorker, variables: Variables) -> None:
        """Keep a worker, or close it if there are enough already."""
        if len(self._idle_workers) < MOST:
            self._idle_workers.append((variables, worker))
        else:
            worker.close()

    def take(self, side: Side, variables: Variables, settings: Settings) -> SideWorker | None:
        """Return a worker of this side with these variables and threads, which gets ``settings``; None without one."""
        for _, worker in self._idle_workers:
            worker.hurry()
        for worker in self._workers_with(variables, settings):
            if worker.side == side:
                self._idle_workers.remove((variables, worker))
                worker.settings = settings
                try:
                    worker.await_greeting()
                except CaseFailed:  # it was started for another case: the failure of a new worker tells more
                    worker.close()
                else:
                    return worker
        return None

    def order(
        self,
        sides: Sequence[Side],
        variables: Variables,
        settings: Settings,
        folder: Path,
        case: dict[str, Any],
        cores: Sequence[int],
    ) -> None:
        """Start a worker for each side that has no idle one, and let it import on ``cores`` meanwhile."""
        idle_sides = [worker.side for worker in self._workers_with(variables, settings)]
        for side in sides:
            if side in idle_sides:
                idle_sides.remove(side)
            elif len(self._idle_workers) < MOST:
                with suppress(CaseFailed):  # the pair that needs it will start another, or say why it cannot
                    worker = SideWorker(side, settings, folder, dict(variables))
                    self._idle_workers.append((variables, worker))
                    worker.confine(cores)
                    worker.greet(case)

    def _workers_with(self, variables: Variables, settings: Settings) -> list[SideWorker]:
        workers = (worker for worker_variables, worker in self._idle_workers if worker_variables == variables)
        return [worker for worker in workers if worker.settings.threads == settings.threads]
