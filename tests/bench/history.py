"""Measure precision and recall of change points on synthetic histories: ``tests/bench/history.py``, three minutes.

Compares ``convbench history`` with Apache Otava's algorithm on the same series: E-Divisive in windows of 50, Student's
t-test instead of permutations, weak points merged (Fleming et al. 2023, "Hunter"), with its default settings. Writes
``reports/history/changes.md``, with the time of answers from an index of 200,000 results.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from scipy.stats import ttest_ind_from_stats

from convbench.analysis.history import contents, overview
from convbench.analysis.history.course import course
from convbench.analysis.history.series import RunValue, Series
from convbench.core import metrics
from convbench.core.scales import percent
from convbench.core.storage import cache, index
from convbench.core.storage.index import Contents, IndexedValue, RunEntry

RUNS, SERIES = 120, 200
NOISES = (0.01, 0.015, 0.02, 0.03)
JUMP = 0.03
NEAR = 5
"""A reported change counts as true if it is at most this many runs from the true change."""
EDGE = 25
OUT = Path("reports/history")
Random = np.random.Generator


class Truth(NamedTuple):
    """A history without noise: logs of the values, the jumps, and the first run on another machine."""

    logs: np.ndarray
    jumps: tuple[int, ...] = ()
    spikes: np.ndarray | None = None
    other_machine: int = RUNS


def jumping(rng: Random, count: int) -> Truth:
    """Return a history with ``count`` jumps of 3 % either way, at least 25 runs from one another and from the ends."""
    free = RUNS - EDGE * (count + 1)
    gaps = np.sort(rng.integers(0, free + 1, count))
    places = tuple(int(gap + EDGE * (number + 1)) for number, gap in enumerate(gaps))
    logs = np.zeros(RUNS)
    for place in places:
        logs[place:] += rng.choice([-1, 1]) * np.log1p(JUMP)
    return Truth(logs, places)


def spiked(rng: Random, truth: Truth) -> Truth:
    """Make one run in twenty slower by 5 to 50 %."""
    return truth._replace(spikes=np.log1p(rng.uniform(0.05, 0.5, RUNS)) * (rng.random(RUNS) < 0.05))


def drifting(rng: Random, truth: Truth) -> Truth:
    """Add a drift of 3 to 8 % in all, either way."""
    total = rng.choice([-1, 1]) * rng.uniform(0.03, 0.08)
    return truth._replace(logs=truth.logs + np.linspace(0, total, RUNS))


def two_speeds(rng: Random, truth: Truth) -> Truth:
    """Make three runs in ten slower by 15 %."""
    return truth._replace(spikes=np.log1p(0.15) * (rng.random(RUNS) < 0.3))


def wandering(rng: Random, truth: Truth) -> Truth:
    """Let the code's own speed wander by 2 %, unseen by the reference workload: eight tenths last to the next run."""
    logs = np.zeros(RUNS)
    for run in range(1, RUNS):
        logs[run] = 0.8 * logs[run - 1] + 0.012 * rng.standard_normal()
    return truth._replace(logs=truth.logs + logs)


def moved(rng: Random, truth: Truth) -> Truth:
    """Move to another machine at some run, 10 to 40 % faster or slower, and 30 runs from a jump."""
    jump = truth.jumps[0] if truth.jumps else 0
    place = int(rng.integers(70, 90)) if jump < 45 else int(rng.integers(30, max(31, jump - 30)))
    logs = truth.logs.copy()
    logs[place:] += rng.choice([-1, 1]) * rng.uniform(0.1, 0.4)
    return truth._replace(logs=logs, other_machine=place)


KINDS: dict[str, Callable[[Random], Truth]] = {
    "nothing": lambda rng: jumping(rng, 0),
    "a jump": lambda rng: jumping(rng, 1),
    "two jumps": lambda rng: jumping(rng, 2),
    "spikes": lambda rng: spiked(rng, jumping(rng, 0)),
    "a jump and spikes": lambda rng: spiked(rng, jumping(rng, 1)),
    "drift": lambda rng: drifting(rng, jumping(rng, 0)),
    "a jump and drift": lambda rng: drifting(rng, jumping(rng, 1)),
    "two speeds": lambda rng: two_speeds(rng, jumping(rng, 0)),
    "wandering": lambda rng: wandering(rng, jumping(rng, 0)),
    "another machine": lambda rng: moved(rng, jumping(rng, 0)),
    "a jump and another machine": lambda rng: moved(rng, jumping(rng, 1)),
}


def points(truth: Truth, noise: float, rng: Random) -> list[RunValue]:
    """Return the runs. The machine's speed wanders by 2 %, and the reference workload shows it to 0.5 %."""
    speed = np.zeros(RUNS)
    for run in range(1, RUNS):
        speed[run] = 0.8 * speed[run - 1] + 0.012 * rng.standard_normal()
    luck = noise * rng.standard_t(6, RUNS) / np.sqrt(1.5)
    spikes = truth.spikes if truth.spikes is not None else 0.0
    values = 5e-3 * np.exp(truth.logs + speed + luck + spikes)
    references = 3e-4 * np.exp(speed + 0.005 * rng.standard_normal(RUNS))
    return [
        RunValue(f"{run:03}", "", f"{run:012x}", False, float(value), float(reference))
        for run, (value, reference) in enumerate(zip(values, references, strict=True))
    ]


Said = tuple[int, int, int]
"""A change: its likeliest place, and the first and last run that it may have begun at."""


def ours(runs: Sequence[RunValue], truth: Truth) -> list[Said]:
    """Return the changes that ``convbench history`` reports, with one series per machine."""
    split = truth.other_machine
    parts = [(0, runs[:split]), (split, runs[split:])]
    courses = [(at, course(Series("case", "m", "p", tuple(part)), metrics.LATENCY)) for at, part in parts if part]
    return [
        (at + change.place, int(change.before.run) + 1, int(change.after.run))
        for at, case_course in courses
        for change in case_course.changes
    ]


# --- Otava's algorithm ------------------------------------------------------------------------------------------------


def otava(values: np.ndarray, window: int = 50, level: float = 0.001) -> tuple[list[int], list[int]]:
    """Find weak points in overlapping windows at ten times the level, and merge those that do not hold.

    Returns two results: with changes of every size (the default), and with changes of at least 1 %.
    """
    weak: set[int] = set()
    start = 0
    while start < len(values):
        inside = values[start : start + window]
        places = [start + place for place in _divided(inside, 10 * level)]
        weak |= set(places)
        start = max(max(places, default=0), start + window // 2)
    return _merged(values, sorted(weak), level, 0.0), _merged(values, sorted(weak), level, 0.01)


def _divided(values: np.ndarray, level: float) -> list[int]:
    """Split at the largest divergence, as long as the t-test is significant."""
    if len(values) < 2:
        return []
    distances = np.abs(values[:, None] - values[None, :])
    sums = np.pad(distances.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    places: list[int] = []
    while True:
        bounds = [0, *places, len(values)]
        best = max((_candidate(sums, a, b) for a, b in pairwise(bounds)), default=(0.0, 0))
        place = best[1]
        if not place:
            return places
        if _p_value(values, *_around(bounds, place)) >= level:
            return places
        places = sorted([*places, place])


def _candidate(sums: np.ndarray, begin: int, end: int) -> tuple[float, int]:
    """Return the largest divergence of two adjacent pieces and their border. The first begins with the interval."""
    if end - begin < 2:
        return 0.0, 0
    place, to = np.arange(begin + 1, end)[:, None], np.arange(begin + 2, end + 1)[None, :]
    n, m = place - begin, np.maximum(to - place, 1)
    between = sums[place, to] - sums[begin, to] - sums[place, place] + sums[begin, place]
    left = (sums[place, place] - 2 * sums[begin, place] + sums[begin, begin]) / 2
    right = (sums[to, to] - 2 * sums[place, to] + sums[place, place]) / 2
    divergence = 2 / (n + m) * between
    divergence -= np.where(n > 1, 2 * m / (n + m) / np.maximum(n - 1, 1) * left, 0)
    divergence -= np.where(m > 1, 2 * n / (n + m) / np.maximum(m - 1, 1) * right, 0)
    divergence = np.where(to > place, divergence, -np.inf)
    at = int(divergence.max(axis=1).argmax())
    return float(divergence.max()), int(begin + 1 + at)


def _around(bounds: Sequence[int], place: int) -> tuple[int, int, int]:
    return max(b for b in bounds if b < place), place, min(b for b in bounds if b > place)


def _p_value(values: np.ndarray, begin: int, place: int, end: int) -> float:
    left, right = values[begin:place], values[place:end]
    if end - begin <= 2:
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        test = ttest_ind_from_stats(left.mean(), left.std(), len(left), right.mean(), right.std(), len(right))
    return float(test[1])


def _merged(values: np.ndarray, places: list[int], level: float, least: float) -> list[int]:
    places = list(places)
    while places:
        bounds = [0, *places, len(values)]
        judged = []
        for place in places:
            begin, _, end = _around(bounds, place)
            left, right = values[begin:place].mean(), values[place:end].mean()
            judged.append((_p_value(values, begin, place, end), max(right / left, left / right) - 1, place))
        worst = max(judged)
        if worst[0] < level:
            worst = min(judged, key=lambda candidate: candidate[1])
            if worst[1] > least:
                break
        places.remove(worst[2])
    return places


# --- Counting ---------------------------------------------------------------------------------------------------------


class Count(NamedTuple):
    """Numbers of true changes, of reported changes, and of reported changes that are true."""

    true: int = 0
    said: int = 0
    right: int = 0

    def __add__(self, other: object) -> Count:
        assert isinstance(other, Count)
        return Count(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def words(self) -> str:
        precision = percent(self.right / self.said) if self.said else "–"
        recall = percent(self.right / self.true) if self.true else "–"
        return f"{precision}, {recall}" if self.true else f"{self.said} false"


def counted(true: Sequence[int], reports: Sequence[Said]) -> Count:
    left, right = list(true), 0
    for place, first, last in reports:
        near = [jump for jump in left if min(first, place - NEAR) <= jump <= max(last, place + NEAR)]
        if near:
            left.remove(min(near, key=lambda jump: abs(jump - place)))
            right += 1
    return Count(len(true), len(reports), right)


def points_of(places: Sequence[int]) -> list[Said]:
    return [(place, place, place) for place in places]


def jump_detected(noise: float) -> Count:
    """Count the best attainable result, by a reader who knows that there is one jump, and the machine's speed."""
    rng = np.random.default_rng(round(1e4 * noise))
    total = Count()
    for _ in range(SERIES):
        truth = jumping(rng, 1)
        values = truth.logs + noise * rng.standard_t(6, RUNS) / np.sqrt(1.5)
        before = np.arange(1, RUNS)
        sums = np.cumsum(values)[:-1]
        explained = sums**2 / before + (values.sum() - sums) ** 2 / (RUNS - before)
        total += counted(truth.jumps, points_of([int(before[explained.argmax()])]))
    return total


METHODS = ("convbench", "convbench, by its range", "Otava", "Otava, at least 1 %")


def trial(kind: str, noise: float, rng: Random) -> tuple[Count, ...]:
    truth = KINDS[kind](rng)
    runs = points(truth, noise, rng)
    usual = np.array([run.value / run.reference for run in runs if run.reference])
    changes = ours(runs, truth)
    answers = (points_of([place for place, _, _ in changes]), changes, *map(points_of, otava(usual)))
    return tuple(counted(truth.jumps, answer) for answer in answers)


def table() -> list[str]:
    """Return precision and recall by kind and noise. Without true jumps, the number of reported changes."""
    cells: dict[tuple[str, float], list[Count]] = {}
    for kind in KINDS:
        for noise in NOISES:
            rng = np.random.default_rng([len(kind), sum(kind.encode()), round(1e4 * noise)])
            trials = [trial(kind, noise, rng) for _ in range(SERIES)]
            cells[kind, noise] = [sum((counts[method] for counts in trials), Count()) for method in range(len(METHODS))]
    lines = [
        "| history | by | " + " | ".join(f"noise {percent(noise)}" for noise in NOISES) + " | all |",
        "|---|---|" + "--:|" * 5,
    ]
    for kinds, name in [*(([kind], kind) for kind in KINDS), (list(KINDS), "**all**"),
                        ([kind for kind in KINDS if "machine" not in kind], "all on one machine")]:  # fmt: skip
        for method, by in enumerate(METHODS):
            row = [sum((cells[kind, noise][method] for kind in kinds), Count()) for noise in NOISES]
            lines.append(f"| {name} | {by} | " + " | ".join(count.words for count in (*row, sum(row, Count()))) + " |")
    best = [jump_detected(noise) for noise in NOISES]
    lines.append(
        "| a jump | a method told that there is exactly one | "
        + " | ".join(count.words for count in (*best, sum(best, Count())))
        + " |"
    )
    return lines


# --- The index --------------------------------------------------------------------------------------------------------


def invented(directory: Path) -> Contents:
    """Return what reading a run of 200 cases gives, without a file of results."""
    number = int(directory.name)
    rng = np.random.default_rng(number)
    entry = RunEntry(str(directory), "suite", f"2026-01-01T00:00:{number % 60:02}+00:00", f"{number:012x}", False, 200)
    values = [IndexedValue("latency", f"conv/reducer-{case}/cpu", "e1", "p", float(value), 3e-4)
              for case, value in enumerate(5e-3 * np.exp(0.015 * rng.standard_normal(200)))]  # fmt: skip
    return Contents(entry, directory.name, values, {"e1": "a machine"}, [metrics.LATENCY])


def timed(folder: Path) -> list[str]:
    """Return the seconds of answers from 1,000 runs of 200 cases, including the check of all files for changes."""
    for number in range(1000):
        place = folder / "store" / f"{number:04}"
        place.mkdir(parents=True)
        (place / "run.json").write_text("{}")
    roots, lines = [folder / "store"], []
    with patch.object(cache, "folder", return_value=folder), patch.object(contents, "read", invented):
        for name, only in (
            ("build the index", ("reducer-7",)),
            ("one case of 200", ("reducer-7",)),
            ("all 200 cases", ()),
        ):
            start, cpu = time.perf_counter(), time.process_time()
            answer = overview.history(overview.HistoryQuery(tuple(roots), only=only))
            took = f"{time.perf_counter() - start:.3f} s | {time.process_time() - cpu:.3f} s"
            lines.append(f"| {name} | {len(answer.courses)} series | {took} |")
        start, cpu = time.perf_counter(), time.process_time()
        rows = index.ask(roots, invented, lambda runs: len(list(runs.rows("latency"))))
        took = f"{time.perf_counter() - start:.3f} s | {time.process_time() - cpu:.3f} s"
        lines.append(f"| all numbers, no change points | {rows:,} numbers | {took} |")
    return ["| question about 200,000 results | answer | seconds | seconds of a core |", "|---|--:|--:|--:|", *lines]


def main() -> None:
    start = time.perf_counter()
    lines = table()
    print("\n".join(lines), f"\n{time.perf_counter() - start:.0f} s")
    with tempfile.TemporaryDirectory() as folder:
        speed = timed(Path(folder))
    print("\n".join(speed))
    OUT.mkdir(parents=True, exist_ok=True)
    heading = (
        f"Written by `tests/bench/history.py`: {SERIES} series of {RUNS} runs a cell; precision, recall. A change is "
    )
    heading += "right within 5 runs of the true one, in the second row of each also within the range that was said."
    (OUT / "changes.md").write_text("\n".join([heading, "", *lines, "", *speed]) + "\n")


if __name__ == "__main__":
    main()
