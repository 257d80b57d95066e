"""What is kept in the user's cache, which may be deleted at any time: numbers of this machine for later calls."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from convbench.core import files, lock
from convbench.core.comparability import machine_key
from convbench.core.record import Scalar

REMEDY = "set XDG_CACHE_HOME"


def folder() -> Path:
    """Where convbench keeps what later calls are quicker or better informed by; nowhere for a user without a home."""
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "convbench"
    try:
        return Path.home() / ".cache" / "convbench"
    except RuntimeError:
        return Path(os.devnull) / "convbench"  # in which nothing can be written, and that is said


def keep(kind: str, environment: Mapping[str, Scalar], value: float, *subject: Hashable, last: int = 1) -> Path:
    """Keep a number for machines and software like this one, or the ``last`` few; ``subject`` says what else it is of.

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
    """The number that was kept; None where there is none."""
    return next(iter(numbers(kind, environment, *subject)), None)


def numbers(kind: str, environment: Mapping[str, Scalar], *subject: Hashable) -> list[float]:
    """The numbers that were kept; empty where there are none, or what is there is not of ours."""
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
