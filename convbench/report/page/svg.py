"""A matplotlib figure as SVG for the page: small, adapted to light and dark, with ids of its own.

Matplotlib writes a ``<use>`` for every point of a scatter; here each scatter becomes one polyline with a marker at
every vertex, a quarter of the bytes and thousands of elements fewer. The gids of a drawing become ``data-part``
attributes, so that a page may hold any number of figures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import partial
from itertools import groupby

from convbench.report.drawing import Drawing
from convbench.report.drawing.style import ACCENT, GRID, HUES, MUTED, PAPER, STAGE_HUES, TEXT, save

NAMES = {
    TEXT: "text",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    ACCENT: "accent",
    **{hue: f"s{number}" for number, hue in enumerate(HUES)},
    **{hue: stage for stage, hue in STAGE_HUES.items()},
}
"""CSS variables for the colours of the figures; without styles the colour itself applies."""

_GIDS = r"(?:[xy]axis|[xy]label|crossover(?:-label)?|front|rings|[a-z]+-\d+)"
_TAG = re.compile(r"<[^>]+>")
"""Tags, as opposed to text: a name may read like a colour."""
_SCATTER = re.compile(
    r'<g data-part="(?P<part>[\w-]+)">\s*(?:<defs>\s*<path id="\w+" d="[^"]+"[^>]*/>\s*</defs>\s*)?'
    r'<g clip-path="(?P<clip>[^"]+)">\s*(?P<uses>(?:<use [^>]*/>\s*)+)</g>\s*</g>'
)
_SHAPE = re.compile(r'<path id="(\w+)" d="([^"]+)"')
_PATH = re.compile(r'<path d="([^"]+)"((?: clip-path="[^"]*")? style="[^"]*")/>')
_TEXT = re.compile(r'<text style="([^"]*)"([^>]*)>([^<]*)</text>')
_USE = re.compile(r'<use xlink:href="#(\w+)" x="([^"]+)" y="([^"]+)" style="([^"]*)"/>')


def inline(drawing: Drawing, prefix: str) -> str:
    """Return the drawing as an ``<svg>`` element; every id in it starts with ``prefix``."""
    buffer = io.BytesIO()
    save(drawing.figure, buffer, "svg")
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r">[^<>]+<", lambda words: words[0].replace('"', "\0"), text)  # a name may read like an attribute
    text = _names(_TAG.sub(lambda tag: re.sub(r"#[0-9a-f]{6}", _variable, tag[0]), _attributes(text)))
    # a shape is defined in the first scatter that uses it; later ones refer to it
    text = _SCATTER.sub(partial(_polyline, dict(_SHAPE.findall(text))), text)
    text = _unwrap(re.sub(r' style="([^"]*)"', _shorten, re.sub(r">\s+<", "><", text)))
    text = re.sub(r'(?<= d=)"[^"]+"', lambda match: re.sub(" ?([A-Za-z]) ?", r"\1", match[0]), text)
    text = re.sub(rf"(?:{_PATH.pattern}){{2,}}", _one_path, text)
    text = re.sub(rf"(?:{_TEXT.pattern}){{2,}}", _one_group, text)
    # viewers of CI artefacts, such as Jenkins', forbid styles: without attributes all would be black
    text = re.sub(r' style="([^"]*)"', lambda style: re.sub(r"([\w-]+):([^;]+);?", r' \1="\2"', style[1]), text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(url\(#|xlink:href="#)', rf"\1{prefix}-", text)
    return text.replace("xlink:href", "href").replace("\0", '"')


def _attributes(text: str) -> str:
    """Drop the styles that the page's CSS sets, and round coordinates to a tenth of a point."""
    text = re.sub(r'<svg [^>]*viewBox="(\S+ \S+ (\S+) [^"]+)"[^>]*>', r'<svg viewBox="\1" width="\2">', text, count=1)
    text = re.sub(r" ?font-family: [^;\"]+;?", "", text)
    text = re.sub(r" ?font: (\S+) [^;\"]+;?", r" font-size: \1;", text)
    text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
    text = re.sub(r'(?<= )(d|x|y|width|height|transform)="([^"]+)"', _round, text)
    return re.sub(r' clip-path="url\(#\w+\)"(?= style="[^"]*stroke: none)', "", text)


def _round(match: re.Match[str]) -> str:
    numbers = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), match[2])
    return f'{match[1]}="{" ".join(numbers.split())}"'


def _variable(colour: re.Match[str]) -> str:
    return f"var(--{NAMES[colour[0]]},{colour[0]})" if colour[0] in NAMES else colour[0]


def _names(text: str) -> str:
    """Turn our gids into ``data-part``, and drop matplotlib's own group names."""
    text = re.sub(rf'<g id="({_GIDS})"', r'<g data-part="\1"', text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return re.sub(r"<g/>|<g>\s*</g>|<defs/>|<defs>\s*</defs>", "", text)


def _polyline(shapes: Mapping[str, str], match: re.Match[str]) -> str:
    """Return one polyline with its own marker if all points of a scatter look the same.

    Otherwise return the points as they are, with a definition of their shape.
    """
    uses = _USE.findall(match["uses"])
    name, shape = f"m{match['part']}", shapes[uses[0][0]]
    if len({style for *_, style in uses}) != 1:
        use_tags = match["uses"].replace(f"#{uses[0][0]}", f"#{name}")
        definition = f'<defs><path id="{name}" d="{shape}"/></defs>'
        return f'<g data-part="{match["part"]}">{definition}<g clip-path="{match["clip"]}">{use_tags}</g></g>'
    places = " ".join(f"{x},{y}" for _, x, y, _ in uses)
    markers = "; ".join(f"marker-{vertex}: url(#{name})" for vertex in ("start", "mid", "end"))
    return (
        f'<marker id="{name}" markerUnits="userSpaceOnUse" overflow="visible"><path d="{shape}" '
        f'style="{uses[0][3]}"/></marker><polyline data-part="{match["part"]}" class="marks" points="{places}" '
        f'clip-path="{match["clip"]}" style="fill: none; {markers}"/>'
    )


def _shorten(match: re.Match[str]) -> str:
    style = match[1].strip(" ;").replace(": ", ":").replace("; ", ";")
    return f' style="{style}"' if style else ""


def _unwrap(text: str) -> str:
    """Remove groups without attributes and keep their content."""
    open_groups: list[bool] = []

    def strip(match: re.Match[str]) -> str:
        if match[0] == "</g>":
            return "</g>" if open_groups.pop() else ""
        open_groups.append(match[0] != "<g>")
        return match[0] if open_groups[-1] else ""

    return re.sub(r"<g(?: [^>]*[^/])?>|</g>", strip, text)


def _one_path(match: re.Match[str]) -> str:
    """Return each run of opaque paths with the same style as one path."""
    runs = groupby(_PATH.finditer(match[0]), key=lambda path: path[2] if "opacity" not in path[2] else path.start())
    groups = ([*members] for _, members in runs)
    return "".join(f'<path d="{"".join(path[1] for path in members)}"{members[0][2]}/>' for members in groups)


def _one_group(match: re.Match[str]) -> str:
    """Return each run of texts of one style in a group with that style."""
    runs = groupby(_TEXT.finditer(match[0]), key=lambda label: label[1])
    groups = ((style, [*members]) for style, members in runs)
    return "".join(
        members[0][0] if len(members) == 1
        else f'<g style="{style}">{"".join(f"<text{label[2]}>{label[3]}</text>" for label in members)}</g>'
        for style, members in groups
    )  # fmt: skip
