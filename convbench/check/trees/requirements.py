"""Note requirements that differ between two sides, since both use the packages of one environment."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Mapping
from configparser import ConfigParser, Error
from contextlib import suppress
from pathlib import Path

from convbench.check.trees.sides import Side
from convbench.core import git
from convbench.core.text import some

LISTS = re.compile(
    r"(.*/)?((requirements|constraints).*\.(txt|in)|environment\.ya?ml|(uv|poetry|pdm|pixi|Pipfile)\.lock|Pipfile)"
)
"""Matches the files that list nothing but requirements."""


REMEDY = "both run with the packages of this environment: --base-python runs base in another one"


def notes(base: Side, head: Side, remedy: str = REMEDY) -> list[str]:
    """Return a note that names the files whose requirements differ; none if base has another interpreter."""
    if base.python != head.python or not (base.root and base.commit and head.root):
        return []
    roots, changed_files = (base.root, head.root), git.changed_files(head.root, base.commit)
    projects = [file for file in changed_files if Path(file).name in READERS]
    files = [file for file in changed_files if LISTS.fullmatch(file)]
    files += [file for file in projects if len({repr(_requirements(root / file)) for root in roots}) > 1]
    names = f"{base.alias or 'base'} and {head.alias or 'head'}"
    return [f"requirements differ between {names} ({some(files)}), but {remedy}"] if files else []


def _requirements(file: Path) -> object:
    """Return the requirements in a project's file; None if it is missing or cannot be read."""
    with suppress(OSError, ValueError, AttributeError, SyntaxError, RecursionError, Error):
        return READERS[file.name](file.read_text(encoding="utf-8"))
    return None


def _of_pyproject(text: str) -> object:
    content = tomllib.loads(text)
    project, poetry = content.get("project", {}), content.get("tool", {}).get("poetry", {})
    return [project.get("dependencies"), project.get("optional-dependencies"), poetry.get("dependencies")]


def _of_setup_cfg(text: str) -> object:
    config = ConfigParser(interpolation=None)
    config.read_string(text)
    extras = dict(config["options.extras_require"]) if "options.extras_require" in config else {}
    return config.get("options", "install_requires", fallback=""), extras


def _of_setup_py(text: str) -> object:
    """Return the arguments of ``setup`` and the variables that are called requirements in some way."""
    nodes = list(ast.walk(ast.parse(text)))
    arguments = [(node.arg or "", node.value) for node in nodes if isinstance(node, ast.keyword)]
    assignments = [node for node in nodes if isinstance(node, ast.Assign)]
    variables = [(ast.unparse(target), node.value) for node in assignments for target in node.targets]
    return [(name, ast.unparse(value)) for name, value in (*arguments, *variables) if "require" in name.lower()]


READERS: Mapping[str, Callable[[str], object]] = {
    "pyproject.toml": _of_pyproject, "setup.cfg": _of_setup_cfg, "setup.py": _of_setup_py,
}  # fmt: skip
"""What reads the requirements of a file that holds more than these, by its name."""
