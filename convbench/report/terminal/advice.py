"""Recommendations in a terminal: sentences, and under each pick a table of the runners-up."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convbench.analysis.choice.recommendation import Recommendation, Runner
from convbench.analysis.quality.lessons import Budget
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.statistics import Interval
from convbench.core.text import inside
from convbench.report.words.advice import differences, sentences
from convbench.report.words.names import advisable
from convbench.report.words.numbers import cheapest, cost, likely, mean, shares
from convbench.report.words.quality import basis

RUNNERS = 5


class Advice:
    """A rich renderable of a run's recommendations."""

    def __init__(self, answers: Sequence[Recommendation], budget: Budget = "steps") -> None:
        self.answers, self.budget = answers, budget

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(basis(self.answers, self.budget))
        for answer in self.answers:
            yield Text()
            for i, sentence in enumerate(sentences(answer)):
                yield Text(sentence, style="bold") if i == 0 else Padding(Text(sentence), (0, 0, 0, 2))
            if answer.runners:
                yield Padding(_runners(answer, options.max_width - 2), (1, 0, 0, 2))
        if text := differences(self.answers):
            yield Text(f"\n{text}")


def _runners(answer: Recommendation, width: int) -> Table | Text:
    """Return a table of runners-up, or lines of one value each if the table would break words."""
    costs = tuple(dict.fromkeys((metrics.LATENCY, metrics.PARAMS, answer.ask.metrics[answer.ask.cheapest])))
    reference = "the pick" if answer.pick else f"the {cheapest(answer.ask)}"
    headings = (inside(metric.heading or metric.title) for metric in costs)
    names = ("runner-up", "accuracy", f"against {reference}", *headings, "on the front", "within")
    rows = [_cells(runner, costs) for runner in answer.runners[:RUNNERS]]
    widths = [
        max(cell_len(word) for cell in column for word in cell.split()) for column in zip(names, *rows, strict=True)
    ]
    if sum(widths) + 2 * len(names) > width:
        return Text("\n".join(_block(names, row) for row in rows))
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in names:
        grid.add_column(name, justify="left" if name == "runner-up" else "right", overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _block(names: Sequence[str], cells: Sequence[str]) -> str:
    lines = (f"  {name}: {cell}" for name, cell in zip(names[1:], cells[1:], strict=True))
    return "\n".join((cells[0], *lines))


def _cells(runner: Runner, costs: Sequence[Metric]) -> list[str]:
    result = runner.candidate.result
    gain, low, high = shares(Interval(runner.gain, runner.low, runner.high), "+z")
    front, verdict = likely(runner.front), "yes" if runner.is_shown else "no" if runner.ruled_out else "open"
    amounts = [cost(result, metric) for metric in costs]
    accuracy = mean(runner.candidate.quality, bounds=False)
    return [advisable(runner.candidate), accuracy, f"{gain} [{low}, {high}]", *amounts, front, verdict]
