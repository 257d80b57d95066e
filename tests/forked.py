"""Run programs in processes that are forked from one that has imported the libraries, because importing takes seconds.

A forked process has not imported convbench or plug-ins. A test must start a new process instead if it kills it, or sets
variables that Python or a library reads at its start.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import psutil

LIBRARIES = (
    "torch", "pandas", "scipy.stats", "scipy.optimize", "matplotlib.figure", "typer", "rich.table", "rich.progress",
    "pydantic", "ruamel.yaml", "jinja2",
)  # fmt: skip
"""Libraries that take long to import and do not depend on plug-ins."""


def python(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS`` in a folder: ``-m MODULE``, ``-c CODE`` or a file, and arguments. Return the result."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        command = [str(word) for word in words]
        variables = dict(os.environ if env is None else env)
        server = _server()
        assert server.stdin and server.stdout
        print(json.dumps([command, str(cwd), variables, str(out), str(err)]), file=server.stdin, flush=True)
        if not select.select([server.stdout], [], [], timeout)[0]:
            _end(server)
            raise subprocess.TimeoutExpired(command, timeout, out.read_bytes(), err.read_bytes())
        code = int(server.stdout.readline())
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


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process that forks. It ends with this process, which closes its standard input.

    It has no PYTHONPATH, because each program brings its own.
    """
    without_path = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-P", __file__]
    return subprocess.Popen(command, env=without_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _end(server: subprocess.Popen[str]) -> None:
    """Kill the server and all processes that it runs. The next program starts a new server."""
    for process in [*psutil.Process(server.pid).children(recursive=True), server]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _server.cache_clear()


# --- In the process that forks ----------------------------------------------------------------------------------------


def _serve() -> None:
    """Run a program for each line of JSON on standard input, and print its exit code."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return _become(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def _become(words: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """Run the program as if this process had been started for it."""
    for place, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, err, os.O_WRONLY)):
        os.dup2(os.open(path, flags | os.O_CREAT, 0o644), place)
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
            sys.path.insert(0, "")
            sys.argv = ["-c", *rest]
            sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
        case [file, *rest]:
            sys.path.insert(0, str(Path(file).absolute().parent))
            sys.argv = [file, *rest]
            runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    _serve()
