"""How results show themselves in a notebook or a terminal: in units that fit, as an HTML table of names and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


def scale(value: float, units: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """The largest of these units that leaves at least 1 of the value, or the smallest."""
    return next((unit for unit in units if value >= unit[0]), units[-1])


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """A caption and a row for each name with its value; everything is escaped."""
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in rows
    )
    return f'<table><caption style="text-align:left">{escape(title)}</caption>{cells}</table>'
