"""The application that the verbs register with, its entry point, and the options that they share."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand
from typer.main import get_command, get_command_name
from typer.models import CommandInfo, OptionInfo, ParameterInfo

from convbench.core import imports, installed, registry
from convbench.core.errors import ConvbenchError
from convbench.core.package import __version__
from convbench.core.system import files

MEASURED, INCOMPLETE = 0, 5
PATIENCE = 10.0
"""Seconds that plug-ins may take to import before the user is told; those that import torch take a few."""
F = TypeVar("F", bound=Callable[..., Any])


class Verb(TyperCommand):
    """A verb whose options take no empty text, since an unset variable of the shell gives one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            remaining_args = super().parse_args(ctx, args)
        except Exception as error:  # typer's own copy of click does not export its errors
            if getattr(error, "option_name", "") != "--plugins":
                raise
            remedy = f"write it before the verb, as in convbench --plugins MODULE {self.name} ..."
            raise ConvbenchError(f"--plugins is no option of {self.name}: {remedy}") from error
        for parameter in self.params:
            is_given = getattr(ctx.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
            if is_given and parameter.param_type_name == "option" and ctx.params.get(parameter.name) == "":
                raise ConvbenchError(f"{parameter.opts[0]} has no value: give it a value, or leave it out")
        return remaining_args


class Verbs(typer.Typer):
    """The verbs. A verb's parameter may be a dataclass, a group of options: each of its fields is an option."""

    def command(self, *names: Any, **options: Any) -> Callable[[F], F]:
        def put(verb: F) -> F:
            summary = " ".join((verb.__doc__ or "").strip().partition("\n\n")[0].split())
            register = super(Verbs, self).command(*names, **{"cls": Verb, "short_help": summary, **options})
            command = _with_single_options(verb)
            for name, hint in command.__annotations__.items():
                for info in getattr(hint, "__metadata__", ()):
                    if isinstance(info, ParameterInfo) and info.parser is None and _is_path(get_args(hint)[0]):
                        _name(info, name)
            register(command)
            return verb

        return put


def _with_single_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Return the verb as typer reads it: with a parameter for each field of its groups of options, in their place."""

    @wraps(verb)
    def command(**values: Any) -> Any:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return verb(**values)

    hints = get_type_hints(verb, include_extras=True)  # as text, they are made anew at each use
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)}
    parameters: list[Parameter] = []
    for name, parameter in signature(verb).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        options = get_type_hints(groups[name], include_extras=True)
        parameters += [
            Parameter(field.name, parameter.kind, default=field.default, annotation=options[field.name])
            for field in fields(groups[name])
        ]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return command


def _is_path(annotation: Any) -> bool:
    """Whether an annotation is ``Path``, ``Path | None`` or ``list[Path]``."""
    return annotation is Path or any(map(_is_path, get_args(annotation)))


def _name(info: ParameterInfo, parameter: str) -> None:
    """Parse a parameter's text as a path; errors call the parameter by the name that the user knows."""
    label = parameter.upper()
    if isinstance(info, OptionInfo):
        words = (info.default, *(info.param_decls or ()))  # typer stores an annotation's first word as the default
        names = (word for word in words if isinstance(word, str) and word.startswith("--"))
        label = next(names, f"--{parameter.replace('_', '-')}")
        info.metavar = info.metavar or "PATH"

    def path(text: str | Path) -> Path:
        return files.path_of(label, text)

    info.parser = path


app = Verbs(
    name="convbench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which reducer and which LSTM input size for a Conv2D -> reducer -> LSTM model: measured, on your machine.",
    epilog="To begin: `convbench run article` takes seconds, `convbench run default` takes minutes.",
)


def suite_names() -> list[str]:
    """Return the names of the shipped suites, for completion in a shell. A shell completes files by itself."""
    from convbench.suite import shipped_suites

    return list(shipped_suites())


def names_on(shelf: registry.Registry) -> Callable[[], list[str]]:
    """Return a function that returns the names on a shelf, for completion in a shell."""
    return lambda: [plugin.name for plugin in shelf]


Source = Annotated[
    str,
    typer.Argument(
        help="A suite: a YAML file, or the name of a shipped one (see `list suites`).", autocompletion=suite_names
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Change the suite, as in variant=eager or protocol.max_time=0.2."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Only cases whose id, or a part of it, matches; may be repeated."),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Leave out cases whose id, or a part of it, matches; may be repeated."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port on the loopback address; 0 is any free port.")]
RunDirectories = Annotated[list[Path], typer.Argument(help="Run directories.")]


@dataclass(frozen=True)
class CaseOptions:
    """Which cases of a suite to measure, and on which device."""

    device: Annotated[
        str,
        typer.Option(
            help="auto (the GPU if there is one), cpu, cuda or cuda:N.", autocompletion=lambda: ["auto", "cpu", "cuda"]
        ),
    ] = "auto"
    only: Only = None
    skip: Skip = None

    @property
    def globs(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The patterns of cases to measure, and of those to leave out."""
        return tuple(self.only or ()), tuple(self.skip or ())


def main() -> None:
    """Run the command line. A user's mistake ends in one message and an exit code, never in a traceback."""
    from convbench.cli import ending, terminal

    if sys.stderr:
        faulthandler.enable()  # a plug-in that crashes this process shows where
    argv = sys.argv[1:]
    del sys.argv[1:]  # else processes inherit them, and a user's module that parses arguments takes them for its own
    with terminal.guard() as stream:
        code = ending.code_of(partial(app, argv, standalone_mode=False))
        stream.flush()
        if problem := terminal.write_problem(stream):
            print(f"convbench: {problem}", file=sys.stderr)
            code = code or ending.UNWRITTEN
    sys.exit(code)


def _plugins(context: typer.Context, modules: list[str] | None) -> None:
    """Import the user's plug-ins before the verb is looked up, since one of them may bring it."""
    if modules:
        with ExitStack() as stack:
            if context.resilient_parsing:  # a shell completes the line, and anything printed would spoil it
                stack.enter_context(suppress(ConvbenchError))
                stack.enter_context(redirect_stderr(StringIO()))
            bring(modules)
        group: Any = context.command
        new_group: Any = get_command(app)
        group.commands.update(new_group.commands)


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    plugins: Annotated[  # noqa: ARG001 (its callback does everything)
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="Import this module first: it registers plug-ins or verbs of your own; may be repeated.",
            is_eager=True,
            callback=_plugins,
            expose_value=False,
        ),
    ] = None,
) -> None:
    if version:
        from importlib import metadata

        try:
            torch = f"torch {metadata.version('torch')}"
        except metadata.PackageNotFoundError:
            torch = "without torch: reports can be read and written, but nothing can be measured"
        print(f"convbench {__version__}, {torch}")
        raise typer.Exit


def bring(modules: Sequence[str]) -> None:
    """Import modules that register plug-ins, in this process and in those that it starts."""
    imports.add_to_path(filter(None, [imports.working_directory()]))
    names = installed.modules_in(",".join(modules))
    os.environ[installed.VARIABLE] = ",".join(dict.fromkeys((*installed.of_environment(), *names)))
    with refuse_taken_names(", ".join(names)), _say_if_slow(", ".join(names)):
        installed.load()
    for entry in installed.missing_plugins():
        if entry.module in names:
            raise ConvbenchError(entry.sentence)
    if names and not _has_plugins_of_others():
        remedy = "name the module that does, as in shop.reducers"
        print(f"convbench: --plugins {','.join(names)} registers nothing: {remedy}", file=sys.stderr)


@contextmanager
def _say_if_slow(modules: str) -> Iterator[None]:
    """Say what is imported if it takes ``PATIENCE`` seconds: it may never end."""
    words = f"convbench: --plugins {modules} has been importing for {PATIENCE:g} s: Ctrl-C ends it"
    timer = threading.Timer(PATIENCE, print, (words,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a process that is forked later must have a single thread


@contextmanager
def refuse_taken_names(origin: str) -> Iterator[None]:
    """Remove verbs that ``origin`` registers inside the block under a taken name, and note them as missing."""
    commands = list(app.registered_commands)
    yield
    names = set(map(verb_name, commands))
    for command in app.registered_commands[len(commands) :]:
        if (name := verb_name(command)) in names:
            app.registered_commands.remove(command)
            installed.note(origin, f"two verbs are called {name!r}: rename one")
        names.add(name)


def verb_name(command: CommandInfo) -> str:
    """Return the name of a verb on the command line."""
    return command.name or get_command_name(getattr(command.callback, "__name__", ""))


def _has_plugins_of_others() -> bool:
    """Whether anything but convbench has registered a plug-in or a verb."""
    plugins = (plugin.module for shelf in registry.SHELVES for plugin in shelf.registered())
    verbs = (command.callback.__module__ for command in app.registered_commands if command.callback)
    return any(module.partition(".")[0] != "convbench" for module in (*plugins, *verbs))
