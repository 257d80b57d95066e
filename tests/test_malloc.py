"""What glibc does with freed memory in a fresh process: counted in page faults, which do not depend on the clock."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import replace

import pytest

from convbench.check.worker import _trim_heap
from convbench.core.record import Case, Choice, Clip, Parts, Protocol, Trial
from convbench.measure.machine import malloc
from convbench.runs.isolated import Isolated

glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
MIB = 1 << 20


def faults(size: int) -> int:
    """Pages that a written block takes from the system, after such blocks were freed."""
    taken = 0
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytearray(size).replace(b"\0", b"x")
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return taken


@pytest.fixture(scope="module")
def isolated():
    with Isolated(Protocol(timeout=60), ()) as ready:
        yield ready


@glibc
def test_in_a_measuring_process_large_blocks_are_mapped_anew_every_time_and_others_never(isolated):
    for _ in range(3):
        assert isolated.call(malloc.name, (), {}) == "glibc"
        assert isolated.call(faults, (8 * MIB,), {}) >= 8 * MIB // os.sysconf("SC_PAGE_SIZE")
        assert isolated.call(faults, (2 * MIB,), {}) < 10


def faults_after_smaller_blocks(trim: bool) -> int:
    """Pages that blocks of 5 MiB take where blocks of 3 MiB were freed before, with the heap trimmed between or not."""
    blocks = [bytearray(3 * MIB) for _ in range(4)]
    del blocks
    if trim:
        _trim_heap()
    return faults(5 * MIB)


@glibc
def test_trimming_the_heap_takes_away_what_earlier_cases_left_in_it(isolated):
    assert isolated.call(faults_after_smaller_blocks, (False,), {}) < 10
    assert isolated.call(faults_after_smaller_blocks, (True,), {}) >= 5 * MIB // os.sysconf("SC_PAGE_SIZE")


@glibc
def test_what_the_user_has_set_stays(isolated):
    assert isolated.call(malloc.name, (), malloc.variables(malloc.KEPT)) == "glibc-arena"
    assert isolated.call(faults, (8 * MIB,), malloc.variables(malloc.KEPT)) < 10
    assert isolated.call(malloc.name, (), {"MALLOC_TOP_PAD_": "1"}) == "glibc (MALLOC_TOP_PAD_=1)"


@glibc
def test_a_probe_that_is_not_timed_keeps_its_memory(isolated):
    case = Case(Parts(Choice("strided"), Choice("gap")), clip=Clip(1, 2, 3, 32, 32))
    assert isolated(case).conditions["allocator"] == "glibc"
    probe = replace(case, scenario="probe", trial=Trial(Choice("placed-digit"), 0))
    assert isolated(probe).conditions["allocator"] == "glibc-arena"


def test_another_process_says_that_nobody_holds_it(monkeypatch):
    for name in ("MALLOC_ARENA_MAX", *malloc.NUMBERS):
        monkeypatch.delenv(name, raising=False)
    assert malloc.name() == "glibc (its threshold moving)"
