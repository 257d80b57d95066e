"""Write each figure of a run to a file, for a paper."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from convbench.analysis.results import results as results_of
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record, RunDescription
from convbench.core.registry import figures
from convbench.core.system import files
from convbench.core.text import file_stem
from convbench.report.drawing import Drawing, drawings
from convbench.report.drawing.style import add_legend, distinguish, save

FORMATS = ("png", "svg", "pdf")
DPI = 200


def write(run: RunDescription, records: Sequence[Record], directory: Path, format: str) -> list[Path]:
    """Write every figure as ``<name>.<format>`` to the directory, with its legend, and return the paths.

    Raises ConvbenchError for a format other than png, svg and pdf, StoreError if a file cannot be written.
    """
    if format not in FORMATS:
        raise ConvbenchError(f"unknown figure format {format!r}; known: {', '.join(FORMATS)}")
    results = results_of(records)
    stem, paths = file_stem(run.name), list[Path]()
    with distinguish(result.series for result in results):
        for drawing in chain.from_iterable(drawings(plugin, results) for plugin in figures):
            name = "-".join(filter(None, (stem, re.sub(r"[^\w.-]+", "-", drawing.name))))  # a name may have cuda:1
            names = (name, *(f"{name}-{number}" for number in range(2, len(paths) + 2)))  # two figures may share a name
            path = next(path for name in names if (path := directory / f"{name}.{format}") not in paths)
            paths.append(_write(drawing, path, format))
    return paths


def _write(drawing: Drawing, path: Path, format: str) -> Path:
    add_legend(drawing.figure, drawing.series)
    buffer = io.BytesIO()
    save(drawing.figure, buffer, format, bbox_inches="tight", dpi=DPI)
    return files.write(path, buffer.getvalue())
