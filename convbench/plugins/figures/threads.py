"""How many threads to use: the speed-up of more threads over the fewest, by reducer."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from convbench.analysis.costs.gains import ThreadGain, thread_gains
from convbench.analysis.costs.headlines import withheld_results
from convbench.analysis.results import Result
from convbench.core.grouping import grouped
from convbench.core.registry import figures
from convbench.core.text import counted
from convbench.report.drawing import Drawing, ratios


@figures.register("threads")
def threads(results: Sequence[Result]) -> Iterator[Drawing]:
    """The speed-up of each number of threads over the fewest measured, one row per reducer."""
    gains = thread_gains(results)
    ends = ratios.ends(gain.speedup for gain in gains)
    sorted_gains = sorted(gains, key=lambda gain: (gain.threads, gain.result.series))
    panels = grouped(sorted_gains, lambda gain: (gain.threads, gain.fewest, gain.result.case.scenario))
    for panel, members in panels.items():
        yield _draw(panel, members, ends, results)


def _draw(
    panel: tuple[int, int, str], gains: Sequence[ThreadGain], ends: tuple[float, float], results: Sequence[Result]
) -> Drawing:
    count, fewest, scenario = panel
    rows = grouped(gains, lambda gain: gain.result.series)
    speedups = {name: [gain.speedup for gain in members] for name, members in rows.items()}
    median = statistics.median(gain.speedup.median for gain in gains)
    axes = ratios.draw(speedups, ends, median, f"Speed-up over {fewest} · higher is better")
    withheld_cases = [result for result in withheld_results(results) if result.case.scenario == scenario]
    missing_count = sum(result.group.threads in (count, fewest) for result in withheld_cases)
    cases = counted(missing_count, "case was", "cases were")
    note = f" {cases} never measured undisturbed and left out." if missing_count else ""
    return Drawing(
        name=f"threads-{count}-{scenario}",
        title=f"{count} threads over {fewest}, {scenario}",
        caption=(
            f"How to read this: right of 1×, {count} threads are faster than {fewest}; left of it, slower. An operator "
            "is split among the threads and waits for the last: if operators are short, or wait for memory, that costs "
            "more than it saves. Bars are 95 % intervals of the ratio of visits in the same "
            f"rounds; the dotted line is the median, {median:.3g}×.{ratios.BAND}{note}"
        ),
        figure=axes.figure,
        marks=ratios.marks(([gain.result for gain in members] for members in rows.values()), results),
    )
