"""Variables and arguments are nouns of their type: a reader cannot tell what ``known`` or ``several`` holds.

And scripts that no test runs use only names that convbench has.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import convbench

WORDS = """
one ones several found held said told kept made taken given named own chosen listed drawn judged inspected needed wanted
noted picked merged moved sent tried used written changed those these them rest there which got
"""
BARE = frozenset(WORDS.split())
"""Pronouns and participles that say nothing of a value."""
TESTS = Path(__file__).parent
SCRIPTS = sorted(script for folder in ("bench", "fuzz", "gpu") for script in (TESTS / folder).rglob("*.py"))


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


def imported(module: str, name: str) -> Any:
    """Return what ``from module import name`` gives. Raises ImportError if there is no such thing."""
    value = getattr(importlib.import_module(module), name, None)
    return importlib.import_module(f"{module}.{name}") if value is None else value


def missing_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every attribute of one of convbench's modules that the module does not have."""
    nodes = list(ast.walk(ast.parse(source)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and str(node.module).startswith("convbench")]
    values = {
        alias.asname or alias.name: imported(str(node.module), alias.name) for node in imports for alias in node.names
    }
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = values.get(node.value.id)
            if isinstance(module, ModuleType) and not hasattr(module, node.attr):
                yield node.lineno, f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.relative_to(TESTS).as_posix())
def test_a_script_that_no_test_runs_uses_names_that_exist(script: Path) -> None:
    """They take hours (``make bench``, ``make gpu``, ``make fuzz``) and would fail late at a renamed function."""
    assert list(missing_names(script.read_text())) == []


def test_a_missing_name_is_reported() -> None:
    source = "from convbench.core.storage import index\nindex.ask\nindex._place = None\n"
    assert list(missing_names(source)) == [(3, "index._place")]
    with pytest.raises(ImportError):
        list(missing_names("from convbench.core.storage import nothing"))
