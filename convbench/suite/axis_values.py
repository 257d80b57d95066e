"""The values of an axis before they are multiplied out: counted for free, expanded on demand, matched by an exclude.

Each kind is iterable (its values in order), knows its ``size``, which may be too large ever to be expanded, and tells
whether a value ``matches`` one of its own; options that are not given match any value. Every axis and option is one
value or a list of values (``OneOrMany``), and lists multiply: ``{name: avg-k, k: [2, 4]}`` is one entry of two values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from math import prod
from typing import Annotated, Any, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from convbench.core.record import Choice, Clip, Recurrent, Scalar, Whole

T = TypeVar("T")
MODEL_SETTINGS = ("inputs", "stages", "loss", "step", "flops")
"""What a suite may set for a user's model beside its name and options."""


class Many:
    """Reads a single value as a list of one; in the JSON Schema, one value or a list of them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(as_list, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        array = handler(schema)
        return {"anyOf": [array["items"], array]}

    def __hash__(self) -> int:
        return hash(type(self))


def as_list(value: Any) -> list[Any]:
    """Return the value itself if it is a list, else a list of it."""
    return value if isinstance(value, list) else [value]


OneOrMany = Annotated[list[T], Field(min_length=1), Many()]


@dataclass(frozen=True)
class Plain:
    """Values that stand for themselves: numbers, text, true and false, null."""

    values: Sequence[Scalar]

    def __iter__(self) -> Iterator[Scalar]:
        return iter(self.values)

    @property
    def size(self) -> int:
        return len(self.values)

    def matches(self, value: Any) -> bool:
        return value in self.values


@dataclass(frozen=True)
class FieldValues:
    """Clips or recurrent stages: the fields that are given, each with its values."""

    kind: type[Clip] | type[Recurrent]
    fields: Mapping[str, Sequence[Any]]

    def __iter__(self) -> Iterator[Clip | Recurrent]:
        return (self.kind(**values) for values in picks(self.fields))

    @property
    def size(self) -> int:
        return _product(self.fields)

    def matches(self, value: Any) -> bool:
        return all(getattr(value, name) in values for name, values in self.fields.items())


@dataclass(frozen=True)
class Choices:
    """The choices of a plug-in: the options that are given, each with its values; ``defaults`` are its factory's.

    The choices of a user's own plug-in also contain options with their default value: the next commit may change it.
    """

    name: str
    options: Mapping[str, Sequence[Scalar]]
    defaults: Mapping[str, Any]

    def __iter__(self) -> Iterator[Choice]:
        for options in picks(self.options):
            choice = Choice(self.name, tuple(sorted(options.items())))
            settings = tuple(
                (k, v) for k, v in choice.options if k not in self.defaults or not _is_alike(v, self.defaults[k])
            )
            yield choice if choice.is_imported else replace(choice, options=settings)

    @property
    def size(self) -> int:
        return _product(self.options)

    def matches(self, value: Any) -> bool:
        settings = {**self.defaults, **dict(value.options)}
        return value.name == self.name and all(
            any(_is_alike(settings.get(k), v) for v in values) for k, values in self.options.items()
        )


@dataclass(frozen=True)
class Chain:
    """Variants applied one after another; an empty chain is eager."""

    links: Sequence[Choices]

    def __iter__(self) -> Iterator[tuple[Choice, ...]]:
        return iter(product(*self.links))

    @property
    def size(self) -> int:
        return prod(link.size for link in self.links)

    def matches(self, value: Any) -> bool:
        return len(value) == len(self.links) and all(
            link.matches(choice) for link, choice in zip(self.links, value, strict=True)
        )


@dataclass(frozen=True)
class Models:
    """A user's own model with its options, and its other settings: ``whole``, with any choice of the options."""

    model: Choices
    whole: Whole

    def __iter__(self) -> Iterator[Whole]:
        return (replace(self.whole, model=choice) for choice in self.model)

    @property
    def size(self) -> int:
        return self.model.size

    def matches(self, value: Any) -> bool:
        """Settings that are not given match any value, like options that are not given."""
        settings = {key: setting for key in MODEL_SETTINGS if (setting := getattr(self.whole, key))}
        return self.model.matches(value.model) and all(getattr(value, key) == settings[key] for key in settings)


AxisValues = Plain | FieldValues | Choices | Chain | Models
Axis = list[AxisValues]


def _is_alike(value: Scalar, pattern: Scalar) -> bool:
    """Whether two values of an option are the same. A float's default may be an integer; true is no number."""
    return value == pattern and isinstance(value, bool) is isinstance(pattern, bool)


def expand(axis: Axis) -> list[Any]:
    """Return every value of an axis, each once, in order."""
    return list(dict.fromkeys(chain.from_iterable(axis)))


def size(axes: Mapping[str, Axis]) -> int:
    """Return the number of combinations of the axes' values, without expanding any."""
    return prod(sum(values.size for values in axis) for axis in axes.values())


def picks(axes: Mapping[str, Collection[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values, the last name changing fastest."""
    return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _product(options: Mapping[str, Sequence[Any]]) -> int:
    return prod(map(len, options.values()))
