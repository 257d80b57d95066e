"""Memory over one call of a profiled case, with its peak."""

from __future__ import annotations

from collections.abc import Sequence

from convbench.core.scales import BYTES, fitting_unit
from convbench.core.text import digest
from convbench.report.drawing import Drawing, scales
from convbench.report.drawing.style import HUES, MUTED, TEXT, canvas, short_name


def memory_timeline(case: str, points: Sequence[Sequence[float]], peak: float, highest: float) -> Drawing:
    """Draw the bytes alive after each allocation and release: ``points`` are (seconds since the start, bytes).

    ``highest`` is the highest peak among the drawings that are compared, so that all have one scale.
    """
    axes = canvas(height=200, left=58, right=14, top=14, bottom=40)
    factor, unit = fitting_unit(highest, BYTES)
    times, sizes = [1e3 * seconds for seconds, _ in points], [size / factor for _, size in points]
    axes.step(times, sizes, where="post", color=HUES[0], linewidth=1.2)
    axes.axhline(peak / factor, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(0, 1.15 * highest / factor)
    axes.set_xlim(0, max(times) or 1.0)
    axes.text(0.01, 1.02 * peak / factor, f"peak {scales.label(peak, 'B', 3)}", transform=axes.get_yaxis_transform(),
              va="bottom", fontsize=9, color=TEXT)  # fmt: skip
    axes.set_xlabel("ms since the call began (profiled)", fontsize=9)
    axes.set_ylabel(f"{unit} alive · lower is better", fontsize=9)
    return Drawing(
        name=f"memory-{digest(case)}",
        title=f"Memory of {short_name(case, 70)}",
        caption=(
            "How to read this: bytes of tensors alive after each allocation and release of one call. It starts with "
            "the memory held between calls (weights, inputs, the optimizer's state). Profiled calls take longer."
        ),
        figure=axes.figure,
    )
