"""``measure`` in a process of its own: nothing carries over, and nothing a case does can end the sweep.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from convbench.core.errors import CaseFailed, Unavailable
from convbench.core.record import Case, Failure, Protocol, Record
from convbench.measure import harness
from convbench.measure.machine import malloc
from convbench.measure.machine.process_end import death
from convbench.measure.machine.toolchain import missing_tool
from convbench.measure.probes import Probe
from convbench.models.variants import process_environment

PRELOAD = ["__main__", "convbench.runs.forkserver_imports"]
PRELOAD_COMPILER = ["torch._inductor.compile_fx", "torch._inductor.codegen.cpp"]
PRELOAD_DIGITS = ["sklearn.datasets"]
CACHE = "TORCHINDUCTOR_CACHE_DIR"
PR_SET_PDEATHSIG = 1
SECONDS_TO_LEAVE = 2.0
"""What a process that has answered gets to end by itself and clean up, before it is killed."""


class Isolated:
    """A ``Measure`` that runs each case in a fresh process under the protocol's time limit; a context manager."""

    def __init__(
        self, protocol: Protocol, metrics: Sequence[str], preload: Sequence[str] = (), last: Sequence[Probe] = ()
    ) -> None:
        self.protocol = protocol
        self.metrics = tuple(metrics)
        self.last = tuple(last)
        self.scratch = Path(tempfile.mkdtemp(prefix="convbench-"))
        self.forkserver = multiprocessing.get_context("forkserver")
        self.forkserver.set_forkserver_preload([*PRELOAD, *preload])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __call__(self, case: Case) -> Record:
        variables = process_environment(case)
        asked = (case, self.protocol, self.metrics, self.last)
        work = _untimed if case.scenario == "probe" else harness.measure
        record: Record = self.call(work, asked, variables, compiles(case))
        return record

    def call(self, work: Any, args: tuple[Any, ...], variables: Mapping[str, str], compiles: bool = False) -> Any:
        """``work(*args)`` in a fresh process. Raises CaseFailed with how it ended where it did not return."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as room:
            if compiles and missing_tool() is None:
                self._toolchain(Path(room) / "inductor")
            return self._spawn(work, args, variables, Path(room))

    def _spawn(self, work: Any, args: tuple[Any, ...], variables: Mapping[str, str], room: Path) -> Any:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn") if variables else self.forkserver
        process = context.Process(target=_child, args=(sender, work, args, str(room)))
        try:
            with _environment(variables), _uninterrupted():
                process.start()
            sender.close()
            answer = _result(process, receiver, self.protocol.timeout, room / "output")
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
                self._spawn(_compile_something, (), {}, Path(room))
                shutil.move(Path(room) / "inductor", ready)
        shutil.copytree(ready, cache, copy_function=os.link)


def preloads(cases: Iterable[Case]) -> list[str]:
    """What the forkserver should import for these cases, besides what every case needs."""
    kept = list(cases)
    compiler = PRELOAD_COMPILER if any(map(compiles, kept)) else []
    return [*compiler, *(PRELOAD_DIGITS if any(case.trial for case in kept) else [])]


def compiles(case: Case) -> bool:
    """Whether the case's variant runs the compiler."""
    return any(choice.name == "compile" for choice in case.variant)


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


def _untimed(*asked: Any) -> Record:
    """``harness.measure`` of a case whose seconds are no result: nothing is mapped anew for every batch."""
    with suppress(Unavailable):
        malloc.become(malloc.KEPT)
    return harness.measure(*asked)


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
    unblocks SIGINT, and starting any process starts it: so it is started before.
    """
    resource_tracker.ensure_running()
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
