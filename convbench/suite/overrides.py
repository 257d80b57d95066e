"""``key=value`` on the command line: a value of the suite replaced before it is checked.

``protocol.max_time=0.2`` and ``matrix.variant=[eager]`` set what their dotted key names. A bare axis, ``variant=eager``
or ``clip.frames=4``, sets it for the whole sweep: wherever the matrix and include entries name it, and in the matrix
where none does or it says how any model is run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from convbench.core.record import Case
from convbench.suite.axes import AXES, OF_MODELS, clip_fields, rnn_fields
from convbench.suite.layout import KEYS, sections
from convbench.suite.mistakes import Location, Mistakes, quoted, sections_of, unknown_key
from convbench.suite.plugs import READERS, plug_fields
from convbench.suite.source import value_of

WITHOUT_QUALITY = "quality=none"
OF_PROBES = ("training.batch", "training.only")
"""What probes of untrained features, too, are made by."""


def apply(data: dict[str, Any], override: str, mistakes: Mistakes) -> None:
    """Set what one override says in ``data``, and note where, so that a mistake in it names the override."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        mistakes.add_override(override, "write it as key=value, such as protocol.max_time=0.2 or variant=eager")
        return
    if not text.strip():
        mistakes.add_override(override, f"has no value: write {key.strip()}=null where none is meant")
        return
    if any(part.isdecimal() for part in path):
        mistakes.add_override(override, "an entry of a list cannot be set by its number: give the list whole")
        return
    try:
        override.encode()
        value = value_of(text)
    except ValueError:
        mistakes.add_override(override, f"the value {quoted(text)} is not YAML")
        return
    if path[0] not in AXES and path[0] not in KEYS[""]:
        suggestions = [repr(f"{section}.{path[0]}") for section in sections_of(path[0], KEYS)]
        words = unknown_key(path[0], {*AXES, *KEYS[""], *_dotted_keys("protocol")})
        if suggestions:
            words = f"unknown key {path[0]!r}; did you mean {' or '.join(suggestions)}?"
        mistakes.add_override(override, words)
        return
    for location in _places(data, path):
        mistakes.overrides[location] = override
        if not _set(data, location, value):
            mistakes.add_override(override, f"{'.'.join(map(str, location[:-1]))} is no mapping: give it whole")


def asks_only_metrics(overrides: Iterable[str]) -> bool:
    """Whether they ask for metrics and not for quality: a user who wants params wants no hours of training."""
    keys = {_first_key(override) for override in overrides}
    return "metrics" in keys and not keys & {"quality", "training"}


def bare_axes_of(overrides: Iterable[str]) -> set[str]:
    """The bare axes among them, whose values hold for include entries of their own, too."""
    return set(map(_first_key, overrides)) & set(AXES)


def idle_sentences(overrides: Sequence[str], cases: Collection[Case]) -> Iterator[str]:
    """A sentence for each of them that does nothing: a later one takes its place, or no case is what it is about."""
    last_overrides = {_key(text): text for text in overrides}
    for text in overrides:
        if (later := last_overrides[_key(text)]) != text:
            yield f"{text} does nothing, as {later} comes later: several values are written as a list, key=[a,b]"
        elif _first_key(text) == "training" and not _is_of_trials(_key(text), cases):
            yield f"{text} does nothing: no case is trained: add quality=train"


def _is_of_trials(key: str, cases: Collection[Case]) -> bool:
    return any(case.trains or (case.trial and key in OF_PROBES) for case in cases)


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _first_key(override: str) -> str:
    return _key(override).split(".")[0].strip()


def _dotted_keys(section: str) -> Iterable[str]:
    return (f"{section}.{name}" for name in KEYS[section])


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
    """Set ``value`` at a location, in each item of a list on the way. False where something there is no mapping."""
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
    data[key] = _open(str(key), data.get(key, {}))
    return _set(data[key], tuple(tail), value)


def _open(axis: str, value: Any) -> Any:
    """A value written as text as the mapping that it means, so that a part of it can be set."""
    if isinstance(value, list):
        return [_open(axis, item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        if axis in {"clip", "rnn"}:
            return clip_fields(value) if axis == "clip" else rnn_fields(value)
    except ValueError:
        return value
    plug = plug_fields(value, (axis,), Mistakes("")) if axis in READERS else None
    return {"name": plug[0], **plug[1]} if plug else value
