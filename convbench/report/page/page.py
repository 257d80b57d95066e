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

from convbench.analysis.results import Result, costs
from convbench.analysis.results import results as results_of
from convbench.core import files
from convbench.core.record import Record, Run
from convbench.core.registry import figures
from convbench.report.drawing import Axes, Drawing
from convbench.report.page import profile_section, svg
from convbench.report.page.budget import budget
from convbench.report.page.payload import look_of, payload
from convbench.report.page.view import view

SCRIPTS = (
    "data", "scales", "filters", "limits", "marks", "panels", "chart", "pointer", "visits", "pin", "table", "export",
    "plain", "link", "main",
)  # fmt: skip


def write(run: Run, records: Sequence[Record], path: Path) -> Path:
    """Write the report of a run; the same records give the same bytes. Raises StoreError where it cannot be written."""
    results = results_of(records)
    data = payload(run, costs(results)) | {"budget": budget(results)}
    tried = [result for result in results if result.case.trial]
    values = {**view(run, results), **_figures(results), **_profiles(path.parent)}
    text = render("run.html", data, **values, looks=looks(costs(results)), quality_looks=looks(tried))
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
    "reducers", "runtimes", "curve", "machine",
    "quality-by-size", "quality-cost", "quality-probe", "by-size", "trade-off", "stages", "memory-by-kind", "variants",
)  # fmt: skip
"""The figures that the template places; others follow in sections of their own."""


@cache
def script() -> str:
    """The page's whole script: small files, one scope."""
    parts = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    return f'(async () => {{\n"use strict";\n{parts}\n}})();'


def _figures(results: Sequence[Result]) -> dict[str, Any]:
    """The drawings in the page's order, each plug-in's own under its name."""
    order = {name: place for place, name in enumerate(ORDER)}
    shown: dict[str, list[dict[str, Any]]] = {}
    for plugin in sorted(figures, key=lambda plugin: (order.get(plugin.name, len(order)), plugin.name)):
        drawings = _chosen(plugin.build(results))
        shown[plugin.name] = [figure(drawing, f"{plugin.name}{number}") for number, drawing in enumerate(drawings)]
    return {"figures": shown, "known": list(order)}


def _profiles(directory: Path) -> dict[str, Any]:
    """The profiles that lie beside the run, none where there are none."""
    profiles = profile_section.read(directory)
    drawings = profile_section.timelines(profiles)
    timelines = [figure(drawing, f"timeline{number}") for number, drawing in enumerate(drawings)]
    return {"profiles": profile_section.groups(profiles), "timelines": timelines}


def _chosen(drawings: Any) -> list[Drawing]:
    """The first interactive drawing and every other kind; further ones are the same chart with other axes."""
    chosen: list[Drawing] = []
    for drawing in drawings:
        chosen.append(drawing)
        if drawing.axes:
            break
    return chosen


def figure(drawing: Drawing, prefix: str) -> dict[str, Any]:
    """A drawing as the templates want it; ``prefix`` makes its ids its own."""
    return {
        "id": re.sub(r"\W", "-", prefix),
        "title": drawing.title,
        "caption": _read(drawing.caption),
        "svg": Markup(svg.inline(drawing, re.sub(r"\W", "-", prefix))),
        "spec": {
            "axes": _spec(drawing.axes) if drawing.axes else None,
            "marks": drawing.marks,
            "scale": {axis: (metric.option, low, high) for axis, (metric, low, high) in drawing.scale.items()},
        },
        "choices": _choices(drawing.axes),
    }


def _read(caption: str) -> str:
    """The caption under the head that says how to read it."""
    text = caption.removeprefix("How to read this: ")
    return f"{text[:1].upper()}{text[1:]}"


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
            "chosen": chosen.option,
            "columns": [(metric.option, metric.title) for metric in shown],
        }
        for axis, label, chosen, shown in rows
        if len(shown) > 1
    ]


def looks(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Colour and shape of every reducer, for the legend that is also the filter."""
    return [look_of(name) for name in sorted({result.series for result in results})]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("convbench.report.page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":"), "allow_nan": False}
    return environment


@cache
def _asset(name: str) -> str:
    return (resources.files("convbench.report.page") / "assets" / name).read_text("utf-8")


def _digest(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
