"""The command line: one file per group of verbs, and the only place that prints to the terminal and exits.

1. Every module here is imported, as is every module that a package names in the entry points ``convbench.verbs`` or the
   user by ``--plugins``. Importing a module registers its verbs with ``cli.app.app``: to add a verb, add a file.
2. A verb imports slow modules inside its function, so that ``convbench --help`` is instant.
3. ``main`` turns a user's mistake into one message and an exit code.
"""

import importlib
import pkgutil

from typer.models import CommandInfo

from convbench.cli.app import app, main, refuse_taken_names, verb_name
from convbench.core import installed

VERBS = (
    "run", "report", "advise", "check", "bisect", "history", "runs", "compare", "profile", "fits", "list", "doctor",
)  # fmt: skip
"""The verbs that help lists first. The others follow in the order of their files."""


def _place(command: CommandInfo) -> int:
    verb = verb_name(command)
    return VERBS.index(verb) if verb in VERBS else len(VERBS)


def _add_verbs() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for plugin in installed.verbs():
        with refuse_taken_names(plugin.origin):
            installed.bring(plugin)
    app.registered_commands.sort(key=_place)


_add_verbs()

__all__ = ["main"]
