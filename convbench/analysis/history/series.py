"""Order the numbers of a case: one series for each machine and protocol, across which only constants are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from convbench.core.errors import ConvbenchError
from convbench.core.storage.index import RunEntry, ValueRow

UNDATED = datetime.min.replace(tzinfo=UTC)


class RunValue(NamedTuple):
    """One run's number in base units; ``reference`` is the time of the reference workload beside it, in seconds.

    ``run`` is the run's directory; ``commit`` has 12 digits, or is empty if it is unknown.
    """

    run: str
    started: str
    commit: str
    dirty: bool
    value: float
    reference: float | None = None

    @property
    def day(self) -> str:
        """The run's day in UTC, such as ``2026-11-29``, or ``no date``."""
        return minute(self.started)[:10] or "no date"


@dataclass(frozen=True)
class Series:
    """The points of a case on one machine (a fingerprint) by one protocol (a digest), in order.

    Machine and protocol are empty for a metric that is the same on all. ``backward`` counts the points that are dated
    before their predecessor, as may happen if points are ordered by commit.
    """

    case: str
    machine: str
    protocol: str
    points: tuple[RunValue, ...]
    backward: int = 0


def moment(start: str) -> datetime:
    """Return when a run began; the beginning of time if it does not say."""
    try:
        time = datetime.fromisoformat(start)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return UNDATED


def require_date(since: str) -> None:
    """Raise ConvbenchError if a text is given and is no date."""
    if since and moment(since) == UNDATED:
        raise ConvbenchError(f"--since {since!r} is not a date, such as 2026-11-01")


def minute(start: str) -> str:
    """Return the time to the minute in UTC, such as ``2026-11-29 14:03``; empty without a time."""
    time = moment(start)
    return f"{time:%Y-%m-%d %H:%M}" if time > UNDATED else ""


def series(
    rows: Iterable[ValueRow], entries: Mapping[int, RunEntry], line: Sequence[str] = (), *, anywhere: bool = False
) -> list[Series]:
    """Build all series of a metric, ordered by case. ``line`` holds the commits of this repository, oldest first.

    A metric that is the same ``anywhere`` has one series per case, without machine and protocol. Points are ordered by
    commit if all of their commits are in the line, else by date.
    """
    points_by_key: dict[tuple[str, str, str], list[RunValue]] = {}
    for run, case, machine, protocol, value, reference in rows:
        entry = entries[run]
        point = RunValue(entry.path, entry.started, entry.commit, entry.dirty, value, reference)
        points_by_key.setdefault((case, *(("", "") if anywhere else (machine, protocol))), []).append(point)
    places = {commit[:12]: place for place, commit in enumerate(line)}
    return [_series(*key, points, places) for key, points in sorted(points_by_key.items())]


def _series(case: str, machine: str, protocol: str, points: list[RunValue], places: Mapping[str, int]) -> Series:
    dates = {point.run: moment(point.started) for point in points}
    order = [places.get(point.commit) for point in points]
    if None in order:
        points_by_date = sorted(points, key=lambda point: (dates[point.run], point.run))
        return Series(case, machine, protocol, tuple(points_by_date))
    points_by_commit = sorted(points, key=lambda point: (places[point.commit], dates[point.run], point.run))
    backward = sum(dates[later.run] < dates[earlier.run] for earlier, later in pairwise(points_by_commit))
    return Series(case, machine, protocol, tuple(points_by_commit), backward)
