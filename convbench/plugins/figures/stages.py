"""Where the cost sits: each cost split into backbone, reducer, LSTM and head, with the reducers side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from convbench.analysis.costs.likeness import one_variant
from convbench.analysis.costs.ranking import largest_group, rank
from convbench.analysis.results import Result, measured_results
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.record import STAGES, Whole
from convbench.core.registry import figures
from convbench.report.drawing import Drawing
from convbench.report.drawing.bars import Margins, Shares, bars, cut_note
from convbench.report.drawing.style import STAGE_HUES, short_name
from convbench.report.words import units
from convbench.report.words.names import common_cell, kind, shared_setup, stage
from convbench.report.words.numbers import cost

ROWS = 14
PARTS = (*STAGES, metrics.GRAPHS, metrics.OPTIMIZER, metrics.OTHER)
"""The stages, the compiler's graphs that stand for them in compiled cases, training's optimizer, and the rest."""


SUMS = 0.05
"""Share of a call by which the sum of its stages may differ from it before the figure says so."""

NOT_THE_CALL = (
    " If the stages do not sum to the call within 5 %, their sum follows in brackets. On a GPU, whose stages are timed "
    "by its own clock, the difference is launching and waiting; elsewhere it is what runs between stages, or what "
    "timing them costs."
)


class SplitMetric(NamedTuple):
    """A metric that is measured by stage, and the figure's words for it."""

    metric: Metric
    words: str
    suffix: str = ""

    @property
    def name(self) -> str:
        return "-".join(filter(None, (f"stages-{self.metric.name}", self.suffix)))


SPLITS = (
    SplitMetric(metrics.PARAMS, metrics.PARAMS.title),
    SplitMetric(metrics.MACS, metrics.MACS.title),
    SplitMetric(metrics.LATENCY, "Time of a call"),
    SplitMetric(metrics.WEIGHTS, metrics.WEIGHTS.title),
    SplitMetric(metrics.CPU_PEAK, metrics.MEMORY.title),
    SplitMetric(metrics.CUDA_PEAK, metrics.MEMORY.title),
)


@figures.register("stages")
def stages(results: Sequence[Result]) -> Iterator[Drawing]:
    """Parameters, MACs, time and memory by stage, one bar per reducer or model of your own."""
    rows = _representatives(results)
    for split in SPLITS:
        shares = {result: share for result in rows if (share := by_stage(result, split.metric))}
        if shares:
            yield _draw(split, shares)
    yield from _other_stages(rows, measured_results(results))


def _other_stages(main_rows: Sequence[Result], results: Sequence[Result]) -> Iterator[Drawing]:
    """Yield the time by stage of cases with other stages than those drawn: compiled cases, and training in eager."""
    groups = {
        part: [result for result in results if _has(result, part)] for part in (metrics.GRAPHS, metrics.OPTIMIZER)
    }
    groups[metrics.OPTIMIZER] = [result for result in groups[metrics.OPTIMIZER] if not _has(result, metrics.GRAPHS)]
    for part, rows in groups.items():
        if any(_has(result, part) for result in main_rows):
            continue
        members = one_variant(largest_group(rows))
        nearest_by_row = {result.row: result for result in sorted(members, key=_distance, reverse=True)}
        shares = {result: share for result in nearest_by_row.values() if (share := by_stage(result, metrics.LATENCY))}
        if shares:
            sorted_shares = dict(sorted(shares.items(), key=lambda row: (row[0].params or 0, row[0].case.id))[:ROWS])
            case = members[0].case
            place = f"{case.scenario}, {short_name(case.variant_name)}"
            yield _draw(SplitMetric(metrics.LATENCY, f"Time of a call ({place})", part), sorted_shares)


def _has(result: Result, part: str) -> bool:
    return bool(result.record.samples(metrics.LATENCY.part(part)))


def by_stage(result: Result, metric: Metric) -> dict[str, float]:
    """Return a cost by measured stage; empty if no stage was measured or the whole is zero."""
    # at a peak of memory, "optimizer" is a kind, not a stage
    parts = PARTS if metric is metrics.LATENCY else (*STAGES, metrics.OTHER)
    costs = {part: value for part in parts if (value := result.value(metric.part(part)))}
    return costs if sum(costs.values()) > 0 else {}


def _representatives(results: Sequence[Result]) -> list[Result]:
    """Return one case per row (eager if there is one, the size nearest to 128), those with most parameters last."""
    cases = measured_results(results)
    nearest_by_row: dict[str | Whole, Result] = {}
    for contender in rank(largest_group([result for result in cases if not result.case.variant] or cases)):
        result = contender.result
        best = nearest_by_row.get(result.row)
        if best is None or _distance(result) < _distance(best):
            nearest_by_row[result.row] = result
    return sorted(nearest_by_row.values(), key=lambda result: (result.params or 0, result.case.id))[:ROWS]


def _distance(result: Result) -> float:
    return abs((result.lstm_input or 0) - 128)


def _draw(split: SplitMetric, shares: Shares) -> Drawing:
    totals = {result: sum(share.values()) for result, share in shares.items()}
    # the stages of any other cost always sum to it
    seconds = {result: result.latency.median for result in shares if split.metric is metrics.LATENCY and result.latency}
    wholes = totals | seconds
    off_results = {result for result, total in totals.items() if abs(total - wholes[result]) > SUMS * wholes[result]}
    ends = [
        _end(result, split.metric, wholes[result], totals[result] if result in off_results else None)
        for result in shares
    ]
    name = common_cell(result.case.architecture for result in shares)
    looks = {part: (stage(part, name), STAGE_HUES[part]) for part in PARTS}
    sized = f"reducer with its {name} input size (of several sizes, the one nearest to 128)"
    bar = sized if kind(shares) == "reducer" else "model"
    axes = bars(shares, looks, ends, Margins(132 if off_results else 78, legend=-0.5, columns=4), split.metric.unit)
    return Drawing(
        name=split.name,
        title=f"{split.words} by stage",
        caption=(
            f"How to read this: each bar is one {bar}, split by where the cost sits; the whole is at its right end. "
            f"Shorter is better. All alike: {shared_setup(next(iter(shares)))}."
            f"{NOT_THE_CALL if off_results else ''}{cut_note(shares)}"
        ),
        figure=axes.figure,
    )


def _end(result: Result, metric: Metric, whole: float, total: float | None) -> str:
    """Return ``458 µs``, or ``1.25 ms (sum 458 µs)`` if the stages do not sum to the call."""
    words = cost(result, metric) if metric is metrics.LATENCY and result.latency else units.human(whole, metric.unit)
    return f"{words} (sum {units.human(total, metric.unit)})" if total is not None else words
