"""The arguments of the Python API: check them, and name them in messages that were written for the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import wraps
from typing import ParamSpec, TypeGuard, TypeVar

from convbench.core.errors import ConvbenchError
from convbench.core.text import listed, value_text

P = ParamSpec("P")
T = TypeVar("T")
SAME = ("base", "bad", "budget", "build", "detect", "device", "executor", "good", "metric", "metrics", "only", "out",
        "since", "skip", "store", "threads", "to")  # fmt: skip
"""The options that have an argument of the same name."""
ARGUMENTS = {
    "--resume=stale": "resume='stale'",
    "--resume": "resume=True",
    "--until-sure": "until_sure=True",
    "--executor-options": "executor_options",
    "--json": "out",
    "`convbench run SUITE --dry-run`": "convbench.load(suite).cases",
    **{f"--{name}": name for name in SAME},
}
"""What a caller of the API writes in place of an option or a command."""
_OPTION = re.compile(
    r"(?P<removal>on the command line, (?=as --)|--executor-options (?=\w+[=:]))"
    r"|--(?P<name>only|skip) (?P<values>\S+(?: --(?P=name) \S*[^\s:])+)"
    rf"|(?P<option>{'|'.join(sorted(ARGUMENTS, key=len, reverse=True))})(?![\w-])"
    r"|(?P<verbatim>`[^`]*`|(?<!\w)'[^']*'(?!\w)|\"[^\"]*\")"
)
"""What is replaced, and text to keep: commands and what the user wrote stand between quotes."""


def in_python(message: str) -> str:
    """Return the message with the names of arguments in place of those of options: ``add `resume=True` to go on``."""
    return _OPTION.sub(_replacement, message)


def names_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: errors that the function raises name the arguments of the API, not the options of the command."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except ConvbenchError as error:
            error.args = (in_python(str(error)), *error.args[1:])
            raise

    return wrapper


def _replacement(match: re.Match[str]) -> str:
    if match["option"]:
        return f"`{ARGUMENTS[match['option']]}`"
    if match["name"]:
        values = match["values"].split(f" --{match['name']} ")
        return f"`{match['name']}={values}`"
    return match["verbatim"] or ""


def text(name: str, value: object) -> str:
    """Return the value of a parameter that must be a text."""
    if not isinstance(value, str):
        raise ConvbenchError(f"{name}={value_text(value)}: give a text")
    return value


def texts(name: str, value: object) -> tuple[str, ...]:
    """Return the value of a parameter that must be texts; a single text is a list of one."""
    entries = listed(value) if isinstance(value, Iterable) else ()
    if not isinstance(value, Iterable) or not all(isinstance(entry, str) for entry in entries):
        raise ConvbenchError(f"{name}={value_text(value)}: give a text, or a list of texts")
    return entries


def flag(name: str, value: object) -> bool:
    """Return the value of a parameter that must be True or False."""
    if not isinstance(value, bool):
        raise ConvbenchError(f"{name}={value_text(value)}: give True or False")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number; True and False, which Python counts as 1 and 0, are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def thread_count(value: object) -> int:
    """Return the number of threads that both sides of a comparison use."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConvbenchError(f"threads={value_text(value)}: give a whole number from 1")
    return value
