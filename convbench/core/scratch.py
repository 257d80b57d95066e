"""Scratch folders: temporary ones whose contents and processes end with whoever made them, however that one ends.

A scratch folder is held by a lock for as long as it is used. All processes that work for it, and whatever those start,
carry its path in their environment. Leaving it ends them and removes it; what a killed process left behind, the next
one that makes such a folder collects.
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

from convbench.core import lock
from convbench.core.errors import StoreError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from subprocess import Popen

PREFIX, PREFIX_OF_CHECK, LOCK = "convbench-room-", "convbench-check-", "lock"
MARK = "CONVBENCH_ROOM"
"""The variable by which the processes of a scratch folder are known."""
EXPORTS, TRAINED, CLIPS = "CONVBENCH_EXPORTS", "CONVBENCH_TRAINED", "CONVBENCH_CLIPS"
"""The variables that name the folders in which its processes share exported and trained models, and a user's clips."""
PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")
YOUNG = 60.0
"""Seconds in which a scratch folder may not have its lock yet, or a lock that is not held yet."""
ATTEMPTS = 50


@contextmanager
def folder(prefix: str = PREFIX) -> Iterator[Path]:
    """A new folder that is gone afterwards, with all processes that carry its ``mark``."""
    path = open_folder(prefix)
    try:
        with lock.hold(path / LOCK):
            yield path
    finally:
        close_folder(path)


def open_folder(prefix: str = PREFIX) -> Path:
    """A folder; the caller holds its lock and closes it. Raises StoreError where none can be made."""
    collect()
    try:
        return Path(tempfile.mkdtemp(prefix=prefix))
    except OSError as error:
        raise StoreError(f"no scratch folder can be made ({error.strerror or error}): {lock.REMEDY}") from error


def close_folder(folder: Path) -> None:
    """Remove a scratch folder and end what works for it."""
    end_processes(folder)
    with suppress(OSError):
        for path in (path for path in folder.iterdir() if path.name != LOCK):  # by the lock what is left is known
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def mark(folder: Path) -> Mapping[str, str]:
    """What the environment of a scratch folder's processes has to hold; a folder in it marks some of them."""
    return {MARK: str(folder)}


def collect() -> None:
    """Remove the scratch folders that no living process holds, and end what still works for them."""
    for prefix in (PREFIX, PREFIX_OF_CHECK):
        for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            with suppress(OSError, StoreError):
                if _is_abandoned(path):
                    close_folder(path)


def end_processes(folder: Path, but: Collection[int] = ()) -> None:
    """Kill the processes of a scratch folder, or of one in it, and what they start; not this one, nor those given."""
    for _ in range(ATTEMPTS):
        pids = [pid for pid in processes(folder) if pid not in but]
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def kill_group(process: Popen[Any] | BaseProcess) -> None:
    """Kill a process and the group that it leads; the process alone where it leads none yet."""
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()


def processes(folder: Path) -> Iterator[int]:
    """The processes of this user that carry the mark, but for this one and those that have ended."""
    value = f"{MARK}={folder}".encode(errors="surrogateescape")
    for entry in PROC.glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            variables = (entry / "environ").read_bytes().split(b"\0")
            if any(variable == value or variable.startswith(value + b"/") for variable in variables):
                yield int(entry.name)


def adopt() -> None:
    """Be the parent of what this process's descendants abandon; end it, and the folder, when the command has ended.

    For the server that forks the cases: it lives as long as the command, also where that is killed.
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
    """Whether it is a scratch folder of this user that nobody holds."""
    status = path.lstat()
    if not path.is_dir() or path.is_symlink() or status.st_uid != os.getuid():
        return False
    place, is_young = path / LOCK, time.time() - status.st_mtime < YOUNG
    if not place.exists():
        return not is_young and not any(path.iterdir())
    if is_young and not place.stat().st_size:  # its maker signs it when it holds it
        return False
    return lock.is_free(place)
