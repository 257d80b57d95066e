"""Keep numbers of this machine for later calls, in the user's cache, which may be deleted at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from convbench.core.comparability import machine_key
from convbench.core.record import Scalar
from convbench.core.system import files, lock

REMEDY = "set XDG_CACHE_HOME"


def folder() -> Path:
    """Return the folder for what helps later calls; for a user without a home, one that cannot be written."""
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "convbench"
    try:
        return Path.home() / ".cache" / "convbench"
    except RuntimeError:
        return Path(os.devnull) / "convbench"  # nothing can be written in it, and the user is told


def keep(kind: str, environment: Mapping[str, Scalar], value: float, *subject: Hashable, last: int = 1) -> Path:
    """Keep a number, or the ``last`` few, for machines and software like this one; ``subject`` says what else it is of.

    Raises StoreError.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.unwritable(folder(), error, REMEDY) from error
    with lock.hold(folder() / f"{kind}.lock", remedy=REMEDY):
        # read under the lock: another run may end now too
        values = [*numbers(kind, environment, *subject), value][-last:]
        content = _content(kind) | {_key(environment, subject): values if last > 1 else value}
        return files.write(_path(kind), json.dumps(content, indent=1) + "\n", REMEDY)


def number(kind: str, environment: Mapping[str, Scalar], *subject: Hashable) -> float | None:
    """Return the number that was kept; None if there is none."""
    return next(iter(numbers(kind, environment, *subject)), None)


def numbers(kind: str, environment: Mapping[str, Scalar], *subject: Hashable) -> list[float]:
    """Return the numbers that were kept; empty if there are none, or if the file is not ours."""
    value = _content(kind).get(_key(environment, subject))
    values = value if isinstance(value, list) else [value]
    return [float(value) for value in values if isinstance(value, int | float)]


def _path(kind: str) -> Path:
    return folder() / f"{kind}.json"


def _key(environment: Mapping[str, Scalar], subject: Sequence[Hashable]) -> str:
    return " | ".join(map(str, (*machine_key(environment), *subject)))


def _content(kind: str) -> dict[str, object]:
    try:
        content = json.loads(_path(kind).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
