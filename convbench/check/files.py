"""An outcome as the files that CI shows: JUnit XML and a Markdown summary."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as xml

from convbench.check import words
from convbench.check.outcome import Outcome
from convbench.check.verdict import verdicts
from convbench.core.errors import StoreError

JUNIT = {"regression": "failure", "invalid": "error", "inconclusive": "skipped"}


def junit(outcome: Outcome) -> str:
    """A test a case: a regression is a failure, an invalid case an error, an inconclusive one is skipped."""
    judged = list(zip(verdicts(outcome), words.rows(outcome), strict=True))
    counts = {tag: str(sum(JUNIT.get(one.word) == tag for one, _ in judged)) for tag in JUNIT.values()}
    attributes = {f"{tag}s" if tag != "skipped" else tag: count for tag, count in counts.items()}
    suite = xml.Element("testsuite", attributes)
    suite.set("name", f"convbench check {outcome.suite}")
    suite.set("tests", str(len(judged)))
    suite.set("time", f"{outcome.seconds:.1f}")
    suite.set("timestamp", outcome.started)
    for one, row in judged:
        test = xml.SubElement(suite, "testcase", name=row.case, classname=f"convbench.{outcome.suite}")
        said = "; ".join((f"ratio {row.ratio}, {row.interval}", *row.details))
        if tag := JUNIT.get(one.word):
            xml.SubElement(test, tag, message=_printable(f"{one.word}: {said}"))
        else:
            xml.SubElement(test, "system-out").text = _printable(said)
    xml.indent(suite)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def markdown(outcome: Outcome) -> str:
    """The table and what stands around it, for a step summary or a pull request."""
    rows = words.rows(outcome)
    table = ["| " + " | ".join(words.HEADINGS) + " |", "|---|--:|--:|--:|--:|--:|---|"]
    table += ["| " + " | ".join(map(_cell, row.cells)) + " |" for row in rows]
    details = [f"- `{row.case}`: {_cell(detail)}" for row in rows for detail in row.details]
    parts = [f"### convbench check: {words.headline(outcome)}", words.heading(outcome), "\n".join(table)]
    return "\n\n".join([*parts, *(["\n".join(details)] if details else []), "\n".join(words.footing(outcome))]) + "\n"


def write(text: str, path: Path, mode: str = "w") -> None:
    """Raises StoreError where the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


def _cell(text: str) -> str:
    return _printable(text).replace("|", "\\|").replace("<", "&lt;")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
