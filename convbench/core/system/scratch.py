"""Scratch folders: temporary folders whose contents and processes end with their maker, however that ends.

A scratch folder is locked as long as it is used. All processes that work for it carry its path in their environment, as
do their descendants, unless they are started with another one. Closing the folder ends them and removes it; what a
killed process left behind is collected by the next process that makes such a folder.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convbench.core.errors import StoreError
from convbench.core.system import lock

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from subprocess import Popen

PREFIX, PREFIX_OF_CHECK, LOCK = "convbench-room-", "convbench-check-", "lock"
MARK = "CONVBENCH_ROOM"
"""The environment variable that marks the processes of a scratch folder."""
EXPORTS, TRAINED, CLIPS = "CONVBENCH_EXPORTS", "CONVBENCH_TRAINED", "CONVBENCH_CLIPS"
"""The variables that name folders of its processes: for exported models, trained models, and a user's clips."""
PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")
YOUNG = 60.0
"""Seconds in which a scratch folder may not have its lock yet, or nobody may hold that lock yet."""
ATTEMPTS = 50


@contextmanager
def folder(prefix: str = PREFIX) -> Iterator[Path]:
    """Yield a new folder; afterwards it is removed, and all processes that carry its ``mark`` are ended."""
    path = open_folder(prefix)
    try:
        with lock.hold(path / LOCK):
            yield path
    finally:
        close_folder(path)


def open_folder(prefix: str = PREFIX) -> Path:
    """Make a folder; the caller holds its lock and closes it. Raises StoreError if none can be made."""
    collect()
    return new_folder(lock.temporary_folder(), prefix)


def new_folder(parent: Path, prefix: str = "") -> Path:
    """Make a folder in another one. Raises StoreError, such as for a full disk."""
    try:
        return Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    except OSError as error:
        reason = error.strerror or error
        raise StoreError(f"{parent}: no scratch folder can be made there ({reason}): {lock.REMEDY}") from error


def close_folder(folder: Path) -> None:
    """Remove a scratch folder and end the processes that work for it."""
    end_processes(folder)
    with suppress(OSError):
        # The lock goes last: it identifies what is left.
        for path in (path for path in folder.iterdir() if path.name != LOCK):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def mark(folder: Path) -> Mapping[str, str]:
    """Return the environment variable of a scratch folder's processes; a folder inside it marks some of them."""
    return {MARK: str(folder)}


def collect() -> None:
    """Remove the scratch folders that no living process holds, and end the processes that still work for them."""
    for prefix in (PREFIX, PREFIX_OF_CHECK):
        for path in lock.temporary_folder().glob(f"{prefix}*"):
            with suppress(OSError, StoreError):
                if _is_abandoned(path):
                    close_folder(path)


def end_processes(folder: Path, exceptions: Collection[int] = ()) -> None:
    """Kill the processes of a scratch folder or one inside it, and what they start; not this one or ``exceptions``."""
    for _ in range(ATTEMPTS):
        pids = [pid for pid in processes(folder) if pid not in exceptions]
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def kill_group(process: Popen[Any] | BaseProcess) -> None:
    """Kill a process and the group that it leads; only the process if it leads none yet."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()


def processes(folder: Path) -> Iterator[int]:
    """Yield the running processes of this user that carry the mark, and their descendants, except this one.

    A descendant that was started with an environment of its own carries no mark.
    """
    value = f"{MARK}={folder}".encode(errors="surrogateescape")
    children: dict[int, list[int]] = {}
    pids = []
    for entry in PROC.glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:2]
            if state == b"Z":
                continue
            children.setdefault(int(parent), []).append(int(entry.name))
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(variable == value or variable.startswith(value + b"/") for variable in variables):
                pids.append(int(entry.name))
    for pid in pids:  # grows while it is read
        pids += [child for child in children.get(pid, ()) if child not in pids]
    yield from (pid for pid in pids if pid != os.getpid())


def adopt() -> None:
    """Become the parent of orphaned descendants; at exit, end them and remove the folder, if the command has ended.

    For the server that forks the cases: it lives as long as the command, even if that is killed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")
    if path := os.environ.get(MARK):
        atexit.register(_close_unless_held, Path(path), os.getpid())


def _close_unless_held(folder: Path, owner: int) -> None:
    if os.getpid() == owner and lock.is_free(folder / LOCK):
        close_folder(folder)


def _is_abandoned(path: Path) -> bool:
    """Whether a path is a scratch folder of this user that nobody holds."""
    status = path.lstat()
    if not path.is_dir() or path.is_symlink() or status.st_uid != os.getuid():
        return False
    place, is_young = path / LOCK, time.time() - status.st_mtime < YOUNG
    if not place.exists():
        return not is_young and not any(path.iterdir())
    if is_young and not place.stat().st_size:  # its maker writes into the lock once it holds it
        return False
    return lock.is_free(place)
