"""The smallest slowdown that this machine's selftest saw, kept where checks and reports find it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from convbench.check.link import Settings
from convbench.record import Scalar

IDENTITY = ("cpu", "gpu", "cores", "torch", "python")


def path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "convbench" / "floor.json"


def known(environment: Mapping[str, Scalar], settings: Settings) -> float | None:
    """What the selftest of a machine and software like this saw, as a relative slowdown; None where none was run."""
    found = _stored().get(_key(environment, settings))
    return float(found) if found is not None else None


def keep(environment: Mapping[str, Scalar], settings: Settings, slowdown: float) -> Path:
    stored = _stored() | {_key(environment, settings): slowdown}
    path().parent.mkdir(parents=True, exist_ok=True)
    path().write_text(json.dumps(stored, indent=1) + "\n")
    return path()


def _key(environment: Mapping[str, Scalar], settings: Settings) -> str:
    machine = (f"{environment.get(name)}" for name in IDENTITY)
    return " | ".join((*machine, f"{settings.threads} threads", settings.allocator))


def _stored() -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(path().read_text())
    except (OSError, ValueError):
        return {}
    return found
