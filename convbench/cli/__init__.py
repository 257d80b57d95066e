"""The command line: one file per group of verbs, the only place that prints to the terminal and exits.

1. Every module here is imported, and so is every module that a package names in the entry points ``convbench.verbs``:
   importing one registers its verbs with ``cli.app.app``. To add a verb is to add a file.
2. A verb imports what is slow inside its function, so that ``convbench --help`` is instant.
3. ``main`` turns a user's mistake into one message and an exit code.
"""

import importlib
import pkgutil

from typer.main import get_command_name
from typer.models import CommandInfo

from convbench.cli.app import app, main
from convbench.core import installed

VERBS = ("run", "report", "advise", "check", "bisect", "history", "compare", "profile", "fits", "list", "doctor")
"""Help begins with these; the others follow in the order of their files."""


def _verb(command: CommandInfo) -> str:
    return command.name or get_command_name(getattr(command.callback, "__name__", ""))


def _place(command: CommandInfo) -> int:
    verb = _verb(command)
    return VERBS.index(verb) if verb in VERBS else len(VERBS)


def _add_verbs() -> None:
    """Register convbench's verbs, then those of other packages, which take no name that is taken."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    names = set(map(_verb, app.registered_commands))
    for named in installed.verbs():
        before = len(app.registered_commands)
        installed.bring(named)
        for command in app.registered_commands[before:]:
            if _verb(command) in names:
                app.registered_commands.remove(command)
                installed.note(named.origin, f"two verbs are called {_verb(command)!r}: rename one")
            names.add(_verb(command))
    app.registered_commands.sort(key=_place)


_add_verbs()

__all__ = ["main"]
