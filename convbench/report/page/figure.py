"""A drawing as the templates need it: its SVG, its words, and what the page's script needs to redraw it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from convbench.report.drawing import Drawing, MetricAxes
from convbench.report.page import svg


def figure(drawing: Drawing, prefix: str, known: Sequence[str] = ()) -> dict[str, Any]:
    """Return a drawing's values for the templates; ``prefix`` makes its ids unique.

    Sentences of ``known`` stand elsewhere on the page, so they are left out of the caption, which files have whole.
    """
    name = re.sub(r"\W", "-", prefix)
    return {
        "id": name,
        "title": drawing.title,
        "caption": _caption(drawing.caption, known),
        "width": math.ceil(72 * drawing.figure.get_figwidth()),
        "svg": Markup(svg.inline(drawing, name)),
        "spec": {
            "axes": _spec(drawing.axes) if drawing.axes else None,
            "marks": drawing.marks,
            "scale": {axis: (metric.option, low, high) for axis, (metric, low, high) in drawing.scale.items()},
        },
        "choices": _choices(drawing.axes),
    }


def _caption(caption: str, known: Sequence[str] = ()) -> str:
    """Return the caption without ``How to read this``, which is the heading above it."""
    for sentence in filter(None, known):
        caption = caption.replace(sentence, "").strip()
    before, _, after = caption.rpartition("How to read this: ")
    return f"{before}{after[:1].upper()}{after[1:]}"


def _spec(axes: MetricAxes) -> dict[str, Any]:
    """Return the names of an interactive drawing's metrics, whose titles are in the page's data."""
    x, y, xs, ys = axes
    return {"x": x.option, "y": y.option, "xs": [m.option for m in xs], "ys": [m.option for m in ys]}


def _choices(axes: MetricAxes | None) -> list[dict[str, Any]]:
    if not axes:
        return []
    rows = (("y", "Vertical", axes.y, axes.ys), ("x", "Across", axes.x, axes.xs))
    return [
        {
            "axis": axis,
            "label": label,
            "chosen": choice.option,
            "columns": [(metric.option, metric.title) for metric in choices],
        }
        for axis, label, choice, choices in rows
        if len(choices) > 1
    ]
