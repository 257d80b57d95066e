"""Apply ``key=value`` from the command line: a value of the suite is replaced before it is checked.

``protocol.max_time=0.2`` and ``matrix.variant=[eager]`` set what their dotted key names. A bare axis, ``variant=eager``
or ``clip.frames=4``, is set for the whole sweep: wherever the matrix and include entries name it, and in the matrix if
none does or if the axis says how any model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from convbench.core.record import Case
from convbench.suite.axes import AXES, OF_MODELS, clip_fields, rnn_fields
from convbench.suite.layout import KEYS, sections
from convbench.suite.mistakes import Location, Mistakes, quoted, sections_of, unknown_key
from convbench.suite.plugs import READERS, links_of, plug_fields
from convbench.suite.source import value_of

WITHOUT_QUALITY = "quality=none"
OF_PROBES = ("training.batch", "training.only")
"""Keys of training that also affect the probes of untrained features."""


def apply(data: dict[str, Any], override: str, mistakes: Mistakes) -> None:
    """Apply one override to ``data``, and note where, so that a mistake in it names the override."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        examples = "variant=eager or protocol.max_time=0.2"
        others = "" if equals else "; several metrics are --metrics params,macs, several patterns --only gap --only fc"
        mistakes.add_override(override, f"write it as key=value without spaces, such as {examples}{others}")
        return
    if not text.strip():
        mistakes.add_override(override, f"has no value: write {key.strip()}=null if none is meant")
        return
    if any(part.isdecimal() for part in path):
        mistakes.add_override(override, "an entry of a list cannot be set by its number: give the whole list")
        return
    try:
        override.encode()
        value = value_of(text)
    except ValueError:
        mistakes.add_override(override, f"the value {quoted(text)} is not YAML: in a shell, quote a value with blanks")
        return
    if path[0] not in AXES and path[0] not in KEYS[""]:
        suggestions = [repr(f"{section}.{path[0]}") for section in sections_of(path[0], KEYS)]
        words = unknown_key(path[0], {*AXES, *KEYS[""], *(f"protocol.{name}" for name in KEYS["protocol"])})
        if suggestions:
            words = f"unknown key {path[0]!r}; did you mean {' or '.join(suggestions)}?"
        mistakes.add_override(override, words)
        return
    for location in _places(data, path):
        mistakes.overrides[location] = override
        if not _set(data, location, value):
            mistakes.add_override(override, f"{'.'.join(map(str, location[:-1]))} is not a mapping: give it whole")


def asks_only_metrics(overrides: Iterable[str]) -> bool:
    """Whether overrides ask for metrics and not for quality: a user who wants params wants no hours of training."""
    keys = {_first_key(override) for override in overrides}
    return "metrics" in keys and not keys & {"quality", "training"}


def bare_axes_of(overrides: Iterable[str]) -> set[str]:
    """Return the bare axes among the overrides; their values also apply to include entries that add combinations."""
    return set(map(_first_key, overrides)) & set(AXES)


def idle_sentences(overrides: Sequence[str], cases: Collection[Case]) -> Iterator[str]:
    """Yield a sentence for each override without effect: a later one replaces it, or no case is affected."""
    for place, text in enumerate(overrides):
        later_overrides = [later for later in overrides[place + 1 :] if later != text]
        if later := next((later for later in reversed(later_overrides) if _is_within(text, later, _matrix_key)), ""):
            is_same = _matrix_key(later) == _matrix_key(text)
            remedy = "write several values as a list, key=[a,b]" if is_same else "give it after that"
            extent = "" if _is_within(text, later, _key) else " in the matrix"  # include entries may still have it
            yield f"{text} does nothing{extent}, because {later} comes later: {remedy}"
        elif _first_key(text) == "training" and not _is_of_trials(_key(text), cases):
            yield f"{text} does nothing: no case is trained: add quality=train"


def _is_of_trials(key: str, cases: Collection[Case]) -> bool:
    return any(case.trains or (case.trial and key in OF_PROBES) for case in cases)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _matrix_key(override: str) -> str:
    """Return the key, for a bare axis that of its place in the matrix."""
    return f"matrix.{_key(override)}" if _first_key(override) in AXES else _key(override)


def _is_within(override: str, later: str, key_of: Callable[[str], str]) -> bool:
    """Whether a later override sets the whole of what this one sets."""
    return f"{key_of(override)}.".startswith(f"{key_of(later)}.")


def _first_key(override: str) -> str:
    return _key(override).split(".")[0].strip()


def _places(data: dict[str, Any], path: tuple[str, ...]) -> list[Location]:
    if path[0] not in AXES:
        return [path]
    locations: dict[Location, None] = {
        at: None for at, section in sections(data) if at[0] != "exclude" and path[0] in section
    }
    if not locations or path[0] not in OF_MODELS:
        locations[("matrix",)] = None
    return [(*at, *path) for at in locations]


def _set(data: Any, location: Location, value: Any) -> bool:
    """Set ``value`` at a location, in each item of a list on the way. Return False if something there is no mapping."""
    key, *tail = location
    if isinstance(data, list) and isinstance(key, int):
        return _set(data[key], tuple(tail), value)
    if isinstance(data, list):
        return all(_set(item, location, value) for item in data)
    if not isinstance(data, dict):
        return False
    if not tail:
        data[key] = value
        return True
    data[key] = _open(str(key), data.get(key))
    return _set(data[key], tuple(tail), value)


def _open(axis: str, value: Any) -> Any:
    """Return the mapping that a value written as text, or as nothing, means, so that a part of it can be set."""
    if value is None:
        return {}
    if isinstance(value, list):
        return [_open(axis, item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        if axis in {"clip", "rnn"}:
            return clip_fields(value) if axis == "clip" else rnn_fields(value)
    except ValueError:
        return value
    if axis == "variant" and len(links_of(value)) > 1:  # a part of which link?
        return value
    plug = plug_fields(value, (axis,), Mistakes("")) if axis in READERS else None
    return {"name": plug[0], **plug[1]} if plug else value
