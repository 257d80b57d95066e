"""The user's script and modules in a measuring process, which needs the plug-ins that they register.

``multiprocessing`` would run the whole script again in every process that it starts, and so asks for a ``__main__``
guard. Here a script is run again only if a case needs something that is defined in it, and only up to its first call of
convbench: everything above that call is defined by then.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from convbench.core import installed
from convbench.core.errors import ConvbenchError
from convbench.core.imports import is_script, refuse_in_import
from convbench.core.record import Case
from convbench.core.registry import SHELVES

MAIN, AGAIN = "__main__", "__mp_main__"
"""The script's name as the user runs it, and the name that ``multiprocessing`` gives it in further processes."""
_BY_A_CALL = (
    "by a call that is not made on import: register it at the top of its module, or measure with the executor "
    "in-process"
)
_MODULE = re.compile(r"[\w.]+(?=:)")
_running_scripts: list[str] = []


@dataclass(frozen=True)
class UserImports:
    """What a measuring process imports before its work: modules, and the path of the script if it is needed.

    ``plugins`` are the kind, name and module of each plug-in that must be registered afterwards.
    """

    modules: tuple[str, ...] = ()
    script: str = ""
    plugins: tuple[tuple[str, str, str], ...] = ()

    def load(self) -> None:
        """Import all of it in this process. A plug-in that is still missing is noted."""
        for module in self.modules:
            importlib.import_module(module)
        if self.script:
            _run_again(self.script)
        present_plugins = {(shelf.kind, plugin.name) for shelf in SHELVES for plugin in shelf.registered()}
        for kind, name, module in self.plugins:
            if (kind, name) not in present_plugins:  # reported when something asks for it
                installed.note(module, f"the {kind} {name!r} is registered {_BY_A_CALL}")


class _EndOfDefinitions(BaseException):
    """Raised by the first call of convbench in a script that is run again."""


def user_imports(cases: Sequence[Case]) -> UserImports:
    """Return the modules of registered plug-ins that are not convbench's own, and the script if the cases need it.

    Raises ConvbenchError if they need code typed into an interactive session, which no other process can see.
    """
    all_plugins = ((shelf.kind, plugin.name, plugin.module) for shelf in SHELVES for plugin in shelf.registered())
    plugins = tuple(entry for entry in all_plugins if entry[2].partition(".")[0] != "convbench")
    modules = tuple(sorted({module for _, _, module in plugins if module not in (MAIN, AGAIN)}))
    name = next(_references(cases), None)
    if name is None:
        return UserImports(modules, plugins=plugins)
    path = getattr(sys.modules[MAIN], "__file__", None)
    if path is None or not Path(path).is_file():
        raise ConvbenchError(
            f"{name!r} is defined in an interactive session, which a measuring process cannot import: put it into a "
            "module and import that, or measure with the executor in-process"
        )
    return UserImports(modules, str(Path(path).absolute()), plugins)


def _references(cases: Sequence[Case]) -> Iterator[str]:
    """Yield the names by which the cases, or the probes that measure them, refer to the script."""
    plugins = [(shelf.kind, plugin.name) for shelf in SHELVES for plugin in shelf.registered() if plugin.module == MAIN]
    for kind, name in plugins:
        if kind == "probe" or any(name in case.id for case in cases):
            yield name
    yield from (case.id for case in cases if any(map(is_script, _MODULE.findall(case.id))))


def refuse_again() -> None:
    """End a script that is run again for its definitions, and refuse to measure while a module is imported.

    Every function that measures calls this first.
    """
    if _running_scripts:
        raise _EndOfDefinitions
    refuse_in_import()


@contextmanager
def hide_script() -> Iterator[None]:
    """Hide the script, so that ``multiprocessing`` does not run it again in processes started inside the block."""
    main = sys.modules[MAIN]
    namespace = vars(main)
    old_values: dict[str, Any] = {name: namespace.pop(name) for name in ("__spec__", "__file__") if name in namespace}
    namespace["__spec__"] = None
    try:
        yield
    finally:
        namespace.update(old_values)


def _run_again(path: str) -> None:
    module = ModuleType(AGAIN)
    module.__file__ = path
    sys.modules[MAIN] = sys.modules[AGAIN] = module
    _running_scripts.append(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            exec(compile(file.read(), path, "exec"), module.__dict__)
    except _EndOfDefinitions:
        return
    finally:
        _running_scripts.clear()
