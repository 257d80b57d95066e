"""How a shelf knows its plug-ins: by name, or by the import path of the user's own.

A shelf's package is imported when it is first asked for something, so that naming a registry costs nothing.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from convbench.core.errors import ConvbenchError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Factory = Callable[..., Any]
"""What a shelf holds; its contract is where it is used: ``models.variants``, ``measure.probes``, ``report.drawing``."""


@dataclass(frozen=True)
class Plugin(Generic[T]):
    """A named plug-in: what it builds, one line on it, and the options it takes (name to parameter)."""

    name: str
    build: T
    summary: str
    options: dict[str, inspect.Parameter]


class Registry(Generic[T]):
    """The plug-ins of one shelf. ``kind`` is the word for one of them, ``package`` where they live."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._plugins: dict[str, Plugin[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: put a factory on the shelf. Its keyword-only parameters are its options."""

        def put(build: T) -> T:
            if name in self._plugins and self._plugins[name].build is not build:
                raise ConvbenchError(f"two {self.kind}s are called {name!r}: rename one")
            self._plugins[name] = _plugin(name, build)
            return build

        return put

    def __iter__(self) -> Iterator[Plugin[T]]:
        self._load()
        return iter(sorted(self._plugins.values(), key=lambda plugin: plugin.name))

    def get(self, name: str) -> Plugin[T]:
        """The plug-in of that name, or the user's own where the name is an import path ``package.module:attribute``.

        Raises ConvbenchError naming the nearest match, or why the import failed.
        """
        if ":" in name:
            return _plugin(name, import_path(name))
        self._load()
        if name not in self._plugins:
            raise ConvbenchError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._plugins)}")
        return self._plugins[name]

    def _load(self) -> None:
        if not self._loaded:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            self._loaded = True


def size_list(text: str) -> tuple[int, ...]:
    """An option that is a list of sizes, written ``16-32-64`` (a YAML list would be a sweep)."""
    try:
        sizes = tuple(int(part) for part in str(text).split("-"))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ConvbenchError(f"{text!r} is not a list of sizes: write it as 16-32-64")
    return sizes


def did_you_mean(name: str, known: Any) -> str:
    """``; did you mean 'gap'?`` where something known is near, else the whole list."""
    near = difflib.get_close_matches(name, list(known), n=5)
    swapped = [candidate for candidate in near if sorted(candidate) == sorted(name)]
    return f"; did you mean {[*swapped, *near][0]!r}?" if near else f"; known: {', '.join(sorted(known))}"


def import_path(path: str) -> Any:
    """The object at ``package.module:attribute``; ConvbenchError says which part of the path is missing."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        reason = error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise ConvbenchError(f"cannot import {module_name!r} of {path!r}: {reason}") from error
    try:
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ConvbenchError(f"{module_name!r} has no {attribute!r}") from error
    return found


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
SHELVES: tuple[Registry[Factory], ...] = (backbones, reducers, variants, scenarios, tasks, probes, figures)
