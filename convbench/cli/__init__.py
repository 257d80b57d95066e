"""The command line: one file per group of verbs, the only place that prints to the terminal and exits.

1. Every module here is imported, and so is every module that a package names in the entry points ``convbench.verbs``,
   or the user by ``--plugins``: importing one registers its verbs with ``cli.app.app``. To add a verb is to add a file.
2. A verb imports what is slow inside its function, so that ``convbench --help`` is instant.
3. ``main`` turns a user's mistake into one message and an exit code.
"""

import importlib
import pkgutil

from typer.models import CommandInfo

from convbench.cli.app import app, main, refuse_taken_names, verb_name
from convbench.core import installed

VERBS = ("run", "report", "advise", "check", "bisect", "history", "compare", "profile", "fits", "list", "doctor")
"""Help begins with these; the others follow in the order of their files."""


def _place(command: CommandInfo) -> int:
    verb = verb_name(command)
    return VERBS.index(verb) if verb in VERBS else len(VERBS)


def _add_verbs() -> None:
    """Register convbench's verbs, then those of other packages."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for plugin in installed.verbs():
        with refuse_taken_names(plugin.origin):
            installed.bring(plugin)
    app.registered_commands.sort(key=_place)


_add_verbs()

__all__ = ["main"]
