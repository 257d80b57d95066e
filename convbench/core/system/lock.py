"""Locks between processes; the operating system releases a lock when its holder ends, even when it is killed.

They allow one check at a time on a machine and one run at a time in a directory, and mark the scratch folders in use.
If the system or the file system has no such locks (Windows, some clusters), nothing is locked: everything works, but
nobody waits.
"""

from __future__ import annotations

import errno
import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from convbench.core.errors import StoreError
from convbench.core.system import files

try:
    fcntl: Any = importlib.import_module("fcntl")
except ImportError:
    fcntl = None
REMEDY = "set TMPDIR to a folder that you can write to"
"""What to do if there is no folder for temporary files."""
SHARED, VARIABLE = Path("/tmp"), "CONVBENCH_LOCKS"
"""The folder of a machine's locks, and the variable that names another one."""
OTHER_FOLDER = f"set {VARIABLE} to a folder that everybody who measures here can write to"
"""What to do if a machine's lock cannot be opened."""
INSTANT = 1e-3
"""Seconds between two tries to take a lock that nobody holds, but about which somebody asks."""
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def temporary_folder() -> Path:
    """Return the folder for temporary files. Raises StoreError if none can be written, as in a read-only container."""
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise StoreError(f"no folder for temporary files can be written: {REMEDY}") from error


def shared_folder() -> Path:
    """Return the folder of a machine's locks. It does not follow TMPDIR, which may differ by user, session and job."""
    if folder := os.environ.get(VARIABLE):
        return Path(folder)
    return SHARED if os.access(SHARED, os.W_OK) else temporary_folder()


def machine_lock() -> Path:
    """Return the path of the lock that keeps two checks on this machine from measuring each other."""
    return shared_folder() / "convbench-check.lock"


@contextmanager
def hold(path: Path, waiting: Callable[[str], None] = lambda _: None, remedy: str = files.ELSEWHERE) -> Iterator[None]:
    """Hold a lock. If another process has it, call ``waiting`` with its id, then wait; ``waiting`` may raise instead.

    The id is empty if it is unknown. ``remedy`` is what the user can do if the lock file cannot be opened. Raises
    StoreError in that case.
    """
    descriptor = _open(path, remedy)
    try:
        if _has_other_holder(descriptor):
            waiting(_holder(descriptor))
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        _unlock(descriptor)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process is known to hold the lock; False if there is no lock file."""
    return _is_available(path) is False


def is_free(path: Path) -> bool:
    """Whether certainly no living process holds the lock; True if there is no lock file."""
    return _is_available(path) is True


def _is_available(path: Path) -> bool | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | NO_LINK)
    except FileNotFoundError:
        return True
    except PermissionError:  # the lock file is another user's
        return None
    except (OSError, ValueError) as error:
        raise _lock_error(path, error) from error
    try:
        return _try_lock(descriptor, shared=True)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Try to take the lock and return whether it was free; None if the system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _has_other_holder(descriptor: int) -> bool:
    """Try to take the lock; whether another process has it. One that only asks shares it for an instant."""
    while _try_lock(descriptor) is False:
        if _try_lock(descriptor, shared=True) is False:
            return True
        time.sleep(INSTANT)
    return False


def _holder(descriptor: int) -> str:
    """Return the id of the process that has the lock; empty if the file names none that lives.

    A user who cannot write the file leaves the id of an earlier holder in it.
    """
    import psutil  # here, because only who waits for a lock needs it

    with suppress(ValueError, OSError, OverflowError):
        pid = int(os.pread(descriptor, 20, 0))
        return str(pid) if psutil.pid_exists(pid) else ""
    return ""


def _unlock(descriptor: int) -> None:
    """Release a lock, even if a process that was forked meanwhile still has the file open."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _open(path: Path, remedy: str) -> int:
    """Open the lock file, read-only if another user made it: it can be locked without being written.

    A new file can be read by all, whatever the umask. Never follows a symbolic link, since anybody may write into the
    folder. Raises StoreError if the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666)
        with suppress(OSError, AttributeError):  # another user's file; Windows
            os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o777 | 0o444)
        return descriptor
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS):
            with suppress(OSError):
                return os.open(path, os.O_RDONLY | NO_LINK)
        raise _lock_error(path, error, remedy) from error


def _lock_error(path: Path, error: OSError | ValueError, remedy: str = files.ELSEWHERE) -> StoreError:
    """Return the error for a lock that cannot be opened, because of its folder or of something in its place."""
    obstacle = {errno.ELOOP: "a symbolic link", errno.EISDIR: "a directory"}.get(getattr(error, "errno", None) or 0)
    if obstacle:
        return StoreError(f"{path}: cannot be used as a lock, since it is {obstacle}: remove it")
    return files.unwritable(path, error, remedy)
