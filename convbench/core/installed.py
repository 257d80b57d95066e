"""Plug-ins of other packages: modules that register themselves, named by an entry point or on the command line.

1. A distribution names them in the group ``convbench.plugins``, those with verbs in ``convbench.verbs`` (help waits for
   their import). ``convbench --plugins MODULE`` adds a module to the environment variable ``CONVBENCH_PLUGINS``, which
   measuring processes inherit.
2. ``load`` imports each module once, when a shelf is first asked for something.
3. A module that cannot be imported stops nothing: it is noted and reported by ``convbench list``, by ``doctor``, and by
   the error for a plug-in that is then missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convbench.core.imports import hint, import_module, nearby_hint, of_file, why_not, working_directory

if TYPE_CHECKING:
    from importlib import metadata

PLUGINS, VERBS = "convbench.plugins", "convbench.verbs"
VARIABLE = "CONVBENCH_PLUGINS"
OWN = "convbench"


class PluginModule(NamedTuple):
    """A module to import, and who named it."""

    module: str
    origin: str


class MissingPlugins(NamedTuple):
    """Plug-ins that are missing, the reason, and, if its import failed, the module that should have brought them."""

    origin: str
    reason: str
    module: str = ""

    @property
    def sentence(self) -> str:
        return f"plug-ins of {self.origin} are missing: {self.reason}"


_origins: dict[str, str] = {}
_missing_plugins: dict[str, MissingPlugins] = {}
_attempts: dict[PluginModule, tuple[str, ...]] = {}


def load() -> None:
    """Import every module that brings plug-ins, once; a failed import is tried again if the path has changed since."""
    path = tuple(sys.path)
    further_modules = (PluginModule(module, module) for module in of_environment())
    for plugin in (*_entries(PLUGINS), *further_modules):
        if plugin not in _attempts or (plugin.module in _missing_plugins and _attempts[plugin] != path):
            _attempts[plugin] = path
            bring(plugin)


def bring(plugin: PluginModule) -> None:
    """Import a module that brings plug-ins; a failure is noted and not raised."""
    if plugin.module != plugin.origin:
        _origins[plugin.module] = plugin.origin
        _origins.setdefault(plugin.module.partition(".")[0], plugin.origin)
    try:
        with _contained(), redirect_stdout(sys.stderr):  # what it prints would stand in an export or in JSON
            import_module(plugin.module)
        _missing_plugins.pop(plugin.module, None)
    except (Exception, SystemExit) as error:
        is_file = "/" in plugin.module and isinstance(error, TypeError)
        remedy = hint(plugin.module, error) if is_file else nearby_hint(plugin.module, error)
        if not remedy and plugin.module == plugin.origin and isinstance(error, ModuleNotFoundError):
            remedy = "; put it here or on PYTHONPATH, or install it"
        reason = f"cannot import {plugin.module!r}: {why_not(error)}{remedy}"
        _missing_plugins[plugin.module] = MissingPlugins(plugin.origin, reason, plugin.module)


@contextmanager
def _contained() -> Iterator[None]:
    """While entered, ``os._exit`` raises SystemExit: a module's exit code would pass for ours, without a word.

    At the end the working directory is what it was: the paths of a command are relative to it.
    """
    own_pid, end_now, folder = os.getpid(), os._exit, working_directory()

    def end(code: int) -> None:
        if os.getpid() != own_pid:  # in a process that the module has forked
            end_now(code)
        raise SystemExit(code)

    vars(os)["_exit"] = end
    try:
        yield
    finally:
        vars(os)["_exit"] = end_now
        with suppress(OSError):
            os.chdir(folder or ".")


def verbs() -> tuple[PluginModule, ...]:
    """Return the modules of other packages that bring verbs."""
    return _entries(VERBS)


def missing_plugins() -> tuple[MissingPlugins, ...]:
    """Return the plug-ins that could not be loaded so far."""
    return tuple(_missing_plugins.values())


def note(origin: str, reason: str) -> None:
    """Remember that a plug-in of ``origin`` is missing."""
    _missing_plugins[reason] = MissingPlugins(origin, reason)


def origin(module: str) -> str:
    """Return the origin of a module: ``convbench``, a distribution with plug-ins in its package, or the module."""
    return OWN if module.partition(".")[0] == OWN else brought_by(module) or module


def brought_by(module: str) -> str:
    """Return the distribution that brought a module, or its package, as plug-ins; empty for any other module."""
    return _origins.get(module, _origins.get(module.partition(".")[0], ""))


def distribution(entry: metadata.EntryPoint) -> str:
    """Return the name and version of the distribution that an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.name


def of_environment() -> tuple[str, ...]:
    """Return the modules that ``--plugins`` and the environment name."""
    return modules_in(os.environ.get(VARIABLE, ""))


def modules_in(text: str) -> tuple[str, ...]:
    """Return the modules that a text names, separated by commas, by their names or their files."""
    return tuple(of_file(name) for name in map(str.strip, text.split(",")) if name)


@cache
def _entries(group: str) -> tuple[PluginModule, ...]:
    if not any(group.encode() in text for text in _texts()):
        return ()
    from importlib import metadata

    return tuple(PluginModule(entry.module, distribution(entry)) for entry in metadata.entry_points(group=group))


@cache
def _texts() -> tuple[bytes, ...]:
    """Return every ``entry_points.txt`` on the path: if none names a group of ours, help needs no slow import."""
    texts = []
    for folder in sys.path:
        with suppress(OSError):
            for info in os.scandir(folder or "."):
                if info.name.endswith((".dist-info", ".egg-info")):
                    with suppress(OSError):
                        texts.append(Path(info.path, "entry_points.txt").read_bytes())
    return tuple(texts)
