"""The start of a measuring process: its environment, signals and forkserver, and what it runs first.

Threads that wait for each other sleep. If they spun while a thread waits for a core, they would take time from the
threads that have one.
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
from multiprocessing.context import ForkServerProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from convbench.core.errors import CaseFailed
from convbench.core.system import scratch
from convbench.measure import attempts, progress
from convbench.measure.machine import malloc
from convbench.runs.process.script import UserImports

CACHE = "TORCHINDUCTOR_CACHE_DIR"
PR_SET_PDEATHSIG = 1
SAFE_PATH, OURS = "PYTHONSAFEPATH", "convbench"
SAFE_START = {} if SAFE_PATH in os.environ else {SAFE_PATH: OURS}
"""Variables for starting a process: no file in the working directory may take the place of a standard module."""
DISCIPLINE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Variables of every measuring process, unless the user has set them: no spinning, compiling on its own core."""
TRAINED = "trained"
"""The folder in the scratch folder for models that several trials evaluate. It exists only with such trials."""
PATIENCE = 60.0
"""Seconds that the forkserver may take for a start beside the limit of the call: its first imports take some."""
LONGEST = 80
"""Largest bytes of a folder's path that leave room for a socket's name: an address has at most 107, on macOS 103."""


def discipline() -> dict[str, str]:
    """The variables of ``DISCIPLINE`` that the user has not set."""
    return {name: value for name, value in DISCIPLINE.items() if name not in os.environ}


def run_child(
    sender: Connection, imports: UserImports, work: Any, args: tuple[Any, ...], folder: str, cache: str
) -> None:
    """Run ``work`` in the new process and send its answer or failure; ``folder`` is for its files."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) if sys.platform == "linux" else None
    _let_forkserver_end()
    if os.environ.get(SAFE_PATH) == OURS:  # the programs that a case starts get the user's variables
        del os.environ[SAFE_PATH]
    os.environ["TMPDIR"], tempfile.tempdir = folder, None
    output = os.open(Path(folder) / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ[CACHE], os.environ[scratch.EXPORTS] = cache, f"{cache}-exports"
    os.environ[scratch.CLIPS] = str(Path(folder).parent / "clips")
    if (trained_folder := Path(folder).parent / TRAINED).is_dir():
        os.environ[scratch.TRAINED] = str(trained_folder)
    if any(action == "error" for action, *_ in warnings.filters):  # set by -W: torch's warnings would fail a compile
        warnings.simplefilter("default")
    multiprocessing.set_start_method(None, force=True)  # the user's code may set it when it is imported
    malloc.hold()
    os.register_at_fork(after_in_child=sender.close)  # what the user's code forks and lets go on has no answer
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
    """Return what multiprocessing stores about this process, such as where to make sockets; children inherit it."""
    configuration: dict[str, Any] = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    return configuration


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """Yield a path of the folder that fits into a socket's address, wherever the user's temporary folder is.

    If its own path is too long, the path leads through a file descriptor of this process, which leaves nothing behind
    if the process is killed. A system without such paths gets another, short folder.
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
    """Return the process id of the forkserver; None if there is none."""
    return getattr(forkserver._forkserver, "_forkserver_pid", None)


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie, which has ended but was not waited for, does not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def forget_forkserver() -> None:
    """Reap the server, which was killed, so that the next start begins a new one."""
    with suppress(OSError):
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
    for name in ("_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid"):
        setattr(forkserver._forkserver, name, None)


@contextmanager
def end_stopped_forkserver(process: BaseProcess, seconds: float) -> Iterator[None]:
    """Kill the server if the start or end of its process takes ``PATIENCE`` more than these seconds.

    As a rule somebody stopped it (SIGSTOP). The block then goes on as if somebody else had killed it. A process of
    another kind does not wait for the server, which other processes may need.
    """
    timer = threading.Timer(min(seconds + PATIENCE, threading.TIMEOUT_MAX), _kill_forkserver)
    timer.daemon = True
    if isinstance(process, ForkServerProcess):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kill_forkserver() -> None:
    if pid := forkserver_pid():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _let_forkserver_end() -> None:
    """Close the pipe end that keeps the server alive: it must live as long as the command, not as long as a case."""
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        with suppress(OSError):
            os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_address = None


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block. Processes started inside never see it: this process ends them.

    A signal mask is inherited but covers only one thread, so the handler is replaced too. Starting the resource tracker
    unblocks SIGINT, and starting any process starts the tracker, so it is started first. Ctrl-C reaches only the main
    thread; in any other, nothing is held back.
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
    """Set these environment variables until the end of the block."""
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
