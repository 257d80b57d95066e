"""Import a user's own modules, from beside the suite and the working directory, after the standard library.

A file there that is named like a module of the standard library (``statistics.py``, ``queue.py``) is never imported in
its place; installed packages come after the user's modules.
"""

from __future__ import annotations

import functools
import importlib
import os
import shlex
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from convbench.core.code import located
from convbench.core.errors import ConvbenchError, line_of
from convbench.core.text import cut, short_name

REQUIRED = (
    "annotated_types", "fvcore", "jinja2", "matplotlib", "numpy", "pandas", "psutil", "pydantic", "rich", "scipy",
    "sklearn", "torch", "typer",
)  # fmt: skip
"""The packages that convbench itself imports. One called alike that a user has would be run in its own process."""
OF_REQUIRED = (
    "PIL", "cloudpickle", "contourpy", "cycler", "dateutil", "filelock", "fontTools", "fsspec", "iopath", "joblib",
    "kiwisolver", "markdown_it", "markupsafe", "mdurl", "mpl_toolkits", "mpmath", "narwhals", "networkx", "packaging",
    "portalocker", "pydantic_core", "pygments", "pynvml", "pyparsing", "ruamel", "setuptools", "shellingham", "six",
    "sympy", "tabulate", "termcolor", "threadpoolctl", "torchgen", "tqdm", "typing_extensions", "typing_inspection",
    "yacs", "yaml",
)  # fmt: skip
"""The packages that these import in turn, some of them long after the user's folder is on the path."""
OPTIONAL = (
    "bottleneck", "cuda", "dill", "monkeytype", "numexpr", "opt_einsum", "pyarrow", "pydot", "pytz", "torchcomms",
    "triton",
)  # fmt: skip
"""The packages that pandas and torch import if there is one: a user's file takes the place even of a missing one."""
LEVELS = 3
LONGEST_REASON = 300
_in_import = ContextVar("in_import", default=False)


def add_to_path(folders: Iterable[Path]) -> None:
    """Let modules of these folders be imported, after the standard library and before installed packages.

    Raises ConvbenchError if a module there would take the place of a package that convbench needs.
    """
    entries = set(sys.path)
    new_entries = [str(folder) for folder in dict.fromkeys(folders) if str(folder) not in entries]
    _refuse_in_place_of_ours(new_entries)
    index = _index_behind_library()
    sys.path[index:index] = new_entries


def add_suite_folder(suite: Path) -> None:
    """Let modules beside a suite and in the working directory be imported; a suite may be a name without a file."""
    folder = working_directory()
    if folder:
        add_to_path([folder, *([suite.parent.absolute()] if _is_file(suite) else [])])


def working_directory() -> Path | None:
    """Return the working directory; None if it has been deleted."""
    try:
        return Path.cwd()
    except OSError:
        return None


def near(path: str) -> str:
    """Return a file's path without detours, relative to the working directory if it lies below; other text as it is."""
    with suppress(OSError, ValueError):
        folder = Path.cwd()
        place = Path(os.path.normpath(folder / path))
        if place.samefile(path):  # else "x/.." is no detour, because x is a link
            return str(place.relative_to(folder)) if place.is_relative_to(folder) else os.path.normpath(path)
    return path


def require_working_directory() -> Path:
    """Return the working directory. Raises ConvbenchError if it has been deleted."""
    folder = working_directory()
    if folder is None:
        raise ConvbenchError("the working directory has been deleted: change to one that exists")
    return folder


def of_file(path: str) -> str:
    """Return the import path that a file's path stands for: ``models.net:build`` for ``./models/net.py:build``.

    A file that lies above, in a home or elsewhere has no import path, so its path is returned unchanged.
    """
    file, colon, attribute = path.partition(":")
    *folders, name = PurePosixPath(file).parts or ("",)
    stems = [*folders, name.removesuffix(".py")]
    if name == stems[-1] or file.startswith(("/", "~")) or any(not stem or "." in stem for stem in stems):
        return path
    return f"{'.'.join(stems)}{colon}{attribute}"


def import_path(path: str) -> Any:
    """Return the object at ``package.module:attribute``. Raises ConvbenchError that says which part is missing."""
    module_name, _, attribute = path.partition(":")
    if is_script(module_name):
        sys.modules[module_name] = sys.modules["__main__"]
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        from convbench.core import git

        remedy = hint(path, error) if isinstance(error, ImportError | TypeError | ValueError) else ""
        reason = f"{why_not(error)}{remedy or git.lfs_hint(error)}"
        raise ConvbenchError(f"cannot import {short_name(path)!r}: {reason}") from error
    try:
        return functools.reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        reason = f"{short_name(module_name)!r} has no {short_name(attribute)!r}"
        raise ConvbenchError(f"{reason}{_shadow_hint(module_name)}") from error


def import_module(name: str) -> ModuleType:
    """Import a user's module, which must not measure anything meanwhile (``refuse_in_import``).

    Tensors that it makes at import, such as the mean of its images, have values even if torch's device is ``meta``.
    """
    token, torch = _in_import.set(True), sys.modules.get("torch")
    is_on_meta = torch is not None and torch.get_default_device().type == "meta"
    try:
        with torch.device("cpu") if torch and is_on_meta else nullcontext():
            return importlib.import_module(name)
    finally:
        _in_import.reset(token)


def is_script(module: str) -> bool:
    """Whether this is a name of the running script, which would run again if it were imported. Imports nothing."""
    main = sys.modules["__main__"]
    if module in sys.modules:
        return sys.modules[module] is main
    *folders, name = module.split(".")
    file = getattr(main, "__file__", None)
    places = (Path(entry, *folders, f"{name}.py") for entry in sys.path)
    is_file = bool(file) and _is_file(Path(str(file)))  # a script that is read from a pipe has "<stdin>" for a file
    return is_file and any(_is_file(place) and place.samefile(str(file)) for place in places)


def refuse_in_import() -> None:
    """Raise ConvbenchError if this thread imports a user's module at the moment. What measures calls this first."""
    if _in_import.get():
        raise ConvbenchError(
            "the module measures when it is imported: put its calls of convbench under a __main__ guard"
        )


def why_not(error: BaseException) -> str:
    """Return why a module cannot be imported, in one line."""
    if isinstance(error, SystemExit):
        return (
            "the module ends the program when it is imported: put the code that reads arguments under a __main__ guard"
        )
    if isinstance(error, ConvbenchError):
        return located(error, line_of(error))
    return cut(line_of(error) if isinstance(error, ImportError) and str(error) else located(error), LONGEST_REASON)


def hint(path: str, error: BaseException) -> str:
    """Return what to do about a module that cannot be imported, in words to follow the reason; empty if unknown."""
    module, _, attribute = path.partition(":")
    if "/" in module or module.endswith(".py"):
        return _file_hint(module, f":{attribute}" if attribute else "")
    if not all(module.split(".")):
        return "; write it as package.module:function"
    if remedy := nearby_hint(module, error):
        return remedy
    is_missing = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
    return "; put it beside the suite or here, or install it" if is_missing else ""


def _file_hint(path: str, suffix: str) -> str:
    """Return how to write a file that has no import path from here, by the packages that it lies in."""
    file, cwd = Path(os.path.expanduser(path)), working_directory()  # noqa: PTH111 - any name
    if "." in file.stem:
        new_name = f"{file.stem.replace('.', '_')}.py"
        return f"; Python imports no file with a dot in its name: rename {file.name!r} to {new_name!r}"
    start = next((start for start in _starts() if _is_file(start / file)), None)
    folder, names = Path(os.path.normpath(start / file if start else file)).parent, [file.stem]
    while _is_file(folder / "__init__.py"):
        folder, names = folder.parent, [folder.name, *names]
    place = os.path.relpath(folder, cwd) if cwd and start and not file.is_absolute() else str(folder)
    kind = "package" if names[1:] else "folder"
    return (
        f"; {path!r} is a file that lies neither beside the suite nor here: write {'.'.join(names)}{suffix} and "
        f"put its {kind} on the path, as in PYTHONPATH={shlex.quote(place)} convbench ..."
    )


def nearby_hint(module: str, error: BaseException) -> str:
    """Return where a missing module lies, or which submodule would bring it, as ``hint`` does; empty if unknown."""
    # A plain ImportError names a module that exists.
    name = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
    top = module.partition(".")[0]
    if name == top and (folder := _nearby_folder(module)):
        place = shlex.quote(folder)
        return f"; it lies in {folder}: put that on the path, as in PYTHONPATH={place} convbench ..., or install it"
    from convbench.core import git

    cwd = working_directory()
    for path in git.empty_submodules(cwd) if name and cwd else ():
        if Path(path).name in name.split("."):
            return f"; the submodule {path} is empty: fetch it ({git.FILL})"
    return _package_hint(name) if name.startswith(f"{top}.") else ""


def _package_hint(name: str) -> str:
    """Return where the package lies that lacks a module, and where another of that name has it."""
    package, _, _ = name.partition(".")
    places = list(getattr(sys.modules.get(package), "__path__", []))
    if not places:
        return ""
    parts = name.split(".")
    others = (Path(entry, *parts) for entry in _path_tail())
    other = next((path for path in others if path.is_dir() or path.with_suffix(".py").is_file()), None)
    reason = f"; the package {package!r} is the one in {places[0]}"
    if not other:
        return f"{reason}: correct the name, or put the module there"
    return f"{reason}, which hides the one with {os.path.normpath(other)}: rename one of them, or run elsewhere"


def _shadow_hint(module: str) -> str:
    """Return words for a user's file with the name of a standard-library module; empty for any other module."""
    name = module.partition(".")[0]
    if name in sys.stdlib_module_names and any((Path(folder) / f"{name}.py").is_file() for folder in _path_tail()):
        return f": the standard library has a module of that name, too: rename your {name}.py"
    return ""


def _refuse_in_place_of_ours(folders: list[str]) -> None:
    packages = [entry for entry in sys.path if entry.endswith("-packages")]
    for name in (*REQUIRED, *OF_REQUIRED, *OPTIONAL):
        spec = PathFinder.find_spec(name, folders)
        if spec and spec.origin and (name in OPTIONAL or PathFinder.find_spec(name, packages)):
            kind = "optional" if name in OPTIONAL else "installed"
            raise ConvbenchError(
                f"{spec.origin}: would be imported in place of the {kind} package {name}: rename it, or call "
                "convbench in another folder"
            )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _index_behind_library() -> int:
    library = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    indices = [index for index, entry in enumerate(sys.path) if _is_in_library(os.path.realpath(entry or "."), library)]
    return max(indices, default=-1) + 1


def _is_in_library(entry: str, library: set[str]) -> bool:
    return entry in library or (os.path.dirname(entry) in library and not entry.endswith("-packages"))  # noqa: PTH120


def _path_tail() -> list[str]:
    return sys.path[_index_behind_library() :]


def _starts() -> list[Path]:
    """Return the folders from which a user's module is looked for: here, the suite's and more of the path."""
    cwd = working_directory()
    entries = [Path(entry) for entry in _path_tail() if Path(entry).is_dir() and not entry.endswith("-packages")]
    return [*([cwd] if cwd else []), *entries[:4]]


def _nearby_folder(module: str) -> str:
    """Return the folder of a package or module, as written from here; empty if none is near."""
    cwd, (name, *more) = working_directory(), module.split(".")
    for start in _starts():
        for folder in [start, *start.parents][: LEVELS + 1]:
            for place in (folder / "src", folder / "lib", folder):
                files = (
                    place / name / "__init__.py",
                    place / f"{name}.py",
                    Path(place, name, *more).with_suffix(".py"),
                )
                if any(map(_is_file, files)):
                    return os.path.relpath(place, cwd) if cwd else str(place)
    return ""
