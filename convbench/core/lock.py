"""Locks between processes, which the system gives back however their holder ends.

One check at a time on a machine, one run at a time in a directory, and scratch folders that are in use. Where the
system has no such locks (Windows), nothing is held: what reads stored runs works there.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convbench.core.errors import StoreError

try:
    fcntl: Any = importlib.import_module("fcntl")
except ImportError:
    fcntl = None


class Held(Exception):
    """Another process has the lock; the message is the process's number, where it is known."""


def machine() -> Path:
    """The lock of this machine: two checks at once would measure each other."""
    return Path(tempfile.gettempdir()) / "convbench-check.lock"


@contextmanager
def hold(path: Path, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold a lock; ``waiting`` is told who holds it where it has to be waited for, and may raise instead."""
    descriptor = _open(path)
    try:
        if not _try_lock(descriptor):
            waiting(os.pread(descriptor, 20, 0).decode(errors="replace").strip())
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_or_raise(path: Path) -> Iterator[None]:
    """Hold a lock. Raises Held where another process has it."""

    def refuse(pid: str) -> None:
        raise Held(pid)

    with hold(path, refuse):
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; False where there is none."""
    if not path.exists():
        return False
    descriptor = _open(path)
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> int:
    """The file, also where another user made it: it can be locked without being written.

    Never what a symbolic link leads to: the folder may be everybody's. Raises StoreError where it cannot be had.
    """
    no_link = getattr(os, "O_NOFOLLOW", 0)
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | no_link, 0o666)
        except PermissionError:
            return os.open(path, os.O_RDONLY | no_link)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be a lock ({getattr(error, 'strerror', error)}): remove it") from error


def _sign(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError:
        return
