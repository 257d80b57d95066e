"""Collect every mistake of a suite with its place, so that all are reported at once, in the order of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, NoReturn

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from convbench.core.errors import SuiteError
from convbench.core.registry import did_you_mean
from convbench.core.text import cut, first_lines, short_name

Location = tuple[str | int, ...]
ELSEWHERE = {
    "device": "give it on the command line, as --device cuda",
    "extends": "a suite is one file: change another by key=value on the command line, or copy it",
    "dtype": "a number type is a variant, such as half(dtype=bf16), autocast or int8",
}
"""Keys that people look for in a suite, and where to set them instead."""
LIMITS = {
    "greater_than_equal": "too small: at least {ge:g}",
    "greater_than": "too small: more than {gt:g}",
    "less_than_equal": "too large: at most {le}",
    "less_than": "too large: less than {lt:g}",
    "string_too_long": "too long: at most {max_length} letters",
}
"""What pydantic's findings about sizes mean, with the names of their limits."""

TYPES = {
    "int": "a whole number", "finite": "a finite number", "float": "a number", "bool": "true or false",
    "string": "text", "list": "a list",
}  # fmt: skip
"""Types in the words of a suite, by the first word of pydantic's finding."""
SECTION = "a mapping of keys to values"
"""What the values are that have none of these types."""

INNERMOST = ("rnn", "clip")
"""Sections in which an unknown key, such as name, is not reported as the key of another section."""


class Mark(NamedTuple):
    """A place in the YAML file, counted from 1."""

    line: int
    column: int


class Mistakes:
    """Collects mistakes by their location in the data; ``raise_any`` turns them into one SuiteError.

    ``values`` and ``keys`` map a location to the mark of its value and of its key, ``texts`` to the text of its value.
    ``overrides`` maps the location that an override has set to the override's text; such a location has no list indices
    except that of an entry. If the user gave data and no text (``has_lines`` is False), places are named by their keys:
    ``include[2].reducer``.
    """

    def __init__(self, source: str, has_lines: bool = True) -> None:
        self.source, self.has_lines = source, has_lines
        self.values: dict[Location, Mark] = {}
        self.keys: dict[Location, Mark] = {}
        self.texts: dict[Location, str] = {}
        self.overrides: dict[Location, str] = {}
        self._lines: dict[str, tuple[int, Mark]] = {}

    def add(self, location: Location, message: str) -> None:
        """Add a mistake in the value at ``location``."""
        self._note(location, location, message, self.values)

    def add_key(self, location: Location, message: str) -> None:
        """Add a mistake in the last key of ``location``."""
        self._note(location, location[:-1], message, self.keys)

    def add_mark(self, mark: Mark, message: str) -> None:
        """Add a mistake at a place of the file that is no value of the data."""
        self._lines.setdefault(f"{self.source}:{mark.line}:{mark.column}: {message}", (0, mark))

    def add_override(self, override: str, message: str) -> None:
        """Add a mistake in an override itself."""
        self._lines.setdefault(f"override {cut(override, 200)!r}: {message}", (1, Mark(0, len(self._lines))))

    def add_validation(self, error: ValidationError, keys: Mapping[str | int, Iterable[str]]) -> None:
        """Add the mistakes that pydantic found; ``keys`` maps a mapping's key to the keys that it may hold."""
        for detail in error.errors():
            location = detail["loc"]
            if detail["type"] != "extra_forbidden":
                label = "matrix: " if location == ("matrix",) else ""
                hint = "; a list of them goes under include" if label and isinstance(detail["input"], list) else ""
                self.add(location, f"{label}{message_of(detail)}{hint}")
                continue
            key, parents = str(location[-1]), _parents(location)
            parent = ["", *parents][-1]
            sections = [] if parent in INNERMOST else sections_of(key, keys)
            words = f"{key} belongs under {' or '.join(sections)}" if sections else unknown_key(key, keys[parent])
            if not parents and key[:1] in (".", "_"):
                words = f"unknown key {short_name(key)!r}: keys of your own begin with x-, as a place for anchors"
            self.add_key(location, words)

    def raise_any(self) -> None:
        """Raise SuiteError with all mistakes so far, a line each, those of the file first."""
        if self._lines:
            raise SuiteError(first_lines(sorted(self._lines, key=lambda line: self._lines[line])))

    def fail(self, message: str) -> NoReturn:
        """Raise SuiteError for a suite that cannot be read at all."""
        raise SuiteError(f"{self.source}: {message}")

    def _note(self, location: Location, part: Location, message: str, marks: Mapping[Location, Mark]) -> None:
        """Note a mistake at a location whose ``part`` is named in the line."""
        entry = tuple(part for index, part in enumerate(location) if index == 1 or isinstance(part, str))
        place = self._place(location)
        override = next((text for text in map(self.overrides.get, _prefixes(entry)) if text), None)
        if override is None and place not in self.values:  # the section is made by overrides alone
            override = next((text for at, text in self.overrides.items() if at[: len(entry)] == entry), None)
        if override is not None:
            label = _label(part).removeprefix("include.")
            key, _, text = override.partition("=")
            self.add_override(override, f"{label}{message}{_list_hint(key, text)}")
            return
        marks_above = (self.values[prefix] for prefix in _prefixes(place) if prefix in self.values)
        mark = marks.get(place) or next(marks_above, Mark(1, 1))
        if self.has_lines:
            self.add_mark(mark, f"{_label(part)}{message}{_list_hint('', self.texts.get(place, ''))}")
        else:
            path = _path(self._place(part))
            self._lines.setdefault(f"{self.source}: {path}{message.removeprefix(path)}", (0, mark))

    def _place(self, location: Location) -> Location:
        """Return the location without the index 0 of values that are not written as a list."""
        path: Location = ()
        for part in location:
            path = (*path, part) if isinstance(part, str) or (*path, part) in self.values else path
        return path


def sections_of(key: str, keys_by_section: Mapping[str | int, Iterable[str]]) -> list[str]:
    """Return the sections of a suite that have a key; all sections that take axes are called matrix."""
    exceptions = ("", "include", "exclude")
    return [str(section) for section, keys in keys_by_section.items() if key in keys and section not in exceptions]


def unknown_key(key: str, keys: Iterable[str]) -> str:
    """Return the words for an unknown key, with where to set it instead or the most similar key."""
    if key in ELSEWHERE:
        return f"unknown key {key!r}: {ELSEWHERE[key]}"
    return f"unknown key {short_name(key)!r}{did_you_mean(key, keys)}"


def message_of(detail: ErrorDetails) -> str:
    """Return pydantic's finding in the words of a suite."""
    context: dict[str, Any] = detail.get("ctx", {})
    value = quoted(detail["input"])
    match detail["type"]:
        case "too_short":
            return "is empty: give at least one value, or leave the key out"
        case kind if kind in LIMITS:
            return f"{value} is {LIMITS[kind].format(**context)}"
        case "literal_error" if isinstance(detail["input"], dict | list):
            return f"{value} is none of {context['expected']}"
        case "literal_error":
            return f"unknown {value}; known: {context['expected']}"
        case "value_error":
            return str(context["error"])
    kind = TYPES.get(detail["type"].partition("_")[0], SECTION)
    remedy, text = "", str(detail["input"])
    if kind == TYPES["float"] and re.fullmatch(r"[\d.]+\s*[a-z]+", text):
        remedy = ": write it without a unit (times are in seconds)"
    elif kind == SECTION and re.fullmatch(r"\w+:\S.*", text):
        remedy = ": put a space after the colon"
    return f"{value} is not {kind}{remedy}"


def quoted(value: object) -> str:
    """Return a value as YAML writes it, shortened."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) >= 10**60:
        return f"a number of {value.bit_length()} bits"
    text = {None: "null", True: "true", False: "false"}.get(value) if isinstance(value, bool | None) else repr(value)
    text = text or ""
    return text if len(text) <= 60 else f"{text[:57]}..."


def _list_hint(key: str, text: str) -> str:
    """Return how to write a value that was meant as a list, in an override of a key or in a file; empty for others."""
    is_list = "," in text and not set("[({'\"") & set(text)
    return f" (a list is written as {key}{'=' if key else ''}[{text}])" if is_list else ""


def _label(location: Location) -> str:
    names = [name for name in _parents((*location, "")) if name != "matrix"]
    return f"{'.'.join(names)}: " if names else ""


def _path(location: Location) -> str:
    """Return ``include[2].reducer: `` for a location in data; empty for all of it."""
    text = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in location)
    return f"{text.removeprefix('.')}: " if text else ""


def _parents(location: Location) -> list[str]:
    return [part for part in location[:-1] if isinstance(part, str)]


def _prefixes(location: Location) -> list[Location]:
    return [location[:length] for length in range(len(location), -1, -1)]
