"""Options of an executor: ``key=value`` on the command line, or a small YAML file, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convbench.core.errors import ConvbenchError
from convbench.core.record import Scalar
from convbench.core.registry import executors
from convbench.core.system import files
from convbench.suite.mistakes import message_of
from convbench.suite.options import Signature, signature
from convbench.suite.source import value_of

OPTION = "--executor-options"


def executor_options(name: str | None, entries: Iterable[str | Mapping[str, Any]]) -> dict[str, Scalar]:
    """Return the options given for an executor; later entries win.

    Raises ConvbenchError for a file that cannot be read, an option that the executor does not have, or a wrong value.
    """
    options: dict[str, tuple[Any, str]] = {}
    for entry in entries:
        options |= {key: (entry[key], "") for key in entry} if isinstance(entry, Mapping) else _read(entry)
    if not options:
        return {}
    if name is None:
        raise ConvbenchError(f"{OPTION} needs --executor NAME: name the executor that they are for")
    option_signature = signature(executors, name)
    return {key: _check(name, key, *value, option_signature) for key, value in options.items()}


def _read(text: str) -> dict[str, tuple[Any, str]]:
    """Return each option's value, and its text if it is written on the command line."""
    key, equals, value = text.partition("=")
    if equals and "/" not in key:
        if not value.strip():  # as of a shell variable that is not set
            raise ConvbenchError(f"{OPTION} {text} has no value: give it a value, or leave it out")
        return {key.strip(): (_parse(value, text), value.strip())}
    path = Path(text)
    try:
        content = files.read(path).decode()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConvbenchError(f"{OPTION} {text}: neither key=value nor a file that can be read ({reason})") from error
    data = _parse(content, text)
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConvbenchError(f"{OPTION} {text}: the file is not a mapping of options, such as 'workers: 8'")
    return {key: (value, "") for key, value in data.items()}


def _parse(text: str, source: str) -> Any:
    try:
        return value_of(text)
    except ValueError as error:
        raise ConvbenchError(f"{OPTION} {source}: not YAML ({error})") from error


def _check(name: str, key: str, value: Any, text: str, signature: Signature) -> Scalar:
    """Return an option's value; an option that takes text gets it as it is written: ``account=007``, ``qos=null``."""
    try:
        (option,) = signature.option(key).validate_python([value])
    except KeyError:
        raise ConvbenchError(f"the executor {name} has no option {key!r}{signature.alternative(key)}") from None
    except ValidationError as error:
        with suppress(ValidationError):
            return signature.option(key).validate_python([text or value])[0]
        raise ConvbenchError(f"{OPTION} {key}{f'={text}' if text else ''}: {message_of(error.errors()[0])}") from error
    return text if text and isinstance(option, str) and not isinstance(value, str) else option
