"""Test that a forked program starts and ends like a new process, and so does its forkserver."""

from __future__ import annotations

import json
import os
import sys

import forked
import pytest

from convbench.core.system.scratch import MARK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forkservers are forked on Linux only"),
]
FORKSERVER = """
import json, multiprocessing, os
from pathlib import Path

os.environ["MARK"] = "scratch"
context = multiprocessing.get_context("forkserver")
with context.Pool(1) as pool:
    server = pool.apply(os.getppid)
    folder = Path("/proc", str(server))
    words, variables = ((folder / name).read_text().split("\\0") for name in ("cmdline", "environ"))
    is_child = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
    descriptors = sorted(int(path.name) for path in (folder / "fd").iterdir())
print(json.dumps([" ".join(words), "MARK=scratch" in variables, is_child, descriptors]))
""".replace("MARK", MARK)


def test_a_forkserver_is_forked_unless_it_reads_other_variables(tmp_path):
    """Either way it shows its mark, is a child of the program, and has the same descriptors."""
    variables = os.environ | forked.forkserver_variables()
    forkservers = [
        json.loads(forked.python("-c", FORKSERVER, cwd=tmp_path, env=variables | other).stdout)
        for other in ({}, {"OMP_NUM_THREADS": "7"})
    ]
    assert ["forked.py" in words for words, *_ in forkservers] == [True, False]
    assert [facts for _, *facts in forkservers] == [[True, True, forkservers[0][-1]]] * 2


@pytest.mark.parametrize(
    ("code", "ends", "out"),
    [
        ("print(1)", 0, "1\n"),
        ("import sys; sys.exit(5)", 5, ""),
        ("import sys; sys.exit('told')", 1, ""),
        ("import atexit; atexit.register(print, 'late')", 0, "late\n"),
        ("import threading; threading.Timer(0.01, print, ['thread']).start()", 0, "thread\n"),
        ("1 / 0", 1, ""),
    ],
)
def test_a_program_ends_as_a_new_process_does(tmp_path, code, ends, out):
    done = forked.python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (ends, out)
    assert ("told" in done.stderr, "ZeroDivisionError" in done.stderr) == ("told" in code, "1 / 0" in code)
