"""Run programs in processes that are forked from one that has imported the libraries, because importing takes seconds.

A forked process has not imported convbench or plug-ins. A test must start a new process instead if it kills it, or sets
variables that Python or a library reads at its start.

The forkservers of these programs and of most tests are forked as well. A forkserver is a new process only if such
variables or Python's flags differ, and in the tests of ``NEW_FORKSERVERS`` in conftest.py.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import mmap
import multiprocessing
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from multiprocessing import util
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import psutil

LIBRARIES = (
    "torch._dynamo", "pandas", "scipy.stats", "scipy.optimize", "matplotlib.figure", "typer", "rich.table",
    "rich.progress", "pydantic", "ruamel.yaml", "jinja2",
)  # fmt: skip
"""Libraries that take long to import and do not depend on plug-ins."""
COMPILER = "convbench.runs.compiler_imports"
"""The module that takes long to import in the forkserver of compiled cases."""
READ_AT_START = (
    "PYTHON", "LD_", "MALLOC_", "GLIBC_", "GOMP_", "OMP_", "KMP_", "MKL_", "DNNL_", "OPENBLAS_", "TORCH", "ATEN_",
)  # fmt: skip
"""How the names of variables begin that Python or a library reads at its start."""
READ_LATER = ("PYTHONPATH", "TORCHINDUCTOR_CACHE_DIR")
"""Variables with such names that a forked process can still set."""
ROOM = 1024
"""Bytes for ``scratch.MARK`` in the first environment of a process, which is the one that other processes can read."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_turn = threading.Lock()
"""Whoever holds it may ask the server. An answer takes as long as a program."""
spawn = util.spawnv_passfds
"""How multiprocessing starts a process that is not forked."""


class Server(NamedTuple):
    """The process that forks, and the socket on which it is asked."""

    process: subprocess.Popen[bytes]
    line: socket.socket


def python(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS`` in a folder: ``-m MODULE``, ``-c CODE`` or a file, and arguments. Return the result."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        command = [str(word) for word in words]
        order = {"words": command, "cwd": str(cwd), "env": dict(os.environ if env is None else env)}
        with _turn:
            server = _server()
            server.line.send(json.dumps(order | {"out": str(out), "err": str(err)}).encode())
            if not select.select([server.line], [], [], timeout)[0]:
                _end(server)
                raise subprocess.TimeoutExpired(command, timeout, out.read_bytes(), err.read_bytes())
            code = int(server.line.recv(64))
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())


def at_once(function: Callable[..., object], *arguments: object) -> list[int | None]:
    """Call a function in three forks of this process; its last argument is their barrier. Return the exit codes."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    processes = [context.Process(target=function, args=(*arguments, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def spawn_or_fork(path: str, args: Sequence[str], descriptors: Sequence[int]) -> int:
    """Start a process as ``multiprocessing.util.spawnv_passfds`` does, but let the server fork it if it can."""
    return _start(lambda: _server().line, path, args, descriptors)


def forkserver_variables() -> dict[str, str]:
    """The variables that convbench sets before it starts a forkserver."""
    from convbench.runs.process_start import SAFE_START, discipline

    return SAFE_START | discipline()


@cache
def _server() -> Server:
    """Start the process that forks. It ends with this process, which closes its socket.

    It has no PYTHONPATH, because each program brings its own. It has a forkserver's variables, and room for its mark.
    """
    from convbench.core.scratch import MARK

    variables = os.environ | forkserver_variables() | {MARK: " " * ROOM}
    variables.pop("PYTHONPATH", None)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(there.fileno()), MARK]
    with there:
        process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, pass_fds=[there.fileno()])
    return Server(process, here)


def _end(server: Server) -> None:
    """Kill the server and all processes that it runs. The next program starts a new server."""
    for process in [*psutil.Process(server.process.pid).children(recursive=True), server.process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.line.close()
    _server.cache_clear()


def _start(line: Callable[[], socket.socket], path: str, args: Sequence[str], descriptors: Sequence[int]) -> int:
    """Let the process at the other end of a line fork a forkserver, as a child of this process. Return its pid.

    Any other process is started as usual, and so is each while the line is busy.
    """
    if "multiprocessing.forkserver" not in args[-1] or not _turn.acquire(blocking=False):
        return spawn(path, args, descriptors)
    try:
        places = [0, 1, 2, *descriptors]
        order = {
            "words": ["-c", args[-1]],
            "cwd": str(Path.cwd()),
            "env": dict(os.environ),
            "places": places,
            "mask": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "cores": list(os.sched_getaffinity(0)),
            "start": _start_of(args[1:-2]),
        }
        _prctl(PR_SET_CHILD_SUBREAPER, 1)  # the process that makes the forkserver ends, so this one becomes its parent
        try:
            socket.send_fds(line(), [json.dumps(order).encode()], places)
            pid = int(line().recv(64))
        finally:
            _prctl(PR_SET_CHILD_SUBREAPER, 0)
    finally:
        _turn.release()
    return pid or spawn(path, args, descriptors)


def _start_of(flags: Sequence[str]) -> list[Any]:
    """What a new process with these flags would read and a forked process would not, except that its path is safe."""
    names = [name for name in os.environ if name.startswith(READ_AT_START) and name not in READ_LATER]
    return [{name: os.environ[name] for name in names}, [flag for flag in flags if flag != "-P"]]


def _prctl(*numbers: int) -> None:
    ctypes.CDLL(None).prctl(*numbers)


# --- In the process that forks ----------------------------------------------------------------------------------------


class Start(NamedTuple):
    """What the server was started with (``_start_of``), and where the value of the variable ``mark`` lies.

    ``compiles`` tells it that a program has compiled, and that further programs may compile.
    """

    read: list[Any]
    mark: str
    address: int
    compiles: mmap.mmap


def _main(descriptor: int, mark: str) -> None:
    """Import the libraries, then serve."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    start = Start(_start_of(util._args_from_interpreter_flags()), mark, getenv(mark.encode()), mmap.mmap(-1, 1))
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    _serve(socket.socket(fileno=descriptor), start)


def _serve(line: socket.socket, start: Start) -> None:
    """Run a program for each order on the line, and answer with its exit code; or fork a forkserver, with its pid.

    The answer is 0 if the forkserver must be a new process.
    """
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, 2**20, 32)
        if not message:
            return None
        order = json.loads(message)
        if not descriptors:
            if not (program := os.fork()):
                return _become_program(line, order, start)
            answer = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
            if start.compiles[0]:
                _import_compiler()
        elif order["start"] != start.read:
            answer = 0
        else:
            if COMPILER in order["words"][-1]:
                start.compiles[0] = 1
                _import_compiler()
            reader, writer = os.pipe()
            if not (maker := os.fork()):
                if not (pid := os.fork()):
                    return _become_forkserver(order, descriptors, start)
                os.write(writer, str(pid).encode())
                os._exit(0)
            os.waitpid(maker, 0)
            answer = int(os.read(reader, 64))
            descriptors += [reader, writer]
        for descriptor in descriptors:
            os.close(descriptor)
        line.send(str(answer).encode())


@cache
def _import_compiler() -> None:
    """Import what ``COMPILER`` does of torch, and nothing if torch could use a GPU."""
    import torch

    if torch.version.cuda is None:
        import torch._inductor.codegen.cpp
        import torch._inductor.compile_fx
        from torch._inductor import cpu_vec_isa

        with contextlib.suppress(Exception):  # a missing compiler is reported by each case
            cpu_vec_isa.pick_vec_isa()
    gc.freeze()


def _become_program(line: socket.socket, order: dict[str, Any], start: Start) -> None:
    """Run a program beside a further server, which forks the forkservers of this program and ends with it."""
    line.close()
    files = (0, os.devnull, os.O_RDONLY), (1, order["out"], os.O_WRONLY), (2, order["err"], os.O_WRONLY)
    for place, path, flags in files:
        os.dup2(os.open(path, flags | os.O_CREAT, 0o644), place)
    if sys.platform == "linux":
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if not os.fork():
            here.close()
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            return _serve(there, start)
        there.close()
        util.spawnv_passfds = partial(_start, lambda: here)
    return _become(order["words"], order["cwd"], order["env"])


def _become_forkserver(order: dict[str, Any], descriptors: Sequence[int], start: Start) -> None:
    """Take over what a new process would be given, then run the forkserver."""
    above = max(100, *order["places"], *descriptors) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in descriptors]
    os.closerange(3, above)
    for descriptor, place in zip(moved, order["places"], strict=True):
        os.dup2(descriptor, place)
        os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, order["mask"])
    os.sched_setaffinity(0, order["cores"])
    mark = order["env"].get(start.mark, "").encode()[:ROOM]
    ctypes.memmove(start.address, mark.ljust(ROOM, b"\0"), ROOM)
    _become(order["words"], order["cwd"], order["env"])


def _become(words: list[str], cwd: str, env: dict[str, str]) -> None:
    """Run the program as if this process had been started for it, and end as it does.

    Python would then free each of the server's objects, which takes longer than many a program.
    """
    code = 0
    try:
        _run(words, cwd, env)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code & 0xFF)


def _run(words: list[str], cwd: str, env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    match words:
        case ["-m", name, *rest]:
            sys.path.insert(0, cwd)
            sys.argv = ["-m", *rest]
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            if "PYTHONSAFEPATH" not in env:
                sys.path.insert(0, "")
            sys.argv = ["-c", *rest]
            sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
        case [file, *rest]:
            sys.path.insert(0, str(Path(file).absolute().parent))
            sys.argv = [file, *rest]
            runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2])
