"""A run's summary in markdown, for a pull request, and what makes any summary fit there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from convbench.analysis.results import results as results_of
from convbench.core.record import Record, RunDescription
from convbench.core.text import counted, some
from convbench.core.text import markdown as escaped
from convbench.report.page.view import view
from convbench.report.words.numbers import PAIRED

BUDGET = 60_000
"""Characters of a summary: below the 65,536 that GitHub allows in a comment on a pull request."""
NOTE = 2_000
"""Characters that are kept free for the note on what a summary leaves out."""


class Section(NamedTuple):
    """A part of a summary, which may lose its last lines but is never cut inside a line; ``noun`` names a line."""

    title: str
    noun: str
    lines: Sequence[str]
    head: str = ""
    tail: str = ""
    separator: str = "\n"

    def text(self, count: int) -> str:
        """Return the section with its first ``count`` lines; empty without lines."""
        return f"{self.head}{self.separator.join(self.lines[:count])}{self.tail}" if count else ""

    def fitting(self, room: int) -> int:
        """Return how many lines fit into ``room`` characters."""
        ends = accumulate(len(line) + len(self.separator) for line in self.lines)
        return sum(len(self.head) + end + len(self.tail) <= room for end in ends)


def markdown(run: RunDescription, records: Sequence[Record], budget: int = BUDGET) -> str:
    """Return the answer, ranking, variants and failures in GitHub's markdown, with at most ``budget`` characters.

    Lines that do not fit are left out, whole, and counted at the end.
    """
    values = view(run, results_of(records))
    heading, ending = f"## convbench: {escaped(run.name)}", f"<sub>{escaped(values['place'], 300)}</sub>"
    sections = [
        _answer(values),
        _table(values["ranked"],
               (values["kind"].capitalize(), values["size"], "Variant", "Latency [95 %]", "×", "Parameters", "FLOPs"),
               ([row[key] for key in ("reducer", "lstm_input", "variant", "latency", "factor", "params", "flops")]
                for row in values["ranking"][:20]), PAIRED if values["reordered"] else ""),
        *(_quality(task) for task in (values["quality"] or {"tasks": ()})["tasks"]),
        _table("What the variants gain", ("Variant", "Where", "Cases", "Speed-up", "Range", "Pays after"),
               ([*(row[key] for key in ("variant", "place", "cases", "speedup", "range")),
                 ", ".join(filter(None, (row["pays"], row["never"])))] for row in values["variants"][:20])),
        _failures([*values["failures"], *values["skipped"]]),
    ]  # fmt: skip
    return compose(heading, sections, ending, budget)


def compose(heading: str, sections: Sequence[Section], ending: str, budget: int = BUDGET) -> str:
    """Join the parts of a summary. Lines that exceed the budget are left out, and it says how many of what."""
    text = "\n\n".join(filter(None, (heading, *(section.text(len(section.lines)) for section in sections), ending)))
    if len(text) <= budget:
        return text
    texts, omissions = [heading], []
    room = budget - NOTE - len(heading) - len(ending)
    for section in sections:
        count = section.fitting(room)
        if text := section.text(count):
            texts.append(text)
            room -= len(text) + 2
        if omitted_count := len(section.lines) - count:
            omissions.append(f"{counted(omitted_count, section.noun)} of {section.title}")
    note = f"Left out, as a summary has at most {budget:,} characters: {escaped(some(omissions), 300)}."
    return "\n\n".join((*texts, note, ending))


def _answer(values: dict[str, Any]) -> Section:
    texts = (values["confidence"], *values["sentences"], values["caution"])
    lines = [f"**{escaped(values['lead'], 400)}**", *(escaped(text, 400) for text in texts if text)]
    return Section("the answer", "sentence", lines, separator=" ")


def _quality(task: dict[str, Any]) -> Section:
    place = {"Backbone, RNN": "place"} if task["several_places"] else {}
    columns = {"Reducer": "reducer", **place, task["size"]: "lstm_input", "Test accuracy [95 %]": "accuracy",
               "Sound runs": "seeds", "Lost": "lost"}  # fmt: skip
    rows = ([row[key] for key in columns.values()] for row in task["rows"][:20])
    return _table(f"Quality: {task['title']}", tuple(columns), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> Section:
    lines = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows]
    rule = f"|{'---|' * len(heads)}"
    head = f"### {escaped(title)}\n\n| {' | '.join(heads)} |\n{rule}\n"
    return Section(title, "row", lines, head, note and f"\n\n{note}")


def _failures(failures: Sequence[dict[str, str]]) -> Section:
    lines = [f"- {escaped(failure['case'], 200)}: {escaped(failure['reason'], 300)}" for failure in failures[:50]]
    remainder = f"\n- and {len(failures) - 50:,} more" if len(failures) > 50 else ""
    head = f"<details><summary>{len(failures):,} without a result</summary>\n\n"
    return Section("those without a result", "case", lines, head, f"{remainder}\n\n</details>")
