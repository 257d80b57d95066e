"""Keep only the modules of a trace's Python events: no file of the machine is named, the module view still works."""

from __future__ import annotations

from typing import Any

PYTHON, MODULE = "python_function", "nn.Module: "
ID, PARENT = "Python id", "Python parent id"


def only_modules(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ``events`` without Python functions other than module calls; a module's parent is the module around it."""
    python = {event["args"][ID]: event for event in events if event.get("cat") == PYTHON}
    calls = [event for event in events if event.get("cat") != PYTHON or event["name"].startswith(MODULE)]
    return [_with_parent(event, python) if event.get("cat") == PYTHON else event for event in calls]


def _with_parent(event: dict[str, Any], python: dict[int, dict[str, Any]]) -> dict[str, Any]:
    parent = event["args"].get(PARENT)
    while parent in python and not python[parent]["name"].startswith(MODULE):
        parent = python[parent]["args"].get(PARENT)
    return event | {"args": event["args"] | {PARENT: parent if parent in python else None}}
