"""Recommendations in a terminal: sentences, and under each pick what else was close."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from convbench.analysis.choice.recommendation import Recommendation, Runner
from convbench.analysis.quality.qualities import Budget
from convbench.report.words import units
from convbench.report.words.advice import different, sentences
from convbench.report.words.names import setup
from convbench.report.words.numbers import percent

RUNNERS = 5
BUDGETS = {"steps": "equal steps", "flops": "equal training FLOPs", "seconds": "equal training seconds"}


class Advised:
    """A rich renderable of a run's recommendations."""

    def __init__(self, found: Sequence[Recommendation], budget: Budget = "steps") -> None:
        self.found, self.budget = found, budget

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(basis(self.found, self.budget))
        for one in self.found:
            yield Text()
            for i, said in enumerate(sentences(one)):
                yield Text(said, style="bold") if i == 0 else Padding(Text(said), (0, 0, 0, 2))
            if one.runners:
                yield Padding(_runners(one.runners[:RUNNERS]), (1, 0, 0, 2))
        if said := different(self.found):
            yield Text(f"\n{said}")


def basis(found: Sequence[Recommendation], budget: Budget) -> str:
    """What accuracies and costs are of."""
    groups = [one.pool[0].result.group for one in found if one.pool]
    numbers = " and ".join(dict.fromkeys(each.result.group.dtype for one in found for each in one.pool))
    cost = f"; costs of a call on a clip {groups[0].clip}, {groups[0].device}, {numbers}" if groups else ""
    return f"Test accuracy after {BUDGETS[budget]} of short training{cost}."


def _runners(several: Sequence[Runner]) -> Table:
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("runner-up", "accuracy", "against the pick", "latency", "params", "on the front", "within"):
        made.add_column(name, justify="left" if name == "runner-up" else "right", overflow="fold")
    for one in several:
        made.add_row(*map(Text, _cells(one)))
    return made


def _cells(one: Runner) -> list[str]:
    result = one.candidate.result
    against = f"{100 * one.gain:+.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    latency = units.seconds(result.latency.median if result.latency else None)
    likely, within = f"{100 * one.front:.0f} %", "yes" if one.shown else "no" if one.ruled_out else "open"
    return [setup(result), percent(one.candidate.mean), against, latency, units.count(result.params), likely, within]
