"""The options of a plug-in: what its factory accepts, checked against the factory's own annotations."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from convbench.core.code import located, missing_module
from convbench.core.errors import ConvbenchError, Unavailable
from convbench.core.option_types import annotations_of, enumeration, word_of
from convbench.core.record import Scalar
from convbench.core.registry import Plugin, Registry, did_you_mean, tasks
from convbench.suite.axis_values import Many

_SCALARS = {str, int, float, bool, type(None)}
_LISTS = {list, tuple, set, frozenset, Sequence}
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
models = Registry("model", "")


@dataclass(frozen=True)
class Signature:
    """The options of a plug-in by name, with the values of each; if ``open`` (``**kwargs``), it takes others, too.

    ``not_options`` are parameters with a default that a suite cannot set, because they are not keyword-only.
    """

    summary: str
    options: Mapping[str, TypeAdapter[list[Scalar]]]
    defaults: Mapping[str, Any]
    open: bool
    not_options: frozenset[str] = frozenset()

    @property
    def required(self) -> set[str]:
        """The options that have no default."""
        return set(self.options) - set(self.defaults)

    def option(self, name: str) -> TypeAdapter[list[Scalar]]:
        """Return the validator of an option's values. Raises KeyError if there is no such option."""
        return _adapter(Scalar) if self.open and name not in self.options else self.options[name]

    def alternative(self, name: str) -> str:
        """Return what to write in place of an option that the plug-in does not have, in words to follow a message."""
        if name in self.not_options:
            return f": options are keyword-only parameters, so write *, before its {name}"
        return did_you_mean(name, self.options) if self.options else ": it takes none"


def signature(registry: Registry, name: str) -> Signature:
    """Return a plug-in's options. Raises ConvbenchError if it does not exist or the user's module does not import."""
    plugin = _plugin(registry, name)
    build, spec = _signatures.get((registry, name), (None, None))
    if spec is None or build is not plugin.build:  # a notebook cell may have registered it again
        spec = _read(registry, plugin)
        _signatures[registry, name] = plugin.build, spec
    return spec


def _read(registry: Registry, plugin: Plugin) -> Signature:
    parameters = inspect.signature(plugin.build).parameters.values()
    options = {p.name: p for p in parameters if p.kind in _KINDS} if _is_bare(registry, plugin) else plugin.options
    hints = annotations_of(plugin.build)
    return Signature(
        plugin.summary,
        {name: _adapter(hints.get(name, Scalar)) for name in options},
        {name: word_of(p.default) for name, p in options.items() if p.default is not p.empty},
        any(p.kind is p.VAR_KEYWORD for p in parameters),
        frozenset(p.name for p in parameters if p.name not in options and p.default is not p.empty),
    )


def _is_bare(registry: Registry, plugin: Plugin) -> bool:
    """Whether the factory is called with its options only, like a user's model and a function of the user's clips."""
    own_clips = registry is tasks and ":" in plugin.name
    return registry is models or (own_clips and all(task.build is not plugin.build for task in tasks.registered()))


_signatures: dict[tuple[Registry, str], tuple[Any, Signature]] = {}
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _plugin(registry: Registry, name: str) -> Plugin:
    if registry is models and ":" not in name:
        remedy = (
            f"name its function, too: {name}:function"
            if name.endswith(".py")
            else "write it as package.module:function"
        )
        raise ConvbenchError(f"{name!r} is not an import path: {remedy}")
    try:
        return registry.get(name)
    except ConvbenchError:
        raise
    except Exception as error:
        if ":" not in name:  # a built-in plug-in lacks something that it imports: no mistake of the suite
            reason = missing_module(error) or located(error)
            raise Unavailable(f"the {registry.kind}s cannot be imported: {reason}") from error
        raise ConvbenchError(f"cannot use {name!r}: {located(error)}") from error


def _adapter(hint: Any) -> TypeAdapter[list[Scalar]]:
    hint = _words(hint)
    value = Annotated[Scalar, BeforeValidator(_refuse)] if _is_list(hint) else hint if _is_scalar(hint) else Scalar
    values: Any = list[_text_from_number(value)]  # type: ignore[misc]
    checks = () if _is_list(hint) else (BeforeValidator(_refuse_nested),)
    return TypeAdapter(Annotated[values, Field(min_length=1), *checks, Many()], config=_STRICT)


def _words(hint: Any) -> Any:
    """Return an annotation with the words of its enumeration in place of the enumeration."""
    kind = enumeration(hint)
    if kind is None:
        return hint
    word_by_name = {member.name: word_of(member) for member in kind}
    words: Any = Annotated[
        Literal[tuple(word_by_name.values())],
        BeforeValidator(lambda value: word_by_name.get(value, value) if isinstance(value, str) else word_of(value)),
    ]
    return words | None if type(None) in get_args(hint) else words


def _is_scalar(hint: Any) -> bool:
    if get_origin(hint) in {Union, types.UnionType}:
        return all(map(_is_scalar, get_args(hint)))
    if get_origin(hint) is Annotated:
        return _is_scalar(get_args(hint)[0])
    return get_origin(hint) is Literal or hint in _SCALARS


def _is_list(hint: Any) -> bool:
    """Whether a hint allows an option nothing but lists and None."""
    if get_origin(hint) in {Union, types.UnionType}:
        return all(_is_list(member) for member in get_args(hint) if member is not type(None))
    if get_origin(hint) is Annotated:
        return _is_list(get_args(hint)[0])
    return (get_origin(hint) or hint) in _LISTS


def _refuse(value: Any) -> None:
    if value is not None:
        raise ValueError("takes a list, and a list in a suite is a sweep: let the factory take text such as 16-32-64")


def _refuse_nested(values: list[Any]) -> list[Any]:
    if any(isinstance(value, dict) for value in values):
        raise ValueError("takes one value, not a mapping: let the factory take each entry as an option of its own")
    if any(isinstance(value, list) for value in values):
        raise ValueError("takes one value, not a list of lists: let the factory take text such as 16-32-64")
    return values


def _text_from_number(hint: Any) -> Any:
    """Return a hint by which a text option takes a bare number, too: ``widths: 32`` is the list of sizes "32".

    Its JSON Schema allows the number in an editor.
    """
    members = set(get_args(hint)) or {hint}
    if str not in members or int in members:
        return hint
    schema = WithJsonSchema({"anyOf": [TypeAdapter(hint).json_schema(), {"type": "integer"}]})
    return Annotated[hint, BeforeValidator(lambda value: str(value) if type(value) is int else value), schema]
