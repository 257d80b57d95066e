"""Run the code of a page of the documentation: ``python tests/docs_page.py PAGE.md`` in an empty directory.

1. A block with ``title="name"`` becomes the file of that name. The entry points of a ``pyproject.toml`` are installed.
2. ```` ```bash ```` blocks and ```` ```python ```` blocks without a title are run in order, as one session.
3. ```` ```sh ```` blocks, which would take minutes or other machines, are only parsed: each verb and option must exist.
4. ```` ```yaml ```` blocks without a title are parts of a suite: they must be valid in its schema.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
from ruamel.yaml import YAML

FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
BREAKS = set(";|&()<>")


class Block(NamedTuple):
    """A piece of code in a page."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [Block(*match) for match in FENCE.findall(page.read_text(encoding="utf-8"))]


def runs(block: Block) -> bool:
    """Whether the block is written or run, and not only parsed."""
    return bool(block.title) or block.language in ("bash", "python")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each call of convbench in a piece of shell code."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        starts = [i for i, word in enumerate(words) if word == "convbench" and (i == 0 or set(words[i - 1]) <= BREAKS)]
        for start in starts:
            rest = words[start + 1 :]
            yield rest[: next((i for i, word in enumerate(rest) if set(word) <= BREAKS), len(rest))]


def read(words: list[str]) -> None:
    """Parse a command. Raises if a verb or an option does not exist."""
    import typer

    import convbench.cli  # noqa: F401  (registers the verbs)
    from convbench.cli.app import app

    group = typer.main.get_command(app)
    context = group.make_context("convbench", list(words))
    name, verb, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    verb.make_context(name, rest, parent=context)


def run(words: list[str]) -> None:
    """Run the command as a user does. Raises RuntimeError if its exit code is not zero."""
    from convbench.cli import main

    sys.argv = ["convbench", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"convbench {shlex.join(words)} ended with exit code {end.code}") from end


def follow(page: Path) -> None:
    """Do all that the page says in the current directory."""
    listed = blocks(page)
    for block in (block for block in listed if block.title):
        Path(block.title).parent.mkdir(parents=True, exist_ok=True)
        Path(block.title).write_text(block.text, encoding="utf-8")
        if block.title == "pyproject.toml":
            _install(tomllib.loads(block.text)["project"])
    sys.path.insert(0, str(Path.cwd()))
    session: dict[str, Any] = {"__name__": "__page__"}
    for block in listed:
        _do(block, session)


def _install(project: dict[str, Any]) -> None:
    """Write the dist-info that pip would add for the project: its name, its version and its entry points."""
    folder = Path(f"{project['name']}-{project['version']}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = (line for group, entries in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in entries.items())))
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


def _do(block: Block, session: dict[str, Any]) -> None:
    match block.language, block.title:
        case "bash", _:
            for words in commands(block.text):
                run(words)
        case "sh", _:
            for words in commands(block.text):
                read(words)
        case "python", "":
            exec(compile(block.text, "<page>", "exec"), session)
        case "python", title:
            compile(block.text, title, "exec")
        case "yaml", "":
            from convbench import suite

            jsonschema.validate(YAML(typ="safe").load(block.text), suite.schema())


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
