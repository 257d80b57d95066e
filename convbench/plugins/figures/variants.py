"""What the variants gain: the speed-up of each over eager, by reducer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convbench.analysis.costs.gains import VariantGain, by_variant, gains
from convbench.analysis.results import Result
from convbench.core.grouping import grouped
from convbench.core.registry import figures
from convbench.report.drawing import Drawing, ratios
from convbench.report.drawing.style import short_name
from convbench.report.words.names import places
from convbench.report.words.numbers import gained

PANELS = 6


@figures.register("variants")
def variants(results: Sequence[Result]) -> Iterator[Drawing]:
    """The speed-up of each variant over eager, one row per reducer."""
    panels = by_variant(gains(results))[:PANELS]
    ends = ratios.ends(gain.speedup for panel in panels for gain in panel.gains)
    place_names = places([panel.group for panel in panels])
    for panel, place in zip(panels, place_names, strict=True):
        yield _draw(panel, place, ends, results)


def _draw(panel: VariantGain, place: str, ends: tuple[float, float], results: Sequence[Result]) -> Drawing:
    sorted_gains = sorted(panel.gains, key=lambda gain: gain.result.series)
    rows = grouped(sorted_gains, lambda gain: gain.result.series)
    speedups = {name: [gain.speedup for gain in members] for name, members in rows.items()}
    axes = ratios.draw(speedups, ends, panel.speedup.median, "Speed-up over eager · higher is better")
    return Drawing(
        name=f"variant-{_stem(panel, place)}",
        title=f"{short_name(panel.variant)} over eager, {place}",
        caption=(
            "How to read this: right of 1× the variant is faster than eager. Bars are 95 % intervals of the ratio "
            f"(above {ratios.FEW} cases per reducer: their extremes); the dotted line is the median over all models, "
            f"{gained(panel)[0]}.{ratios.BAND}"
        ),
        figure=axes.figure,
        marks=ratios.marks(([gain.result for gain in members] for members in rows.values()), results),
    )


def _stem(panel: VariantGain, place: str) -> str:
    name = f"{panel.variant[:60]}-{place.replace(', ', '-')}"
    return "".join(char if char.isalnum() else "-" for char in name)[:120]
