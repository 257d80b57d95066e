"""Functions called in fresh processes of this machine: nothing carries over, and nothing they do ends the caller.

A forkserver that has torch preloaded starts a process in a fraction of a second; a case that needs another C allocator
is started fresh with it preloaded. A compiled case gets an empty compile cache next to a ready toolchain (precompiled
headers, instruction-set checks), so that its compile seconds depend neither on earlier runs nor on the cases' order.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from convbench.core.errors import CaseFailed
from convbench.core.record import Failure
from convbench.measure import harness
from convbench.measure.machine import malloc
from convbench.measure.machine.process_end import death
from convbench.measure.machine.toolchain import missing_tool

T = TypeVar("T")
PRELOAD = ["__main__", "convbench.runs.forkserver_imports"]
CACHE = "TORCHINDUCTOR_CACHE_DIR"
PR_SET_PDEATHSIG = 1
SECONDS_TO_LEAVE = 2.0
"""What a process that has answered gets to end by itself and clean up, before it is killed."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A function and its arguments, all of which can be pickled, and how its process is started.

    ``variables`` are of its environment, ``timeout`` is in seconds. A call that ``compiles`` finds an empty compile
    cache next to a ready toolchain.
    """

    work: Callable[..., T]
    args: tuple[Any, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 300.0
    compiles: bool = False


class Processes:
    """Calls functions in fresh processes, each under a time limit. ``close`` removes what they wrote."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="convbench-"))
        self.forkserver = multiprocessing.get_context("forkserver")
        self.forkserver.set_forkserver_preload([*PRELOAD, *preload])

    def close(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, call: Call[T]) -> T:
        """What the call returns. Raises CaseFailed with how its process ended where it did not return."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as room:
            if call.compiles and missing_tool() is None:
                self._toolchain(Path(room) / "inductor")
            return self._spawn(call, Path(room))

    def _spawn(self, call: Call[T], room: Path) -> T:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn") if call.variables else self.forkserver
        process = context.Process(target=_child, args=(sender, call.work, call.args, str(room)))
        try:
            with _environment(call.variables), _uninterrupted():
                process.start()
            sender.close()
            answer: T = _result(process, receiver, call.timeout, room / "output")
            process.join(SECONDS_TO_LEAVE)
            return answer
        finally:
            _kill(process)
            receiver.close()

    def _toolchain(self, cache: Path) -> None:
        """Fills ``cache`` with what compiling anything leaves behind; made once, then linked."""
        ready = self.scratch / "toolchain"
        if not ready.exists():
            with tempfile.TemporaryDirectory(dir=self.scratch) as room:
                self._spawn(Call(_compile_something), Path(room))
                shutil.move(Path(room) / "inductor", ready)
        shutil.copytree(ready, cache, copy_function=os.link)


def _compile_something() -> None:
    import torch

    torch.compile(lambda values: values.sin() + 1)(torch.zeros(64))


def _child(sender: Connection, work: Any, args: tuple[Any, ...], room: str) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) if sys.platform == "linux" else None
    output = os.open(Path(room) / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ[CACHE] = str(Path(room) / "inductor")
    malloc.hold()
    try:
        answer = work(*args)
    except BaseException as error:
        answer = harness.explain(error)
    sender.send(answer)
    sender.close()


def _result(process: BaseProcess, receiver: Connection, timeout: float, output: Path) -> Any:
    if not receiver.poll(timeout):
        raise CaseFailed("timeout", f"no result after {timeout:g} s (protocol.timeout)")
    try:
        answer = receiver.recv()
    except EOFError:
        process.join(5)
        raise death(process.exitcode, output) from None
    if isinstance(answer, Failure):
        raise CaseFailed(answer.kind, answer.message)
    return answer


def _kill(process: BaseProcess) -> None:
    """End the process, if it was started, and all that it started."""
    if process.pid is None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and processes started inside never see it: this one is to end them.

    A mask is inherited but covers one thread only, so the handler is held back too. Starting the resource tracker
    unblocks SIGINT, and starting any process starts it: so it is started before. Ctrl-C never comes to another thread
    than the main one.
    """
    resource_tracker.ensure_running()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if held:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
