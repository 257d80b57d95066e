"""How fast the machine was during the run: the reference workload over time, with disturbed visits marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from statistics import median
from typing import NamedTuple

from convbench.analysis.results import Result, measured_results
from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.record import Record
from convbench.core.registry import figures
from convbench.core.text import counted
from convbench.core.visits import SLOW_MACHINE, at_better_moments, scope
from convbench.report.drawing import Drawing, log_axes
from convbench.report.drawing.style import HUES, MUTED, TEXT, canvas

LEAST = 3
"""Minimum number of moments for a drawing."""
UNITS = ((86_400.0, "Days"), (3_600.0, "Hours"), (60.0, "Minutes"), (1.0, "Seconds"))
"""Units of the time axis in seconds: the first of which the run took more than two."""


class ReferenceRun(NamedTuple):
    """A run of the reference workload: when (POSIX seconds), its time over that of better moments, if disturbed."""

    time: float
    ratio: float
    is_disturbed: bool


@figures.register("machine")
def machine(results: Sequence[Result]) -> Iterator[Drawing]:
    """The reference workload over time; nothing if it was timed beside too few cases."""
    moments = sorted(_moments(result.record for result in measured_results(results)))
    if len(moments) >= LEAST:
        yield _draw(moments)


def _moments(records: Iterable[Record]) -> Iterator[ReferenceRun]:
    """Yield a moment for each visit of a record; for a record without visits, the one at which it was measured."""
    for members in grouped(records, scope).values():
        references = [reference for record in members for reference in _references(record)]
        level = at_better_moments(seconds for _, seconds, _ in references)
        yield from (ReferenceRun(time, seconds / level, is_disturbed) for time, seconds, is_disturbed in references)


def _references(record: Record) -> Iterator[tuple[float, float, bool]]:
    """Yield the time of each visit, its seconds of the reference workload, and whether it was disturbed."""
    reading = record.reading(metrics.REFERENCE)
    if reading is None:
        return
    starts = [(visit.started, not visit.is_sound) for visit in record.visits] or [(record.started, False)]
    for samples, (start, is_disturbed) in zip(reading.by_visit(), starts, strict=False):
        time = _seconds(start)
        if samples and time is not None and median(samples) > 0:
            yield time, median(samples), is_disturbed


def _seconds(start: str) -> float | None:
    try:
        return datetime.fromisoformat(start).timestamp()
    except ValueError:
        return None


def _draw(moments: Sequence[ReferenceRun]) -> Drawing:
    seconds = moments[-1].time - moments[0].time
    divisor, unit = next((size, name) for size, name in UNITS if seconds > 2 * size or size == 1.0)
    times = [(moment.time - moments[0].time) / divisor for moment in moments]
    ratios = [moment.ratio for moment in moments]
    axes = canvas(height=150, top=24, left=44, width=380)
    axes.set_xlim(-0.02 * max(times[-1], 1.0), 1.02 * max(times[-1], 1.0))
    log_axes.log_axis(axes, "y", log_axes.limits([*ratios, 1.0, SLOW_MACHINE]), "×")
    axes.axhline(SLOW_MACHINE, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    flags = [moment.is_disturbed or ratio > SLOW_MACHINE for moment, ratio in zip(moments, ratios, strict=True)]
    for is_disturbed, colour, marker, gid in ((False, HUES[0], "o", "quiet-0"), (True, HUES[6], "x", "disturbed-0")):
        places = [(x, y) for x, y, flag in zip(times, ratios, flags, strict=True) if flag is is_disturbed]
        if places:
            xs, ys = zip(*places, strict=True)
            axes.scatter(xs, ys, s=14, marker=marker, color=colour, zorder=3, gid=gid)
    axes.tick_params(length=0)
    axes.set_xlabel(f"{unit} since the first visit", color=TEXT)
    axes.set_title("Slowdown of a fixed workload · lower is better", loc="left", fontsize=10, color=TEXT)
    count = f"{sum(flags):,} of {counted(len(flags), 'visit')} disturbed" if sum(flags) else "no visit disturbed"
    return Drawing(
        name="machine",
        title=f"The machine during the run: {count}",
        caption=(
            "How to read this: each mark is the time of a fixed workload, the reference workload, in a visit; 1× "
            "is the machine at its better moments. Crosses are disturbed visits: other processes had the core, or the "
            f"workload took over {SLOW_MACHINE:g}× as long."
        ),
        figure=axes.figure,
    )
