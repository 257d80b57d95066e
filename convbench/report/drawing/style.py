"""The common style of figures: one size, calm axes, and a fixed colour and marker per reducer.

Each role has a unique colour, so that the page can replace it by one that follows light and dark.
"""

from __future__ import annotations

import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Affine2D

from convbench.core.text import cut_name, one_line

TEXT, MUTED, GRID, PAPER = "#1c2128", "#5b6472", "#e2e6eb", "#fefefe"
ACCENT = "#8a2be3"
HUES = (
    "#0f5a87", "#a55a00", "#3c8778", "#b469c3", "#969600", "#0096ff", "#961e5a", "#4b1e1e",
    "#2d1ea5", "#4b4b00", "#694bd2", "#5a0069",
)  # fmt: skip
"""Twelve colours, one per built-in reducer, each with a contrast of at least 3 to 1 with white.

All differ also for readers who see no red or no green (searched with simulated vision; the page's dark ones too).
"""

STAGE_HUES = {
    "backbone": "#539bc6", "reducer": "#b56841", "lstm": "#356447", "head": "#a35382", "graphs": "#848ce6",
    "optimizer": "#a28522", "other": "#393b43",
}  # fmt: skip
"""Colours of the stages that stack in a bar: they differ in lightness too, for readers and prints without colour."""

BUILT_IN = {
    "gap": (0, "o"), "fc": (1, "s"), "spatial-softmax": (2, "^"), "attention": (3, "D"), "avg-k": (4, "v"),
    "hybrid": (5, "p"), "flatten": (6, "X"), "gmp": (7, "P"), "gem": (8, "<"), "conv1x1-avg-k": (9, ">"),
    "gdconv": (10, "h"), "random-projection": (11, "*"),
}  # fmt: skip
"""Each has its own colour and marker, so that prints without colour distinguish them too.

A reducer without an entry, built-in ones too, gets a colour and one of the free markers by its name.
"""

AREA = 26.0
"""Area of a marker's box in points squared; ``_WEIGHT`` compensates for the shapes' different coverage of it."""

_WEIGHT = {"*": 2.0, "X": 1.3, "P": 1.3, "p": 1.15, "D": 0.8}
FREE_MARKERS = ("d", "8", "H")

RC: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "convbench", "pdf.fonttype": 42, "font.family": "sans-serif",
    "font.size": 10, "axes.edgecolor": MUTED, "axes.linewidth": 0.8, "text.color": TEXT, "axes.labelcolor": TEXT,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": TEXT, "ytick.labelcolor": TEXT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "text.parse_math": False,
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER, "axes.unicode_minus": False,
}  # fmt: skip


Look = tuple[str, str]
"""A colour and a matplotlib marker."""

_page_looks: ContextVar[Mapping[str, Look]] = ContextVar("_page_looks", default=MappingProxyType({}))


@contextmanager
def distinguish(series: Iterable[str]) -> Iterator[None]:
    """Give these reducers and models different looks while a page is drawn: by name alone, two may look the same.

    A user's own ones move on from their usual colour if another has it, as long as a colour is free, then a look, and
    from their usual marker to the one that the fewest have, so that they differ without colour too.
    """
    names = set(series)
    looks = {name: look(name) for name in names & BUILT_IN.keys()}
    for name in sorted(names - BUILT_IN.keys()):
        colour, marker = usual = look(name)
        start = HUES.index(colour)
        markers = dict.fromkeys((marker, *FREE_MARKERS))
        free = [(hue, shape) for shape in markers for hue in HUES[start:] + HUES[:start]]
        free = [option for option in free if option not in looks.values()]
        colours = {colour for colour, _ in looks.values()}
        candidates = [option for option in free if option[0] not in colours] or free or [usual]
        uses = Counter(shape for _, shape in looks.values())
        fewest = min(uses[shape] for _, shape in candidates)
        looks[name] = next(option for option in candidates if uses[option[1]] == fewest)
    token = _page_looks.set(looks)
    try:
        yield
    finally:
        _page_looks.reset(token)


def look(series: str) -> Look:
    """Return the colour and marker of a reducer by its name: the same in every figure and report for built-in ones.

    A user's own one has its usual look, unless another of the page has it (``distinguish``).
    """
    if series in _page_looks.get():
        return _page_looks.get()[series]
    if series in BUILT_IN:
        hue, marker = BUILT_IN[series]
        return HUES[hue], marker
    number = zlib.crc32(series.encode("utf-8", "replace"))
    return HUES[number % len(HUES)], FREE_MARKERS[number // len(HUES) % len(FREE_MARKERS)]


def marker_area(marker: str) -> float:
    """Return the area of a marker's box in points squared by which it looks as large as the others."""
    return AREA * _WEIGHT.get(marker, 1.0)


def canvas(
    height: float = 360, left: float = 58, right: float = 12, top: float = 26, bottom: float = 42, width: float = 440
) -> Axes:
    """Return axes on a new figure with these margins, in points: 1 point is 1 unit of the SVG."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasAgg(figure)
        return figure.add_axes(
            (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        )


def y_title(axes: Axes, title: str) -> None:
    """Write the title of the y axis above it."""
    axes.annotate(
        title, (0, 1), xycoords="axes fraction", xytext=(-52, 7), textcoords="offset points", fontsize=10, color=TEXT
    )


def stack(heights: Sequence[float]) -> list[Axes]:
    """Return axes with these heights in points, one below the other on a new figure."""
    gap, left, right, top = 34.0, 58.0, 12.0, 24.0
    total_height = top + sum(heights) + gap * (len(heights) - 1) + 42
    panels: list[Axes] = []
    offset = top
    for height in heights:
        bottom = total_height - offset - height
        if panels:
            place = (left / 440, bottom / total_height, (440 - left - right) / 440, height / total_height)
            with mpl.rc_context(RC):
                panels.append(panels[0].figure.add_axes(place))
        else:
            panels.append(canvas(total_height, left, right, offset, bottom))
        offset += height + gap
    return panels


def save(figure: Figure, target: Any, format: str, **options: Any) -> None:
    """Write a figure so that the same figure gives the same bytes; letters missing in the font become boxes."""
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
    with mpl.rc_context(RC), _boxes_for_unknown_letters():
        figure.savefig(target, format=format, metadata=metadata[format], **options)


def add_legend(figure: Figure, series: Iterable[str]) -> None:
    """Add a legend of colours and markers beside the figure; only for files, since the page has its own."""
    handles = []
    for name in series:
        colour, marker = look(name)
        handles.append(
            Line2D([], [], color=colour, marker=marker, linestyle="none", label=short_name(name), markersize=5)
        )
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, labelcolor=TEXT
    )


def marker_path(marker: str) -> str:
    """Return the marker as an SVG path of its ``marker_area``, y downwards, one decimal."""
    shape, width = MarkerStyle(marker), marker_area(marker) ** 0.5
    transform = shape.get_transform() + Affine2D().scale(width, -width)
    outline = shape.get_path().transformed(transform)
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    return "".join(
        "Z" if code == 79 else letters[int(code)] + " ".join(f"{v:.1f}" for v in points)
        for points, code in outline.iter_segments(simplify=False)
    )


def short_name(name: str, length: int = 28) -> str:
    """Return a name that fits a figure: printable, on one line, at most ``length`` characters."""
    return cut_name(one_line(name), length)


WIDEST = 60
"""Greatest number of letters whose width is tried."""
LEFT, FURTHEST_LEFT = 122.0, 250.0
"""Points left of a plot for the names of its rows and the gap to it: the usual and the greatest."""


def left_margin(names: Iterable[str], size: float) -> float:
    """Return the points that names of that font size need left of a plot."""
    widths = [text_width(cut_name(one_line(name), WIDEST), size) + 8 for name in names]
    return min(max([LEFT, *widths]), FURTHEST_LEFT)


def fit(name: str, width: float, size: float) -> str:
    """Return as much of a name as fits a width in points at that font size."""
    line = one_line(name)
    candidates = (cut_name(line, length) for length in range(min(len(line), WIDEST), 1, -1))
    return next((text for text in candidates if text_width(text, size) <= width), line[:1])


@contextmanager
def _boxes_for_unknown_letters() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def text_width(text: str, size: float) -> float:
    """Return the width in points of a text at that font size."""
    with _boxes_for_unknown_letters():
        width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width)
