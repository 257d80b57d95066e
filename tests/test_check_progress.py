"""Test the exact text of the live line and how instructions are counted, without a process or a clock."""

from __future__ import annotations

import importlib.util
import os
import struct
from pathlib import Path

import pytest
import torch

from convbench.check import progress
from convbench.check.outcome import Timing
from convbench.check.pairs import CheckedCase
from convbench.check.programs import instructions
from convbench.check.settings import Rule
from convbench.check.timings import Timings
from convbench.report.words import names

RULE = Rule()
CASES = ("conv/gap/8/eager", "conv/fc/16/eager", "conv/fc/32/eager", "conv/gmp/8/eager", "conv/flatten/64/eager")


def pairs(*ratios: float) -> list[Timing]:
    return [Timing(((1.0, ratio),)) for ratio in ratios]


def waiting(timed: Timings) -> list[tuple[CheckedCase, str]]:
    return timed.open_cases([CheckedCase(case, {}, 0) for case in CASES], RULE, len(CASES))


def test_the_line_before_the_first_pair():
    assert progress.line(Timings(), waiting(Timings()), RULE, CASES) == (
        "5 of 5 undecided: gap/8 (ok if 4 more pairs agree), fc/16 (ok if 4 more pairs agree), "
        "fc/32 (ok if 4 more pairs agree), 2 more"
    )


def test_the_line_shows_what_decides_each_case_and_when():
    timed = Timings(
        {
            CASES[0]: pairs(1.001, 1.0),
            CASES[1]: pairs(1.3),
            CASES[2]: pairs(1.25, 1.26),
            CASES[3]: pairs(*[1.0] * 7),
            CASES[4]: pairs(*[1.0] * 7),
        },
        {CASES[2]: [Timing(((1.0, 1.0, 1.25),))]},
        visit_seconds=[60.0, 2.0, 3.0, 4.0],
    )
    assert progress.line(timed, waiting(timed), RULE, CASES) == (
        "3 of 5 undecided: gap/8 (+0.0 %, ok if 2 more pairs agree), fc/16 (+30.0 %, suspect if 1 more pair agrees), "
        "fc/32 (a suspect, decided if 2 more new pairs agree); 18 s if all agree"
    )


def test_a_long_model_name_leaves_room_for_the_prospect():
    """On a terminal the line used to be cut within the name of its first case."""
    deep = "company.vision.encoder:build"
    cases = [f"{deep}(hidden={hidden},stages=a:b+c:d)/1x2/eager" for hidden in (32, 64)]
    asked = [(CheckedCase(case, {}, 0), "pair") for case in cases]
    assert progress.line(Timings(), asked, RULE, cases) == (
        "2 of 2 undecided: …encoder:build(hidden=32) (ok if 4 more pairs agree), "
        "…encoder:build(hidden=64) (ok if 4 more pairs agree)"
    )


@pytest.mark.parametrize(
    ("cases", "short"),
    [
        (["a.net:build(k=3,channels=64)/1x2/eager"], ["…net:build(k=3,channels=6…"]),
        (["a.net:build/eager", "b.net:build/eager"], ["a.net:build", "b.net:build"]),
        (["a.net:build(k=3)/eager", "a.net:build(k=3)/compile"], ["eager", "compile"]),
        (["conv/gap(k=3,p=2)/8", "conv/fc(k=3)/8"], ["gap(p=2)", "fc"]),
        (["a.net:build/eager", "conv/gap/8/eager"], ["…net:build/eager", "conv/gap/8/eager"]),
    ],
    ids=["alone", "of two packages", "of two variants", "shared options", "of other shapes"],
)
def test_brief_names_distinguish_the_cases(cases, short):
    assert names.brief(cases) == short


def test_a_case_that_no_pairs_can_decide_is_too_noisy():
    noisy = pairs(*[1.3, 0.8] * 14)
    timed = Timings({CASES[0]: noisy})
    assert progress.prospect(timed, CASES[0], "pair", RULE, 1) == ("too noisy so far", 4)


def test_a_failed_case_is_not_waited_for():
    assert len(waiting(Timings(failures={CASES[0]: "crash"}))) == len(CASES) - 1


def test_the_processors_counters_are_read_around_the_calls(monkeypatch):
    """Each call adds a hundred to a fake counter."""
    counter = [0]
    reader, writer = os.pipe()

    def read(descriptor: int, _: int) -> bytes:
        assert descriptor == reader
        return struct.pack("=Q", counter[0])

    monkeypatch.setattr(instructions, "_open_counter", lambda: reader)
    monkeypatch.setattr(instructions.os, "read", read)
    run = lambda: counter.__setitem__(0, counter[0] + 100)  # noqa: E731
    assert instructions.counted(run, "", None, 0, None) == {"count": 100.0, "by": "counters"}
    os.close(writer)


def test_counters_are_not_used_with_several_threads(monkeypatch):
    monkeypatch.setattr(instructions, "_count_by_counters", lambda _: 100.0)
    monkeypatch.setattr(instructions.shutil, "which", lambda _: None)
    assert instructions.counted(lambda: None, "", None, 0, None)["by"] == "counters"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with pytest.raises(RuntimeError, match="counters count only one of several threads, and valgrind is not installed"):
        instructions.counted(lambda: None, "", None, 0, None)


def test_without_counters_and_valgrind_the_error_names_the_package(monkeypatch):
    monkeypatch.setattr(instructions, "_open_counter", lambda: None)
    monkeypatch.setattr(instructions.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match="apt install valgrind"):
        instructions.counted(lambda: None, "", None, 0, None)


@pytest.mark.parametrize("name", ["serving", "injection", "instructions"])
def test_a_program_lent_to_a_side_imports_no_convbench(name):
    """A side of another version runs these programs of the head by their path."""
    path = Path(importlib.util.find_spec(f"convbench.check.programs.{name}").origin)
    assert "convbench" not in path.read_text().replace("convbench_worker", "").replace("convbench check", "")
