"""A drawing as the templates want it: its SVG, its words, and what the page's script needs to draw it anew."""

from __future__ import annotations

import math
import re
from typing import Any

from markupsafe import Markup

from convbench.report.drawing import Axes, Drawing
from convbench.report.page import svg


def figure(drawing: Drawing, prefix: str) -> dict[str, Any]:
    """A drawing as the templates want it; ``prefix`` makes its ids its own."""
    name = re.sub(r"\W", "-", prefix)
    return {
        "id": name,
        "title": drawing.title,
        "caption": _caption(drawing.caption),
        "width": math.ceil(72 * drawing.figure.get_figwidth()),
        "svg": Markup(svg.inline(drawing, name)),
        "spec": {
            "axes": _spec(drawing.axes) if drawing.axes else None,
            "marks": drawing.marks,
            "scale": {axis: (metric.option, low, high) for axis, (metric, low, high) in drawing.scale.items()},
        },
        "choices": _choices(drawing.axes),
    }


def _caption(caption: str) -> str:
    """The caption under the head that says how to read it, which it need not say again."""
    before, _, after = caption.rpartition("How to read this: ")
    return f"{before}{after[:1].upper()}{after[1:]}"


def _spec(axes: Axes) -> dict[str, Any]:
    """The names of an interactive drawing's metrics, whose words are in the page's data."""
    x, y, xs, ys = axes
    return {"x": x.option, "y": y.option, "xs": [m.option for m in xs], "ys": [m.option for m in ys]}


def _choices(axes: Axes | None) -> list[dict[str, Any]]:
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
