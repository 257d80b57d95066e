"""Write an outcome in the formats that CI shows: JUnit XML and a Markdown summary."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from xml.etree import ElementTree as xml

from convbench.check import words
from convbench.check.outcome import Outcome
from convbench.check.verdict import verdicts
from convbench.core.text import markdown as markdown_text
from convbench.core.text import one_line
from convbench.report.export.summary import BUDGET, Section, compose
from convbench.report.words import units

LONGEST = 400
"""Greatest number of characters in a table cell or sentence; longer texts are cut."""
JUNIT = {"regression": "failure", "invalid": "error", "inconclusive": "skipped"}


def junit(outcome: Outcome) -> str:
    """Return JUnit XML with a test per case: regression is a failure, invalid an error, inconclusive skipped.

    In an unfinished check all three are skipped: what it has so far fails no test, as its exit code is never 1 or 5.
    """
    tags = dict.fromkeys(JUNIT, "skipped") if outcome.unfinished else JUNIT
    pairs = list(zip(verdicts(outcome), words.rows(outcome), strict=True))
    counts = {tag: str(sum(tags.get(verdict.word) == tag for verdict, _ in pairs)) for tag in JUNIT.values()}
    attributes = {f"{tag}s" if tag != "skipped" else tag: count for tag, count in counts.items()}
    suite = xml.Element("testsuite", attributes)
    suite.set("name", one_line(f"convbench check {outcome.suite}"))
    suite.set("tests", str(len(pairs)))
    suite.set("time", f"{outcome.seconds:.1f}")
    suite.set("timestamp", one_line(outcome.started))
    for verdict, row in pairs:
        classname = one_line(f"convbench.{outcome.suite}")
        test = xml.SubElement(suite, "testcase", name=one_line(row.case), classname=classname)
        ratio = ", ".join(part for part in (row.ratio, row.interval) if part != units.MISSING)
        text = one_line("; ".join([*([f"ratio {ratio}"] if ratio else []), *row.details]))
        if tag := tags.get(verdict.word):
            state = "unfinished, so far " if outcome.unfinished else ""
            message = f"{state}{verdict.word}: {text}"
            xml.SubElement(test, tag, message=message).text = message  # GitLab shows only the text
        else:
            xml.SubElement(test, "system-out").text = text
    xml.indent(suite)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def markdown(outcome: Outcome) -> str:
    """Return the table with its heading, details and footing as Markdown, for a step summary or a pull request.

    If it is too long for one, lines are left out, those of cases without a regression first.
    """
    rows = words.rows(outcome)
    heading = f"### convbench check: {words.headline(outcome)}\n\n{_cell(words.heading(outcome))}"
    footing = "\n".join(f"- {_cell(line)}" for line in words.footing(outcome))
    ending = f"How it was decided:\n\n{footing}"
    text = compose(heading, _sections(rows), ending, sys.maxsize)
    if len(text) > BUDGET:
        rows.sort(key=lambda row: words.GRAVITY.index(row.verdict.partition(" ")[0]))
        text = compose(heading, _sections(rows), ending)
    return f"{text}\n"


def _sections(rows: Sequence[words.CaseRow]) -> list[Section]:
    cells = ["| " + " | ".join(map(_cell, row.cells)) + " |" for row in rows]
    details = [f"- {_cell(row.case)}: {_cell('; '.join(row.details))}" for row in rows if row.details]
    head = f"| {' | '.join(words.HEADINGS)} |\n|---|--:|--:|--:|--:|--:|---|\n"
    return [Section("the table", "row", cells, head), Section("the details", "line", details)]


def _cell(text: str) -> str:
    return markdown_text(text, LONGEST)
