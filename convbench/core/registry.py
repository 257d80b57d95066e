"""The plug-ins of each kind: convbench's own files, those of installed packages, and the user's import paths.

The registry of a kind, its shelf, imports its package when it is first asked for something, so that naming a registry
costs nothing. Packages bring plug-ins by an entry point (``core.installed``); a suite may also name one as
``package.module:attribute``.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import json
import math
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from convbench.core import imports, installed
from convbench.core.errors import ConvbenchError, typed_line
from convbench.core.text import short_name, value_text

F = TypeVar("F", bound=Callable[..., Any])
Factory = Callable[..., Any]
"""What a shelf holds; the shelf's package (``plugins.reducers`` and so on) documents what it must be."""
NAME = re.compile(r"\w[\w.-]*")
"""Names of plug-ins: a suite contains them, a case's id has them between its slashes, and a file may have one."""
DECLARED = "__convbench__"
"""The attribute of a factory that holds its declaration."""


def declares(declaration: Any) -> Callable[[F], F]:
    """Decorator: attach a declaration to a factory, on a shelf or imported; it is read as ``Plugin.declaration``.

    Raises ConvbenchError for anything but traits, and for traits with a text where they need a tuple of texts.
    """
    if not is_dataclass(declaration) or isinstance(declaration, type):
        raise ConvbenchError(f"declares({value_text(declaration)}): declare traits, as in VariantTraits(opaque=True)")
    for field in fields(declaration):
        if "tuple" in str(field.type) and isinstance(text := getattr(declaration, field.name), str):
            traits = type(declaration).__name__
            raise ConvbenchError(f"{traits}({field.name}={text!r}): write a tuple, {field.name}=({text!r},)")

    def mark(build: F) -> F:
        setattr(build, DECLARED, declaration)
        return build

    return mark


@dataclass(frozen=True)
class Plugin:
    """A named plug-in: its factory, a summary of one line, and the options it takes (name to parameter)."""

    name: str
    build: Factory
    summary: str
    options: dict[str, inspect.Parameter]

    @property
    def module(self) -> str:
        """The module that defines the plug-in."""
        return _module(self.build)

    @property
    def origin(self) -> str:
        """``convbench``, the distribution that brought the plug-in (``shop-plugins 1.2``), or else its module."""
        return installed.origin(self.module)

    @property
    def declaration(self) -> Any:
        """The declaration that ``declares`` attached to the factory; None without one."""
        return getattr(self.build, DECLARED, None)

    @contextmanager
    def note_errors(self, kind: str) -> Iterator[None]:
        """Note an error that a plug-in of another package raises in here, as if the plug-in could not be loaded.

        An error of convbench's own plug-ins is passed on.
        """
        try:
            yield
        except Exception as error:
            if self.origin == installed.OWN:
                raise
            installed.note(self.origin, self._error_text(kind, error))

    @contextmanager
    def refuse_errors(self, kind: str) -> Iterator[None]:
        """Turn an error that a plug-in of another package raises in here into a ConvbenchError that names the plug-in.

        An error of convbench's own plug-ins is passed on.
        """
        try:
            yield
        except Exception as error:
            if self.origin == installed.OWN or isinstance(error, ConvbenchError):
                raise
            raise ConvbenchError(self._error_text(kind, error)) from error

    def _error_text(self, kind: str, error: Exception) -> str:
        return f"the {kind} {self.name!r} raised {typed_line(error)} ({_last_line(self.build, error)})"


class Registry:
    """The plug-ins of one shelf. ``kind`` is the word for one of them, ``package`` the home of convbench's own.

    ``parameters`` are what each factory is called with, besides its options, if plug-ins of this kind have any.
    ``traits`` is the name of the class that a factory may declare.
    """

    def __init__(
        self, kind: str, package: str, parameters: tuple[str, ...] = (), traits: str = "", *, has_options: bool = True
    ) -> None:
        self.kind = kind
        self.package = package
        self.parameters = parameters
        self.traits = traits
        self.has_options = has_options
        self._plugins: dict[str, Plugin] = {}
        self._is_loaded = False

    def register(self, name: str) -> Callable[[F], F]:
        """Decorator: put a factory on the shelf, unchanged. Its keyword-only parameters are its options, if it has any.

        Raises ConvbenchError if the name is taken, if a suite could not contain it, or if the factory takes other
        parameters or declares other traits than the shelf's. convbench's own plug-ins keep their names, whoever is
        imported first.
        """
        if callable(name):
            raise ConvbenchError(f'a {self.kind} needs a name: write @{self.kind}s.register("name")')
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise ConvbenchError(
                f"no {self.kind} can be called {name!r}: use letters, digits, -, _ and ., with no - or . first"
            )

        def put(build: F) -> F:
            plugin, namesake = self._check_traits(self._plugin(name, build)), self._plugins.get(name)
            self._check_parameters(plugin)
            if namesake is not None and not _is_same_factory(namesake.build, build):
                origins = " or ".join(dict.fromkeys((namesake.origin, plugin.origin)))
                clash = f"two {self.kind}s are called {name!r}: rename one, of {origins}"
                if plugin.origin != installed.OWN or namesake.origin == installed.OWN:
                    raise ConvbenchError(clash)
                installed.note(namesake.origin, clash)
            self._plugins[name] = plugin
            return build

        return put

    def __iter__(self) -> Iterator[Plugin]:
        self._load()
        return iter(sorted(self._plugins.values(), key=lambda plugin: _natural_key(plugin.name)))

    def registered(self) -> tuple[Plugin, ...]:
        """Return the plug-ins that are on the shelf by now, without importing any."""
        return tuple(self._plugins.values())

    def get(self, name: str) -> Plugin:
        """Return the plug-in of that name, or the user's own for an import path ``package.module:attribute``.

        Raises ConvbenchError naming the nearest match, or why the import failed.
        """
        if ":" in name:
            return self._check_traits(self._plugin(name, imports.import_path(name)))
        self._load()
        if name not in self._plugins:
            names = did_you_mean(name, self._plugins)
            causes = "".join(f"; {entry.sentence}" for entry in installed.missing_plugins())
            if not causes and "did you mean" not in names:
                causes = f"; to use your own {self.kind}, import its module first (--plugins MODULE)"
            raise ConvbenchError(f"unknown {self.kind} {short_name(name)!r}{names}{causes}")
        return self._check_traits(self._plugins[name])  # again, because declares() may stand above register()

    def _check_traits(self, plugin: Plugin) -> Plugin:
        """Return the plug-in. Raises ConvbenchError if it declares the traits of another shelf."""
        declared = type(plugin.declaration).__name__
        if plugin.declaration is not None and declared != self.traits:
            remedy = f"declare {self.traits}(...)" if self.traits else f"a {self.kind} declares nothing"
            raise ConvbenchError(f"the {self.kind} {plugin.name!r} declares {declared}: {remedy}")
        return plugin

    def _check_parameters(self, plugin: Plugin) -> None:
        """Raise ConvbenchError if the factory cannot be called with the shelf's parameters."""
        build: Any = plugin.build
        parameters = inspect.signature(build).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        most = math.inf if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
        if not sum(p.default is p.empty for p in positional) <= len(self.parameters) <= most:
            names = ", ".join(p.name for p in positional)
            remedy = f"it must take ({', '.join(self.parameters)})"
            remedy += ", and its options after a *" if self.has_options else ""
            raise ConvbenchError(f"the {self.kind} {plugin.name!r} takes ({names}): {remedy}")
        required = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        if required and not self.has_options:
            remedy = f"a {self.kind} is called without options, so give each a default"
            raise ConvbenchError(f"the {self.kind} {plugin.name!r} needs {', '.join(required)}: {remedy}")

    def _plugin(self, name: str, build: Any) -> Plugin:
        factory = _inner_function(build)
        doc = inspect.getdoc(factory) or inspect.getdoc(inspect.getmodule(factory)) or ""
        parameters = inspect.signature(build).parameters.values() if self.has_options else ()
        options = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
        return Plugin(name, build, doc.partition("\n")[0], options)

    def _load(self) -> None:
        if not self._is_loaded:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._is_loaded = True
        installed.load()


def default_text(default: object) -> str:
    """Return an option's default as a suite writes it; a function or class, which no suite can write, by its name."""
    if default is None or isinstance(default, bool):
        return json.dumps(default)
    return default.__name__ if inspect.isfunction(default) or inspect.isclass(default) else str(default)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return ``; did you mean 'gap'?`` if a candidate is similar, else the whole list."""
    names = sorted(candidates)
    spellings = {candidate.lower(): candidate for candidate in names}
    matches = [spellings[match] for match in difflib.get_close_matches(short_name(name).lower(), spellings, n=5)]
    anagrams = [candidate for candidate in matches if sorted(candidate) == sorted(name)]
    return f"; did you mean {[*anagrams, *matches][0]!r}?" if matches else f"; known: {', '.join(names)}"


def _inner_function(build: Any) -> Any:
    """Return the function that a factory made by ``functools.partial`` calls; any other factory as it is."""
    while isinstance(build, functools.partial):
        build = build.func
    return build


def _module(build: Any) -> str:
    return str(getattr(_inner_function(build), "__module__", ""))


def _last_line(build: Any, error: Exception) -> str:
    """Return the last line of the factory's own file that led to the error; if none did, the file or the module."""
    file = ""
    with suppress(TypeError):  # a class of an interactive session, or an object without source
        file = inspect.getsourcefile(inspect.unwrap(_inner_function(build))) or ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{Path(file).name}:{frames[-1].lineno}" if frames else Path(file).name or _module(build)


def _is_same_factory(first: Any, second: Any) -> bool:
    """Whether two factories are the same, or one is the other from a re-imported module or a re-run notebook cell."""
    places = [(_module(factory), getattr(factory, "__qualname__", id(factory))) for factory in (first, second)]
    return first is second or places[0] == places[1]


def _natural_key(name: str) -> list[Any]:
    """Return a sort key that puts C2 before C10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


backbones = Registry("backbone", "convbench.plugins.backbones", ("channels",))
reducers = Registry("reducer", "convbench.plugins.reducers", ("features", "lstm_input"), "ReducerTraits")
variants = Registry("variant", "convbench.plugins.variants", ("subject",), "VariantTraits")
scenarios = Registry("scenario", "convbench.plugins.scenarios", ("subject",), has_options=False)
tasks = Registry("task", "convbench.plugins.tasks", ("clip", "training", "seed"), "TaskTraits")
probes = Registry("probe", "convbench.plugins.probes", ("subject", "protocol"), "ProbeTraits", has_options=False)
figures = Registry("figure", "convbench.plugins.figures", ("results",), has_options=False)
claims = Registry("claim", "convbench.plugins.claims", ("evidence",), has_options=False)
executors = Registry("executor", "convbench.plugins.executors", ("device", "cases"), "ExecutorTraits")
exports = Registry("export", "convbench.plugins.exports", ("run", "records"), has_options=False)
SHELVES: tuple[Registry, ...] = (
    backbones, reducers, variants, scenarios, tasks, probes, figures, claims, executors, exports,
)  # fmt: skip
