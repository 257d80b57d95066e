"""Show results in a notebook, as an HTML table of names and values."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a table with a caption, and a row for each name with its value; everything is escaped."""
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td>{escape(str(value))}</td></tr>' for name, value in rows
    )
    return f'<table><caption style="text-align:left">{escape(title)}</caption>{cells}</table>'
