"""The command that a run was made with, as ``Run.command`` stores it: a command line, or a call of the Python API."""

from __future__ import annotations

import shlex

CALL = "convbench.run("


def is_call(command: str) -> bool:
    """Whether the run was made from Python."""
    return command.startswith(CALL)


def open_call(command: str) -> str:
    """A call without its closing bracket, so that further arguments can follow a comma."""
    return command.rstrip().removesuffix(")").rstrip().removesuffix(",")


def suite_and_overrides(command: str) -> list[str]:
    """What follows ``convbench run`` on a command line; empty of a call, and of what cannot be read."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    return words[2:] if words[:2] == ["convbench", "run"] else []
