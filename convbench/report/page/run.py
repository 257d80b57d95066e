"""The report for readers: one file, opened from disk without a network, in light, dark and print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convbench.analysis.results import Result, costs, measured_results
from convbench.analysis.results import results as results_of
from convbench.core import installed
from convbench.core.record import Record, RunDescription
from convbench.core.registry import figures
from convbench.core.system import files
from convbench.report.drawing import Drawing, drawings
from convbench.report.drawing.style import distinguish
from convbench.report.page import profile_section
from convbench.report.page.budget import budget
from convbench.report.page.figure import figure
from convbench.report.page.payload import looks, payload
from convbench.report.page.template import render
from convbench.report.page.view import view

ORDER = (
    "reducers", "runtimes", "curve", "machine",
    "quality-by-size", "quality-cost", "quality-probe", "by-size", "trade-off", "stages", "memory-by-kind", "variants",
)  # fmt: skip
"""Figures that the template places, in order; others follow in sections of their own."""


def write(
    run: RunDescription,
    records: Sequence[Record],
    path: Path,
    directory: Path | None = None,
    remedy: str = files.ELSEWHERE,
) -> Path:
    """Write the report of a run; the same records give the same bytes.

    ``directory`` is the run's, which holds its profiles; without it they are looked for beside the page. Raises
    StoreError, whose message ends with ``remedy``, if the page cannot be written.
    """
    results = results_of(records)
    is_elsewhere = directory is not None and directory.resolve() != path.parent.resolve()
    with distinguish(result.series for result in results):
        data = payload(run, costs(results)) | {"budget": budget(results), "elsewhere": is_elsewhere}
        trials = [result for result in results if result.case.trial]
        values = view(run, results)
        values |= _figures(results, values["sentences"]) | _profiles(directory or path.parent)
        legend = {result.series for result in measured_results(costs(results))}
        text = render(
            "run.html", data, **values, looks=looks(costs(results)), legend=legend, quality_looks=looks(trials)
        )
    return files.write(path, text, remedy)


def _figures(results: Sequence[Result], sentences: Sequence[str]) -> dict[str, Any]:
    """Return the drawings in the page's order, by figure plug-in, and sentences about plug-ins that failed to load.

    ``sentences`` are the page's answer: no caption repeats them.
    """
    order = {name: place for place, name in enumerate(ORDER)}
    entries: dict[str, list[dict[str, Any]]] = {}
    for plugin in sorted(figures, key=lambda plugin: (order.get(plugin.name, len(order)), plugin.name)):
        choices = _page_drawings(drawings(plugin, results))
        entries[plugin.name] = [
            figure(drawing, f"{plugin.name}{number}", sentences) for number, drawing in enumerate(choices)
        ]
    missing = [plugins.sentence for plugins in installed.missing_plugins()]
    return {"figures": entries, "known": list(order), "missing": missing}


def _profiles(directory: Path) -> dict[str, Any]:
    """Return the tables and timelines of the profiles in the run's directory, empty without profiles."""
    profiles = profile_section.read(directory)
    drawings = profile_section.timelines(profiles)
    timelines = [figure(drawing, f"timeline{number}") for number, drawing in enumerate(drawings)]
    return {"profiles": profile_section.groups(profiles), "timelines": timelines}


def _page_drawings(drawings: Iterable[Drawing]) -> list[Drawing]:
    """Return the drawings up to the first interactive one; further ones are the same chart with other axes."""
    choices: list[Drawing] = []
    for drawing in drawings:
        choices.append(drawing)
        if drawing.axes:
            break
    return choices
