"""The command line: one file per group of verbs, the only place that prints to the terminal and exits.

What is slow to import is imported by the verb that needs it, so that ``convbench --help`` is instant.
"""

from typer.models import CommandInfo

from convbench.cli import advise, check, claims, compare, export, list, profile, report, run, selftest  # noqa: F401  (importing them registers their verbs)
from convbench.cli.app import app, main

VERBS = ("run", "report", "advise", "check", "compare", "profile", "fits", "list", "doctor")
"""Help begins with these; the others follow in the order of their files."""


def _place(command: CommandInfo) -> int:
    verb = command.name or getattr(command.callback, "__name__", "")
    return VERBS.index(verb) if verb in VERBS else len(VERBS)


app.registered_commands.sort(key=_place)

__all__ = ["main"]
