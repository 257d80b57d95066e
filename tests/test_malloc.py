"""Test what glibc does with freed memory in a fresh process, by page faults, which do not depend on the clock."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import replace
from mmap import mmap

import pytest

from convbench.check.programs.worker import _trim_heap
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Trial
from convbench.core.registry import executors
from convbench.measure.machine import environment, malloc
from convbench.runs.executor import Job
from convbench.runs.process.running import ProcessCall

glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
MIB = 1 << 20


def faults(size: int) -> int:
    """Return the page faults of writing a block of ``size`` bytes, after equal blocks were freed."""
    count = 0
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytearray(size).replace(b"\0", b"x")
        count = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return count


@pytest.fixture(scope="module")
def isolated():
    with executors.get("isolated").build("cpu", []) as executor:
        yield executor


@pytest.fixture
def fresh(isolated):
    """Return a function that calls another function in a fresh process, started with given environment variables."""
    return lambda work, args=(), variables=None: isolated.processes.run(ProcessCall(work, args, variables or {}, 60))


def named_with_faults(*sizes: int) -> tuple[str, list[int]]:
    return malloc.name(), [faults(size) for size in sizes]


@glibc
def test_a_measuring_process_maps_only_large_blocks_anew(fresh):
    for _ in range(3):
        name, (small, large, small_again, large_again) = fresh(named_with_faults, (2 * MIB, 8 * MIB) * 2)
        assert name == "glibc"
        assert max(small, small_again) < 10
        assert min(large, large_again) >= 8 * MIB // os.sysconf("SC_PAGE_SIZE")


def faults_after_smaller_blocks(trim: bool) -> int:
    """Return the page faults of blocks of 5 MiB after many of 3 MiB were freed. Trim the heap between if ``trim``."""
    blocks = [bytearray(3 * MIB) for _ in range(16)]
    del blocks
    if trim:
        _trim_heap()
    return faults(5 * MIB)


@glibc
def test_trimming_the_heap_releases_earlier_cases_memory(fresh):
    assert fresh(faults_after_smaller_blocks, (False,)) < 10
    assert fresh(faults_after_smaller_blocks, (True,)) >= 5 * MIB // os.sysconf("SC_PAGE_SIZE")


@glibc
def test_the_users_malloc_settings_stay(fresh):
    name, (large,) = fresh(named_with_faults, (8 * MIB,), malloc.variables(malloc.GLIBC_ARENA))
    assert (name, large < 10) == ("glibc-arena", True)
    assert fresh(malloc.name, (), {"MALLOC_TOP_PAD_": "1"}) == "glibc (MALLOC_TOP_PAD_=1)"


@glibc
def test_an_untimed_probe_keeps_its_memory(isolated):
    case = Case(Parts(Choice("strided"), Choice("gap")), clip=Clip(1, 2, 3, 32, 32))
    probe = replace(case, scenario="probe", trial=Trial(Choice("placed-digit"), 0))
    records = [record for _, record in isolated.run(Job(job_case, Protocol(timeout=60)) for job_case in (case, probe))]
    assert [record.conditions["allocator"] for record in records] == ["glibc", "glibc-arena"]


def test_another_process_reports_glibcs_moving_threshold(monkeypatch):
    for name in ("MALLOC_ARENA_MAX", *malloc.NUMBERS):
        monkeypatch.delenv(name, raising=False)
    assert malloc.name() == "glibc (its threshold moving)"


def test_a_mapped_file_may_have_any_name(tmp_path):
    """The name of a user's library in Latin-1 failed every case with a UnicodeDecodeError."""
    path = os.fsencode(tmp_path) + b"/lib\xfc.so"
    with open(path, "w+b") as file:  # noqa: PTH123 - its name is no text
        file.write(b"code")
        file.flush()
        with mmap(file.fileno(), 0):
            assert "lib\ufffd.so" in malloc.mapped_files()
            assert environment.allocator()
