"""How much of position (where) and of class (what) a linear read-out finds in untrained features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convbench.analysis.quality.controls import LinearProbe, linear_probes
from convbench.analysis.results import Result
from convbench.core.grouping import grouped
from convbench.core.registry import figures
from convbench.report.drawing import MOST_DRAWINGS, Drawing
from convbench.report.drawing.labels import label
from convbench.report.drawing.shares import share_axis
from convbench.report.drawing.style import GRID, canvas, look, marker_area, short_name
from convbench.report.words.names import input_size, labels
from convbench.report.words.quality import over_seeds

LEAST = -0.2
"""Lower values of R² are drawn at this one."""


@figures.register("quality-probe")
def quality_probe(results: Sequence[Result]) -> Iterator[Drawing]:
    """R² of position against accuracy of class, read from untrained features; one drawing per backbone and clip."""
    all_probes = linear_probes([result.record for result in results])
    complete_probes = (probe for probe in all_probes if probe.where and probe.what)
    settings = grouped(complete_probes, lambda probe: (probe.architecture.backbone, probe.clip))
    for number, probes in enumerate(list(settings.values())[:MOST_DRAWINGS]):
        yield _draw(probes, number, len(settings) > 1)


def _draw(probes: Sequence[LinearProbe], number: int, has_siblings: bool) -> Drawing:
    places = [(probe, max(LEAST, over_seeds(probe.where)), over_seeds(probe.what)) for probe in probes]
    low = min(0.0, *(x for _, x, _ in places))
    axes = canvas()
    share_axis(axes, "What: accuracy of the class · higher is better")
    axes.set_xlim(low - 0.02, 1.03)
    axes.set_xticks([tick for tick in (-0.2, 0, 0.25, 0.5, 0.75, 1) if tick >= low - 0.01])
    axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    axes.tick_params(axis="x", length=0, pad=5)
    axes.set_xlabel("Where: R² of the position · higher is better", fontsize=10)
    for probe, x, y in places:
        colour, marker = look(probe.architecture.reducer.name)
        axes.scatter([x], [y], s=1.4 * marker_area(marker), marker=marker, color=colour, zorder=3)
    label(axes, [(x, y) for _, x, y in places], labels([probe.architecture for probe in probes]))
    place = f", {short_name(str(probes[0].architecture.backbone))}, clip {probes[0].clip}" if has_siblings else ""
    note = f" R² below {LEAST} is drawn at {LEAST}." if min(over_seeds(probe.where) for probe in probes) < LEAST else ""
    size = input_size(probe.architecture for probe in probes).title
    return Drawing(
        name=f"quality-probe-{number}",
        title=f"What untrained features keep: where against what{place}",
        caption=(
            f"How to read this: upper right keeps more; the number is the {size}. Linear read-outs measure "
            "what is linearly decodable from an untrained extractor, not what training would reach; with a trained "
            f"backbone the order can change.{note}"
        ),
        figure=axes.figure,
        series=tuple(sorted({probe.architecture.reducer.name for probe in probes})),
    )
