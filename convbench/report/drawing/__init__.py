"""Building blocks of figures (axes, bars, marks, labels, colours), and ``Drawing``, which a figure yields.

The figures themselves are plug-ins (``plugins/figures``). Of a figure's drawings with ``axes`` the page shows the first
and lets its reader choose other axes there; it shows all drawings without. A mark is a point of a scatter with its gid
in ``marks``, which lists the marks in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from convbench.core.metric import Metric
from convbench.core.registry import Plugin

if TYPE_CHECKING:
    from convbench.analysis.results import Result


MOST_DRAWINGS = 4
"""Maximum number of drawings of a figure with one per backbone and clip; the table has the numbers of the others."""


class MetricAxes(NamedTuple):
    """The metrics of an interactive drawing (``LSTM_INPUT`` among them): those shown, and those to choose from."""

    x: Metric
    y: Metric
    xs: tuple[Metric, ...] = ()
    ys: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure with everything that a reader needs beside it.

    ``name`` is a file stem, ``caption`` says how to read the ``figure``, a matplotlib ``Figure`` (untyped, since the
    type of ``axes.figure`` allows for a ``SubFigure``). ``marks`` has the indices of the results behind each scatter by
    its gid, ``series`` the names whose colour and marker a legend must explain. ``scale`` has the metric and the ends
    of an axis (``x`` or ``y``), so that a page can draw a limit on it.
    """

    name: str
    title: str
    caption: str
    figure: Any
    marks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    series: tuple[str, ...] = ()
    axes: MetricAxes | None = None
    scale: Mapping[str, tuple[Metric, float, float]] = field(default_factory=dict)


def drawings(figure: Plugin, results: Sequence[Result]) -> Iterator[Drawing]:
    """Yield a figure's drawings. If a user's figure raises, this is noted and ends them; built-in figures raise."""
    with figure.note_errors("figure"):
        for drawing in figure.build(results):
            if not isinstance(drawing, Drawing):
                raise TypeError(f"it draws {type(drawing).__name__}, not a convbench.report.drawing.Drawing")
            yield drawing
