"""Answer a worker's commands, one JSON object per line, in the process that was started or in copies of it (``fork``).

This program belongs to head. The workers of both sides load it by its path; it uses the standard library alone. A copy
has all that its original has imported, so it costs milliseconds; it has its own channel, log and session. Copies
inspect cases and are never timed: they would all share what is random in their original, such as memory addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Answer = dict[str, Any]
PR_SET_PDEATHSIG = 1
PATIENCE = 10.0
"""Seconds to wait for the end of a copy that has closed its channel."""
TASKS = "/proc/self/task"


def main(make: Callable[[], Any]) -> None:
    """Serve what ``make`` builds on the channel, the command line's first socket; the second brings copies theirs."""
    channel, *line = map(int, sys.argv[1:3])
    del sys.argv[1:]  # a user's module that parses arguments would take them for its own
    _serve(make(), socket.socket(fileno=channel), socket.socket(fileno=line[0]) if line else None)


def can_fork() -> bool:
    """Whether a copy of this process would be whole: threads are not copied. False on systems without ``/proc``."""
    with contextlib.suppress(OSError):
        return len(os.listdir(TASKS)) == 1  # noqa: PTH208
    return False


def _serve(worker: Any, connection: socket.socket, line: socket.socket | None) -> None:
    """Answer commands until the channel closes. On Linux this process dies with the one that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with connection, connection.makefile("rwb") as channel:
        for request in map(json.loads, channel):
            if request["do"] == "fork" and line is not None:
                (descriptor, *_) = socket.recv_fds(line, 1, 1)[1]
                answer = _fork(worker, descriptor, request, connection.fileno(), line.fileno())
            else:
                answer = _reap(request["pid"]) if request["do"] == "reap" else _answer(worker, request)
            channel.write(json.dumps(answer).encode() + b"\n")
            channel.flush()


def _answer(worker: Any, request: dict[str, Any]) -> Answer:
    own_pid = os.getpid()
    try:
        answer: Answer = getattr(worker, request.pop("do"))(**request)
    except BaseException as error:
        if os.getpid() != own_pid:  # raised in a process that the user's code forked, as by its ``sys.exit``
            os._exit(1)
        with contextlib.suppress(OSError):  # the disk is full: the answer below says so
            traceback.print_exc()
        return {"error": worker.explain(error)}
    return answer


def _fork(worker: Any, channel: int, request: Mapping[str, Any], *descriptors: int) -> Answer:
    """Fork a copy of this process that serves on ``channel``. In the copy this does not return."""
    number = os.fork()
    if number:
        os.close(channel)
        return {"pid": number}
    code = 70
    try:
        _begin_anew(request["output"], request["variables"], descriptors)
        _serve(worker, socket.socket(fileno=channel), None)
        code = 0
    finally:
        os._exit(code)


def _begin_anew(output: str, variables: Mapping[str, str], descriptors: tuple[int, ...]) -> None:
    """Give a copy its own session, log and variables."""
    os.setsid()
    for descriptor in descriptors:
        os.close(descriptor)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ.update(variables)


def _reap(pid: int) -> Answer:
    """Return the return code of a copy, as ``subprocess`` counts it; None if the copy keeps running."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        number, status = os.waitpid(pid, os.WNOHANG)
        if number:
            return {"code": os.waitstatus_to_exitcode(status)}
        time.sleep(0.002)
    return {"code": None}
