"""How a shelf knows its plug-ins: convbench's own files, those of installed packages, and the user's import paths.

A shelf's package is imported when it is first asked for something, so that naming a registry costs nothing. Packages
bring plug-ins by an entry point (``core.installed``); a suite may also name one as ``package.module:attribute``.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import json
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from convbench.core import imports, installed
from convbench.core.errors import ConvbenchError, typed_line
from convbench.core.text import short_name

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Factory = Callable[..., Any]
"""What a shelf holds; its contract is told by the shelf's package, ``plugins.reducers`` and so on."""
NAME = re.compile(r"[\w.-]+")
"""What a suite writes, a case's id holds between its slashes and a file may be called."""
DECLARED = "__convbench__"
"""The attribute of a factory that holds what it declares of itself."""


def declares(declaration: Any) -> Callable[[F], F]:
    """Decorator: what a factory says of itself, read as ``Plugin.declared`` whether it is on a shelf or imported."""

    def mark(build: F) -> F:
        setattr(build, DECLARED, declaration)
        return build

    return mark


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """A named plug-in: what it builds, one line on it, and the options it takes (name to parameter)."""

    name: str
    build: T
    summary: str
    options: dict[str, inspect.Parameter]

    @property
    def module(self) -> str:
        """The module that the plug-in was written in."""
        return _module(self.build)

    @property
    def origin(self) -> str:
        """``convbench``, the distribution that brought the plug-in (``shop-plugins 1.2``), or else its module."""
        return installed.origin(self.module)

    @property
    def declared(self) -> Any:
        """What the factory was marked with by ``declares``; None where it says nothing."""
        return getattr(self.build, DECLARED, None)

    @contextmanager
    def noted(self, kind: str) -> Iterator[None]:
        """What a plug-in of another package raises in here is noted, as for one that cannot be loaded.

        What one of convbench's own raises is passed on.
        """
        try:
            yield
        except Exception as error:
            if self.origin == installed.OWN:
                raise
            installed.note(self.origin, self._error_text(kind, error))

    @contextmanager
    def refused(self, kind: str) -> Iterator[None]:
        """What a plug-in of another package raises in here becomes a ConvbenchError in its name.

        What one of convbench's own raises is passed on.
        """
        try:
            yield
        except Exception as error:
            if self.origin == installed.OWN or isinstance(error, ConvbenchError):
                raise
            raise ConvbenchError(self._error_text(kind, error)) from error

    def _error_text(self, kind: str, error: Exception) -> str:
        return f"the {kind} {self.name!r} raised {typed_line(error)} ({_last_line(self.build, error)})"


class Registry(Generic[T]):
    """The plug-ins of one shelf. ``kind`` is the word for one of them, ``package`` where convbench's own live."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._plugins: dict[str, Plugin[T]] = {}
        self._is_loaded = False

    def register(self, name: str) -> Callable[[F], F]:
        """Decorator: put a factory on the shelf, as it is. Its keyword-only parameters are its options.

        Raises ConvbenchError where the name is taken, or none that a suite could write; convbench's own keep theirs
        whoever is imported first.
        """
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise ConvbenchError(f"no {self.kind} can be called {name!r}: use letters, digits, -, _ and .")

        def put(build: F) -> F:
            plugin, namesake = _plugin(name, build), self._plugins.get(name)
            if namesake is not None and not _is_same_factory(namesake.build, build):
                clash = f"two {self.kind}s are called {name!r}: rename one"
                if plugin.origin != installed.OWN or namesake.origin == installed.OWN:
                    raise ConvbenchError(clash)
                installed.note(namesake.origin, clash)
            self._plugins[name] = plugin
            return build

        return put

    def __iter__(self) -> Iterator[Plugin[T]]:
        self._load()
        return iter(sorted(self._plugins.values(), key=lambda plugin: _natural_key(plugin.name)))

    def registered(self) -> tuple[Plugin[T], ...]:
        """Those that are on the shelf by now; none is imported for it."""
        return tuple(self._plugins.values())

    def get(self, name: str) -> Plugin[T]:
        """The plug-in of that name, or the user's own where the name is an import path ``package.module:attribute``.

        Raises ConvbenchError naming the nearest match, or why the import failed.
        """
        if ":" in name:
            return _plugin(name, imports.import_path(name))
        self._load()
        if name not in self._plugins:
            causes = "".join(f"; {entry.sentence}" for entry in installed.broken())
            raise ConvbenchError(f"unknown {self.kind} {short_name(name)!r}{did_you_mean(name, self._plugins)}{causes}")
        return self._plugins[name]

    def _load(self) -> None:
        if not self._is_loaded:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._is_loaded = True
        installed.load()


def default_text(default: object) -> str:
    """An option's default as a suite writes it; what no suite can write by its name."""
    if default is None or isinstance(default, bool):
        return json.dumps(default)
    return default.__name__ if inspect.isfunction(default) or inspect.isclass(default) else str(default)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """``; did you mean 'gap'?`` where something known is near, else the whole list."""
    names = sorted(candidates)
    matches = difflib.get_close_matches(short_name(name), names, n=5)
    anagrams = [candidate for candidate in matches if sorted(candidate) == sorted(name)]
    return f"; did you mean {[*anagrams, *matches][0]!r}?" if matches else f"; known: {', '.join(names)}"


def _module(build: Any) -> str:
    while isinstance(build, functools.partial):
        build = build.func
    return str(getattr(build, "__module__", ""))


def _last_line(build: Any, error: Exception) -> str:
    """The last line of the factory's own file that led to the error; the file, or else the module, where none did."""
    file = ""
    with suppress(TypeError):  # a class of an interactive session, or what is no function
        file = inspect.getsourcefile(inspect.unwrap(build)) or ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{Path(file).name}:{frames[-1].lineno}" if frames else Path(file).name or _module(build)


def _is_same_factory(first: Any, second: Any) -> bool:
    """Whether it is the same factory, or the same again from a module that was imported or a cell that was run anew."""
    places = [(_module(factory), getattr(factory, "__qualname__", id(factory))) for factory in (first, second)]
    return first is second or places[0] == places[1]


def _natural_key(name: str) -> list[Any]:
    """Sorts C2 before C10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _plugin(name: str, build: Any) -> Plugin[Any]:
    doc = inspect.getdoc(build) or inspect.getdoc(inspect.getmodule(build)) or ""
    parameters = inspect.signature(build).parameters.values()
    options = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    return Plugin(name, build, doc.partition("\n")[0], options)


backbones: Registry[Factory] = Registry("backbone", "convbench.plugins.backbones")
reducers: Registry[Factory] = Registry("reducer", "convbench.plugins.reducers")
variants: Registry[Factory] = Registry("variant", "convbench.plugins.variants")
scenarios: Registry[Factory] = Registry("scenario", "convbench.plugins.scenarios")
tasks: Registry[Factory] = Registry("task", "convbench.plugins.tasks")
probes: Registry[Factory] = Registry("probe", "convbench.plugins.probes")
figures: Registry[Factory] = Registry("figure", "convbench.plugins.figures")
claims: Registry[Factory] = Registry("claim", "convbench.plugins.claims")
executors: Registry[Factory] = Registry("executor", "convbench.plugins.executors")
SHELVES: tuple[Registry[Factory], ...] = (
    backbones, reducers, variants, scenarios, tasks, probes, figures, claims, executors,
)  # fmt: skip
