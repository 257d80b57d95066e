"""The command that made a run, as ``RunDescription.command`` stores it: a command line, or a call of the Python API."""

from __future__ import annotations

import argparse
import ast
import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from convbench.core.record import RunDescription, Scalar

CALL = "convbench.run"
SWITCHES = ("resume", "until_sure")
LISTS = ("only", "skip")
TEXTS = ("device", "shard", "executor")


@dataclass(frozen=True)
class Command:
    """The arguments of ``convbench run``, or of ``convbench.run`` if ``python`` is true.

    ``suite`` is the suite as it was named; a call may also contain its data. The command's text leaves defaults out.
    """

    suite: str | Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    device: str = "auto"
    shard: str = ""
    executor: str = ""
    executor_options: Mapping[str, Scalar] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    resume: bool = False
    until_sure: bool = False
    python: bool = False

    def __str__(self) -> str:
        return f"{CALL}({', '.join(self._arguments())})" if self.python else shlex.join(self._words())

    @classmethod
    def of(cls, run: RunDescription) -> Command:
        """Return the command of a run; if the stored text cannot be read, a command that names the run's suite."""
        return _read(run.command) or cls(run.name)

    @property
    def source(self) -> str:
        """The suite's file or name; empty if the suite is data."""
        return self.suite if isinstance(self.suite, str) else ""

    def into(self, directory: str) -> str:
        """Return the command's text with an output directory, which must be quoted already for a command line."""
        return f"{str(self)[:-1]}, out={directory!r})" if self.python else f"{self} --out {directory}"

    def of_one_case(self) -> Command:
        """Return the command without its selection of cases, so that the pattern of one case can follow."""
        return replace(self, only=(), skip=(), shard="")

    def words_of(self, verb: str) -> Iterator[str]:
        """Yield the words of a verb for the same suite, with the plug-ins and overrides that it needs."""
        yield "convbench"
        for module in self.plugins:
            yield from ("--plugins", module)
        yield from (verb, self.source or "SUITE", *self.overrides)

    def _words(self) -> Iterator[str]:
        yield from self.words_of("run")
        for name in LISTS:
            for pattern in getattr(self, name):
                yield from (f"--{name}", pattern)
        for name in TEXTS:
            if (text := getattr(self, name)) != getattr(Command, name):
                yield from (f"--{name}", text)
        for key, value in self.executor_options.items():
            is_text = isinstance(value, str) and value  # an empty one is written in quotes
            yield from ("--executor-options", f"{key}={value if is_text else json.dumps(value)}")
        for name in SWITCHES:
            if getattr(self, name):
                yield f"--{name.replace('_', '-')}"

    def _arguments(self) -> Iterator[str]:
        yield repr(self.suite)
        for name in ("overrides", *LISTS, *TEXTS, "executor_options", *SWITCHES):
            if (value := getattr(self, name)) and value != getattr(Command, name, None):
                yield f"{name}={list(value) if isinstance(value, tuple) else value!r}"


def _read(text: str) -> Command | None:
    try:
        return _parse_call(text) if text.startswith(CALL) else _parse_line(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # whatever an arbitrary text may raise
        return None


def _parse_line(text: str) -> Command:
    """Parse a command line. Raises ValueError if it is not one of ``convbench run``."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--plugins", action="append", default=[])
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("suite")
    parser.add_argument("overrides", nargs="*")
    for name in LISTS:
        parser.add_argument(f"--{name}", action="append", default=[])
    for name in TEXTS:
        parser.add_argument(f"--{name}", default=getattr(Command, name))
    parser.add_argument("--executor-options", action="append", default=[])
    for name in SWITCHES:
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true")
    program, *words = shlex.split(text)
    values = vars(parser.parse_args(words))
    if program != "convbench":
        raise ValueError(text)
    del values["verb"]
    options = dict(entry.split("=", 1) for entry in values.pop("executor_options"))
    return Command(**_without_lists(values), executor_options=options)


def _parse_call(text: str) -> Command:
    """Parse a Python call. Raises ValueError, or what ``ast`` raises, if it is not a call with plain data."""
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call) or len(call.args) != 1:
        raise ValueError(text)
    values = {argument.arg or "": ast.literal_eval(argument.value) for argument in call.keywords}
    return Command(ast.literal_eval(call.args[0]), **_without_lists(values), python=True)


def _without_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with tuples in place of lists, as a Command has them."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises ValueError where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)
