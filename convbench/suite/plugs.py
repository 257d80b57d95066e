"""Read and check plug-ins as a suite writes them: a name, ``avg-k(k=4)``, an import path or a mapping.

Readers take the raw YAML value and its location, note every mistake, and return None if there was one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from convbench.core import imports, registry
from convbench.core.errors import ConvbenchError, Unavailable
from convbench.core.record import EAGER, STAGES, Choice, Whole
from convbench.core.registry import Registry, did_you_mean
from convbench.suite.axis_values import MODEL_SETTINGS, Chain, Choices, Models, Plain, as_list
from convbench.suite.mistakes import Location, Mistakes, message_of, quoted
from convbench.suite.options import Signature, models, signature
from convbench.suite.source import value_of

_TEXT = re.compile(r"\s*(?P<name>[^()\s]+)\s*(?:\((?P<options>.*)\))?\s*")
_PLUS = re.compile(r"\+(?![^(]*\))")
_COMMA = re.compile(r",(?![^\[]*\])")
"""Matches a comma between options, but not one in a list of an option's values."""


def scenario(raw: Any, at: Location, mistakes: Mistakes) -> Plain | None:
    """Read a scenario by its name."""
    name = _name(registry.scenarios, raw, at, mistakes)
    return Plain((name,)) if name else None


def variant(raw: Any, at: Location, mistakes: Mistakes) -> Chain | None:
    """Read ``eager`` (no transformation), a variant, or several applied in order: ``a+b`` or an inner list."""
    links = links_of(raw)
    names = [link.get("name") if isinstance(link, dict) else link for link in links]
    if any(isinstance(name, str) and name.partition("(")[0].strip() == "threads" for name in names):
        mistakes.add(at, "threads are an axis of their own and no variant: write threads: [1, 2, all]")
        return None
    raw_choices = (_choices(registry.variants, link, (*at, i), mistakes) for i, link in enumerate(links))
    choices = tuple(filter(None, raw_choices))
    if len(choices) < len(links):
        return None
    if [plug.name for plug in choices] == [EAGER]:
        return Chain(())
    if not choices:
        mistakes.add(at, "an empty list combines no variants: write eager for the model without variants")
        return None
    if any(plug.name == EAGER for plug in choices):
        mistakes.add(at, "eager is the model without variants: it combines with no other")
    return Chain(choices)


def links_of(raw: Any) -> list[Any]:
    """Return the variants that are applied one after another, as they are written: ``a+b`` or an inner list."""
    return _PLUS.split(raw) if isinstance(raw, str) else as_list(raw)


def model(raw: Any, at: Location, mistakes: Mistakes) -> Models | None:
    """Read the user's own model: an import path, with ``MODEL_SETTINGS`` and the options of its factory."""
    fields = plug_fields(raw, at, mistakes)
    if fields is None:
        return None
    options = {key: fields[1].pop(key, None) for key in MODEL_SETTINGS}
    inputs, loss, step = (function(options[key], (*at, key), mistakes) for key in ("inputs", "loss", "step"))
    stages = _stages(options["stages"] or {}, (*at, "stages"), mistakes)
    flops = formulas(options["flops"] or {}, (*at, "flops"), mistakes)
    choices = _check(models, *fields, at, mistakes)
    return None if choices is None else Models(choices, Whole(Choice(fields[0]), inputs, stages, loss, step, flops))


def function(raw: Any, at: Location, mistakes: Mistakes) -> str | None:
    """Read the import path of a function of the user's; None if none is given."""
    if raw is None:
        return None
    if not isinstance(raw, str) or ":" not in raw:
        mistakes.add(at, f"{quoted(raw)} is not an import path: write it as package.module:function")
        return None
    path = imports.of_file(raw)
    return path if _signature(models, path, at, mistakes) else None


def formulas(raw: Any, at: Location, mistakes: Mistakes) -> tuple[tuple[str, str], ...]:
    """Read operators, each with the import path of the function that counts its FLOPs."""
    if not isinstance(raw, dict) or not all(isinstance(name, str) and "::" in name for name in raw):
        mistakes.add(at, 'is not a mapping of operators to functions: {"shop::proj": mypkg.flops:proj}')
        return ()
    paths = ((name, function(path, (*at, name), mistakes)) for name, path in sorted(raw.items()))
    return tuple((name, path) for name, path in paths if path is not None)


def task(raw: Any, at: Location, mistakes: Mistakes) -> Choices | None:
    """Read a task with its options; a user's own is the import path of a function that yields labelled clips."""
    return _choices(registry.tasks, raw, at, mistakes)


def probe(raw: Any, at: Location, mistakes: Mistakes) -> str | None:
    """Read a probe by its name."""
    return _name(registry.probes, raw, at, mistakes)


def plug_fields(raw: Any, at: Location, mistakes: Mistakes) -> tuple[str, dict[str, Any]] | None:
    """Return the name of a plug-in and its options, whichever way they are written."""
    if isinstance(raw, dict) and isinstance(raw.get("name"), str):
        return _import_path(raw["name"]), {key: value for key, value in raw.items() if key != "name"}
    if isinstance(raw, dict) and "name" in raw:
        remedy = "for several, write a list of mappings, each with a name and its options"
        mistakes.add((*at, "name"), f"{quoted(raw['name'])} is not the name of a plug-in: {remedy}")
        return None
    if isinstance(raw, dict):
        names = [key for key, options in raw.items() if isinstance(options, dict)]
        mistakes.add(
            at, f"needs a name: {{name: {names[0]}, <options>}}" if names else "needs a name: {name: avg-k, k: 4}"
        )
        return None
    if not isinstance(raw, str):
        mistakes.add(at, f"{quoted(raw)} is not a plug-in: write a name, an import path or {{name: ..., <options>}}")
        return None
    match = _TEXT.fullmatch(raw)
    if match is None:
        hint = "; in a [list], quote text with commas in it" if "(" in raw or ")" in raw else ""
        hint = f"; a path with a space is a mapping: {{name: {quoted(raw.strip())}}}" if ".py:" in raw else hint
        mistakes.add(at, f"{quoted(raw)} is not written as name or name(option=value){hint}")
        return None
    fields: dict[str, Any] = {}
    for part in filter(str.strip, _COMMA.split(match["options"] or "")):
        key, equals, value = map(str.strip, part.partition("="))
        fault = "is given twice" if key in fields else "" if equals else "is not written as option=value"
        if fault:
            mistakes.add(at, f"{key!r} {fault}; several values are a list, option=[a,b]")
            return None
        fields[key] = _scalar(value)
    return _import_path(match["name"]), fields


def _import_path(name: str) -> str:
    """Return the import path for a file with a function (``net.py:build``); any other name as it is."""
    return imports.of_file(name) if ":" in name else name


def _name(shelf: Registry, raw: Any, at: Location, mistakes: Mistakes) -> str | None:
    """Read a plug-in that is written without options; pydantic reports a value that is not text."""
    if isinstance(raw, str) and (match := _TEXT.fullmatch(raw)) and match["options"]:
        mistakes.add(at, f"{quoted(raw)}: a {shelf.kind} takes no options: write {match['name']}")
        return None
    name = _import_path(raw) if isinstance(raw, str) else None
    return name if name is not None and _signature(shelf, name, at, mistakes) else None


def _choices(shelf: Registry, raw: Any, at: Location, mistakes: Mistakes) -> Choices | None:
    fields = plug_fields(raw, at, mistakes)
    return None if fields is None else _check(shelf, *fields, at, mistakes)


def _check(shelf: Registry, name: str, options: Mapping[str, Any], at: Location, mistakes: Mistakes) -> Choices | None:
    spec = _signature(shelf, name, at, mistakes)
    if spec is None:
        return None
    values = {key: _option(name, spec, key, options[key], at, mistakes) for key in options}
    for option in sorted(spec.required - set(options)):
        mistakes.add(at, f"{name} needs the option {option!r}")
    valid_options = {key: entries for key, entries in values.items() if entries is not None}
    return Choices(name, valid_options, spec.defaults) if len(valid_options) == len(options) else None


def _option(plug: str, spec: Signature, key: str, raw: Any, at: Location, mistakes: Mistakes) -> list[Any] | None:
    try:
        return spec.option(key).validate_python(raw)
    except KeyError:
        mistakes.add_key((*at, key), f"{plug} has no option {key!r}{spec.alternative(key)}")
    except ValidationError as error:
        detail = error.errors()[0]
        mistakes.add((*at, key, *detail["loc"][:1]), message_of(detail))
    return None


def _signature(shelf: Registry, name: str, at: Location, mistakes: Mistakes) -> Signature | None:
    try:
        return signature(shelf, name)
    except Unavailable:  # no other plug-in could be used, either
        raise
    except ConvbenchError as error:
        mistakes.add(at, str(error).replace(f"unknown {shelf.kind} ", "unknown ", 1))
        return None


def _stages(raw: Any, at: Location, mistakes: Mistakes) -> tuple[tuple[str, str], ...]:
    """Return pairs of a stage and a submodule's name, from one name or a list; those of a Sequential are numbers."""
    stages = {stage: as_list(names) for stage, names in raw.items()} if isinstance(raw, dict) else {}
    if not isinstance(raw, dict) or not all(names and _are_names(names) for names in stages.values()):
        mistakes.add(
            at,
            "is not a mapping of stages to the names of submodules: {backbone: [conv1, conv2], lstm: rnn}, "
            'in quotes if they have dots between numbers: "0.1"',
        )
        return ()
    for stage in sorted(set(stages) - set(STAGES)):
        mistakes.add_key((*at, stage), f"unknown stage {stage!r}{did_you_mean(stage, STAGES)}")
    return tuple((stage, name) for stage in sorted(stages) for name in dict.fromkeys(map(str, stages[stage])))


def _are_names(names: list[Any]) -> bool:
    return all(isinstance(name, (str, int)) and not isinstance(name, bool) for name in names)


def _scalar(text: str) -> Any:
    try:
        return value_of(text)
    except ValueError:
        return text


READERS: Mapping[str, Callable[[Any, Location, Mistakes], Any]] = {
    "backbone": partial(_choices, registry.backbones),
    "reducer": partial(_choices, registry.reducers),
    "model": model,
    "scenario": scenario,
    "variant": variant,
}
"""The readers of the axes that name plug-ins."""
