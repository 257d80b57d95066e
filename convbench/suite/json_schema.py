"""The JSON Schema of a suite file, for editors: keys, types, ranges, every plug-in with its options and defaults."""

from __future__ import annotations

from typing import Any

from convbench.core import registry
from convbench.core.case import RNN_TEXT
from convbench.core.record import EAGER, STAGES
from convbench.core.registry import Registry
from convbench.suite.axes import CLIP_TEXT
from convbench.suite.layout import SuiteLayout
from convbench.suite.options import signature

_PATH = r"(\./)?([\w-]+/)*[\w-][\w.-]*:[A-Za-z_][\w.]*"
_IMPORT_PATH = {
    "type": "string",
    "pattern": rf"^{_PATH}(\(.*\))?$",
    "description": "your own: package.module:function, or models/net.py:function",
}
NAME = {"type": ["string", "integer"]}
"""The name of a submodule; those of a Sequential are numbers."""
_NOTHING = {"type": "null"}
_ANY_OPTION: dict[str, Any] = {"type": ["string", "number", "boolean", "null", "array"]}


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a suite, with the plug-ins that the shelves hold now."""
    document = SuiteLayout.model_json_schema()
    definitions = document["$defs"]
    del definitions["PatternLayout"], definitions["RecurrentPattern"]  # they are written like the axes
    document["properties"]["exclude"]["items"] = document["properties"]["include"]["items"]
    definitions["backbone"] = _plugin(registry.backbones)
    definitions["reducer"] = _plugin(registry.reducers)
    definitions["variant"] = _variant()
    definitions["scenario"] = _names(registry.scenarios)
    definitions["probe"] = _names(registry.probes)
    definitions["task"] = _plugin(registry.tasks)
    definitions["model"] = _model()
    for layout, text in (("ClipLayout", CLIP_TEXT), ("RecurrentLayout", RNN_TEXT)):
        definitions[layout] = {"anyOf": [{"type": "string", "pattern": f"^{text}$"}, definitions[layout]]}
    axes = definitions["AxesLayout"]["properties"]
    for axis in ("reducer", "model"):
        del axes[axis]["default"]
    for axis in ("backbone", "reducer", "scenario", "model"):
        axes[axis] |= _one_or_many(axis)
    axes["variant"] |= _one_or_many("variant", {"type": "array", "items": {"$ref": "#/$defs/variant"}, "minItems": 1})
    document["properties"]["metrics"] |= _one_or_many("probe")
    definitions["TrainingLayout"]["properties"]["tasks"] |= _one_or_many("task")
    document["properties"] = {key: _optional(value) for key, value in document["properties"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_simplify(document),
        "patternProperties": {"^x-": {"description": "your own, such as a place for anchors"}},
        "title": "convbench suite",
    }


def _one_or_many(definition: str, *alternatives: dict[str, Any]) -> dict[str, Any]:
    reference = {"$ref": f"#/$defs/{definition}"}
    items = {"anyOf": [reference, *alternatives]} if alternatives else reference
    return {"anyOf": [reference, {"type": "array", "minItems": 1, "items": items}]}


def _optional(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a key's value, or of no value: all of a section may be commented out."""
    annotations: dict[str, Any] = {key: value[key] for key in ("description", "default") if key in value}
    kind = {key: value[key] for key in value if key not in ("description", "default", "title")}
    kinds = kind["anyOf"] if set(kind) == {"anyOf"} else [kind]
    return {**annotations, "anyOf": [*kinds, *([] if _NOTHING in kinds else [_NOTHING])]}


def _names(shelf: Registry) -> dict[str, Any]:
    return {"anyOf": [*_constants(shelf), _IMPORT_PATH]}


def _plugin(shelf: Registry) -> dict[str, Any]:
    names = [plugin.name for plugin in shelf]
    text = {"type": "string", "pattern": rf"^\s*({'|'.join(_call(shelf, name) for name in names)})\s*$"}
    return {"anyOf": [*_constants(shelf), text, _IMPORT_PATH, *(_mapping(shelf, name) for name in names), _OWN]}


def _call(shelf: Registry, name: str) -> str:
    """Return the pattern of a plug-in written as text: nothing in parentheses, or options that it has."""
    spec = signature(shelf, name)
    options = r"[\w-]+" if spec.open else "|".join(spec.options)
    return rf"{name}\s*\((\s*({options})\s*=[^=]*)*\s*\)" if options else rf"{name}\s*\(\s*\)"


def _variant() -> dict[str, Any]:
    plugin = _plugin(registry.variants)
    names = "|".join(plugin.name for plugin in registry.variants if plugin.name != EAGER)
    link = rf"\s*({names}|{_PATH})(\([^)]*\))?\s*"
    chain = {"type": "string", "pattern": rf"^{link}(\+{link})+$", "description": "several, applied from left to right"}
    return {"anyOf": [*plugin["anyOf"], chain]}


def _model() -> dict[str, Any]:
    path = {"type": "string", "pattern": _IMPORT_PATH["pattern"]}
    fields = {
        "name": path,
        "inputs": path | {"description": "makes the inputs of a clip; default: a tensor of its shape"},
        "loss": path | {"description": "what training minimises: called with the output and the inputs"},
        "step": path | {"description": "how a frame is streamed: called with the model, the frame and the state"},
        "flops": {
            "type": "object",
            "description": "your own operators, each with the function that counts its FLOPs",
            "patternProperties": {"::": path},
            "additionalProperties": False,
        },
        "stages": {
            "type": "object",
            "description": "which submodules are which stage; '.' is the model itself",
            "properties": {
                stage: {"anyOf": [NAME, {"type": "array", "minItems": 1, "items": NAME}]} for stage in STAGES
            },
            "additionalProperties": False,
        },
    }
    mapping = {"type": "object", "properties": fields, "required": ["name"], "additionalProperties": _ANY_OPTION}
    return {"anyOf": [_IMPORT_PATH, mapping]}


_OWN = {
    "type": "object",
    "description": "your own, with options",
    "properties": {"name": _IMPORT_PATH},
    "required": ["name"],
    "additionalProperties": _ANY_OPTION,
}


def _constants(shelf: Registry) -> list[dict[str, Any]]:
    return [{"const": plugin.name, "description": plugin.summary} for plugin in shelf]


def _mapping(shelf: Registry, name: str) -> dict[str, Any]:
    """Return the object form of a plug-in: its options with their types and defaults."""
    spec = signature(shelf, name)
    options = {key: _option(adapter.json_schema(), spec.defaults, key) for key, adapter in spec.options.items()}
    return {
        "type": "object",
        "description": spec.summary,
        "properties": {"name": {"const": name}, **options},
        "required": sorted({"name"} | spec.required),
        "additionalProperties": _ANY_OPTION if spec.open else False,
    }


def _option(option: dict[str, Any], defaults: Any, key: str) -> dict[str, Any]:
    return option | ({"default": defaults[key]} if key in defaults else {})


def _simplify(node: Any) -> Any:
    """Return the schema without pydantic's titles, which are made of names, and with one-value defaults as values."""
    if isinstance(node, list):
        return [_simplify(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {key: _simplify(value) for key, value in node.items() if key != "title" or isinstance(value, dict)}
    if "anyOf" in plain and isinstance(default := plain.get("default"), list) and len(default) == 1:
        plain["default"] = default[0]
    return plain
