"""Test the cases' process server, which starts before the suite is read."""

import os
import sys
import tempfile
from contextlib import ExitStack
from multiprocessing import resource_tracker
from unittest.mock import Mock

import psutil
import pytest

from convbench.runs import early_server, user_code
from convbench.runs.early_server import COMPILER, DIGITS
from convbench.runs.process.running import ProcessCall
from convbench.runs.process.start import forkserver_pid

pytestmark = pytest.mark.slow
NET = """
import os, pathlib, torch
pathlib.Path("parent").write_text(str(os.getppid()))
class Net(torch.nn.Module):
    def forward(self, clip):
        return clip.mean()
"""
OWN = "schema_version: 1\nname: own\nmatrix: {model: 'net:Net', clip: 1x2x3x8x8}\n"


@pytest.fixture
def begin_server():
    with ExitStack() as resources:
        yield lambda *call: resources.enter_context(early_server.start(*call))
    assert not early_server._servers


def preloads(begin_server, source: str, *overrides: str) -> list[str]:
    begin_server(source, overrides)
    return [name for processes in early_server._servers for name in processes.preload]


def test_cases_run_on_the_early_server(begin_server):
    begin_server("smoke", [])
    server = forkserver_pid()
    processes = early_server.take([])
    try:
        assert processes.run(ProcessCall(os.getppid)) == server
    finally:
        processes.close()
    assert not psutil.pid_exists(server)


def test_a_server_without_the_needed_imports_is_replaced(begin_server):
    begin_server("smoke", [])
    server, folder = forkserver_pid(), early_server._servers[0].scratch
    processes = early_server.take([DIGITS])
    try:
        assert not psutil.pid_exists(server)
        assert not folder.exists()
        assert processes.run(ProcessCall(os.getppid)) == forkserver_pid() != server
    finally:
        processes.close()


@pytest.mark.parametrize(("source", "overrides", "expected"), [
    ("smoke", (), []), ("smoke", ("variant=compile",), [COMPILER]), ("smoke", ("quality=probe",), [DIGITS]),
    ("default", (), [COMPILER]), ("default", ("variant=eager",), []),
    ("default", ("variant=[eager,compile]",), [COMPILER]),
])  # fmt: skip
def test_the_servers_imports_are_guessed_from_the_suites_text(begin_server, source, overrides, expected):
    assert preloads(begin_server, source, *overrides) == expected


@pytest.mark.parametrize(("only", "expected"), [(["eager"], []), (["eager", "gap"], [COMPILER]), (["gap"], [COMPILER])])
def test_the_compiler_is_not_imported_for_eager_cases_alone(begin_server, only, expected):
    """The variant that the suite names beside them cost 1.6 s of CPU."""
    begin_server("default", [], only)
    assert list(early_server._servers[0].preload) == expected


@pytest.mark.parametrize("is_early", [True, False])
def test_a_suite_with_user_code_is_read_in_a_process_that_finds_modules_beside_it(
    begin_server, tmp_path, monkeypatch, is_early
):
    """Each command added the suite's folder to the path by itself, and ``selftest --run`` did not."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "net.py").write_text(NET)
    (tmp_path / "suites" / "own.yaml").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if not is_early:
        assert len(user_code.load("suites/own.yaml").cases) == 1
        return
    processes = begin_server("suites/own.yaml", [])
    server = forkserver_pid()
    assert len(user_code.load("suites/own.yaml", [], processes).cases) == 1
    assert (tmp_path / "parent").read_text() == str(server)
    assert early_server.take([]) is processes
    assert forkserver_pid() == server
    processes.close()


def test_a_command_ends_its_server_before_it_returns(tmp_path, in_process):
    """If it ended later, a second Ctrl-C could interrupt that, with a traceback."""
    done = in_process("run", "no-such-suite", cwd=tmp_path)
    assert done.returncode == 2
    assert not early_server._servers
    assert forkserver_pid() is None


def test_a_server_interrupted_at_its_start_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(resource_tracker, "ensure_running", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), early_server.start("smoke", []):
        pass
    assert not list(tmp_path.iterdir())
