"""A run's tables in LaTeX, for a paper: for each task its accuracies beside their costs, and the costs of all cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from convbench.analysis.choice.recommendation import Recommendation
from convbench.analysis.costs.ranking import reorders
from convbench.analysis.quality.qualities import Quality
from convbench.analysis.results import Result
from convbench.analysis.results import results as results_of
from convbench.core import metrics
from convbench.core.record import EAGER, Record, RunDescription
from convbench.core.text import one_line
from convbench.report.page import rows
from convbench.report.words import units
from convbench.report.words.facts import place
from convbench.report.words.names import input_size, with_norm
from convbench.report.words.numbers import PAIRED, cell, mean, sound_runs
from convbench.report.words.quality import recommend

SPECIAL = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--", "×": "$\\times$"}
    | {"µ": "$\\mu$", "≥": "$\\geq$", "·": "$\\cdot$", "<": "$<$", ">": "$>$"}
)
"""Characters that some LaTeX engine would not print as they are written, and what prints them."""
COSTS = (metrics.LATENCY, metrics.PARAMS, metrics.FLOPS, metrics.MEMORY)
QUALITY = "Test accuracy, mean and 95 % interval over the seeds whose runs were sound, beside the costs of a call"
ALL = "Costs of a call; the latency is a median with its 95 % interval, over fresh processes if there were several"


def latex(run: RunDescription, records: Sequence[Record]) -> str:
    """Return the tables, each in a ``table`` of the package booktabs, with the machine in its caption."""
    results, where = results_of(records), place(run)
    heading = f"% convbench {run.convbench}, {one_line(run.name)}: {one_line(run.command)}\n% \\usepackage{{booktabs}}"
    tables = [_quality(answer, where) for answer in recommend(results)]
    columns, entries = rows.columns(results), rows.entries(results)
    if entries:
        heads = [(column.heading, column.numeric) for column in columns]
        lines = ([column.text(entry) for column in columns] for entry in entries)
        remark = f" {PAIRED}" if reorders([entry.result for entry in entries]) else ""
        tables.append(_table(f"{ALL}. {where}.{remark}", heads, lines))
    return "\n\n".join((heading, *tables))


def _quality(answer: Recommendation, where: str) -> str:
    """Return the table of a task: its sound configurations by accuracy, then the others, which have no mean."""
    pairs: list[tuple[Quality, Result | None]] = [(candidate.quality, candidate.result) for candidate in answer.pool]
    pairs.sort(key=lambda pair: -(pair[0].mean or 0.0))
    pairs += [(exclusion.quality, exclusion.result) for exclusion in answer.excluded]
    has_places = any(quality.several_places for quality, _ in pairs)
    has_variants = any(quality.variant != EAGER for quality, _ in pairs)
    size = input_size(quality.architecture for quality, _ in pairs)
    heads = [("Reducer", False), (size.heading, True), ("Test accuracy", True), ("Sound runs", True)]
    heads[1:1] = [("Backbone", False), ("RNN", False)] * has_places + [("Variant", False)] * has_variants
    heads += [(metric.heading or metric.title, True) for metric in COSTS]
    lines = (_line(quality, result, has_places, has_variants) for quality, result in pairs)
    return _table(f"{answer.name}. {QUALITY}. {where}.", heads, lines)


def _line(quality: Quality, result: Result | None, has_places: bool, has_variants: bool) -> list[str]:
    parts = quality.architecture
    names = [with_norm(parts), *([str(parts.backbone), str(parts.rnn)] if has_places else [])]
    names += [quality.variant] if has_variants else []
    latency = units.interval(result.latency) if result else units.MISSING
    costs = [cell(result, metric) if result else units.MISSING for metric in COSTS[1:]]
    return [*names, units.integer(parts.lstm_input), mean(quality), sound_runs(quality), latency, *costs]


def _table(caption: str, heads: Sequence[tuple[str, bool]], lines: Iterable[Sequence[str]]) -> str:
    """Return a table with a caption. The heads are pairs of a heading and whether its column is numeric."""
    alignment = "".join("r" if numeric else "l" for _, numeric in heads)
    body = [_row([heading for heading, _ in heads]), "\\midrule", *map(_row, lines)]
    return "\n".join(
        ("\\begin{table}", f"\\caption{{{_escaped(caption)}}}", f"\\begin{{tabular}}{{{alignment}}}", "\\toprule",
         *body, "\\bottomrule", "\\end{tabular}", "\\end{table}")
    )  # fmt: skip


def _row(cells: Iterable[str]) -> str:
    return f"{' & '.join(map(_escaped, cells))} \\\\"


def _escaped(text: str) -> str:
    return one_line(text).translate(SPECIAL)
