"""Run programs in processes that are forked from one that has imported the libraries, because importing takes seconds.

A forked process has not imported convbench or plug-ins. A test must start a new process instead if it kills it, or sets
variables that Python or a library reads at its start.

The forkservers of these programs and of most tests are forked as well. A forkserver is a new process only if such
variables or Python's flags differ, and in the tests of ``NEW_FORKSERVERS`` in conftest.py. Nothing is forked on other
systems than Linux.
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
COMPILER = "convbench.runs.process.compiler_imports"
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
"""Whoever holds it may ask the server."""
_compiles = mmap.mmap(-1, 1)
"""Whether a program has compiled, so that further programs may compile. All servers share it."""
spawn = util.spawnv_passfds
"""How multiprocessing starts a process that is not forked."""


def python(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS`` in a folder: ``-m MODULE``, ``-c CODE`` or a file, and arguments. Return the result."""
    command = [str(word) for word in words]
    if sys.platform != "linux":
        program = [sys.executable, *command]
        return subprocess.run(program, cwd=cwd, env=env, timeout=timeout, capture_output=True, text=True, check=False)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open() as null:
        order = _order(command, cwd, os.environ if env is None else env)
        process = psutil.Process(_ask(_server(), order, [file.fileno() for file in (null, out, err)]))
        try:
            code = process.wait(timeout)
        except psutil.TimeoutExpired as error:
            for member in [*process.children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            process.wait()
            raise subprocess.TimeoutExpired(command, timeout, *map(_content, (out, err))) from error
        return subprocess.CompletedProcess(command, int(code), *(_content(file).decode() for file in (out, err)))


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
    return _start(_server, path, args, descriptors)


def forkserver_variables() -> dict[str, str]:
    """The variables that convbench sets before it starts a forkserver."""
    from convbench.runs.process.start import SAFE_START, discipline

    return SAFE_START | discipline()


@cache
def _server() -> socket.socket:
    """Start the process that forks, and return the line to it. It ends with this process, which closes the line.

    It has no PYTHONPATH, because each program brings its own. It has a forkserver's variables, and room for its mark.
    """
    from convbench.core.system.scratch import MARK

    variables = os.environ | forkserver_variables() | {MARK: " " * ROOM}
    variables.pop("PYTHONPATH", None)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(there.fileno()), MARK]
    with there:
        there.set_inheritable(True)
        os.posix_spawn(command[0], command, variables)
    return here


def _start(line: Callable[[], socket.socket], path: str, args: Sequence[str], descriptors: Sequence[int]) -> int:
    """Let the server at the other end of a line fork a forkserver. Any other process is started as usual."""
    pid = 0
    if "multiprocessing.forkserver" in args[-1]:
        order = _order(["-c", args[-1]], Path.cwd(), os.environ) | {"start": _start_of(args[1:-2])}
        pid = _ask(line(), order, [0, 1, 2, *descriptors])
    return pid or spawn(path, args, descriptors)


def _order(words: list[str], cwd: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """What the server must know to start a program as a child of this process."""
    mask, cores = signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.sched_getaffinity(0)
    return {"words": words, "cwd": str(cwd), "env": dict(env), "mask": list(mask), "cores": list(cores)}


def _ask(line: socket.socket, order: dict[str, Any], descriptors: Sequence[int]) -> int:
    """Let the server fork a child of this process. Return its pid, or 0 if it must be a new process.

    A program's descriptors become 0, 1 and 2; those of a forkserver keep their numbers.
    """
    places = descriptors if "start" in order else range(len(descriptors))
    with _turn:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)  # the process that makes the child ends, so this one becomes its parent
        try:
            socket.send_fds(line, [json.dumps(order | {"places": list(places)}).encode()], descriptors)
            return int(line.recv(64))
        finally:
            _prctl(PR_SET_CHILD_SUBREAPER, 0)


def _start_of(flags: Sequence[str]) -> list[Any]:
    """What a new process with these flags would read and a forked process would not, except that its path is safe."""
    names = [name for name in os.environ if name.startswith(READ_AT_START) and name not in READ_LATER]
    return [{name: os.environ[name] for name in names}, [flag for flag in flags if flag != "-P"]]


def _content(file: Any) -> bytes:
    file.seek(0)
    return bytes(file.read())


def _prctl(*numbers: int) -> None:
    ctypes.CDLL(None).prctl(*numbers)


# --- In the process that forks ----------------------------------------------------------------------------------------


class Start(NamedTuple):
    """What the server was started with (``_start_of``), and where the value of the variable ``mark`` lies."""

    read: list[Any]
    mark: str
    address: int


def _main(descriptor: int, mark: str) -> None:
    """Import the libraries, then serve."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    start = Start(_start_of(util._args_from_interpreter_flags()), mark, getenv(mark.encode()))
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    _serve(socket.socket(fileno=descriptor), start)


def _serve(line: socket.socket, start: Start) -> None:
    """Fork a process for each order on the line and answer with its pid, or with 0 if it must be a new process."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, 2**20, 32)
        if not message:
            return None
        order, pid = json.loads(message), b"0"
        if order.get("start", start.read) == start.read:
            _compiles[0] |= "start" in order and COMPILER in order["words"][-1]
            if _compiles[0]:
                _import_compiler()
            reader, writer = os.pipe()
            if not (maker := os.fork()):
                if not (child := os.fork()):
                    return _become(order, descriptors, start)
                os.write(writer, str(child).encode())
                os._exit(0)
            os.waitpid(maker, 0)
            pid = os.read(reader, 64)
            descriptors += [reader, writer]
        for descriptor in descriptors:
            os.close(descriptor)
        line.send(pid)


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


def _become(order: dict[str, Any], descriptors: Sequence[int], start: Start) -> None:
    """Take over what a new process would be given, then run the program. It ends as a new process does.

    A program has a further server beside it, which forks its forkservers and ends with it.
    """
    above = max(*order["places"], *(int(path.name) for path in Path("/proc/self/fd").iterdir())) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in descriptors]
    os.closerange(3, above)
    for descriptor, place in zip(moved, order["places"], strict=True):
        os.dup2(descriptor, place)
        os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_SETMASK, order["mask"])
    os.sched_setaffinity(0, order["cores"])
    mark = order["env"].get(start.mark, "").encode()[:ROOM]
    ctypes.memmove(start.address, mark.ljust(ROOM, b"\0"), ROOM)
    if "start" not in order:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if not os.fork():
            here.close()
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            return _serve(there, start)
        there.close()
        util.spawnv_passfds = partial(_start, lambda: here)
    return _end_with(partial(_run, order["words"], order["cwd"], order["env"]))


def _end_with(run: Callable[[], None]) -> None:
    """Call a function and end this process as Python would end with it.

    Python itself would then free each of the server's objects, which takes longer than many a program.
    """
    code = 0
    try:
        run()
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
