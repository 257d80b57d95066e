"""The numbers of a case in order: one series for each machine and protocol, across which only counts are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from convbench.core.index import Entry, Row

UNDATED = datetime.min.replace(tzinfo=UTC)


class Point(NamedTuple):
    """One run's number, in base units; ``reference`` are the seconds of the reference workload beside it.

    ``run`` is the run's directory; ``commit`` is empty where none was known.
    """

    run: str
    started: str
    commit: str
    dirty: bool
    value: float
    reference: float | None = None

    @property
    def day(self) -> str:
        """``2026-11-29``, in UTC, as minutes and ``--since`` are."""
        return minute(self.started)[:10] or "no date"


@dataclass(frozen=True)
class Series:
    """The points of a case on one machine (a fingerprint) by one protocol (a digest), in order.

    Machine and protocol are empty of what is the same anywhere.
    ``backward`` counts the points that are dated before one of an older commit.
    """

    case: str
    machine: str
    protocol: str
    points: tuple[Point, ...]
    by_commit: bool = False
    backward: int = 0


def moment(start: str) -> datetime:
    """When a run began; the beginning of time where it does not say so."""
    try:
        time = datetime.fromisoformat(start)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return UNDATED


def minute(start: str) -> str:
    """``2026-11-29 14:03``, in UTC; empty where there is no time."""
    time = moment(start)
    return f"{time:%Y-%m-%d %H:%M}" if time > UNDATED else ""


def series(
    rows: Iterable[Row], entries: Mapping[int, Entry], line: Sequence[str] = (), *, anywhere: bool = False
) -> list[Series]:
    """All series of a metric, by case. ``line`` are the commits of this repository, the oldest first.

    What is the same ``anywhere`` is one series a case, which belongs to no machine and no protocol.

    Points stand in the order of their commits where all of those are in the line, else by their dates.
    """
    points_by_key: dict[tuple[str, str, str], list[Point]] = {}
    for run, case, machine, protocol, value, reference in rows:
        entry = entries[run]
        point = Point(entry.path, entry.started, entry.commit, entry.dirty, value, reference)
        points_by_key.setdefault((case, *(("", "") if anywhere else (machine, protocol))), []).append(point)
    places = {commit[:12]: place for place, commit in enumerate(line)}
    return [_series(*key, points, places) for key, points in sorted(points_by_key.items())]


def _series(case: str, machine: str, protocol: str, points: list[Point], places: Mapping[str, int]) -> Series:
    dates = {point.run: moment(point.started) for point in points}
    order = [places.get(point.commit[:12]) for point in points]
    if None in order:
        points_by_date = sorted(points, key=lambda point: (dates[point.run], point.run))
        return Series(case, machine, protocol, tuple(points_by_date))
    points_by_commit = sorted(points, key=lambda point: (places[point.commit[:12]], dates[point.run], point.run))
    backward = sum(dates[later.run] < dates[earlier.run] for earlier, later in pairwise(points_by_commit))
    return Series(case, machine, protocol, tuple(points_by_commit), True, backward)
