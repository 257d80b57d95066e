"""Copy the pages to build/docs/, and write beside them the reference from the code, and the pages of real runs.

``make docs`` runs it before it builds the site. Nothing that it writes is committed, so nothing can be out of date.
"""

from __future__ import annotations

import ast
import html
import inspect
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BUILT = ROOT / "build" / "docs"
EXAMPLES = {
    "report.html": "reports/example/index.html",
    "quality.html": "reports/example/quality.html",
    "claims.html": "reports/claims/claims.html",
    "report.png": "reports/example/report.png",
}
"""Pages of real runs in the repository that the documentation links to, by their name in the site."""


def main() -> None:
    """Write every page."""
    shutil.rmtree(BUILT, ignore_errors=True)
    shutil.copytree(DOCS, BUILT)
    for page in BUILT.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name, source in EXAMPLES.items():
            text = text.replace(f"../{source}", f"examples/{name}")
        page.write_text(text, encoding="utf-8")
    reference = BUILT / "reference"
    reference.mkdir()
    for name, (write, title, intro) in PAGES.items():
        lines = (f"# {title}", "", intro, "", *write())
        (reference / f"{name}.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    examples = BUILT / "examples"
    examples.mkdir()
    for name, source in EXAMPLES.items():
        shutil.copyfile(ROOT / source, examples / name)


# --- Suites -----------------------------------------------------------------------------------------------------------


def suites() -> Iterator[str]:
    """Yield every key of a suite with its type, default and meaning, and the suites that ship."""
    from convbench.suite import load, schema, shipped_suites

    layout = schema()
    yield from ("## Top level", "", *_keys(layout, layout["properties"]))
    for title, definition, note in SECTIONS:
        yield from ("", f"## {title}", "", note, "", *_keys(layout, _properties(layout["$defs"][definition])))
    yield from ("", "## Suites that ship", "", "Run one by its name: `convbench run smoke`.", "")
    by_name = {name: load(name) for name in shipped_suites()}
    rows = ((_code(name), suite.description, str(len(suite.cases))) for name, suite in by_name.items())
    yield from _table(("suite", "what it asks", "combinations"), rows)


AXES = """\
Each key takes one value or a list, and the lists multiply. If an `include` entry matches combinations of the matrix,
its other keys, such as another scenario, replace theirs, and no case is added; to have both, give the key a list. If it
matches none, it adds combinations. An `exclude` entry removes the combinations that match all of its keys. The
[plug-ins](plugins.md) page lists the names."""
RNN = "Text or a mapping: `lstm128`, `bilstm256x2` (both ways, two layers), `gru64`, `lstm512p128` (`proj_size`)."
SECTIONS = (
    ("`matrix`, `include`, `exclude`", "AxesLayout", AXES),
    ("`clip`", "ClipLayout", "Text or a mapping: `1x16x3x64x64` is B x T x C x H x W."),
    ("`rnn`", "RecurrentLayout", RNN),
    ("`protocol`", "ProtocolLayout", "How every case is measured; times in seconds."),
    ("`training`", "TrainingLayout", "What `quality: train` does."),
)
"""Sections of a suite: heading, definition in the schema, what to know."""
ANCHORS = {
    "AxesLayout": "matrix-include-exclude",
    "ClipLayout": "clip",
    "RecurrentLayout": "rnn",
    "ProtocolLayout": "protocol",
    "TrainingLayout": "training",
}


def _properties(definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a definition that may also be written as text."""
    forms = definition.get("anyOf", [definition])
    return next(form["properties"] for form in forms if "properties" in form)


def _keys(schema: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[str]:
    rows = (
        (_code(name), _type(schema, value), _default(value), value.get("description") or _described(schema, value))
        for name, value in properties.items()
    )
    yield from _table(("key", "type", "default", "meaning"), rows)


def _described(schema: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """Return the description of the definition that a key refers to."""
    reference = next((form["$ref"] for form in value.get("anyOf", [value]) if "$ref" in form), "")
    return str(schema["$defs"].get(reference.rpartition("/")[2], {}).get("description", ""))


def _default(value: Mapping[str, Any]) -> str:
    if "default" not in value or value["default"] in ({}, []):
        return ""
    return _code(json.dumps(value["default"], ensure_ascii=False))


def _type(schema: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """Return the type of a key in words, without repeating that a list is allowed."""
    if "enum" in value:
        return " or ".join(_code(json.dumps(each)) for each in value["enum"])
    if "$ref" in value:
        return _named(schema, value["$ref"])
    if "anyOf" in value:
        words = [_type(schema, form) for form in value["anyOf"] if form.get("type") != "array"]
        listed = any(form.get("type") == "array" for form in value["anyOf"])
        if listed and words == ["null"]:  # the key takes nothing but a list
            return ", ".join(_type(schema, form) for form in value["anyOf"])
        return ", ".join(dict.fromkeys(filter(None, words))) + (" (or a list)" if listed else "")
    if value.get("type") == "array":
        return f"list of {_type(schema, value.get('items', {}))}"
    return _simple(value)


def _named(schema: Mapping[str, Any], reference: str) -> str:
    name = reference.rpartition("/")[2]
    if name in SHELF_OF:
        return f"[{name}](plugins.md#{SHELF_OF[name]})"
    if name in ANCHORS:
        return f"[mapping](#{ANCHORS[name]})"
    return _type(schema, schema["$defs"][name])


SHELF_OF = {"backbone": "backbones", "reducer": "reducers", "variant": "variants", "scenario": "scenarios",
            "probe": "probes"}  # fmt: skip


def _simple(value: Mapping[str, Any]) -> str:
    words = {"integer": "int", "number": "number", "string": "text", "boolean": "true or false", "object": "mapping"}
    bounds = [f"{sign} {value[key]}" for key, sign in
              (("minimum", "≥"), ("exclusiveMinimum", ">"), ("exclusiveMaximum", "<")) if key in value]  # fmt: skip
    kind = str(value.get("type", ""))
    return " ".join((words.get(kind, kind if kind != "null" else "null"), *bounds)).strip()


# --- Plug-ins ---------------------------------------------------------------------------------------------------------


def plugins() -> Iterator[str]:
    """Yield every plug-in of every shelf with its options."""
    from convbench.core import registry

    for shelf in registry.SHELVES:
        yield from ("", f"## {shelf.kind.capitalize()}s", "")
        for plugin in shelf:
            yield from (f"### `{plugin.name}`", "", _text(plugin.summary), "", *_options(shelf, plugin))


def _options(shelf: Any, plugin: Any) -> Iterator[str]:
    from convbench.core.registry import default_text
    from convbench.suite.options import signature

    if not plugin.options:
        return
    adapters = signature(shelf, plugin.name).options
    rows = []
    for name, parameter in plugin.options.items():
        default = "required" if parameter.default is inspect.Parameter.empty else _code(default_text(parameter.default))
        rows.append((_code(name), _type({}, adapters[name].json_schema()), default))
    yield from (*_table(("option", "type", "default"), rows), "")


# --- Columns, findings, exit codes ------------------------------------------------------------------------------------


def columns() -> Iterator[str]:
    """Yield the columns of results.csv and of --json."""
    from convbench.analysis import table

    rows = ((_code(name), unit, _text(meaning)) for name, unit, meaning in table.columns())
    yield from _table(("column", "unit", "meaning"), rows)


def findings() -> Iterator[str]:
    """Yield every finding in words, with the data of an example."""
    sys.path.insert(0, str(ROOT / "tests"))
    from test_report_words import FINDINGS

    from convbench.core.record import Finding
    from convbench.report.words.findings import sentence

    yield from _table(
        ("code", "words"), ((_code(code), _text(sentence(Finding(code, data=data)))) for code, data in FINDINGS.items())
    )


def exit_codes() -> Iterator[str]:
    """Yield the table of exit codes by verb, and the table of exceptions."""
    from convbench.analysis.history import overview
    from convbench.check import verdict
    from convbench.cli import ending
    from convbench.cli.advise import ABSTAINED
    from convbench.cli.app import INCOMPLETE, MEASURED
    from convbench.cli.bisect import A_RANGE
    from convbench.cli.compare import LOOKS_SLOWER
    from convbench.core import errors

    rows = (
        (MEASURED, "all", "done; for `check`: no regression"),
        (verdict.REGRESSION, "`check`, `replay`", "a confirmed regression; no other outcome of a check has this code"),
        (errors.ConvbenchError.exit_code, "all", "a mistake in the call, the suite or a file: the message says which"),
        (
            verdict.INCONCLUSIVE,
            "`check`, `replay`",
            "too noisy to decide (the message says which slowdown would be seen), or unfinished",
        ),
        (
            LOOKS_SLOWER,
            "`check --baseline`",
            "head looks slower, but nothing is decided: the run's commit is gone, or the run had uncommitted changes",
        ),
        (overview.NOTHING, "`history`", "no change for the worse that code may have caused"),
        (overview.CONFIRMED, "`history`", "a change for the worse that a paired check confirmed"),
        (overview.SUSPECTED, "`history`", "a change for the worse is suspected: `--confirm` checks its commits"),
        (
            A_RANGE,
            "`bisect`",
            "a range of commits with its probability instead of one commit; or the time ran out before the search",
        ),
        (ABSTAINED, "`advise`", "no answer, or one below the required grade; the message says why"),
        (
            errors.Refused.exit_code,
            "`check`, `compare`, `history`, `bisect`, `selftest`",
            "refused: a comparison that would mean nothing",
        ),
        (
            INCOMPLETE,
            "`run`, `profile`",
            "every case was skipped, or one failed or is missing (the budget ended its training, or hosts were lost)",
        ),
        (INCOMPLETE, "`merge`", "a shard or the result of a case is missing; all others are merged"),
        (
            verdict.INVALID,
            "`check`, `replay`",
            "a case without a verdict: it is missing or fails on one side, or its outputs differ",
        ),
        (errors.BuildFailed.exit_code, "`check`, `bisect`, `selftest`", "a side that cannot be built or imported"),
        (ending.INTERNAL, "all", "a bug in convbench, or in a plug-in that the message names"),
        (ending.UNWRITTEN, "all", "the output could not be written, for example to a full disk"),
        (errors.Interrupted.exit_code, "all", "Ctrl-C (another signal N: 128 + N); all finished work is on disk"),
    )
    ordered = sorted(rows, key=lambda row: row[0])
    yield from _table(("code", "verbs", "meaning"), ((str(code), verbs, meaning) for code, verbs, meaning in ordered))
    yield from ("", "In Python the same mistakes are exceptions with the same messages:", "")
    yield from _table(("exception", "code", "meaning"), map(_exception, _subclasses(errors.ConvbenchError)))


def _subclasses(kind: type) -> Iterator[type]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == kind.__module__:
            yield from _subclasses(each)


def _exception(kind: Any) -> tuple[str, str, str]:
    return _code(kind.__name__), str(kind.exit_code), _text((inspect.getdoc(kind) or "").partition("\n")[0])


# --- Command line, Python ---------------------------------------------------------------------------------------------


def command_line() -> Iterator[str]:
    """Yield every verb with its arguments and options, as in --help."""
    import typer
    from typer.testing import CliRunner

    import convbench.cli  # noqa: F401  (registers the verbs)
    from convbench.cli.app import app

    runner = CliRunner(env={"COLUMNS": "92", "TERM": "dumb"})
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if not command.hidden:
            text = runner.invoke(app, [name, "--help"], prog_name="convbench").output
            yield from ("", f"## {name}", "", "```text", *map(str.rstrip, text.strip().splitlines()), "```")


def python() -> Iterator[str]:
    """Yield the names that ``import convbench`` offers and their types, for mkdocstrings to render."""
    import convbench

    offered = [getattr(convbench, name) for name in convbench.__all__]
    functions = [each.__name__ for each in offered if inspect.isfunction(each) or inspect.ismodule(each)]
    names = [f"convbench.api.{name.rpartition('.')[2]}" for name in functions]
    classes = [f"{each.__module__}.{each.__name__}" for each in offered if inspect.isclass(each)]
    results = [*classes, "convbench.check.verdict.CaseVerdict"]
    sections = {"Functions": names, "What they take and return": results, "Nouns": NOUNS, "For plug-ins": OF_PLUGINS}
    for title, listed in sections.items():
        yield from ("", f"## {title}", "")
        for name in dict.fromkeys(listed):
            yield from (f"::: {name}", "    options:", "      heading_level: 3", "")


NOUNS = (
    *map("convbench.core.case.{}".format, ("Parts", "Whole", "Clip", "Recurrent", "Choice", "Trial")),
    *map("convbench.core.record.{}".format, ("Training", "Reading", "Finding", "Failure")),
    "convbench.core.metric.Metric", *map("convbench.analysis.history.course.{}".format, ("Course", "Change")),
)  # fmt: skip
OF_PLUGINS = (
    "convbench.core.case.Features", "convbench.models.subject.Subject", "convbench.models.inputs.Inputs",
    *map("convbench.core.traits.{}".format, ("VariantTraits", "ReducerTraits", "ExecutorTraits")),
    "convbench.measure.probes.ProbeTraits",
    *map("convbench.measure.quality.data.{}".format, ("Labelled", "Splits")),
    "convbench.measure.quality.controls.TaskTraits",
    *map("convbench.analysis.claims.judgement.{}".format, ("Judgement", "Number", "Lacking")),
    "convbench.analysis.claims.evidence.Evidence", "convbench.analysis.results.Result",
    "convbench.report.drawing.Drawing",
)  # fmt: skip
"""What plug-ins are given, and what they return."""


# --- Modules ----------------------------------------------------------------------------------------------------------


def modules() -> Iterator[str]:
    """Yield every module with the first sentence of its docstring."""
    package = ROOT / "convbench"
    for room in sorted(path for path in package.iterdir() if (path / "__init__.py").is_file()):
        yield from ("", f"## {room.name}", "")
        rows = ((_code(path.relative_to(room).as_posix()), _first(path)) for path in sorted(room.rglob("*.py")))
        yield from _table(("file", "what it is for"), (row for row in rows if row[1]))


def _first(path: Path) -> str:
    return _text((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0])


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def _code(text: str) -> str:
    return f"<code>{html.escape(text, quote=False)}</code>" if text else ""


def _text(text: str) -> str:
    """Return one line of Markdown from a docstring: ``x`` becomes code, and all other markup is escaped."""
    pieces = " ".join(text.split()).split("``")
    plain = (html.escape(piece, quote=False).replace("*", "\\*").replace("[", "\\[") for piece in pieces[::2])
    coded = (_code(piece) for piece in pieces[1::2])
    return "".join(piece for pair in zip(plain, [*coded, ""], strict=False) for piece in pair)


PAGES: dict[str, tuple[Callable[[], Iterator[str]], str, str]] = {
    "suites": (suites, "Suites", """\
A suite is a YAML file that says which models are measured, and how. This page is made from the JSON Schema that
`convbench schema` prints, which editors use for completion."""),
    "plugins": (plugins, "Plug-ins", """\
The names that a suite or the command line can use. `convbench list` prints them too, with the plug-ins of your packages
and their source. An option is written `{name: avg-k, k: 2}` or `avg-k(k=2)`."""),
    "columns": (columns, "Columns", """\
`results.csv` has one row per case; `convbench run --json` prints the same, one object per line. Values are in base
units, and empty where nothing was measured. Metrics of your own probes follow in columns of their own."""),
    "findings": (findings, "Findings", """\
A finding is something that a reader must know about a result. The page and the terminal state it in words, the column
`findings` holds its code, and `results.jsonl` its data. These are the words, with example data."""),
    "exit-codes": (exit_codes, "Exit codes", """\
A mistake in a call ends with one message on standard error, never with a traceback."""),
    "command-line": (command_line, "Command line", "`convbench VERB --help` prints the same."),
    "python": (python, "Python", "Everything is typed. Values are in base units (s, B, FLOP)."),
    "modules": (modules, "Modules", """\
Every file, room by room, with the first sentence of its docstring: where to look, and where new code belongs."""),
}  # fmt: skip
"""By file: what writes the page, its title, and what to know first."""

if __name__ == "__main__":
    main()
