"""Where a user's own modules are found: beside the suite and in the working directory, behind the standard library.

A file there that is named like a module of the standard library (``statistics.py``, ``queue.py``) is never imported in
its place; installed packages come after.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from convbench.core.errors import ConvbenchError

LEVELS = 3


def lend(folders: Iterable[Path]) -> None:
    """Let modules of these folders be imported, behind the standard library and before installed packages."""
    known = set(sys.path)
    new = [str(folder) for folder in dict.fromkeys(folders) if str(folder) not in known]
    place = _behind_standard_library()
    sys.path[place:place] = new


def working_directory() -> Path | None:
    """None where it has been deleted."""
    folder = _cwd()
    return Path(folder) if folder else None


def here() -> Path:
    """The working directory. Raises ConvbenchError where it has been deleted."""
    folder = working_directory()
    if folder is None:
        raise ConvbenchError("the working directory has been deleted: change to one that exists")
    return folder


def of_file(path: str) -> str:
    """The import path of what is named by a file: ``./models/net.py:build`` is ``models.net:build``.

    A file that lies above or elsewhere has none and stays as it is.
    """
    file, colon, attribute = path.partition(":")
    *folders, name = PurePosixPath(file).parts or ("",)
    stems = [*folders, name.removesuffix(".py")]
    if name == stems[-1] or "/" in folders or any(not stem or "." in stem for stem in stems):
        return path
    return f"{'.'.join(stems)}{colon}{attribute}"


def why_not(path: str, error: Exception) -> str:
    """What to do about a module that cannot be imported, in words that follow the reason; empty where nobody knows."""
    module, _, attribute = path.partition(":")
    if "/" in module or module.endswith(".py"):
        file = Path(module)
        return (
            f"; {module!r} is a file that lies neither beside the suite nor here: write {file.stem}:{attribute} and "
            f"put its folder on the path, as in PYTHONPATH={file.parent} convbench ..."
        )
    if not all(module.split(".")):
        return "; write it as package.module:function"
    name = getattr(error, "name", None) or ""
    if name and name == module.partition(".")[0] and (folder := _nearby(name)):
        return f"; it lies in {folder}: put that on the path, as in PYTHONPATH={folder} convbench ..., or install it"
    return ""


def shadowed(module: str) -> str:
    """Words on a module of the standard library that a file of the user's is named like; empty for any other."""
    name = module.partition(".")[0]
    if name in sys.stdlib_module_names and any((Path(folder) / f"{name}.py").is_file() for folder in _lent()):
        return f": it is the standard library's, which your {name}.py is named like: rename yours"
    return ""


def _behind_standard_library() -> int:
    library = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    of_it = [at for at, entry in enumerate(sys.path) if _is_of(os.path.realpath(entry or "."), library)]
    return max(of_it, default=-1) + 1


def _is_of(entry: str, library: set[str]) -> bool:
    return entry in library or (os.path.dirname(entry) in library and not entry.endswith("-packages"))  # noqa: PTH120


def _lent() -> list[str]:
    return sys.path[_behind_standard_library() :]


def _nearby(name: str) -> str:
    """The folder, as one would write it from here, in which a package or module of that name lies; empty for none."""
    current = working_directory()
    starts = [current] if current else []
    starts += [Path(entry) for entry in _lent() if Path(entry).is_dir() and not entry.endswith("-packages")][:4]
    for start in starts:
        for folder in [start, *start.parents][: LEVELS + 1]:
            for place in (folder / "src", folder / "lib", folder):
                if (place / name / "__init__.py").is_file() or (place / f"{name}.py").is_file():
                    return os.path.relpath(place, current) if current else str(place)
    return ""


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return ""
