"""Note requirements that differ between the sides of a check, since both use the packages of one environment."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from pathlib import Path

from convbench.check.sides import Side
from convbench.core import git
from convbench.core.text import some

LISTS = re.compile(
    r"(.*/)?((requirements|constraints).*\.(txt|in)|environment\.ya?ml|(uv|poetry|pdm|pixi|Pipfile)\.lock|Pipfile)"
)
"""Matches the files that list nothing but requirements."""


def notes(base: Side, head: Side) -> list[str]:
    """Return a note that names the files whose requirements differ; none if base has another interpreter."""
    if base.python != head.python or not (base.root and base.commit and head.root):
        return []
    roots, changed_files = (base.root, head.root), git.changed_files(head.root, base.commit)
    projects = [file for file in changed_files if Path(file).name == "pyproject.toml"]
    files = [file for file in changed_files if LISTS.fullmatch(file)]
    files += [file for file in projects if len({repr(_requirements(root / file)) for root in roots}) > 1]
    remedy = "both run with the packages of this environment: --base-python runs base in another one"
    return [f"requirements differ between base and head ({some(files)}), but {remedy}"] if files else []


def _requirements(file: Path) -> list[object]:
    """Return the requirements of a ``pyproject.toml``; empty if it is missing or cannot be read."""
    with suppress(OSError, ValueError, AttributeError):
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        project, poetry = content.get("project", {}), content.get("tool", {}).get("poetry", {})
        return [project.get("dependencies"), project.get("optional-dependencies"), poetry.get("dependencies")]
    return []
