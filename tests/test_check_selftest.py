"""Test the selftest with workers that need no torch: its counts, its stored trials and its output."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import pytest
from test_check_cli import SAME, convbench, here, tell  # noqa: F401

from convbench.check import selftest
from convbench.check.selftest import Attempt
from convbench.core.errors import StoreError

SETTINGS = {"threads": 1, "allocator": "glibc", "device": "cpu", "tolerance": 0.02, "machine": "ours"}
ONE = Attempt(0.0, 0.0, "gap", "ok", 0.001, 8, 9.0, SETTINGS)


def trials(slowdown: float, **words: int) -> list[Attempt]:
    return [replace(ONE, slowdown=slowdown, word=word) for word, count in words.items() for _ in range(count)]


def test_the_false_alarm_rate_has_its_exact_bound():
    """No red in 300 bounds the rate at 1.2 %: 1 - 0.025^(1/300)."""
    (figure,) = selftest.figures(trials(0.0, ok=297, inconclusive=3))
    assert (figure.red, figure.red_low) == (0, 0)
    assert figure.red_high == pytest.approx(1 - 0.025 ** (1 / 300))
    assert figure.inconclusive == pytest.approx(0.01)


def test_an_invalid_trial_does_not_count_as_red():
    (figure,) = selftest.figures(trials(0.05, regression=9, invalid=1))
    assert (figure.trials, figure.red) == (10, 0.9)


def test_the_floor_is_the_smallest_reliably_detected_slowdown():
    figures = selftest.figures(
        [
            *trials(0.0, ok=10),
            *trials(0.03, regression=5, ok=5),
            *trials(0.05, regression=9, ok=1),
            *trials(0.1, regression=10),
        ]
    )
    assert [figure.slowdown for figure in figures] == [0.0, 0.03, 0.05, 0.1]
    assert selftest.smallest_seen(figures) == 0.05
    assert selftest.smallest_seen(figures[:2]) is None
    assert selftest.smallest_seen(selftest.figures(trials(0.05, regression=9))) is None


def test_only_stored_trials_of_the_same_setting_are_counted(tmp_path):
    path = tmp_path / "trials.jsonl"
    other = replace(ONE, settings=ONE.settings | {"allocator": "glibc-arena"})
    for _ in range(2):
        assert len(list(selftest.append([ONE, other], path))) == 2
    assert selftest.stored_attempts(path, ONE.settings) == [ONE, ONE]
    assert selftest.stored_attempts(path, other.settings) == [other, other]
    for differs in ({"device": "cuda"}, {"tolerance": 0.012}, {"machine": "another"}, {"cases": "x"}):
        assert selftest.stored_attempts(path, ONE.settings | differs) == []
    assert selftest.stored_attempts(tmp_path / "none", ONE.settings) == []


@pytest.mark.parametrize("changed", [{"word": None}, {"settings": 3}, {"seen": "much"}])
def test_an_invalid_line_of_trials_is_refused(tmp_path, changed):
    path = tmp_path / "trials.jsonl"
    path.write_text(f"{json.dumps(asdict(ONE))}\n{json.dumps(asdict(ONE) | changed)}\n")
    with pytest.raises(StoreError, match=f"trials.jsonl: not the trials of a selftest \\({next(iter(changed))}"):
        selftest.stored_attempts(path, SETTINGS)


def test_selftest_runs_checks_prints_figures_and_stores_the_floor(here):  # noqa: F811
    words = ("fake.json", "--minutes", "0", "--slowdowns", "0,10", "--out", "trials.jsonl")
    few = convbench(here, "selftest", *words)
    assert "measuring which work slows gap by 10 %\n" in few.stderr  # takes as long as several pairs
    assert [line.partition(" verdicts")[0] for line in few.stdout.splitlines()] == [
        "same code: 2",
        "+10 %: 2",
        "too few",
    ]
    trials = (here / "trials.jsonl").read_text()
    (here / "trials.jsonl").write_text(4 * trials)
    tell(here, SAME)
    done = convbench(here, "selftest", *words)
    assert done.returncode == 0, done.stderr
    same, slower, smallest = done.stdout.splitlines()
    assert same.startswith("same code: 10 verdicts")
    assert " 0.0 % red (0.0 to " in same
    assert slower.startswith("+10 %: ")
    assert "100.0 % red" in slower
    assert re.search(r"seen as \+(9\.|10\.)", slower)
    assert smallest.startswith("smallest slowdown seen nine times in ten: 10 %, kept in ")
    floors = json.loads((here.parent / "cache" / "convbench" / "floor.json").read_text())
    assert list(floors.values()) == [0.1]
    tell(here, SAME)
    check = convbench(here, "check", "fake.json", "--base", "main")
    assert "the selftest of this machine saw slowdowns of 10 % or more" in check.stdout
    tell(here, SAME)
    again = convbench(here, "selftest", "fake.json", "--minutes", "0", "--slowdowns", "0", *words[-2:], "--json")
    assert again.returncode == 0, again.stderr
    figures = json.loads(again.stdout)
    assert [(figure["slowdown"], figure["trials"]) for figure in figures["figures"]] == [(0.0, 12), (0.1, 10)]
    assert (figures["smallest_seen"], figures["words"][-1]) == (0.1, smallest)
    tell(here, {"seconds": {"gap": 0.010}})
    fewer = convbench(here, "selftest", "fake.json", "--minutes", "0", "--slowdowns", "0", *words[-2:])
    assert fewer.stdout.startswith("same code: 1 verdict,"), "of other cases, under the same name"


@pytest.mark.parametrize(
    ("slowdown", "name"), [(0.005, "+0.5 %"), (0.015, "+1.5 %"), (0.025, "+2.5 %"), (0.07, "+7 %"), (10.0, "+1000 %")]
)
def test_a_slowdown_is_printed_as_it_was_given(slowdown, name):
    """2.5 % and 1.5 % used to be printed as "+2%"."""
    (line,) = selftest.sentences(selftest.figures(trials(slowdown, ok=1)))
    assert line.startswith(f"{name}: 1 verdict, ")


@pytest.mark.parametrize("words", [("--slowdowns", "3,x"), ("--allocator", "x"), ("--detect", "0")])
def test_a_mistake_is_reported_in_one_message(here, in_process, words):  # noqa: F811
    done = in_process("selftest", "fake.json", *words, cwd=here)
    assert done.returncode == 2
    assert words[0] in done.stderr
