"""The smallest slowdown that this machine's selftest saw, kept where checks and reports find it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from convbench.check.link import Settings
from convbench.check.rule import Rule
from convbench.core import files
from convbench.core.comparability import machine
from convbench.core.record import Scalar


def path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "convbench" / "floor.json"


def known(environment: Mapping[str, Scalar], settings: Settings, rule: Rule) -> float | None:
    """The relative slowdown that the rule saw in a selftest of such a machine and software; None where none was run."""
    value = _stored().get(_key(environment, settings, rule))
    return float(value) if isinstance(value, int | float) else None


def keep(environment: Mapping[str, Scalar], settings: Settings, rule: Rule, slowdown: float) -> Path:
    stored = _stored() | {_key(environment, settings, rule): slowdown}
    return files.write(path(), json.dumps(stored, indent=1) + "\n", "set XDG_CACHE_HOME")


def _key(environment: Mapping[str, Scalar], settings: Settings, rule: Rule) -> str:
    return " | ".join(
        (*map(str, machine(environment)), f"{settings.threads} threads", settings.allocator, f"over {rule.tolerance:g}")
    )


def _stored() -> dict[str, object]:
    try:
        content = json.loads(path().read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
