"""The report that people read: one file, opened from disk with no network, in light, dark and print."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from convbench.analysis.results import Result, costs, results
from convbench.core import files
from convbench.core.record import Record, Run
from convbench.core.registry import figures
from convbench.report.drawing import Axes, Drawing
from convbench.report.drawing.style import AREA, HUES, WEIGHT, look, marker_path
from convbench.report.page import profile_section, svg
from convbench.report.page.budget import budget
from convbench.report.page.payload import payload
from convbench.report.page.view import view

SCRIPTS = (
    "data", "scales", "filters", "limits", "marks", "panels", "chart", "pointer", "visits", "pin", "table", "export",
    "plain", "link", "main",
)  # fmt: skip


def write(run: Run, records: Sequence[Record], path: Path) -> Path:
    """Write the report of a run; the same records give the same bytes. Raises StoreError where it cannot be written."""
    found = results(records)
    data = payload(run, costs(found)) | {"budget": budget(found)}
    tried = [one for one in found if one.case.trial]
    seen = {**view(run, found), **_figures(found), **_profiles(path.parent)}
    text = render("run.html", data, **seen, looks=looks(costs(found)), quality_looks=looks(tried))
    return put(path, text)


def render(template: str, data: dict[str, Any], **values: Any) -> str:
    """A template filled, with the style, the script and the policy that allows this very script and nothing else."""
    source = script()
    policy = (
        f"default-src 'none'; script-src 'sha256-{_digest(source)}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template(template)
    style = Markup(_asset("style.css"))
    return page.render(data=data, packed=_packed(data), policy=policy, script=Markup(source), style=style, **values)


def _packed(data: dict[str, Any]) -> str:
    """Large data deflated, which the script inflates; empty where the data is small enough to stand as it is."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode() if len(text) > LARGE else ""


def put(path: Path, text: str) -> Path:
    """Write a page whole. Raises StoreError."""
    return files.write(path, text)


LARGE = 100_000
"""Characters of data from which on they are deflated."""

ORDER = (
    "reducers", "curve", "machine",
    "quality-by-size", "quality-cost", "quality-probe", "by-size", "trade-off", "stages", "memory-by-kind", "variants",
)  # fmt: skip
"""The figures that the template places; others follow in sections of their own."""


@cache
def script() -> str:
    """The page's whole script: small files, one scope."""
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'(async () => {{\n"use strict";\n{parts}\n}})();'


def _figures(found: Sequence[Result]) -> dict[str, Any]:
    """The drawings in the page's order, each plug-in's own under its name."""
    order = {name: place for place, name in enumerate(ORDER)}
    shown: dict[str, list[dict[str, Any]]] = {}
    for plugin in sorted(figures, key=lambda one: (order.get(one.name, len(order)), one.name)):
        drawings = _chosen(plugin.build(found))
        shown[plugin.name] = [figure(one, f"{plugin.name}{number}") for number, one in enumerate(drawings)]
    return {"figures": shown, "known": list(order)}


def _profiles(directory: Path) -> dict[str, Any]:
    """The profiles that lie beside the run, none where there are none."""
    found = profile_section.read(directory)
    drawings = profile_section.timelines(found)
    timelines = [figure(one, f"timeline{number}") for number, one in enumerate(drawings)]
    return {"profiles": profile_section.groups(found), "timelines": timelines}


def _chosen(drawings: Any) -> list[Drawing]:
    """The first interactive drawing and every other kind; further ones are the same chart with other axes."""
    chosen: list[Drawing] = []
    for one in drawings:
        chosen.append(one)
        if one.axes:
            break
    return chosen


def figure(one: Drawing, prefix: str) -> dict[str, Any]:
    """A drawing as the templates want it; ``prefix`` makes its ids its own."""
    return {
        "id": re.sub(r"\W", "-", prefix),
        "title": one.title,
        "caption": _read(one.caption),
        "svg": Markup(svg.inline(one, re.sub(r"\W", "-", prefix))),
        "spec": {
            "axes": _spec(one.axes) if one.axes else None,
            "marks": one.marks,
            "scale": {axis: (metric.option, low, high) for axis, (metric, low, high) in one.scale.items()},
        },
        "choices": _choices(one.axes),
    }


def _read(caption: str) -> str:
    """The caption under the head that says how to read it."""
    text = caption.removeprefix("How to read this: ")
    return f"{text[:1].upper()}{text[1:]}"


def _spec(axes: Axes) -> dict[str, Any]:
    """The names of an interactive drawing's metrics, whose words are in the page's data."""
    x, y, xs, ys = axes
    return {"x": x.option, "y": y.option, "xs": [one.option for one in xs], "ys": [one.option for one in ys]}


def _choices(axes: Axes | None) -> list[dict[str, Any]]:
    if not axes:
        return []
    both = (("y", "Vertical", axes.y, axes.ys), ("x", "Across", axes.x, axes.xs))
    return [
        {"axis": axis, "label": label, "chosen": chosen.option, "columns": [(one.option, one.title) for one in shown]}
        for axis, label, chosen, shown in both
        if len(shown) > 1
    ]


def looks(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Colour and shape of every reducer, for the legend that is also the filter."""
    made = []
    for name in sorted({one.series for one in found}):
        colour, marker = look(name)
        shape = marker_path(marker, AREA * WEIGHT.get(marker, 1.0))
        made.append({"name": name, "hue": HUES.index(colour), "shape": shape})
    return made


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("convbench.report.page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    return made


@cache
def _asset(name: str) -> str:
    return (resources.files("convbench.report.page") / "assets" / name).read_text("utf-8")


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
