"""Base and head must import code of their own: one file measured on both sides would always be as fast as itself.

1. A module that the suite names comes from another file in base than in head, unless it is an installed package of
   others, which is the same for both on purpose.
2. What differs between the sides is not measured from a copy: no module that both import from one file is that of a
   file that differs, whether it was copied into the environment by hand or by ``pip install ./packages/x``.
3. Something of the base is imported. Of a wheel that is all: what lies beside the suite is the same for both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from convbench.check.sides import Side
from convbench.core import git
from convbench.core.code import is_installed
from convbench.core.errors import Refused

IMPORT_PATH = re.compile(r"([A-Za-z_][\w.-]*):[A-Za-z_][\w.]*")
REMEDY = (
    "it would be compared with itself. Install it so that the tree is used (pip install -e), put its source folder on "
    "PYTHONPATH, or `check` it against a wheel"
)
Files = Mapping[str, str]
NATIVE = frozenset({".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".pyx", ".rs"})
"""Sources of which no module bears the name: that of their package may be built from any of them."""


def refuse_same_code(base: Side, head: Side, cases: Sequence[Mapping[str, Any]], files: Mapping[str, Files]) -> None:
    """``files`` are those of the modules that each side, ``base`` and ``head``, has imported for the cases.

    Raises Refused with the module, its file and what to do.
    """
    if base.root == head.root or base.python != head.python:
        return
    head_files, base_files = files.get("head", {}), files.get("base", {})
    shared_files = {name: file for name, file in head_files.items() if base_files.get(name) == file}
    if base.root and head.root:
        for module in module_names(cases):
            if module in shared_files and _may_differ(module, Path(shared_files[module]), head.root):
                raise Refused(f"base and head both import {module} from {shared_files[module]}: {REMEDY}")
        changed_paths = [Path(name) for name in git.changed(head.root, base.commit)] if base.commit else []
        for file in (path for path in changed_paths if path.suffix in {".py", *NATIVE}):
            if copy := _find_copy(file, head.root, shared_files):
                raise Refused(
                    f"{file} differs between base and head, but both import {copy[0]} from {copy[1]}: {REMEDY}"
                )
    _refuse_unused(base, base_files, cases)


def _refuse_unused(base: Side, files: Files, cases: Sequence[Mapping[str, Any]]) -> None:
    """A base that no case imports anything of: its tree, or what a wheel holds, which is found first there."""
    folder = base.root or base.paths[0]
    if cases and not any(Path(file).is_relative_to(folder) for file in files.values()):
        raise Refused(
            f"no case imports anything of {base.label}, so head would be compared with itself: check a suite that "
            "names a module of it, as model: package.module:function"
        )


def _may_differ(module: str, file: Path, root: Path) -> bool:
    """Whether a module that both sides import from a file may be code of the tree: not an installed one of others."""
    if not is_installed(file) or _installed_from(module.partition(".")[0]):
        return True
    paths = (path for path in root.rglob(file.name) if not is_installed(path))  # an environment may lie in the tree
    return any(path.as_posix().endswith(_relative(module, file)) for path in paths)


def module_names(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """The modules that cases name by import paths."""
    modules = (match[1] for case in cases for text in _texts(case) if (match := IMPORT_PATH.fullmatch(text)))
    return list(dict.fromkeys(modules))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for item in value.values():
                yield from _texts(item)
        case Sequence():
            for item in value:
                yield from _texts(item)


def _find_copy(changed_path: Path, root: Path, files: Files) -> tuple[str, str] | None:
    """The module and its file that is a copy of a changed file."""
    for name, file in files.items():
        path = Path(file)
        if path == root / changed_path or name.startswith("convbench."):
            continue
        if changed_path.as_posix().endswith(_relative(name, path)) and "." in name:
            return name, file
        source = _installed_from(name.partition(".")[0])
        is_its_source = path.name == changed_path.name or changed_path.suffix in NATIVE
        if source is not None and (root / changed_path).is_relative_to(source) and is_its_source:
            return name, file
    return None


def _relative(module: str, file: Path) -> str:
    """``/x/net.py`` of the module ``x.net``: how its file lies in whatever folder holds the package."""
    depth = module.count(".") + (2 if file.name == "__init__.py" else 1)
    return "/" + "/".join(file.parts[-depth:])


@cache
def _distributions() -> Mapping[str, list[str]]:
    """By package the distributions that bring it: whole seconds, since every file of every one is looked at."""
    return metadata.packages_distributions()


@cache
def _installed_from(package: str) -> Path | None:
    """The folder that a package was installed from as a copy, as pip notes it; None for any other."""
    with suppress(Exception):
        for distribution in _distributions().get(package, ()):
            source = json.loads(metadata.distribution(distribution).read_text("direct_url.json") or "{}")
            if "dir_info" in source and not source["dir_info"].get("editable"):
                return Path(unquote(urlsplit(source["url"]).path)).resolve()
    return None
