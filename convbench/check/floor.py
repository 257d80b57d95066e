"""The smallest slowdown that this machine's selftest saw, kept where checks and reports find it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from convbench.check.settings import Rule, Settings
from convbench.core.record import Scalar
from convbench.core.storage import cache

KIND = "floor"


def seen_slowdown(environment: Mapping[str, Scalar], settings: Settings, rule: Rule) -> float | None:
    """Return the smallest slowdown that a selftest of this machine and software saw; None if none was run."""
    return cache.number(KIND, environment, *_method(settings, rule))


def keep(environment: Mapping[str, Scalar], settings: Settings, rule: Rule, slowdown: float) -> Path:
    """Keep the slowdown that a selftest saw. Raises StoreError if the cache cannot be written."""
    return cache.keep(KIND, environment, slowdown, *_method(settings, rule))


def _method(settings: Settings, rule: Rule) -> tuple[str, ...]:
    """Return the parts of the method on which the number depends."""
    return f"{settings.threads} threads", settings.allocator, f"over {rule.tolerance:g}"
