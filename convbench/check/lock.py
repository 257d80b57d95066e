"""Locks between processes: one check at a time on a machine, and rooms that are in use."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from convbench.core.errors import StoreError


def machine() -> Path:
    """The lock of this machine: two checks at once would measure each other."""
    return Path(tempfile.gettempdir()) / "convbench-check.lock"


@contextmanager
def hold(path: Path, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold a lock; ``waiting`` is told who holds it where it has to be waited for."""
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting(os.pread(descriptor, 20, 0).decode(errors="replace").strip())
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; False where there is none."""
    if not path.exists():
        return False
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open(path: Path) -> int:
    """The file, also where another user made it: it can be locked without being written.

    Never what a symbolic link leads to: the folder may be everybody's. Raises StoreError where it cannot be had.
    """
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except PermissionError:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise StoreError(f"{path}: cannot be used as a lock ({error.strerror}): remove it") from error


def _sign(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError:
        return
