"""What surrounds the start of a process that measures: its environment, signals and forkserver, and what it runs first.

Threads that wait for one another sleep: one that spins for a thread without a core takes the time of those that have
one.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from convbench.core import scratch
from convbench.core.errors import CaseFailed
from convbench.measure import attempts, progress
from convbench.measure.machine import malloc
from convbench.runs.script import UserImports

CACHE = "TORCHINDUCTOR_CACHE_DIR"
PR_SET_PDEATHSIG = 1
SAFE_START = {} if "PYTHONSAFEPATH" in os.environ else {"PYTHONSAFEPATH": "1"}
"""For the start of a process: a file of the working directory must not take the standard library's place."""
DISCIPLINE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""What every process that measures starts with, unless the user has set it: no spinning, compiling on its own core."""
TRAINED = "trained"
"""The folder for models that several trials evaluate, in the scratch folder where there are such trials."""
LONGEST = 80
"""Bytes of a folder's path that leave room for a socket's name: an address is at most 107, on macOS 103."""


def discipline() -> dict[str, str]:
    """The variables of ``DISCIPLINE`` that the user has not set."""
    return {name: value for name, value in DISCIPLINE.items() if name not in os.environ}


def run_child(
    sender: Connection, imports: UserImports, work: Any, args: tuple[Any, ...], folder: str, cache: str
) -> None:
    """What the new process runs: ``work``, whose answer or failure it sends, with ``folder`` for its files."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) if sys.platform == "linux" else None
    _let_forkserver_end()
    for name in SAFE_START:
        os.environ.pop(name, None)
    os.environ["TMPDIR"], tempfile.tempdir = folder, None
    output = os.open(Path(folder) / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ[CACHE], os.environ[scratch.EXPORTS] = cache, f"{cache}-exports"
    os.environ[scratch.CLIPS] = str(Path(folder).parent / "clips")
    if (trained_folder := Path(folder).parent / TRAINED).is_dir():
        os.environ[scratch.TRAINED] = str(trained_folder)
    if any(action == "error" for action, *_ in warnings.filters):  # by -W: torch's own would fail what it compiles
        warnings.simplefilter("default")
    malloc.hold()
    progress.listen(sender.send)
    try:
        imports.load()
        answer = work(*args)
    except BaseException as error:
        if isinstance(error, CaseFailed):
            progress.tell("", list(error.results))
        answer = attempts.explain(error)
    progress.listen(lambda _: None)
    sender.send(answer)
    sender.close()


def own_configuration() -> dict[str, Any]:
    """What multiprocessing keeps of this process, such as where it makes its sockets; children inherit it."""
    configuration: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    return configuration


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """A path of the folder that a socket's address has room for, wherever the user's temporary folder is.

    Where its own is too long, it is named by this process's descriptor, which leaves nothing behind if this is killed;
    a system without those gets another, short folder.
    """
    if len(os.fsencode(folder)) <= LONGEST:
        yield str(folder)
    elif scratch.PROC.joinpath("self", "fd").is_dir():
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            yield f"{scratch.PROC}/{os.getpid()}/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryDirectory(dir="/tmp", prefix="convbench-") as short_folder:
            yield short_folder


def forkserver_pid() -> int | None:
    """The process of the server; None where there is none."""
    return getattr(forkserver._forkserver, "_forkserver_pid", None)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for yet does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def forget_forkserver() -> None:
    """Reap the server, which has been killed with its scratch folder, so that the next gets one of its own."""
    with suppress(OSError):
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
    for name in ("_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid"):
        setattr(forkserver._forkserver, name, None)


def _let_forkserver_end() -> None:
    """Close the end of the pipe that keeps the server alive: it is to live as long as the command, not as its cases."""
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        with suppress(OSError):
            os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_address = None


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and processes started inside never see it: this one is to end them.

    A mask is inherited but covers one thread only, so the handler is held back too. Starting the resource tracker
    unblocks SIGINT, and starting any process starts it: so it is started before. Ctrl-C never comes to another thread
    than the main one.
    """
    resource_tracker.ensure_running()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def process_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """With these variables set inside the block."""
    old_values = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in old_values.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
