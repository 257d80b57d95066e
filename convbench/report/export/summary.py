"""A run's summary in markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from convbench.analysis.results import results as results_of
from convbench.core.record import Record, RunDescription
from convbench.core.text import markdown as escaped
from convbench.report.page.view import view

BUDGET = 60_000
"""Characters of a summary: below the 65,536 that GitHub allows in a comment on a pull request."""


def markdown(run: RunDescription, records: Sequence[Record]) -> str:
    """Return the answer, ranking, variants and failures in GitHub's markdown, with at most ``BUDGET`` characters."""
    values = view(run, results_of(records))
    text = "\n\n".join(filter(None, (
        f"## convbench: {escaped(run.name)}",
        f"**{escaped(values['lead'], 400)}** " + " ".join(
            escaped(text, 400) for text in (values["confidence"], *values["sentences"], values["caution"]) if text
        ),
        _table(values["ranked"],
               (values["kind"].capitalize(), "LSTM input", "Variant", "Latency [95 %]", "×", "Parameters", "FLOPs"),
               ([row[key] for key in ("reducer", "lstm_input", "variant", "latency", "factor", "params", "flops")]
                for row in values["ranking"][:20])),
        *(_quality(task) for task in (values["quality"] or {"tasks": ()})["tasks"]),
        _table("What the variants gain", ("Variant", "Where", "Cases", "Speed-up", "Range", "Pays after"),
               ([*(row[key] for key in ("variant", "place", "cases", "speedup", "range")),
                 f"{row['pays']} {row['never']}".strip()] for row in values["variants"][:20])),
        _failures([*values["failures"], *values["skipped"]]),
        f"<sub>{escaped(values['place'], 300)}</sub>",
    )))  # fmt: skip
    return text if len(text) <= BUDGET else f"{text[: BUDGET - 40]}\n\n… cut at {BUDGET:,} characters\n"


def _quality(task: dict[str, Any]) -> str:
    place = {"Backbone, LSTM": "place"} if task["several_places"] else {}
    columns = {"Reducer": "reducer", **place, "LSTM input": "lstm_input", "Test accuracy [95 %]": "accuracy",
               "Sound runs": "seeds", "Lost": "lost"}  # fmt: skip
    rows = ([row[key] for key in columns.values()] for row in task["rows"][:20])
    return _table(f"Quality: {task['title']}", tuple(columns), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows]
    rule = f"|{'---|' * len(heads)}"
    return "\n".join((f"### {title}", "", f"| {' | '.join(heads)} |", rule, *lines)) if lines else ""


def _failures(failures: Sequence[dict[str, str]]) -> str:
    if not failures:
        return ""
    lines = [f"- {escaped(failure['case'], 200)}: {escaped(failure['reason'], 300)}" for failure in failures[:50]]
    remainder = f"\n- and {len(failures) - 50:,} more" if len(failures) > 50 else ""
    head = f"<details><summary>{len(failures):,} without a result</summary>\n\n"
    return f"{head}{chr(10).join(lines)}{remainder}\n\n</details>"
