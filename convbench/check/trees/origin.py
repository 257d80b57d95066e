"""Check that base and head import their own code: one file measured on both sides would always be as fast as itself.

1. Base and head import a module that the suite names from different files, unless it is an installed third-party
   package, which is meant to be the same for both.
2. A file that differs between the sides is not measured from a copy: no module that both sides import from one file
   belongs to such a file, whether it was copied into the environment by hand or by ``pip install ./packages/x``.
3. Some code of the base is imported. For a wheel this is the only rule: files beside the suite are the same for both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from convbench.check.trees.sides import Side
from convbench.core import git
from convbench.core.code import is_installed, is_users, parts_of
from convbench.core.errors import Refused
from convbench.core.text import some

IMPORT_PATH = re.compile(r"([A-Za-z_][\w.-]*):[A-Za-z_][\w.]*")
BUILD = "python -m pip install --no-deps --no-build-isolation --target . ."
REMEDY = (
    "it would be compared with itself. Install it so that the tree is used (pip install -e), put its source folder on "
    f"PYTHONPATH, or `check` it against a wheel. A package that must be built: --build {BUILD!r}"
)
Files = Mapping[str, str]
NATIVE = frozenset({".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".pyx", ".rs"})
"""Suffixes of native sources. No module is named after them: any of them may be part of their package's extension."""


def refuse_same_code(base: Side, head: Side, cases: Sequence[Mapping[str, Any]], files: Mapping[str, Files]) -> None:
    """Raise Refused if both sides measure the same code; the message names the module, its file and what to do.

    ``files`` holds by side, ``base`` and ``head``, the files of the modules that it has imported for the cases.
    """
    if base.root == head.root or base.python != head.python:
        return
    names = f"{base.alias or 'base'} and {head.alias or 'head'}"
    head_files, base_files = files.get("head", {}), files.get("base", {})
    shared_files = {name: file for name, file in head_files.items() if base_files.get(name) == file}
    if base.root and head.root:
        for module in module_names(cases):
            if module in shared_files and _may_differ(module, Path(shared_files[module]), head.root):
                raise Refused(f"{names} both import {module} from {shared_files[module]}: {REMEDY}")
        changed_paths = [Path(name) for name in git.changed_files(head.root, base.commit)] if base.commit else []
        for file in (path for path in changed_paths if path.suffix in {".py", *NATIVE}):
            if copy := _find_copy(file, head.root, shared_files):
                raise Refused(f"{file} differs between {names}, but both import {copy[0]} from {copy[1]}: {REMEDY}")
    _refuse_unused(base, head.alias or "head", base_files, cases)


def notes(base: Side, head: Side, files: Mapping[str, Files]) -> list[str]:
    """Note changed native sources that are newer than an extension of head, which may hold the code of base."""
    if not (base.commit and base.root != head.root and head.root):
        return []
    extensions = {
        name: Path(file).stat().st_mtime
        for name, file in files.get("head", {}).items()
        if file.endswith(tuple(EXTENSION_SUFFIXES)) and is_users(file) and Path(file).is_relative_to(head.root)
    }
    oldest = min(extensions, key=extensions.__getitem__, default="")
    names = (Path(name) for name in (git.changed_files(head.root, base.commit) if oldest else ()))
    sources = [name for name in names if name.suffix in NATIVE and (head.root / name).is_file()]
    newer_sources = [str(name) for name in sources if (head.root / name).stat().st_mtime > extensions[oldest]]
    head_name = head.alias or "head"
    reason = f"so {head_name} may have run the old code: build {head_name} and check again"
    return [f"{some(newer_sources)} changed after {oldest} was built, {reason}"] if newer_sources else []


def _refuse_unused(base: Side, head: str, files: Files, cases: Sequence[Mapping[str, Any]]) -> None:
    """Raise Refused if no case imports anything from base: its tree, or its unpacked wheel, which is the first path."""
    folder = base.root or base.paths[0]
    if cases and not any(Path(file).is_relative_to(folder) for file in files.values()):
        raise Refused(
            f"no case imports anything from {base.label}, so {head} would be compared with itself: check a suite that "
            "names one of its modules, such as model: package.module:function"
        )


def _may_differ(module: str, file: Path, root: Path) -> bool:
    """Whether a module that both sides import from one file may be code of the tree, not a third-party package."""
    if not is_installed(file) or _installed_from(module.partition(".")[0]):
        return True
    paths = (path for path in root.rglob(file.name) if not is_installed(path))  # an environment may lie in the tree
    return any(path.as_posix().endswith(_relative(module, file)) for path in paths)


def module_names(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the modules that the cases name by import paths."""
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
    """Return a module and its file if that file is a copy of the changed file, or was built from it; else None."""
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
    """Return a file's path from the folder that holds its package: ``/x/net.py`` for the module ``x.net``."""
    return "/" + "/".join(parts_of(module, file))


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions that provide each package. Takes seconds, since it looks at all files of all of them."""
    return metadata.packages_distributions()


@cache
def _installed_from(package: str) -> Path | None:
    """Return the folder that pip copied a package from, by pip's own record; None for any other package."""
    with suppress(Exception):
        for distribution in _distributions().get(package, ()):
            source = json.loads(metadata.distribution(distribution).read_text("direct_url.json") or "{}")
            if "dir_info" in source and not source["dir_info"].get("editable"):
                return Path(unquote(urlsplit(source["url"]).path)).resolve()
    return None
