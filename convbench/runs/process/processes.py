"""Call functions in fresh processes on this machine: nothing carries over, and nothing they do ends the caller.

A forkserver that has preloaded torch starts a process in a fraction of a second. A case that needs another C allocator
starts without the server, with that allocator preloaded. A compiled case gets an empty compile cache next to a ready
toolchain (precompiled headers, instruction-set checks), so that its compile seconds depend neither on earlier runs nor
on the order of the cases. Later visits to it find the cache filled.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from convbench.core.errors import CaseFailed, ConvbenchError
from convbench.core.imports import require_working_directory
from convbench.core.system import lock, scratch
from convbench.measure.machine.toolchain import missing_tool
from convbench.runs.process.running import ProcessCall, RunningCall
from convbench.runs.process.script import hide_script
from convbench.runs.process.start import (
    SAFE_START,
    discipline,
    end_stopped_forkserver,
    forget_forkserver,
    forkserver_pid,
    hold_interrupts,
    is_alive,
    own_configuration,
    process_variables,
    run_child,
    short_path,
)

T = TypeVar("T")
PRELOAD = ["convbench.runs.process.forkserver_imports"]
SERVER_KILLED = (EOFError, ConnectionError, FileNotFoundError)
"""Errors of a start without a server. Other errors, such as too many open files, are the system's."""


class Processes:
    """Calls functions in fresh processes, each under a time limit, in a scratch folder.

    ``close`` ends the processes and removes the folder.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        """Raises ConvbenchError in a process that may not start others, or whose working directory is gone."""
        if multiprocessing.current_process().daemon:
            raise ConvbenchError(
                "a worker of multiprocessing.Pool cannot start processes to measure in: call convbench from "
                "concurrent.futures.ProcessPoolExecutor, or measure with the executor in-process"
            )
        require_working_directory()
        self.preload = preload
        self.scratch = scratch.open_folder()
        self._resources = ExitStack()
        self._pids: set[int] = set()
        try:
            self._resources.enter_context(lock.hold(self.scratch / scratch.LOCK))
            self.forkserver = multiprocessing.get_context("forkserver")
            self.forkserver.set_forkserver_preload([*PRELOAD, *preload])
            # The resource tracker belongs to the caller. The server and its socket belong to the scratch folder.
            with process_variables(SAFE_START):
                resource_tracker.ensure_running()
            own_configuration()["tempdir"] = self._resources.enter_context(short_path(self.scratch))
        except BaseException:
            scratch.close_folder(self.scratch)
            self._resources.close()
            raise

    def warm(self) -> None:
        """Let the server begin its imports now instead of at the first call."""
        with hide_script(), process_variables(self._variables()), hold_interrupts():
            forkserver.ensure_running()

    def close(self) -> None:
        scratch.end_processes(self.scratch)
        forget_forkserver()
        own_configuration().pop("tempdir", None)
        scratch.close_folder(self.scratch)
        self._resources.close()

    def run(self, call: ProcessCall[T]) -> T:
        """Return what the call returns. If it does not return, raises CaseFailed with how its process ended."""
        return self.start(call).final_result()

    def start(self, call: ProcessCall[T]) -> RunningCall[T]:
        """Begin a call. The caller must ``end`` it. Raises StoreError if the scratch folder is full or was removed."""
        folder = scratch.new_folder(self.scratch)
        cache = self.scratch / f"inductor-{call.cache}" if call.cache else folder / "inductor"
        if call.compiles and missing_tool() is None and not cache.exists():
            self._toolchain(cache)
        return self._spawn(call, folder, cache)

    def _spawn(self, call: ProcessCall[T], folder: Path, cache: Path) -> RunningCall[T]:
        running: RunningCall[T] = RunningCall(call, folder)
        running.at_end = self._forget
        begin = partial(self._begin, running, call, cache)
        begin()
        if call.is_forked:
            restart = None if call.compiles else begin  # the second process would find what the first compiled
            self._survives_server(running, restart)
        return running

    def _begin(self, running: RunningCall[Any], call: ProcessCall[Any], cache: Path) -> None:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        context = self.forkserver if call.is_forked else multiprocessing.get_context("spawn")
        args = (sender, call.imports, call.work, call.args, str(running.folder), str(cache))
        running.begins(context.Process(target=run_child, args=args), receiver)
        try:
            with hide_script(), process_variables({**self._variables(), **call.variables}), hold_interrupts():
                try:
                    with end_stopped_forkserver(running.process, call.timeout):
                        running.process.start()
                except SERVER_KILLED:  # the next start begins a new server
                    if not call.is_forked:
                        raise
                    forget_forkserver()
                    running.begins(context.Process(target=run_child, args=args), receiver)  # its time begins anew
                    _start_again(running.process, call.timeout)
                self._pids.add(running.process.pid or 0)
        except BaseException:
            running.end()
            raise
        sender.close()

    def _survives_server(self, running: RunningCall[Any], begin: Callable[[], None] | None) -> None:
        """Let the call begin again, once, if the server is killed: its process does not outlive the server."""
        server = forkserver_pid()

        def begin_again() -> bool:
            if server is None or is_alive(server):
                return False
            if begin is None:
                raise CaseFailed("crash", "killed by SIGKILL, with the server that starts processes")
            self._pids.discard(running.process.pid or 0)
            running.receiver.close()
            begin()
            self._survives_server(running, None)
            return True

        running.begin_again = begin_again

    def _variables(self) -> dict[str, str]:
        return {**SAFE_START, **discipline(), **scratch.mark(self.scratch)}

    def _forget(self, running: RunningCall[Any]) -> None:
        """Kill what calls left behind, in any session, once no call runs: only then is it clear what is left over."""
        self._pids.discard(running.process.pid or 0)
        if not self._pids:
            scratch.end_processes(self.scratch, [pid for pid in [forkserver_pid()] if pid])

    def _toolchain(self, cache: Path) -> None:
        """Fill ``cache`` with what compiling anything leaves behind, which is made once and then linked."""
        toolchain = self.scratch / "toolchain"
        if not toolchain.exists():
            folder = scratch.new_folder(self.scratch)
            running = self._spawn(ProcessCall(_compile_something), folder, folder / "inductor")
            try:
                running.result()
                shutil.move(folder / "inductor", toolchain)  # before ``end``, which removes the folder
            finally:
                running.end()
        shutil.copytree(toolchain, cache, copy_function=os.link)


def _start_again(process: BaseProcess, seconds: float) -> None:
    try:
        with end_stopped_forkserver(process, seconds):
            process.start()
    except SERVER_KILLED as error:
        reason = "killed, or short of processes (ulimit -u, a container's pids limit)"
        words = f"the server that starts processes has ended, and so has the next one: {reason}"
        raise CaseFailed("crash", words) from error


def _compile_something() -> None:
    import torch

    torch.compile(lambda values: values.sin() + 1)(torch.zeros(64))
