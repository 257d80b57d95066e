"""Variables and arguments are nouns of their type: a reader cannot tell what ``known`` or ``several`` holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import convbench

WORDS = """
one ones several found held said told kept made taken given named own chosen listed drawn judged inspected needed wanted
noted picked merged moved sent tried used written changed those these them rest there which got
"""
BARE = frozenset(WORDS.split())
"""Pronouns and participles that say nothing of a value."""


def bare_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every variable or argument that is a bare pronoun or participle."""
    for node in ast.walk(ast.parse(source)):
        is_variable = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        name = node.id if is_variable else node.arg if isinstance(node, ast.arg) else ""
        if name.strip("_") in BARE:
            yield node.lineno, name


def test_names_are_nouns() -> None:
    root = Path(convbench.__file__).parent
    files = sorted(root.rglob("*.py"))
    assert [(str(file.relative_to(root)), *place) for file in files for place in bare_names(file.read_text())] == []


def test_a_bare_name_is_reported() -> None:
    source = "def f(several):\n    for one in several:\n        sample = one\n"
    assert list(bare_names(source)) == [(1, "several"), (2, "one")]
