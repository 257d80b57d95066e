"""The values of an axis before they are multiplied out: counted for free, expanded on demand, matched by an exclude.

Each kind is iterable (its values in order), knows its size without expanding, and says whether a value is its own.
Option lists multiply: ``{name: avg-k, k: [2, 4]}`` is one entry of two values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from math import prod
from typing import Any, Protocol

from convbench.core.record import Choice, Clip, Recurrent, Scalar, Whole

FURTHER = ("inputs", "stages", "loss", "step", "flops")
"""What a suite may say of a user's model beside its name and options."""


class Values(Protocol):
    """What every kind offers."""

    def __iter__(self) -> Iterator[Any]: ...

    @property
    def size(self) -> int:
        """How many values, which may be more than could ever be expanded."""

    def matches(self, value: Any) -> bool:
        """Whether ``value`` is one of these, options that are not given being free."""


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
class Shape:
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

    Of a user's own also those that are the default are in a choice: with the next commit another may be.
    """

    name: str
    options: Mapping[str, Sequence[Scalar]]
    defaults: Mapping[str, Any]

    def __iter__(self) -> Iterator[Choice]:
        for options in picks(self.options):
            choice = Choice(self.name, tuple(sorted(options.items())))
            settings = ((k, v) for k, v in choice.options if k not in self.defaults or v != self.defaults[k])
            yield choice if choice.is_imported else replace(choice, options=tuple(settings))

    @property
    def size(self) -> int:
        return _product(self.options)

    def matches(self, value: Any) -> bool:
        settings = {**self.defaults, **dict(value.options)}
        return value.name == self.name and all(settings.get(k) in values for k, values in self.options.items())


@dataclass(frozen=True)
class Chain:
    """Variants applied one after another; no link at all is eager."""

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
    """A user's own model with its options, and what else is said of it: ``whole`` with any choice of them."""

    model: Choices
    whole: Whole

    def __iter__(self) -> Iterator[Whole]:
        return (replace(self.whole, model=choice) for choice in self.model)

    @property
    def size(self) -> int:
        return self.model.size

    def matches(self, value: Any) -> bool:
        """What is not said of the model is free, as options that are not given are."""
        settings = {key: setting for key in FURTHER if (setting := getattr(self.whole, key))}
        return self.model.matches(value.model) and all(getattr(value, key) == settings[key] for key in settings)


Axis = list[Values]


def expand(axis: Axis) -> list[Any]:
    """Every value of an axis, each once, in order."""
    return list(dict.fromkeys(chain.from_iterable(axis)))


def size(axes: Mapping[str, Axis]) -> int:
    """How many combinations of the axes' values there are, without expanding any."""
    return prod(sum(values.size for values in axis) for axis in axes.values())


def picks(axes: Mapping[str, Collection[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the values, the last name changing fastest."""
    return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _product(options: Mapping[str, Sequence[Any]]) -> int:
    return prod(map(len, options.values()))
