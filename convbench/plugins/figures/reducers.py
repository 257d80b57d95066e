"""The decision at a glance: the latency of every reducer, all else alike, with a band of ties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from convbench.analysis.costs.headlines import Headline, headline_of
from convbench.analysis.costs.ranking import MARGIN, Contender
from convbench.analysis.results import Result
from convbench.core import metrics
from convbench.core.record import Parts
from convbench.core.registry import figures
from convbench.report.drawing import Drawing, log_axes
from convbench.report.drawing.style import GRID, LEFT, TEXT, canvas, fit, left_margin, look, marker_area
from convbench.report.words import units
from convbench.report.words.names import kind, labels, shared_setup
from convbench.report.words.numbers import TIE

ROWS = 20
_BAND = (
    f"; the grey band is what lies within {TIE} of the fastest. “Tied” is decided by the interval of the ratio, visit "
    "by visit."
)


@figures.register("reducers")
def reducers(results: Sequence[Result]) -> Iterator[Drawing]:
    """Latency by reducer, one row each, with intervals and a grey band of ties; nothing if nothing was timed."""
    headline = headline_of(results)
    if headline.timed:
        index = {id(result): number for number, result in enumerate(results)}
        rows = [row for rank, row in enumerate(headline.by_series) if rank < ROWS or headline.names(row.result)]
        yield _draw(rows, headline, index)


def _draw(rows: Sequence[Contender], headline: Headline, index: Mapping[int, int]) -> Drawing:
    names = _names(rows)
    inset = left_margin(names, 10)
    axes = canvas(height=66 + 21 * len(rows), left=inset, right=118, top=8, bottom=42, width=380 - LEFT + inset)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    latencies = [latency for row in rows if (latency := row.result.latency)]
    ends = [end for latency in latencies for end in (latency if latency.bounded else (latency.median,)) if end > 0]
    fastest = min(latency.median for contender in headline.ranking if (latency := contender.result.latency))
    log_axes.log_axis(axes, "x", log_axes.limits([*ends, fastest, fastest * MARGIN]), "s", max_ticks=3)
    if len(rows) > 1:
        axes.axvspan(fastest, fastest * MARGIN, color=GRID, gid="ties", zorder=0)
    for row, (contender, latency) in enumerate(zip(rows, latencies, strict=True)):
        colour, marker = look(contender.result.series)
        if latency.bounded and latency.low > 0:
            axes.plot([latency.low, latency.high], [row, row], color=colour, linewidth=1.6, alpha=0.7)
        axes.scatter(
            [latency.median], [row], s=marker_area(marker), marker=marker, color=colour, zorder=3, gid=f"marks-{row}"
        )
        axes.text(
            1.02,
            row,
            _end(contender.result, headline.ties),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=10,
            color=TEXT,
        )
    axes.set_yticks(range(len(rows)), [fit(name, inset - 8, 10) for name in names], fontsize=10)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Latency of a call · lower is better", color=TEXT)
    word = kind(row.result for row in rows)
    return Drawing(
        name="reducers",
        title=f"Latency by {word}: {shared_setup(rows[0].result)}",
        caption=(
            f"How to read this: {_rows_are(word, headline, len(rows))}, all else alike. Bars are 95 % "
            f"intervals, over n fresh processes if there were several{_BAND if len(rows) > 1 else '.'}"
        ),
        figure=axes.figure,
        marks={f"marks-{row}": [index[id(contender.result)]] for row, contender in enumerate(rows)},
        series=tuple(sorted({row.result.series for row in rows})),
        scale={"x": (metrics.LATENCY, *axes.get_xlim())},
    )


def _rows_are(word: str, headline: Headline, row_count: int) -> str:
    """Return what the rows are, and how many were left out for lack of room."""
    rows = "a row is a reducer at its fastest, or a pick by cost"
    rows = "a row is a model" if word == "model" else "a row is a size" if headline.of_one else rows
    omission_count = len(headline.by_series) - row_count
    return f"{rows} ({omission_count:,} more in the table)" if omission_count else rows


def _names(rows: Sequence[Contender]) -> list[str]:
    """Return names such as ``fc 64``, without LayerNorm: all rows have it or none, and the title says so."""
    models = [row.result.case.architecture for row in rows]
    return labels([replace(model, layer_norm=False) if isinstance(model, Parts) else model for model in models])


def _end(result: Result, ties: Sequence[Result]) -> str:
    """Return ``1.58 ms (n=4) tied``: the median, the number of sound visits, and whether the result is tied."""
    visits = sum(visit.is_timed and visit.is_sound for visit in result.record.visits)
    latency = units.median(result.latency)
    return " ".join(filter(None, (latency, f"(n={visits})" if visits else "", "tied" if result in ties else "")))
