"""What the variants gain: the speed-up of each over eager, reducer by reducer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from convbench.analysis.gains import Gain, VariantGain, by_variant, gains
from convbench.analysis.results import Result
from convbench.figures import Drawing, scales
from convbench.figures.style import AREA, MUTED, TEXT, WEIGHT, canvas, look, short
from convbench.registry import figures

PANELS = 6
FEW = 12
"""Up to this many cases a reducer has each of them drawn; above it their median and their extremes are."""

Mark = tuple[float, float, float]


@figures.register("variants")
def variants(found: Sequence[Result]) -> Iterator[Drawing]:
    """The speed-up of each variant over eager, a row per reducer."""
    index = {id(one): number for number, one in enumerate(found)}
    panels = by_variant(gains(found))[:PANELS]
    ends = scales.limits([1.0, *(end for panel in panels for end in _ends(panel))])
    for panel in panels:
        yield _draw(panel, ends, index)


def _ends(panel: VariantGain) -> list[float]:
    return [end for gain in panel.gains for end in gain.speedup if math.isfinite(end)]


def _draw(panel: VariantGain, ends: tuple[float, float], index: Mapping[int, int]) -> Drawing:
    rows: dict[str, list[Gain]] = defaultdict(list)
    for gain in panel.gains:
        rows[gain.result.series].append(gain)
    names = sorted(rows)
    axes = canvas(height=62 + 20 * len(names), left=128, right=14, top=14, bottom=42)
    axes.set_ylim(len(names) - 0.5, -0.5)
    scales.log_axis(axes, "x", ends, "×")
    axes.axvline(1, color=TEXT, linewidth=1)
    axes.axvline(panel.speedup.median, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    drawn = {}
    for row, name in enumerate(names):
        colour, marker = look(name)
        shown = _marks(rows[name])
        for low, _, high in shown:
            axes.plot([low, high], [row, row], color=colour, linewidth=1.4, alpha=0.7, solid_capstyle="butt")
        axes.scatter([middle for _, middle, _ in shown], [row] * len(shown), s=AREA * WEIGHT.get(marker, 1.0),
                     marker=marker, color=colour, zorder=3, gid=f"marks-{row}")  # fmt: skip
        if len(rows[name]) <= FEW:
            drawn[f"marks-{row}"] = [index[id(gain.result)] for gain in rows[name]]
    axes.set_yticks(range(len(names)), [short(name, 22) for name in names], fontsize=9)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Speed-up over eager · higher is better")
    return Drawing(
        name=f"variant-{_stem(panel)}",
        title=f"{short(panel.variant)} over eager, {panel.scenario}, {panel.device}",
        caption=(
            "How to read this: right of 1× the variant is faster than eager. Bars are 95 % intervals of the ratio "
            f"(above {FEW} cases a reducer: their extremes); the dotted line is the median over all models, "
            f"{panel.speedup.median:.3g}×."
        ),
        figure=axes.figure,  # type: ignore[arg-type]
        marks=drawn,
    )


def _marks(several: Sequence[Gain]) -> list[Mark]:
    """What a row shows as (low, middle, high): its cases, or their median between their extremes."""
    if len(several) > FEW:
        ordered = sorted(gain.speedup.median for gain in several)
        return [(ordered[0], ordered[len(ordered) // 2], ordered[-1])]
    return [
        (g.speedup.low, g.speedup.median, g.speedup.high) if g.speedup.bounded else (g.speedup.median,) * 3
        for g in several
    ]


def _stem(panel: VariantGain) -> str:
    name = f"{panel.variant}-{panel.scenario}-{panel.device}"
    return "".join(char if char.isalnum() else "-" for char in name)[:80]
