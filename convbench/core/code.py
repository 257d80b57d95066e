"""Find which of the user's own code a measurement used: the modules that were imported, by a hash of their content.

A module is the user's if its file lies outside of the standard library, of installed packages and of convbench. It is
identified by its name: no path of this machine is stored. The same rule finds the user's own line that led to an error.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from convbench.core.errors import typed_line

DIGITS = 12
INSTALLED = {"site-packages", "dist-packages"}
MAIN = {"__main__", "__mp_main__"}


def module_digests() -> dict[str, str]:
    """Return the user's modules that this process has imported by now, and the hash of each."""
    return {name: digest for name, file in sorted(files().items()) if (digest := _file_hash(file))}


def files() -> dict[str, str]:
    """Return the user's modules that this process has imported by now, and the file of each."""
    return {name: file for name, file in module_files() if name not in MAIN and is_users(file)}


class Elsewhere(NamedTuple):
    """A user's module whose ``file`` lies outside of a tree that has a ``copy`` of it, to be imported from ``root``."""

    module: str
    file: Path
    copy: Path
    root: Path


def elsewhere(top: Path, modules: Iterable[str]) -> Elsewhere | None:
    """Return a module that comes from outside of a tree that has it too; None if there is none.

    It happens in a second clone or worktree: an editable install leads to the first one. Nothing is imported.
    """
    roots = tuple(dict.fromkeys(root / folder for root in (Path.cwd(), top) for folder in ("", "src")))
    for name in modules:
        path = Path(_file(name) or top).resolve()
        for root in roots if not path.is_relative_to(top) else ():
            copy = root.joinpath(*parts_of(name, path))
            if copy.is_file() and not copy.samefile(path):
                return Elsewhere(name, path, copy, root)
    return None


def parts_of(module: str, file: Path) -> tuple[str, ...]:
    """Return the parts of a module's path from the folder that its package is imported from: ``x``, ``net.py``."""
    depth = module.count(".") + (2 if file.name == "__init__.py" else 1)
    return file.parts[-depth:]


def module_files() -> Iterator[tuple[str, str]]:
    """Yield all modules that this process has imported by now, with their files; a stand-in for a module has none."""
    for name, module in list(sys.modules.items()):
        with suppress(Exception):  # what stands in for a missing package may raise, or answer with anything
            if isinstance(file := module.__file__, str):
                yield name, file


def changed_files(digests: Mapping[str, str]) -> list[str]:
    """Return the names of these modules' files that have changed or are gone. Nothing is imported.

    Modules that are only found on a path that the code itself adds (``sys.path.insert``) are left out.
    """
    return [
        Path(_file(name) or name).name
        for name, digest in digests.items()
        if _spec(name.partition(".")[0], None) and _file_hash(_file(name) or "") != digest
    ]


def located(error: BaseException, words: str = "") -> str:
    """Return an error with the user's line that led to it, as in ``KeyError: 'gain' (net.py:12)``.

    ``words``, if given, replace its type and first line.
    """
    words, place = words or typed_line(error), place_of(error)
    return f"{words} ({place})" if place else words


def place_of(error: BaseException) -> str:
    """Return ``net.py:12``, the last line of the user's own code that led to an error; empty if none did."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def modules_of(error: BaseException) -> list[str]:
    """Return the modules through which an error came, that of the line that raised it last."""
    return [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]


def missing_module(error: BaseException) -> str:
    """Say what to install or repair if a module that convbench depends on is missing or broken; empty otherwise."""
    if package := _broken_package(error):
        cause = typed_line(error.__cause__ or error)
        return f"{package} cannot be imported ({cause}): repair its installation, for example with pip"
    name = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    if not name or name.partition(".")[0] == __name__.partition(".")[0] or place_of(error):
        return ""
    return f"{name} is not installed, and this needs it: install it, for example with pip"


def _broken_package(error: BaseException) -> str:
    """Return the installed package whose import raised the error, such as pandas beside an old numpy; empty if none."""
    if isinstance(error, ModuleNotFoundError) or place_of(error):
        return ""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == "<module>")
    packages = (
        frame.f_globals["__name__"].partition(".")[0]
        for frame in frames
        if is_installed(Path(frame.f_code.co_filename))
    )
    return next((package for package in packages if package not in (__name__.partition(".")[0], "__main__")), "")


@cache
def is_users(file: str) -> bool:
    """Whether a file is the user's own. The answer is cached, also for processes that are forked later."""
    if is_installed(Path(file)) or file.startswith("<"):
        return False
    place = os.path.realpath(file)
    roots = _foreign_roots(os.environ.get("TORCHINDUCTOR_CACHE_DIR"))
    return not place.startswith(roots) and not is_installed(Path(place))


def is_installed(file: Path) -> bool:
    """Whether a file lies in ``site-packages``, or ``dist-packages`` as Debian calls it."""
    return not INSTALLED.isdisjoint(file.parts)


@cache
def _foreign_roots(compiler_cache: str | None) -> tuple[str, ...]:
    """Return the real paths of the standard library, of this package, and of the compiler's cache."""
    library = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    package = str(Path(__file__).parents[1])
    return tuple(os.path.realpath(root) + os.sep for root in (*library, package, compiler_cache) if root)


def _file_hash(file: str) -> str | None:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:DIGITS]
    except OSError:
        return None


def _file(module: str) -> str | None:
    """Return the file that a module would be imported from now, without importing its packages."""
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        name = ".".join(parts[:length])
        spec = _spec(name, spec)
        if spec is None:
            return None
    return spec.origin if spec else None


def _spec(name: str, package: ModuleSpec | None) -> ModuleSpec | None:
    with suppress(ImportError, ValueError, AttributeError):
        if package is None:
            return importlib.util.find_spec(name)
        # By its last part: a folder without __init__.py would ask for its package, which is not imported.
        return PathFinder.find_spec(name.rpartition(".")[2], package.submodule_search_locations)
    return None
