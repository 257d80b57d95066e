"""How a worker answers: a JSON object a line, in the process that was started or in copies of it (``fork``).

A program of the head's that every side runs, loaded by its path: standard library only. A copy has what its original
has imported, so that it costs milliseconds; it has a channel, a log and a session of its own. Copies look at cases and
are never timed: what luck gave to their original, such as the addresses of its memory, they would all share.
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
"""Seconds in which a copy that closed its channel has to end."""
TASKS = "/proc/self/task"


def main(make: Callable[[], Any]) -> None:
    """Serve what ``make`` builds on the channel that the command line names first; its second is the line of copies."""
    channel, *line = map(int, sys.argv[1:3])
    del sys.argv[1:]  # a user's module that parses arguments would take them for its own
    _serve(make(), socket.socket(fileno=channel), socket.socket(fileno=line[0]) if line else None)


def can_fork() -> bool:
    """Whether a copy of this process would be whole: threads are not copied, and other systems have no such numbers."""
    with contextlib.suppress(OSError):
        return len(os.listdir(TASKS)) == 1  # noqa: PTH208
    return False


def _serve(worker: Any, connection: socket.socket, line: socket.socket | None) -> None:
    """Until the channel closes; dies with the process that started it."""
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
    try:
        answer: Answer = getattr(worker, request.pop("do"))(**request)
    except BaseException as error:
        traceback.print_exc()
        return {"error": worker.explain(error)}
    return answer


def _fork(worker: Any, channel: int, request: Mapping[str, Any], *descriptors: int) -> Answer:
    """A copy of this process that serves on ``channel``; in the copy this does not return."""
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
    """What tells a copy from its original: its session, its log and its variables."""
    os.setsid()
    for descriptor in descriptors:
        os.close(descriptor)
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ.update(variables)


def _reap(pid: int) -> Answer:
    """The return code of a copy that has ended, as ``subprocess`` has it; None of one that goes on."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        number, status = os.waitpid(pid, os.WNOHANG)
        if number:
            return {"code": os.waitstatus_to_exitcode(status)}
        time.sleep(0.002)
    return {"code": None}
