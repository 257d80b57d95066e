"""Types for the options of plug-ins: a suite with any other value is refused, with the place of the value.

A suite writes a member of an enumeration as a word, which becomes the member when the factory is called.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from typing import Annotated, Any, Literal, get_args, get_type_hints

from annotated_types import Ge, Gt

from convbench.core.case import Scalar
from convbench.core.errors import ConvbenchError

Positive = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
Exponent = Annotated[float, Gt(0)]
PaddingMode = Literal["zeros", "circular"]
Exporter = Literal["dynamo", "torchscript"]
"""torch's exporters to ONNX."""


def size_list(text: str) -> tuple[int, ...]:
    """Return the sizes of an option that is a list of them, written ``16-32-64`` (a YAML list would be a sweep)."""
    try:
        sizes = tuple(int(part) for part in str(text).split("-"))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ConvbenchError(f"{text!r} is not a list of sizes: write it as 16-32-64")
    return sizes


def annotations_of(build: Any) -> dict[str, Any]:
    """Return the parameters' annotations, each resolved by itself: one may name what only type checkers import."""
    function = inspect.unwrap(build.__init__ if inspect.isclass(build) else build)
    hints: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            hints |= get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)
    return hints


def enumeration(hint: Any) -> type[Enum] | None:
    """Return the enumeration in an annotation, such as that of ``Pool | None``; None without one."""
    kinds = (kind for kind in (hint, *get_args(hint)) if isinstance(kind, type))
    return next((kind for kind in kinds if issubclass(kind, Enum)), None)


def word_of(value: Any) -> Any:
    """Return how a suite writes a member of an enumeration: its value, or its name if that is no text or number.

    Other values stay as they are.
    """
    if not isinstance(value, Enum):
        return value
    return value.value if isinstance(value.value, (str, int)) else value.name


def settings(build: Any, options: Iterable[tuple[str, Scalar]]) -> dict[str, Any]:
    """Return options as the factory ``build`` takes them: words of an enumeration become its members."""
    hints = annotations_of(build)
    kinds = {name: enumeration(hints.get(name)) for name, _ in options}
    members = {name: {word_of(member): member for member in kind} for name, kind in kinds.items() if kind}
    return {name: members.get(name, {}).get(value, value) for name, value in options}
