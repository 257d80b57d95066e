"""Locks between processes, which the system gives back however their holder ends.

One check at a time on a machine, one run at a time in a directory, and scratch folders that are in use. Where the
system or the file system has no such locks (Windows, some clusters), nothing is held: all works, but nobody waits.
"""

from __future__ import annotations

import errno
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from convbench.core import files
from convbench.core.errors import StoreError

try:
    fcntl: Any = importlib.import_module("fcntl")
except ImportError:
    fcntl = None
REMEDY = "set TMPDIR to a folder that you may write"
"""What to do where another user's lock of the machine cannot be opened."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class AlreadyLocked(Exception):
    """Another process has the lock; the message is the process's number, where it is known."""


def machine_lock() -> Path:
    """The lock of this machine: two checks at once would measure each other."""
    return Path(tempfile.gettempdir()) / "convbench-check.lock"


@contextmanager
def hold(path: Path, waiting: Callable[[str], None] = lambda _: None, remedy: str = "") -> Iterator[None]:
    """Hold a lock; ``waiting`` is told who holds it where it has to be waited for, and may raise instead.

    ``remedy`` is what to do where the lock cannot be had. Raises StoreError then.
    """
    descriptor = _open(path, remedy)
    try:
        if _try_lock(descriptor) is False:
            waiting(os.pread(descriptor, 20, 0).decode(errors="replace").strip())
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor)
        yield
    finally:
        _unlock(descriptor)
        os.close(descriptor)


@contextmanager
def hold_or_raise(path: Path) -> Iterator[None]:
    """Hold a lock. Raises AlreadyLocked where another process has it."""

    def refuse(pid: str) -> None:
        raise AlreadyLocked(pid)

    with hold(path, refuse):
        yield


def is_held(path: Path) -> bool:
    """Whether a living process is known to hold the lock; False where there is none."""
    return _is_available(path) is False


def is_free(path: Path) -> bool:
    """Whether no living process holds the lock for sure; also where there is none."""
    return _is_available(path) is True


def _is_available(path: Path) -> bool | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | NO_LINK)
    except FileNotFoundError:
        return True
    except PermissionError:  # another user's
        return None
    except (OSError, ValueError) as error:
        raise _lock_error(path, error) from error
    try:
        return _try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Whether the lock was free; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _unlock(descriptor: int) -> None:
    """Give a lock back, also where a process that was forked meanwhile still has the file open."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _open(path: Path, remedy: str) -> int:
    """The file, also where another user made it: it can be locked without being written.

    Never what a symbolic link leads to: the folder may be everybody's. Raises StoreError where it cannot be had.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
            with suppress(OSError):
                return os.open(path, os.O_RDONLY | NO_LINK)
        raise _lock_error(path, error, remedy) from error


def _lock_error(path: Path, error: OSError | ValueError, remedy: str = "") -> StoreError:
    """Why a lock cannot be had: what stands in its place, or its folder."""
    if getattr(error, "errno", None) in (errno.ELOOP, errno.EISDIR):
        return StoreError(f"{path}: cannot be a lock ({getattr(error, 'strerror', error)}): remove it")
    return files.unwritable(path, error, remedy) if remedy else files.unwritable(path, error)


def _sign(descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError:
        return
