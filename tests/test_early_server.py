"""The server of the cases that starts before their suite is read."""

import os

import psutil
import pytest

from convbench.runs import early_server
from convbench.runs.early_server import COMPILER, DIGITS
from convbench.runs.process_start import forkserver_pid
from convbench.runs.processes import Call

pytestmark = pytest.mark.slow


@pytest.fixture
def begun():
    yield early_server.begin
    early_server._end()
    assert not early_server._waiting


def preloads(begun, source: str, *overrides: str) -> list[str]:
    begun(source, overrides)
    return [name for processes in early_server._waiting for name in processes.preload]


def test_cases_start_from_the_server_that_began_early(begun):
    begun("smoke", [])
    server = forkserver_pid()
    processes = early_server.take([])
    try:
        assert processes.run(Call(os.getppid)) == server
    finally:
        processes.close()
    assert not psutil.pid_exists(server)


def test_one_that_lacks_what_the_cases_need_makes_way_for_another(begun):
    begun("smoke", [])
    server, room = forkserver_pid(), early_server._waiting[0].scratch
    processes = early_server.take([DIGITS])
    try:
        assert not psutil.pid_exists(server)
        assert not room.exists()
        assert processes.run(Call(os.getppid)) == forkserver_pid() != server
    finally:
        processes.close()


@pytest.mark.parametrize(("source", "overrides", "expected"), [
    ("smoke", (), []), ("smoke", ("variant=compile",), [COMPILER]), ("smoke", ("quality=probe",), [DIGITS]),
    ("default", (), [COMPILER]), ("smoke", ("model=mine.net:Net",), []),
])  # fmt: skip
def test_what_it_imports_is_guessed_from_the_words_of_the_suite(begun, source, overrides, expected):
    assert preloads(begun, source, *overrides) == expected


def test_none_is_started_for_a_suite_that_names_code_of_the_users_own(begun):
    begun("smoke", ["model=mine.net:Net"])
    assert not early_server._waiting
