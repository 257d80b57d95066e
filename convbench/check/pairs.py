"""Time cases in pairs of fresh processes on one core: in short slices, in turns, in balanced random order."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from convbench.check.link import SideWorker
from convbench.check.outcome import Timing
from convbench.check.settings import Settings
from convbench.check.stock import Stock
from convbench.check.trees.sides import Side
from convbench.core.errors import CaseFailed
from convbench.core.grouping import grouped
from convbench.core.statistics import robust_deviation

MIN_ROUNDS, MAX_ROUNDS = 6, 24
BALANCED = 6
"""In this many rounds, every order of two or of three arms comes equally often."""
RESOLVED = 0.01
"""The standard error of a pair's log ratio at which a new pair tells more than further rounds of this one.

Fresh processes differ by 1 to 2 % (reports/gate), which rounds cannot reduce.
"""
PLAIN = 0.1
"""The standard error, as a share of the largest log ratio of two arms, that suffices if they are far from equal."""
WARM_SECONDS, MIN_WARM, MAX_WARM = 0.05, 3, 100
MEDIAN_ERROR = math.sqrt(math.pi / 2)
"""The standard error of a median over that of a mean, for normal values."""


@dataclass(frozen=True)
class CheckedCase:
    """A case as workers receive it.

    Cases with the same ``variables`` and threads share a process, except for a case that ``is_alone``.
    """

    id: str
    case: dict[str, Any]
    seed: int
    variables: tuple[tuple[str, str], ...] = ()
    is_alone: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a worker's commands that describe the case."""
        return {"case": self.case, "seed": self.seed}

    def settings(self, common: Settings) -> Settings:
        """Return the settings of the case's processes: the common ones, with the case's own threads if it names any."""
        return replace(common, threads=self.case.get("threads") or common.threads)


@dataclass(frozen=True)
class Arm:
    """A side in a pair. ``injections`` puts (count, size) of matmuls into the forward passes of cases, by their ids."""

    name: str
    side: Side
    injections: dict[str, tuple[int, int]] = field(default_factory=dict)


class PairRequest(NamedTuple):
    """A case and the arms to time it in, base first."""

    case: CheckedCase
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class FailedCase:
    """The result of a case that an arm could not measure."""

    reason: str


PairResult = Timing | FailedCase


def measure(
    visits: Sequence[PairRequest],
    settings: Settings,
    folder: Path,
    stock: Stock | None = None,
    next_visits: Sequence[PairRequest] = (),
) -> Generator[tuple[PairRequest, PairResult], None, None]:
    """Time every case once, in random order, in as few sets of fresh processes as the cases can share.

    A worker that dies or hangs fails only its case, or the first case if it dies at its start. The others go on in new
    processes. Workers in ``stock`` are used first. While a group is timed, workers for the next group are put into it;
    while the last group is timed, workers for the first group of ``next_visits``, which are likely to follow.
    """
    following_group = (_groups_of(next_visits) or [[]])[0]
    for group, next_group in pairwise([*_groups_of(visits), following_group]):
        queue = random.sample(group, len(group))
        while queue:
            first_visit = queue[0]
            try:
                case_settings = first_visit.case.settings(settings)
                with open_workers(_arms(queue), case_settings, folder, first_visit.case, stock) as workers:
                    if next_group and stock:
                        _order(next_group, workers, next_group[0].case.settings(settings), folder, stock)
                    yield from _time_until_one_fails(workers, queue, case_settings)
            except CaseFailed as error:
                queue.remove(first_visit)
                yield first_visit, FailedCase(str(error))


def _arms(visits: Sequence[PairRequest]) -> tuple[Arm, ...]:
    return max((visit.arms for visit in visits), key=len)


def _order(
    visits: Sequence[PairRequest], workers: dict[str, SideWorker], settings: Settings, folder: Path, stock: Stock
) -> None:
    """Start workers for the visits on cores that the timing workers leave free, if there are enough of them."""
    busy_cores = {core for worker in workers.values() for core in worker.cores}
    free_cores = os.sched_getaffinity(0) - busy_cores if busy_cores else set()
    if len(free_cores) >= settings.threads:
        sides = [arm.side for arm in _shuffle(_arms(visits))]
        stock.order(sides, visits[0].case.variables, settings, folder, visits[0].case.case, sorted(free_cores))


def _time_until_one_fails(
    workers: dict[str, SideWorker], queue: list[PairRequest], settings: Settings
) -> Iterator[tuple[PairRequest, PairResult]]:
    """Time the cases of ``queue`` in order, up to one that fails: its worker may have ended with it."""
    while queue:
        visit = queue.pop(0)
        try:
            yield visit, time_case(visit.arms, workers, visit.case, settings)
        except CaseFailed as error:
            yield visit, FailedCase(str(error))
            return


def groups(cases: Sequence[CheckedCase]) -> list[list[CheckedCase]]:
    """Group the cases that may share a process: with the same variables and threads, and none that must be alone."""
    keys = grouped(cases, lambda case: (case.variables, case.case.get("threads"), case.id if case.is_alone else ""))
    return list(keys.values())


def _groups_of(visits: Sequence[PairRequest]) -> list[list[PairRequest]]:
    by_case = {visit.case.id: visit for visit in visits}
    return [[by_case[case.id] for case in group] for group in groups([visit.case for visit in visits])]


@contextmanager
def open_workers(
    arms: Sequence[Arm],
    settings: Settings,
    folder: Path,
    case: CheckedCase,
    stock: Stock | None,
) -> Iterator[dict[str, SideWorker]]:
    """Start a worker per arm in random order, let all import what ``case`` needs at once, and pin them to one core."""
    with ExitStack() as stack:
        workers = {}
        for arm in _shuffle(arms):
            worker = stock.take(arm.side, case.variables, settings) if stock else None
            workers[arm.name] = stack.enter_context(
                worker or SideWorker(arm.side, settings, folder, dict(case.variables))
            )
        for worker in workers.values():
            worker.greet(case.case)
        for name, worker in workers.items():
            with _naming(name):
                worker.await_greeting()
        if cores := quietest_cores(settings.threads):
            for worker in workers.values():
                worker.pin(cores)
        yield workers


def quietest_cores(threads: int) -> list[int]:
    """Return the least busy cores, as many as threads, ties at random; none if processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    loads = psutil.cpu_percent(0.05, percpu=True)
    cores = list(os.sched_getaffinity(0))
    random.shuffle(cores)
    return sorted(cores, key=lambda core: round(loads[core], -1) if core < len(loads) else 100.0)[:threads]


def time_case(arms: Sequence[Arm], workers: dict[str, SideWorker], case: CheckedCase, settings: Settings) -> Timing:
    """Prepare and warm up all arms alike, then time rounds of slices. Raises CaseFailed with the arm that failed."""
    answers = [_ask(workers, arm.name, "prepare", **_arguments(arm, case)) for arm in _shuffle(arms)]
    seconds = max(answer["seconds"] for answer in answers)
    for arm in arms:
        _ask(workers, arm.name, "warm", calls=max(MIN_WARM, min(MAX_WARM, round(WARM_SECONDS / seconds))))
    leading = _is_leading(seconds, answers[0]["device"], settings)
    rounds, device = [], []
    slice_seconds = max(settings.slice_s, seconds) + seconds * leading
    for order in _orders([arm.name for arm in arms], _rounds(slice_seconds * len(arms), settings)):
        slices = {name: _ask(workers, name, "slice", seconds=settings.slice_s, leading=leading) for name in order}
        if len({answer["state"] for answer in slices.values()}) == 1:
            rounds.append(tuple(slices[arm.name]["best"] for arm in arms))
            device.append(tuple(slices[arm.name]["device"] for arm in arms))
        if _is_resolved(rounds):
            break
    for arm in arms:
        _ask(workers, arm.name, "release")
    if len(rounds) < MIN_ROUNDS:
        raise CaseFailed("error", f"the device's clocks changed in all but {len(rounds)} rounds")
    return Timing(tuple(rounds), () if device[0][0] is None else tuple(device))


def _arguments(arm: Arm, case: CheckedCase) -> dict[str, Any]:
    return {**case.arguments, "injected": arm.injections.get(case.id)}


def _ask(workers: dict[str, SideWorker], arm: str, do: str, **arguments: Any) -> dict[str, Any]:
    with _naming(arm):
        return workers[arm].ask(do, **arguments)


@contextmanager
def _naming(arm: str) -> Iterator[None]:
    """Add the arm to the message of a CaseFailed that is raised inside."""
    try:
        yield
    except CaseFailed as error:
        raise CaseFailed(error.kind, f"{error.kind} in {arm}: {error}") from error


def _shuffle(arms: Sequence[Arm]) -> list[Arm]:
    return random.sample(list(arms), len(arms))


def _rounds(round_seconds: float, settings: Settings) -> int:
    """Return how many rounds of this length the case's time allows, as a balanced number."""
    return int(max(MIN_ROUNDS, min(MAX_ROUNDS, settings.case_s / round_seconds // BALANCED * BALANCED)))


def _is_leading(seconds: float, device: str, settings: Settings) -> bool:
    """Whether a call that is not recorded leads each slice, to fill the caches that the other side has used.

    A call that fills a slice loses 1 to 2 % of its time to cold caches, alike on both sides. Three such rounds tell
    more than one round of the same length with a leading call and two recorded ones: the machine changes its speed
    meanwhile. On a GPU there is always a leading call; whether it could be left out has not been studied.
    """
    return seconds < settings.slice_s or device != "cpu"


def _is_resolved(rounds: Sequence[tuple[float, ...]]) -> bool:
    """Whether the median log ratio of every arm is known well enough, after a balanced number of rounds."""
    if len(rounds) < MIN_ROUNDS or len(rounds) % BALANCED:
        return False
    logs = np.log(np.array(rounds))
    ratios = logs[:, 1:] - logs[:, :1]
    error = MEDIAN_ERROR * robust_deviation(ratios, axis=0) / math.sqrt(len(rounds))
    gap = np.ptp([0.0, *np.median(ratios, axis=0)])  # the largest of any two arms: it does not matter which is slower
    return bool(np.all(error <= max(RESOLVED, PLAIN * gap)))


def _orders(names: Sequence[str], rounds: int) -> Iterator[tuple[str, ...]]:
    """Yield every order of the arms equally often, shuffled within each ``BALANCED`` rounds."""
    orders = list(permutations(names))
    for _ in range(rounds // BALANCED):
        yield from random.sample(orders * (BALANCED // len(orders)), BALANCED)
